"""What a client may ask by MCP, in each era, and what is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker_sdk.calls import Call, Retry
from broker_sdk.content import Result
from broker_sdk.definitions import Offered, Resource, definitions, positional
from broker_sdk.eras import LEGACY, LEVELS, MODERN, SUBSCRIPTION, RequestMeta, check_envelope, stamped
from broker_sdk.errors import INTERNAL, METHOD, NOT_FOUND, PARAMS, CannotAsk, Misdeclared, Refusal, ToolError
from broker_sdk.results import prompt_result, resource_result, tool_result
from broker_sdk.schema import encode

if TYPE_CHECKING:
    from broker_sdk.server import Server
    from broker_sdk.wire import Id

MOST_VALUES = 100  # of one completion
HOOK = "plugin-broker/hook"  # asked by broker of those whose manifest lists hooks

Json = dict[str, Any]
S = TypeVar("S", bound=Struct)
Quick = Callable[["Server", Raw], Json]  # answered at once
Slow = Callable[["Server", "Id", Raw, "RequestMeta | None"], None]  # answered by a call


def take(server: Server, id: Id, method: str, params: Raw, meta: RequestMeta | None) -> None:
    """Answer a request, now or later. Raises `Refusal`."""
    modern = meta is not None and meta.version is not UNSET
    if method == "initialize":
        server.reply(id, encode(_initialize(server, params)))
        return
    if modern and meta is not None:
        check_envelope(meta)
    elif method == "server/discover" or not server.client.opened:
        raise Refusal(PARAMS, "`_meta` lacks the version of MCP (2026-07-28); before that, `initialize` comes first")
    quick, slow = (_QUICK_MODERN, _SLOW_MODERN) if modern else (_QUICK_LEGACY, _SLOW)
    if method in quick:
        result = encode(quick[method](server, params))
        server.reply(id, stamped(method, result, server.info) if modern else result)
    elif method in slow:
        slow[method](server, id, params, meta)
    else:
        raise Refusal(METHOD, f"Method not found: {method[:100]}")


def _read(params: Raw, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(params, type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Refusal(PARAMS, f"the params are not what MCP has: {error}") from None


# Openings


class _Opening(Struct, rename="camel"):
    protocol_version: str | None = None
    capabilities: Json = {}
    client_info: Any = None


def _initialize(server: Server, params: Raw) -> Json:
    opening = _read(params, _Opening)
    version = opening.protocol_version if opening.protocol_version in LEGACY else LEGACY[-1]
    server.client.version = version
    server.client.capabilities = opening.capabilities
    server.client.opened = True
    server.client.info = opening.client_info if isinstance(opening.client_info, dict) else {}
    return {
        "protocolVersion": version,
        "capabilities": _capabilities(server),
        "serverInfo": server.info,
        **_how(server),
    }


def _discover(server: Server, params: Raw) -> Json:
    return {"supportedVersions": [*MODERN], "capabilities": _capabilities(server), **_how(server)}


def _capabilities(server: Server) -> Json:
    plugin = server.plugin
    found: Json = {"logging": {}, "tools": {"listChanged": True}}
    if plugin.resources:
        found["resources"] = {"listChanged": True, "subscribe": True}
    if plugin.prompts:
        found["prompts"] = {"listChanged": True}
    if plugin.prompts or plugin.completions:
        found["completions"] = {}
    return found


def _how(server: Server) -> Json:
    return {"instructions": server.plugin.instructions} if server.plugin.instructions else {}


def _ping(server: Server, params: Raw) -> Json:
    return {}


# Lists


class _Page(Struct):
    cursor: str | None = None


def _list(member: str, found: Callable[[Server], list[Json]]) -> Quick:
    def answer(server: Server, params: Raw) -> Json:
        if _read(params, _Page).cursor is not None:
            raise Refusal(PARAMS, "there is no such page: every list has one")
        try:
            return {member: found(server)}
        except Misdeclared as error:
            server.complain(str(error))
            raise Refusal(INTERNAL, str(error)) from None

    return answer


# Settings of a legacy connection, and what a modern one listens to


class _Level(Struct):
    level: str


class _Uri(Struct):
    uri: str


class _Listen(Struct):
    notifications: Json = {}


def _set_level(server: Server, params: Raw) -> Json:
    level = _read(params, _Level).level
    if level not in LEVELS:
        raise Refusal(PARAMS, f"there is no level {level[:40]!r}")
    server.client.level = level
    return {}


def _subscribe(server: Server, params: Raw) -> Json:
    uri = _read(params, _Uri).uri
    if _found(server, uri) is None:
        raise Refusal(PARAMS, "there is no such resource")
    server.subscribed.add(uri)
    return {}


def _unsubscribe(server: Server, params: Raw) -> Json:
    server.subscribed.discard(_read(params, _Uri).uri)
    return {}


_LISTENED = ("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions")


def _listen(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    """Stays open until it is cancelled."""
    asked = _read(params, _Listen).notifications
    wanted = {name: value for name, value in asked.items() if name in _LISTENED and value}
    server.listens[id] = wanted
    acknowledged = {"notifications": wanted, "_meta": {SUBSCRIPTION: id}}
    server.notify("notifications/subscriptions/acknowledged", acknowledged)


# Calls


class _Named(Retry, kw_only=True):
    name: str
    arguments: Raw | UnsetType = UNSET


class _Read(Retry, kw_only=True):
    uri: str


def _call(
    server: Server, id: Id, method: str, name: str, arguments: Raw, meta: RequestMeta | None, retry: Retry
) -> Call | None:
    """The new call; None if it goes on with one that was parked."""
    call = Call(server, id, method, meta, (method, name, bytes(arguments)), retry)
    if call.modern and isinstance(retry.request_state, str):
        server.resume(retry.request_state, call, dict(retry.input_responses or {}))
        return None
    return call


def _object(raw: Raw | UnsetType) -> Raw:
    """Arguments, which may be left out. Raises `Refusal` for what is no object."""
    if raw is UNSET or bytes(raw) == b"null":
        return Raw(b"{}")
    if not bytes(raw).startswith(b"{"):
        raise Refusal(PARAMS, "`arguments` must be an object")
    return raw


def _call_tool(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    given = _read(params, _Named)
    tool = server.plugin.tools.get(given.name)
    if tool is None:
        raise Refusal(PARAMS, f"Unknown tool: {given.name[:200]}")
    arguments = _object(given.arguments)
    call = _call(server, id, "tools/call", given.name, arguments, meta, given)
    if call is not None:
        server.call(call, _run_tool(server, call, arguments), tool.seconds)


async def _run_tool(server: Server, call: Call, arguments: Raw) -> bytes:
    tool = server.plugin.tools[call.key[1]]
    try:
        given = tool.arguments(arguments)
    except Misdeclared as error:
        server.complain(str(error))
        return encode(tool_result(None, None, str(error)))
    except ValueError as error:
        return encode(tool_result(None, None, f"Invalid arguments of {tool.name}: {error}"))
    try:
        value = await server.run(tool.function, {**given, **_ctx(server, tool, call)})
        return encode(tool_result(value, tool.output))
    except BaseException as error:
        return encode(_failure(server, call, tool.name, tool.seconds, error))


def _failure(server: Server, call: Call, name: str, seconds: float | None, error: BaseException) -> Json:
    """What a client is told of an exception. Raises it again when it is not a failure of the tool's."""
    if call.timed_out:
        return tool_result(Result(), None, f"{name} took longer than {seconds:g} s and was ended")
    if isinstance(error, Refusal) or (isinstance(error, CannotAsk) and call.modern):
        raise error
    if isinstance(error, ToolError):
        return tool_result(Result(), None, str(error))
    if not isinstance(error, Exception):
        raise error
    server.failed(f"tool {name}", error)
    return tool_result(Result(), None, f"Error in tool {name}")


