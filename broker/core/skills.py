"""Skills that plugins offer: instructions in files, read as resources (the extension io.modelcontextprotocol/skills).

Rule 1: a client knows a plugin's skill as `skill://PLUGIN/...`, the plugin's own URI with its owner in front; one of
        another scheme as `broker://PLUGIN/URI`. Nothing has to be kept for it, links within a skill lead to its own
        files, and no skill ever takes another's place because a plugin was added: clients approve skills by URI.
Rule 2: a plugin's own URI, as its instructions or another skill may say it, is understood if it can be only one's.
Rule 3: entries hold digests that clients check, and nobody tells when they change: they are asked for each time.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from broker.core.ports import Reply
from broker.model import Listing

EXTENSION = "io.modelcontextprotocol/skills"
SCHEME = "skill://"
LIST = "skills/list"
METHODS = frozenset({"skills/get", "resources/directory/read"})  # with the URI of what they are about

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_text = msgspec.json.Decoder(str).decode


def offers(listing: Listing) -> bool:
    """Whether a server has skills."""
    return f'"{EXTENSION}"'.encode() in bytes(listing.capabilities.get("extensions", b""))


def shown(plugin: str, own: str) -> str:
    """A skill's URI, or that of a file or folder of its, as clients know it."""
    return f"{SCHEME}{plugin}/{own.removeprefix(SCHEME)}" if own.startswith(SCHEME) else f"broker://{plugin}/{own}"


def implied(uri: str) -> tuple[str, str]:
    """(plugin, the plugin's own URI) that `shown` made a `skill://` URI of, if it did."""
    plugin, _, rest = uri.removeprefix(SCHEME).partition("/")
    return plugin, SCHEME + rest


def outward(plugin: str, result: Reply) -> Reply:
    """A result of `skills/list`, `skills/get` or `resources/directory/read`, with URIs as clients know them."""
    try:
        members = _members(result)
        if "skill" in members:
            members["skill"] = _skill(plugin, _members(members["skill"]))
        if "skills" in members:
            members["skills"] = _each(members["skills"], lambda entry: _skill(plugin, entry))
        if "resources" in members:
            members["resources"] = _each(members["resources"], lambda entry: _file(plugin, entry))
    except (KeyError, msgspec.MsgspecError):  # none that its client could read: it judges
        return result
    return _encode(members)


def _skill(plugin: str, entry: dict[str, Raw]) -> Raw:
    files = entry.get("resources", Raw(b"null"))
    if memoryview(files)[0] == ord("["):  # else "dynamic"
        entry["resources"] = _each(files, lambda file: _file(plugin, file))
    return _file(plugin, entry)


def _file(plugin: str, entry: dict[str, Raw]) -> Raw:
    return Raw(_encode({**entry, "uri": shown(plugin, _text(entry["uri"]))}))


def _each(entries: Raw, change: Callable[[dict[str, Raw]], Raw]) -> Raw:
    return Raw(_encode([change(entry) for entry in _list(entries)]))
