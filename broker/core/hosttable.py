"""What plugins in the broker's own runtimes may ask it to do: one table, for every runtime and every guest.

Rule 1: an operation's params are one strict struct: an unknown key is an error, and each text has a bound.
Rule 2: what an operation needs to be granted follows from its params alone.
Rule 3: names and codes are for good: a guest that was built once goes on working.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker.errors import BadArguments
from broker.permissions.hosts import host_name
from broker.permissions.scopes import Permission, permission

MOST = 1 << 20  # bytes of the params of one operation, and of its result
PIECE = 512 << 10  # bytes of a file or of a page in one result: base64 and JSON's escapes fit around it
LONGEST_RUN = 120.0  # seconds of one program

Key = Annotated[str, Meta(min_length=1, max_length=256)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Line = Annotated[str, Meta(max_length=1000)]
Words = Annotated[str, Meta(max_length=8192)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Data = Annotated[str, Meta(max_length=MOST)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Plugin = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]


class Params(Struct, forbid_unknown_fields=True, kw_only=True):
    """Of one operation."""


class Log(Params):
    message: Words
    level: Literal["debug", "info", "warn", "error"] = "info"


class Toast(Params):
    title: Title
    message: Line = ""
    kind: Literal["info", "warn", "error"] = "info"


class RegisterCommand(Params):
    name: Name
    description: Line = ""
    handler: Annotated[str, Meta(max_length=256)] = ""  # what its own runtime calls; empty: its name


class SetStatus(Params):
    key: Name
    value: Annotated[str, Meta(max_length=200)]  # empty takes it away


class Progress(Params):
    progress: float
    total: float | None = None
    message: Line | None = None


class ConfigGet(Params):
    key: Key | None = None  # None: all of it


class StateGet(Params):
    key: Key


class StateSet(Params):
    key: Key
    value: Raw  # null takes it away


class Read(Params):
    path: Path
    offset: Annotated[int, Meta(ge=0)] = 0
    encoding: Literal["utf-8", "base64"] = "utf-8"


class Write(Params):
    path: Path
    text: Data | UnsetType = UNSET
    base64: Data | UnsetType = UNSET
    append: bool = False


class Fetch(Params):
    url: Annotated[str, Meta(min_length=1, max_length=8192)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[Annotated[str, Meta(max_length=256)], Words] = {}
    body: Data = ""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 20.0
    encoding: Literal["utf-8", "base64"] = "utf-8"


class Exec(Params):
    command: Annotated[list[Annotated[str, Meta(max_length=8192)]], Meta(min_length=1, max_length=256)]
    input: Data = ""
    timeout: Annotated[float, Meta(gt=0, le=LONGEST_RUN)] = 10.0


class CallTool(Params):
    plugin: Plugin
    tool: Key
    arguments: dict[str, Raw] = {}


class Ask(Params):
    message: Annotated[str, Meta(min_length=1, max_length=1000)]
    schema: dict[str, Any] | None = None  # a flat form, as MCP's elicitation has it
    choices: Annotated[list[Title], Meta(max_length=50)] = []  # instead of a schema: one of these


class Operation(Struct, frozen=True, kw_only=True):
    """One operation."""

    name: str
    does: str
    params: type[Params]
    result: Mapping[str, Any]  # JSON Schema
    rate: float  # a second, of one plugin, in the long run
    burst: int  # at once
    wants: Callable[[Any], Permission | None] = lambda _: None  # raises `BadArguments`
    needs: str = ""  # the same, for a person
    codes: tuple[str, ...] = ()  # names of errors beside `COMMON`
    audited: bool = True


COMMON = ("permission-missing", "invalid-params", "overloaded", "frame-too-large")

_NULL = {"type": "null"}
_SHOWN = {
    "type": "object",
    "properties": {"shown": {"type": "boolean", "description": "Whether somebody is there to see it"}},
    "required": ["shown"],
}


def _wanted(kind: str, target: str) -> Permission:
    try:
        return permission(kind, target)
    except ValueError as error:
        raise BadArguments(str(error)) from None


def _path(kind: str) -> Callable[[Any], Permission]:
    def wants(params: Read | Write) -> Permission:
        if "*" in params.path:
            raise BadArguments(f"{params.path[:200]!r} must be one path, without `*`")
        return _wanted(kind, params.path)

    return wants


def _ui(target: str) -> Callable[[Any], Permission]:
    return lambda _: Permission("ui", target)


class Url(Struct, frozen=True):
    """The parts of a URL that decide where it leads."""

    secure: bool
    host: str  # as `host_name` gives it
    port: int
    path: str  # with the query


def url_of(text: str) -> Url:
    """A URL of http or https. Raises `BadArguments`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port, host = parts.port, host_name(parts.hostname or "")
    except ValueError as error:
        raise BadArguments(f"{text[:200]!r} is no URL: {error}") from None
    odd = "@" in parts.netloc or not text.isascii() or any(letter <= " " or letter == "\x7f" for letter in text)
    if parts.scheme not in ("http", "https") or odd:
        raise BadArguments(f"{text[:200]!r} must be a URL of http or https, in ASCII, without a user in it")
    secure = parts.scheme == "https"
    query = f"?{parts.query}" if parts.query else ""
    return Url(secure, host, port or (443 if secure else 80), (parts.path or "/") + query)


