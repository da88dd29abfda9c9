"""Tasks: calls answered with a handle, whose result is fetched later (MCP 2025-11-25, then an extension).

Rule 1: a client's id of a task is `PLUGIN:OWN`: the plugin's own id with its owner in front. Nothing has to be kept
        for it, so it is good for as long as the plugin knows the task, whoever was started anew meanwhile.
Rule 2: an id leads only to a plugin that is offered, and is worth what the plugin makes of it: it checks its own.
Rule 3: wherever a plugin says one of its ids, its clients read theirs.
Rule 4: a server makes tasks only for who can handle them. A modern client says so in each request, or is told no.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from broker.core.ports import Identity, Reply
from broker.errors import RemoteError
from broker.model import Era, Listing
from broker.wire.eras import CLIENT_CAPABILITIES

EXTENSION = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
METHODS: dict[Era, frozenset[str]] = {
    Era.LEGACY: frozenset({"tasks/get", "tasks/result", "tasks/cancel"}),
    Era.MODERN: frozenset({"tasks/get", "tasks/update", "tasks/cancel"}),
}
BESIDE = frozenset({"tasks/get", "tasks/result", "tasks/update", "tasks/cancel", "tasks/list"})  # wait in no line
NEWS = "notifications/tasks"  # of the extension, to who subscribed to a task
STATUS = "notifications/tasks/status"  # of MCP 2025-11-25, to who began it
WATCHED = "task "  # before a task's id where resources' URIs are, of which none has a space
OVER = frozenset({b'"completed"', b'"failed"', b'"cancelled"'})  # statuses after which nothing comes
_MARK = b'"taskId"'
_MISSING_CAPABILITY = -32021

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_text = msgspec.json.Decoder(str).decode


def shown_id(plugin: str, own: str) -> str:
    """A task as clients know it."""
    return f"{plugin}:{own}"


def own_id(shown: str) -> tuple[str, str]:
    """(plugin, the plugin's own id). The plugin is whatever the client wrote."""
    plugin, _, own = shown.partition(":")
    return plugin, own


def outward(plugin: str, said: Reply) -> Reply:
    """A result, or the params of a notification or a question, with the ids of tasks as clients know them."""
    if _MARK not in bytes(said):
        return said
    try:
        members = _members(said)
        _rename(plugin, members)
        for key in ("task", "_meta"):
            if key in members and _MARK in bytes(members[key]):
                members[key] = _inner(plugin, members[key], RELATED if key == "_meta" else "")
        if "tasks" in members:
            tasks = _list(members["tasks"])
            for task in tasks:
                _rename(plugin, task)
            members["tasks"] = Raw(_encode(tasks))
    except msgspec.MsgspecError:
        return said
    return _encode(members)


def unrelated(said: Reply) -> Reply:
    """A result, or the params of a notification or a question, without the task it belongs to."""
    if RELATED.encode() not in bytes(said):
        return said
    try:
        members = _members(said)
        meta = _members(members.pop("_meta", Raw(b"{}")))
    except msgspec.MsgspecError:
        return said
    meta.pop(RELATED, None)
    return _encode({**members, "_meta": meta} if meta else members)


def own_of(said: Reply) -> str | None:
    """The id a plugin names in a result of its, or in the params of what it pushes, if it names one."""
    if _MARK not in bytes(said):
        return None
    try:
        members = _members(said)
        for key in ("task", "_meta"):
            if key in members and "taskId" not in members:
                inner = _members(members[key])
                members = inner if key == "task" else _members(inner.get(RELATED, Raw(b"{}")))
        return _text(members["taskId"])
    except (KeyError, msgspec.MsgspecError):
        return None


def declares(identity: Identity) -> bool:
    """Whether a client said that it takes tasks in place of results."""
    return identity.era is Era.MODERN and f'"{EXTENSION}"'.encode() in bytes(
        identity.capabilities.get("extensions", b"")
    )


def declared(capabilities: Mapping[str, Raw]) -> dict[str, Raw]:
    """A client's capabilities with the extension in them, for a plugin whose tasks we wait for in its place."""
    extensions = _members(capabilities.get("extensions", Raw(b"{}")))
    extensions.setdefault(EXTENSION, Raw(b"{}"))
    return {**capabilities, "extensions": Raw(_encode(extensions))}


def declared_in(meta: Mapping[str, Raw]) -> dict[str, Raw]:
    """The envelope of a request of our own, with the extension among its capabilities."""
    capabilities = declared(_members(meta[CLIENT_CAPABILITIES]))
    return {**meta, CLIENT_CAPABILITIES: Raw(_encode(capabilities))}


def check(identity: Identity, method: str) -> None:
    """Raises the error of the specification for a modern client that did not declare tasks."""
    if identity.era is Era.MODERN and not declares(identity):
        needed = Raw(_encode({"requiredCapabilities": {"extensions": {EXTENSION: {}}}}))
        raise RemoteError(_MISSING_CAPABILITY, f"{method} needs the client capability {EXTENSION}", needed)


def makes_tasks(listing: Listing) -> bool:
    """Whether a modern server may answer with a task."""
    return f'"{EXTENSION}"'.encode() in bytes(listing.capabilities.get("extensions", b""))


def runs_tools(listing: Listing) -> bool:
    """Whether a legacy server runs tools as tasks (`tasks.requests.tools.call`)."""
    try:
        requests = _members(_members(listing.capabilities["tasks"])["requests"])
        return "call" in _members(requests["tools"])
    except (KeyError, msgspec.MsgspecError):
        return False


def lists_tasks(listing: Listing) -> bool:
    """Whether a legacy server tells which tasks it has."""
    try:
        return "list" in _members(listing.capabilities.get("tasks", Raw(b"{}")))
    except msgspec.MsgspecError:
        return False


def is_task(result: Reply) -> bool:
    """Whether a modern result is a task in place of what was asked for."""
    if b'"task"' not in bytes(result):
        return False
    try:
        return bytes(_members(result).get("resultType", b"")) == b'"task"'
    except msgspec.MsgspecError:
        return False


def _rename(plugin: str, task: dict[str, Raw]) -> None:
    if "taskId" in task:
        task["taskId"] = Raw(_encode(shown_id(plugin, _text(task["taskId"]))))


def _inner(plugin: str, value: Raw, key: str) -> Raw:
    """`value`, a task or something that holds one at `key`, renamed."""
    members = _members(value)
    if key and key in members:
        members[key] = _inner(plugin, members[key], "")
    else:
        _rename(plugin, members)
    return Raw(_encode(members))
