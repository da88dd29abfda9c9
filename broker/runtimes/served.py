"""An instance whose MCP side is played by the broker, because what it runs is a guest that speaks no MCP.

Rule 1: one instance serves clients of both eras. It counts as modern, where one lane is enough for everyone, and each
        result is put into the era of its caller.
Rule 2: a guest sees arguments only after they agree with its schema; what it throws is a result that says so, and never
        the end of anything.
Rule 3: a guest that had to be ended `KILLS` times within `WINDOW` seconds is left alone for as long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Raw, Struct

from broker.core.pool import Pool, Pooled
from broker.core.ports import Call, Identity, Nobody, Reply
from broker.errors import BadArguments, BrokerError, PluginFailed, PluginUnavailable, RemoteError
from broker.model import About, Era, Kind, Listing, Spec
from broker.runtimes.arguments import Checker
from broker.runtimes.uri_templates import Template
from broker.wire import eras

KILLS, WINDOW = 3, 60.0  # ended so often within so many seconds, it is not called for as many more
MOST_RESULT = 8 << 20  # bytes of one result; what is written to a client in one message by default
MOST_EVENTS = 32  # that wait for one guest; what comes on top is dropped, for a later one says more
MOST_COMPLETIONS = 100  # values, as MCP has it
_NO_SUCH_METHOD, _BAD_PARAMS, _INTERNAL = -32601, -32602, -32603

log = logging.getLogger("broker.served")

_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(str).decode

# What a guest is asked for. Commands and events by their names; completions by `prompts NAME` or `templates TEXT`.
Work = Kind | Literal["commands", "completions", "events"]


class Offer(Struct, frozen=True):
    """One tool, prompt, resource or template of a guest: how clients see it, and what its arguments must agree with."""

    shown: Raw
    schema: Mapping[str, object] | None = None
    completes: bool = False  # it proposes values for its arguments


class Offers(Struct, frozen=True, kw_only=True):
    """Everything a guest offers: tools and prompts by name, resources by URI, templates by their text."""

    tools: Mapping[str, Offer] = {}
    prompts: Mapping[str, Offer] = {}
    resources: Mapping[str, Offer] = {}
    templates: Mapping[str, Offer] = {}
    commands: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()  # it wants to hear of
    instructions: str | None = None
    about: About | None = None


class GuestError(Exception):
    """The guest's own code failed; the text is for its caller, and the guest goes on."""


class Ended(Exception):
    """The guest was ended in the middle of a call; `error` says why."""

    def __init__(self, error: BrokerError) -> None:
        super().__init__(str(error))
        self.error = error


class Guest(Protocol):
    """What runs behind a `Served`."""

    @property
    def pid(self) -> int | None:
        """Of its own process, if it has one."""
        ...

    async def invoke(self, kind: Work, name: str, arguments: bytes, call: Call) -> bytes | str:
        """Run a tool, prompt or command, read a resource, hear an event: JSON of arguments in, a value out.

        A value is JSON, or a text as it is.

        Cancelled, it returns when the guest works no more. Raises `GuestError`, `Ended`, `BrokerError`.
        """
        ...

    async def hook(self, event: bytes) -> bytes:
        """What it says to an event (see `core.hooks`). Raises as `invoke`."""
        ...

    async def stop(self, grace: float) -> None: ...