def _get_prompt(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    given = _read(params, _Named)
    prompt = server.plugin.prompts.get(given.name)
    if prompt is None:
        raise Refusal(PARAMS, f"Unknown prompt: {given.name[:200]}")
    arguments = _object(given.arguments)
    values = _texts(prompt, _strings(arguments))
    call = _call(server, id, "prompts/get", given.name, arguments, meta, given)
    if call is not None:
        server.call(call, _run_prompt(server, call, values), 60.0)


def _strings(arguments: Raw) -> Json:
    try:
        return msgspec.json.decode(arguments, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refusal(PARAMS, f"`arguments` must be texts: {error}") from None


async def _run_prompt(server: Server, call: Call, values: Json) -> bytes:
    prompt = server.plugin.prompts[call.key[1]]
    value = await server.run(prompt.function, {**values, **_ctx(server, prompt, call)})
    return encode(prompt_result(value, prompt.description))


def _read_resource(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    given = _read(params, _Read)
    found = _found(server, given.uri)
    modern = meta is not None and meta.version is not UNSET
    if found is None:
        raise Refusal(PARAMS if modern else NOT_FOUND, "Resource not found", {"uri": given.uri[:1000]})
    resource, holes = found
    values = _texts(resource, holes)
    call = _call(server, id, "resources/read", given.uri, Raw(b""), meta, given)
    if call is not None:
        server.call(call, _run_resource(server, call, resource, values), 60.0)


async def _run_resource(server: Server, call: Call, resource: Resource, values: Json) -> bytes:
    value = await server.run(resource.function, {**values, **_ctx(server, resource, call)})
    return encode(resource_result(call.key[1], value, resource.mime))


def _found(server: Server, uri: str) -> tuple[Resource, Json] | None:
    """The resource that a URI belongs to, one of its own before templates, and the values of its holes."""
    if uri in server.plugin.resources and not server.plugin.resources[uri].template:
        return server.plugin.resources[uri], {}
    for resource in server.plugin.resources.values():
        if resource.template and (values := resource.matched(uri)) is not None:
            return resource, values
    return None


def _texts(offered: Offered, values: Json) -> Json:
    try:
        return offered.signature.texts(values)
    except ValueError as error:
        raise Refusal(PARAMS, f"{offered.kind} {offered.name}: {error}") from None


def _ctx(server: Server, offered: Offered, call: Call) -> Json:
    return {offered.signature.ctx: server.ctx(call)} if offered.signature.ctx else {}


# Completion and hooks


class _Ref(Struct):
    type: str
    name: str | UnsetType = UNSET
    uri: str | UnsetType = UNSET


class _Argument(Struct):
    name: str
    value: str


class _Complete(Struct):
    ref: _Ref
    argument: _Argument


def _complete(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    asked = _read(params, _Complete)
    of = {"ref/prompt": asked.ref.name, "ref/resource": asked.ref.uri}.get(asked.ref.type, UNSET)
    if not isinstance(of, str):
        raise Refusal(PARAMS, "`ref` names neither a prompt nor a resource")
    call = Call(server, id, "completion/complete", meta, ("completion/complete", of, b""), Retry())
    server.call(call, _run_completion(server, call, asked.argument), 10.0)


async def _run_completion(server: Server, call: Call, asked: _Argument) -> bytes:
    values: list[str] = []
    prompt = server.plugin.prompts.get(call.key[1])
    if prompt is not None:
        values = [value for value in prompt.choices(asked.name) if value.startswith(asked.value)]
    for each in server.plugin.completions:
        if each.argument == asked.name and each.of.replace("*}", "}") == call.key[1]:
            arguments = {**positional(each, asked.value), **_ctx(server, each, call)}
            values = [str(value) for value in await server.run(each.function, arguments)]
    shown = {"values": values[:MOST_VALUES], "total": len(values), "hasMore": len(values) > MOST_VALUES}
    return encode({"completion": shown})


def _hook(server: Server, id: Id, params: Raw, meta: RequestMeta | None) -> None:
    if not server.plugin.hooks:
        raise Refusal(METHOD, f"Method not found: {HOOK}")
    event: Json = msgspec.json.decode(params)
    call = Call(server, id, HOOK, meta, (HOOK, "", b""), Retry())
    server.call(call, _run_hook(server, event), 10.0)


async def _run_hook(server: Server, event: Json) -> bytes:
    event.pop("_meta", None)
    return encode(await server.beside.hook(event))


_QUICK: dict[str, Quick] = {
    "tools/list": _list("tools", lambda server: definitions(server.plugin.tools.values())),
    "prompts/list": _list("prompts", lambda server: definitions(server.plugin.prompts.values())),
    "resources/list": _list("resources", lambda server: _of(server, template=False)),
    "resources/templates/list": _list("resourceTemplates", lambda server: _of(server, template=True)),
}
_QUICK_LEGACY: dict[str, Quick] = {
    **_QUICK,
    "ping": _ping,
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
}
_QUICK_MODERN: dict[str, Quick] = {**_QUICK, "server/discover": _discover}
_SLOW: dict[str, Slow] = {
    "tools/call": _call_tool,
    "prompts/get": _get_prompt,
    "resources/read": _read_resource,
    "completion/complete": _complete,
    HOOK: _hook,
}
_SLOW_MODERN: dict[str, Slow] = {**_SLOW, "subscriptions/listen": _listen}


def _of(server: Server, *, template: bool) -> list[Json]:
    return definitions(each for each in server.plugin.resources.values() if each.template == template)