def _net(params: Fetch) -> Permission:
    url = url_of(params.url)
    return _wanted("net", f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}")


def _object(**members: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in members.items()}}


_TABLE = (
    Operation(
        name="log",
        does="Writes a line to the plugin's log, and sends it to the client.",
        params=Log,
        result=_NULL,
        rate=100,
        burst=200,
        audited=False,
    ),
    Operation(
        name="toast",
        does="Shows a short message to the person.",
        params=Toast,
        result=_SHOWN,
        wants=_ui("toast"),
        needs="ui:toast",
        rate=1,
        burst=5,
    ),
    Operation(
        name="register_command",
        does="Offers a command to the person, as long as the plugin runs.",
        params=RegisterCommand,
        result=_SHOWN,
        wants=_ui("command"),
        needs="ui:command",
        rate=10,
        burst=64,
    ),
    Operation(
        name="set_status",
        does="Shows a short text beside the plugin's name, as long as the plugin runs.",
        params=SetStatus,
        result=_SHOWN,
        wants=_ui("status"),
        needs="ui:status",
        rate=10,
        burst=20,
        audited=False,
    ),
    Operation(
        name="progress",
        does="Tells the caller how far its call is.",
        params=Progress,
        result=_SHOWN,
        rate=100,
        burst=100,
        audited=False,
    ),
    Operation(
        name="config.get",
        does="An option of the plugin's own configuration, or all of them.",
        params=ConfigGet,
        result={},
        rate=1000,
        burst=1000,
        audited=False,
    ),
    Operation(
        name="state.get",
        does="What the plugin kept under a key, or null.",
        params=StateGet,
        result={},
        rate=1000,
        burst=1000,
        codes=("host-failed",),
        audited=False,
    ),
    Operation(
        name="state.set",
        does="Keeps a value under a key, also after the broker ends; null takes it away.",
        params=StateSet,
        result=_NULL,
        rate=50,
        burst=100,
        codes=("host-failed",),
    ),
    Operation(
        name="fs.read",
        does="A piece of a file, of 512 KiB at most, and how long the file is.",
        params=Read,
        result=_object(text="string", base64="string", size="integer"),
        wants=_path("read"),
        needs="read:PATH",
        rate=200,
        burst=400,
        codes=("host-failed",),
    ),
    Operation(
        name="fs.write",
        does="Writes or appends to a file, which is made if need be.",
        params=Write,
        result=_object(size="integer"),
        wants=_path("write"),
        needs="write:PATH",
        rate=50,
        burst=100,
        codes=("host-failed",),
    ),
    Operation(
        name="http.fetch",
        does="Makes one request. Redirects are not followed, and an answer may have 512 KiB.",
        params=Fetch,
        result=_object(status="integer", headers="object", body="string", base64="string"),
        wants=_net,
        needs="net:HOST:PORT",
        rate=10,
        burst=20,
        codes=("host-failed", "plugin-timeout"),
    ),
    Operation(
        name="exec",
        does="Runs a program, held to what the plugin may do, and returns what it wrote.",
        params=Exec,
        result=_object(code="integer", stdout="string", stderr="string"),
        wants=lambda params: _wanted("run", params.command[0]),
        needs="run:PROGRAM",
        rate=5,
        burst=10,
        codes=("host-failed", "plugin-timeout", "not-enforced"),
    ),
    Operation(
        name="call",
        does="Calls a tool of another plugin, for whoever called this one.",
        params=CallTool,
        result={"type": "object", "description": "The tool's result, as MCP has it"},
        wants=lambda params: _wanted("call", params.plugin),
        needs="call:PLUGIN",
        rate=50,
        burst=100,
        codes=("not-found", "self-wait", "plugin-timeout", "plugin-crashed", "denied-by-hook", "remote-error"),
    ),
    Operation(
        name="ask",
        does="Asks the person who made the call.",
        params=Ask,
        result={
            "type": "object",
            "properties": {"action": {"enum": ["accept", "decline", "cancel"]}, "content": {"type": "object"}},
            "required": ["action"],
        },
        wants=_ui("ask"),
        needs="ui:ask",
        rate=0.1,
        burst=3,
        codes=("not-answered",),
    ),
)
OPERATIONS: Mapping[str, Operation] = {each.name: each for each in _TABLE}


def schema() -> dict[str, Any]:
    """The whole table as JSON Schema, for those who write guests and what they are written with."""
    kinds = [each.params for each in _TABLE]
    params, shared = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    operations = {
        each.name: {
            "description": each.does,
            "params": shape,
            "result": each.result,
            "permission": each.needs or None,
            "perSecond": each.rate,
            "atOnce": each.burst,
            "codes": [*COMMON, *each.codes],
        }
        for each, shape in zip(_TABLE, params, strict=True)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What plugins may ask broker to do",
        "version": 1,
        "operations": operations,
        "$defs": shared,
    }