class Served:
    """One running guest as an `Instance`."""

    era = Era.MODERN
    working = False

    def __init__(
        self, spec: Spec, offers: Offers, guest: Guest, on_gone: Callable[[Spec], None] = lambda spec: None
    ) -> None:
        self.spec, self._offers, self._guest, self._on_gone = spec, offers, guest, on_gone
        self._templates = {text: Template(text) for text in offers.templates}
        self._events = 0  # that wait for it
        self._telling: set[asyncio.Task[None]] = set()
        self._checkers: dict[tuple[Kind, str], Checker] = {}
        self._info = Raw(_encode({"name": spec.name, "version": spec.version or "0"}))
        self._began = time.monotonic()
        self._kills: deque[float] = deque(maxlen=KILLS)
        self._verdict: str | None = None
        self.heard = 0

    @property
    def pid(self) -> int | None:
        return self._guest.pid

    @property
    def uptime(self) -> float:
        return time.monotonic() - self._began

    @property
    def events(self) -> frozenset[str]:
        """The events it wants to hear of."""
        return self._offers.events

    @property
    def pool(self) -> Pool | None:
        return self._guest.pool if isinstance(self._guest, Pooled) else None

    async def warm(self, count: int) -> Pool:
        if not isinstance(self._guest, Pooled):
            raise BadArguments(f"{self.spec.name} has no instances that could wait for calls")
        return await self._guest.warm(count)

    async def call(self, call: Call) -> Reply:
        """Run one call; the result is in the era of its caller."""
        if self._verdict is not None:
            raise PluginFailed(f"{self.spec.name} {self._verdict}")
        answer = _ANSWERS.get(call.method)
        if answer is None:
            raise _unanswered(self.spec, call)
        self._refuse_if_left_alone()
        result = await answer(self, call)
        self.heard += 1
        if len(result) > MOST_RESULT:
            raise PluginFailed(f"{self.spec.name} answered with more than {MOST_RESULT >> 20} MiB")
        return eras.modern_result(call.method, result, self._info) if call.identity.era is Era.MODERN else result

    async def hook(self, event: bytes, call: Call) -> Reply:
        """What the guest says to an event. Raises `PluginFailed`."""
        self._refuse_if_left_alone()
        try:
            return await self._guest.hook(event)
        except GuestError as error:
            raise PluginFailed(f"{self.spec.name} failed in its hook: {error}") from None
        except Ended as ended:
            self._kills.append(time.monotonic())
            raise ended.error from None

    async def event(self, name: str, params: bytes) -> None:
        """Tell the guest of an event if it wants to hear of it. It may fail or be ended over it; nobody else does."""
        if name not in self._offers.events or self._events >= MOST_EVENTS or self._verdict is not None:
            return
        self._events += 1
        try:
            self._refuse_if_left_alone()
            await self._invoke("events", name, params, Call(Nobody(), Identity(), "", {}))
        except (BrokerError, GuestError) as error:
            log.info("%s failed at %s: %s", self.spec.name, name, error)
        finally:
            self._events -= 1

    async def probe(self) -> None:
        """It is here: what it does is watched where it runs."""
        self.heard += 1

    def suspended(self) -> str | None:
        return None

    async def fail(self, reason: str) -> None:
        self._verdict = f"{reason}, and was ended"
        await self.stop(0)

    async def lists(self, kinds: set[Kind] | None = None) -> Listing:
        """What it offered when it was loaded; nothing is asked for anew."""
        offers = self._offers
        completing = [each for each in (*offers.prompts.values(), *offers.templates.values()) if each.completes]
        offered = {
            "tools": offers.tools,
            "prompts": offers.prompts,
            "resources": offers.resources or offers.templates,
            "completions": completing,
        }
        return Listing(
            versions={Era.MODERN: eras.LATEST_MODERN, Era.LEGACY: None},
            info=self._info,
            capabilities={kind: Raw(b"{}") for kind, found in offered.items() if found},
            instructions=offers.instructions,
            tools=[each.shown for each in offers.tools.values()],
            prompts=[each.shown for each in offers.prompts.values()],
            resources=[each.shown for each in offers.resources.values()],
            templates=[each.shown for each in offers.templates.values()],
            about=offers.about,
        )

    async def watch(self, uri: str) -> None:
        """No guest tells of changes of its resources."""

    async def unwatch(self, uri: str) -> None:
        """Nothing was watched."""

    def level(self, level: str) -> None:
        """What it logs is filtered by the host it calls."""

    def tell(self, method: str, params: Reply) -> None:
        """A guest hears no notifications."""

    def happened(self, name: str, params: bytes) -> None:
        """Tell the guest of an event, when its turn comes."""
        task = asyncio.get_running_loop().create_task(self.event(name, params))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def stop(self, grace: float) -> None:
        self._on_gone(self.spec)
        self._on_gone = _nothing  # its successor may be there already
        for task in self._telling:
            task.cancel()
        await self._guest.stop(grace)

    # the methods of MCP

    async def tool(self, call: Call) -> bytes:
        name, arguments = _text(call, "name"), call.params.get("arguments", Raw(b"{}"))
        offer = self._found(self._offers.tools, name, "tool")
        try:
            given = self._checked("tools", name, offer, bytes(arguments))
            return tool_result(await self._invoke("tools", name, given, call))
        except BadArguments as error:  # MCP 2025-11-25: a result, so that the model can correct itself
            return failed_tool(f"The arguments do not agree with the schema of {name}: {error}")
        except GuestError as error:
            return failed_tool(str(error))

    async def prompt(self, call: Call) -> bytes:
        name, arguments = _text(call, "name"), call.params.get("arguments", Raw(b"{}"))
        offer = self._found(self._offers.prompts, name, "prompt")
        given = self._checked("prompts", name, offer, bytes(arguments))
        try:
            return prompt_result(await self._invoke("prompts", name, given, call))
        except GuestError as error:
            raise RemoteError(_INTERNAL, str(error)) from None

    async def resource(self, call: Call) -> bytes:
        uri = _text(call, "uri")
        kind, name, given = self._resource(uri)
        offer = self._found(self._offers.resources if kind == "resources" else self._offers.templates, name, "resource")
        try:
            value = await self._invoke(kind, name, _encode({**given, "uri": uri}), call)
        except GuestError as error:
            raise RemoteError(_INTERNAL, str(error)) from None
        return resource_result(value, uri, eras.members(offer.shown).get("mimeType"))

    def _resource(self, uri: str) -> tuple[Kind, str, dict[str, str]]:
        """Where a URI is served: its kind, its name there, and the values in it."""
        if uri not in self._offers.resources:
            for text, template in self._templates.items():
                if (given := template.match(uri)) is not None:
                    return "templates", text, given
        return "resources", uri, {}

    async def command(self, call: Call) -> bytes:
        """Run what the guest has for a command; the result has the form of a tool's."""
        name, arguments = _text(call, "name"), call.params.get("arguments", Raw(b"[]"))
        if name not in self._offers.commands:
            raise RemoteError(_BAD_PARAMS, f"{self.spec.name} has no command {name}")
        try:
            return tool_result(await self._invoke("commands", name, bytes(arguments), call))
        except GuestError as error:
            return failed_tool(str(error))

    async def completion(self, call: Call) -> bytes:
        """Values that an argument of a prompt or template may have."""
        if "completions" not in (await self.lists()).capabilities:
            raise _unanswered(self.spec, call)
        try:
            asked = msgspec.json.decode(_encode(call.params), type=_Completing)
        except msgspec.MsgspecError as error:
            raise RemoteError(_BAD_PARAMS, f"{call.method}: {error}") from None
        kind, offers = ("prompts", self._offers.prompts) if asked.ref.name else ("templates", self._offers.templates)
        name = asked.ref.name or asked.ref.uri
        if not self._found(offers, name, kind.removesuffix("s")).completes:
            return completion_result(b"null")
        given = {"argument": asked.argument.name, "value": asked.argument.value, "given": asked.context.arguments}
        try:
            return completion_result(await self._invoke("completions", f"{kind} {name}", _encode(given), call))
        except GuestError as error:
            raise RemoteError(_INTERNAL, str(error)) from None

    async def _invoke(self, kind: Work, name: str, arguments: bytes, call: Call) -> bytes | str:
        try:
            return await self._guest.invoke(kind, name, arguments, call)
        except Ended as ended:
            self._kills.append(time.monotonic())
            raise ended.error from None
        except asyncio.CancelledError:
            if call.late:
                self._kills.append(time.monotonic())
            raise

    def _checked(self, kind: Kind, name: str, offer: Offer, arguments: bytes) -> bytes:
        """The arguments with their defaults. Raises `BadArguments`."""
        if offer.schema is None:
            return arguments
        if (kind, name) not in self._checkers:
            self._checkers[kind, name] = Checker(offer.schema)
        return self._checkers[kind, name](arguments)

    def _found(self, offers: Mapping[str, Offer], name: str, what: str) -> Offer:
        if name not in offers:
            raise RemoteError(_BAD_PARAMS, f"{self.spec.name} has no {what} {name}")
        return offers[name]

    def _refuse_if_left_alone(self) -> None:
        if len(self._kills) < KILLS or self._kills[-1] - self._kills[0] > WINDOW:
            return
        left = self._kills[-1] + WINDOW - time.monotonic()
        if left > 0:
            raise PluginUnavailable(
                f"{self.spec.name} had to be ended {KILLS} times within a minute and is not called for {left:.0f} s",
                hint=f"`broker log {self.spec.name}` says why; `broker restart {self.spec.name}` tries again now.",
                facts={"plugin": self.spec.name, "retryInMs": int(1000 * left)},
            )
        self._kills.clear()


_ANSWERS = {
    "tools/call": Served.tool,
    "prompts/get": Served.prompt,
    "resources/read": Served.resource,
    "completion/complete": Served.completion,
    "commands/run": Served.command,
}


_values: Any = list[str] | None


class _Reference(Struct):
    name: str = ""
    uri: str = ""


class _Argument(Struct):
    name: str
    value: str = ""


class _Context(Struct):
    arguments: dict[str, str] = {}


class _Completing(Struct):
    ref: _Reference
    argument: _Argument
    context: _Context = msgspec.field(default_factory=_Context)


def _unanswered(spec: Spec, call: Call) -> RemoteError:
    return RemoteError(_NO_SUCH_METHOD, f"{spec.name} does not answer {call.method}")


def _nothing(spec: Spec) -> None:
    """What it showed was taken away already."""


def tool_result(value: bytes | str) -> bytes:
    """A guest's value as the result of a tool. One that is a whole result already stays as it is."""
    if isinstance(value, str):
        return _encode({"content": [_words(value)]})
    match _first(value):
        case "{":
            members = eras.members(value)
            if "content" in members and bytes(members["content"])[:1] == b"[":
                return value
            return _encode({"content": [_words(value.decode())], "structuredContent": Raw(value)})
        case '"':
            return _encode({"content": [_words(_decode_text(value))]})
        case "n":
            return b'{"content":[]}'
        case _:
            return _encode({"content": [_words(value.decode())]})


def failed_tool(text: str) -> bytes:
    """The result of a tool that failed."""
    return _encode({"content": [_words(text)], "isError": True})


def prompt_result(value: bytes | str) -> bytes:
    """A guest's value as a prompt: a text is one message of the user's."""
    if isinstance(value, bytes) and _first(value) == "{" and "messages" in eras.members(value):
        return value
    return _encode({"messages": [{"role": "user", "content": _words(_plain(value))}]})


def resource_result(value: bytes | str, uri: str, mime: Raw | None) -> bytes:
    """A guest's value as the contents of the resource `uri`."""
    if isinstance(value, bytes) and _first(value) == "{" and "contents" in eras.members(value):
        return value
    typed = {} if mime is None else {"mimeType": mime}
    return _encode({"contents": [{"uri": uri, **typed, "text": _plain(value)}]})


def completion_result(value: bytes | str) -> bytes:
    """A guest's list of texts, or null, as the values that an argument may have. Raises `GuestError`."""
    try:
        found = msgspec.json.decode(value, type=_values) or list[str]()
    except msgspec.MsgspecError:
        raise GuestError("What it proposes must be a list of texts.") from None
    more = len(found) > MOST_COMPLETIONS
    return _encode({"completion": {"values": found[:MOST_COMPLETIONS], "total": len(found), "hasMore": more}})


def _words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _plain(value: bytes | str) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.decode(value, type=str) if _first(value) == '"' else value.decode()


def _first(value: bytes) -> str:
    """The first character of a JSON text. Raises `GuestError` if it is none."""
    try:
        msgspec.json.decode(value, type=Raw)
    except msgspec.MsgspecError as error:
        raise GuestError(f"It answered with what is no JSON: {error}") from None
    return value.lstrip()[:1].decode()


def _text(call: Call, member: str) -> str:
    try:
        return _decode_text(call.params.get(member, Raw(b"null")))
    except msgspec.MsgspecError:
        raise RemoteError(_BAD_PARAMS, f"{call.method} needs `{member}`, a text") from None
