"""`Ctx`: what a plugin's function may do besides returning. The same names in every language broker has an SDK for.

Whatever needs broker has a replacement in any other client, or says that it has none (`HostUnavailable`):

| here                      | without broker                                                      |
| `log`, `toast`, `status`  | the client's log if it wants one, else stderr                       |
| `progress`                | the same: MCP has it                                                |
| `ask`                     | the same: MCP has it, for clients that can ask                      |
| `config`                  | `BROKER_CONFIG_<KEY>` in the environment, as JSON or text           |
| `secrets`                 | `BROKER_SECRET_<NAME>` in the environment                           |
| `state`                   | kept in memory, as long as the plugin runs                          |
| `call`, `show`, `editor`  | `HostUnavailable`                                                   |
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from broker_sdk.asking import Asking
from broker_sdk.errors import HostError, HostUnavailable, ToolError
from broker_sdk.progress import Progress

if TYPE_CHECKING:
    from broker_sdk.calls import Call
    from broker_sdk.operations import Diagnostic, Document, Request, TextEdit
    from broker_sdk.server import Server
    from broker_sdk.wire import Id

T = TypeVar("T")
Json = dict[str, Any]
Level = Literal["debug", "info", "warn", "error"]
_MCP_LEVELS = {"warn": "warning"}


class Ctx:
    """Of one call, command or event. A function gets it by a parameter with this hint, or named `ctx`."""

    def __init__(self, server: Server, call: Call | None = None, command: Id | None = None) -> None:
        self._server, self._call, self._command = server, call, command
        self.log = Log(self)
        self.ask = Asking(self)
        self.status = Status(self)
        self.config = Config(server)
        self.secrets = Secrets(self)
        self.state = State(self)
        self.editor = Editor(self)
        self.host = HostOf(self)

    # What is going on

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more. An `async` function is cancelled; one in a thread may look."""
        return self._call is not None and self._call.cancelled

    @property
    def client(self) -> Json:
        """What the client calls itself: `{"name": ..., "version": ...}`."""
        if self._call is not None and isinstance(self._call.meta.info, dict):
            return self._call.meta.info
        return self._server.client.info

    def can(self, what: Literal["elicitation", "sampling", "roots"]) -> bool:
        """Whether the client of this call can be asked that."""
        return self._call is not None and what in self._call.capabilities

    # What can be said and asked

    def progress(self, title: str = "", total: float | None = None) -> Progress:
        """Tell how far this call is: `with ctx.progress("Scanning", total=10) as p: ... p.step()`.

        In a command or an event it is work that broker shows by itself, and `p.cancelled` says when to stop.
        """
        return Progress(self, title, total)

    def toast(self, title: str, message: str = "", kind: Literal["info", "warn", "error"] = "info") -> None:
        """Show the person a short message; never waits, never fails."""
        if not self.host.tell("toast", {"title": title, "message": message, "kind": kind}):
            self.log(f"{title}: {message}" if message else title, kind)

    async def show(self, uri: str, *, range: Json | None = None, focus: bool = True) -> bool:
        """Open a file in the editor, or a page of https in the browser; whether somebody is there to see it."""
        place: Json = {"range": range} if range else {}
        found = await self.host.request("show", uri=uri, focus=focus, **place)
        return bool(found["shown"])

    async def call(self, plugin: str, tool: str, /, **arguments: Any) -> Any:
        """The result of another plugin's tool: its data if it has any, else its text. Raises `ToolError`."""
        found = await self.host.request("call", plugin=plugin, tool=tool, arguments=arguments)
        return _value_of(found)

    async def sample(self, prompt: str, *, max_tokens: int = 1000, key: str | None = None, **more: Any) -> str:
        """What the client's model says to a prompt. `more`: other params of `sampling/createMessage`."""
        said = {"role": "user", "content": {"type": "text", "text": prompt}}
        answer = await self.request(
            "sampling/createMessage", {"messages": [said], "maxTokens": max_tokens, **more}, key
        )
        content = answer.get("content")
        return str(content.get("text", "")) if isinstance(content, dict) else ""

    async def roots(self, *, key: str | None = None) -> list[str]:
        """The folders that the client has open, as URIs."""
        found = (await self.request("roots/list", {}, key)).get("roots")
        return [str(root["uri"]) for root in found] if isinstance(found, list) else []

    async def request(self, method: str, params: Json, key: str | None = None) -> Json:
        """The client's answer to any request of MCP, in either era: `elicitation/create`, `sampling/createMessage`,
        `roots/list`. `key`: how a modern client sees the question named."""
        if self._call is None:
            raise ToolError(f"{method} can be asked only while a tool, a prompt or a resource is asked for")
        return await self._call.ask(method, params, key)

    # Time, and threads

    def now(self) -> float:
        """Seconds since the epoch; a test can move them."""
        return self._server.clock.now()

    async def sleep(self, seconds: float) -> None:
        """As `asyncio.sleep`; a test can move the time."""
        await self._server.clock.sleep(seconds)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, for functions that are not async: `ctx.wait(ctx.ask("Sure?", bool))`."""
        return asyncio.run_coroutine_threadsafe(work, self._server.loop).result()

    # For the parts of this one

    @property
    def server(self) -> Server:
        return self._server

    @property
    def in_flight(self) -> Call | None:
        return self._call

    @property
    def about(self) -> Json | None:
        """How broker knows what this belongs to."""
        if self._call is not None and self._call.id is not None:
            return {"requestId": self._call.id}
        return {"commandId": self._command} if self._command is not None else None


class Log:
    """`ctx.log("text")`, or with a level: `ctx.log.warn("text")`; any JSON will do."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    def __call__(self, message: Any, level: Level = "info") -> None:
        text = message if isinstance(message, str) else msgspec.json.encode(message, enc_hook=str).decode()
        if self._ctx.host.tell("log", {"message": text[:8192], "level": level}):
            return
        self._ctx.server.log(message, _MCP_LEVELS.get(level, level), self._ctx.in_flight)

    def debug(self, message: Any) -> None:
        self(message, "debug")

    def info(self, message: Any) -> None:
        self(message, "info")

    def warn(self, message: Any) -> None:
        self(message, "warn")

    def error(self, message: Any) -> None:
        self(message, "error")


class Status:
    """Short texts beside the plugin's name, as long as it runs; broker only."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    def set(self, key: str, text: str) -> None:
        """Show `text` (at most 200 characters) under a key of yours."""
        self._ctx.host.tell("set_status", {"key": key, "value": text[:200]})

    def clear(self, key: str) -> None:
        """Take it away."""
        self._ctx.host.tell("set_status", {"key": key, "value": ""})


class Config(Mapping[str, Any]):
    """The plugin's own options: `ctx.config["limit"]`, `ctx.config.get("limit", 100)`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __getitem__(self, key: str) -> Any:
        if self._server.host.available:
            return self._server.host.hello.config[key]
        text = os.environ[f"BROKER_CONFIG_{_variable(key)}"]
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text

    def __iter__(self) -> Iterator[str]:
        if self._server.host.available:
            return iter(self._server.host.hello.config)
        found = (name for name in os.environ if name.startswith("BROKER_CONFIG_"))
        return iter([name[len("BROKER_CONFIG_") :].lower() for name in found])

    def __len__(self) -> int:
        return len(list(iter(self)))


class Secrets:
    """Secrets that the person gave to this plugin."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    async def get(self, name: str) -> str:
        """One of them. Raises `HostError` if it was not granted or is not there."""
        if self._ctx.host.available:
            found = await self._ctx.host.request("secrets.get", name=name)
            if found["value"] is None:
                raise HostError(f"there is no secret `{name}`", "secret-missing")
            return str(found["value"])
        try:
            return os.environ[f"BROKER_SECRET_{_variable(name)}"]
        except KeyError:
            raise HostUnavailable(f"secrets.get {name}") from None

    async def set(self, name: str, value: str) -> None:
        """Keep one in the keyring of the system. Raises `HostUnavailable`, `HostError`."""
        await self._ctx.host.request("secrets.set", name=name, value=value)

    async def delete(self, name: str) -> None:
        """Forget one. Raises as `set`."""
        await self._ctx.host.request("secrets.delete", name=name)


class State:
    """JSON values that are kept for this plugin, also after it ends (without broker: until then)."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    async def get(self, key: str, default: Any = None) -> Any:
        """What was kept under a key."""
        if self._ctx.host.available:
            found = await self._ctx.host.request("state.get", key=key)
        else:
            found = self._ctx.server.state.get(key)
        return default if found is None else found

    async def set(self, key: str, value: Any) -> None:
        """Keep a value; None takes it away."""
        if self._ctx.host.available:
            await self._ctx.host.request("state.set", key=key, value=value)
        else:
            self._ctx.server.state[key] = value

    async def delete(self, key: str) -> None:
        """Take it away."""
        await self.set(key, None)


class Editor:
    """The editor that the person works in; every operation raises `HostError` where there is none (`not-in-client`)."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    async def active(self) -> Document | None:
        """The document that the person works on: `{"uri", "languageId"?, "version"?, "selection"?}`."""
        return await self._ctx.host.request("editor.active")

    async def read(self, uri: str) -> str:
        """The text of an open document, with what is not saved yet."""
        found = await self._ctx.host.request("editor.read", uri=uri)
        return str(found["text"])

    async def edit(self, changes: Mapping[str, Sequence[TextEdit]], label: str = "") -> bool:
        """Change documents: uri -> `[{"range": {"start", "end"}, "newText"}]`; whether it was done."""
        found = await self._ctx.host.request("editor.edit", changes=changes, label=label)
        return bool(found["applied"])

    async def diagnostics(self, uri: str, diagnostics: Sequence[Diagnostic]) -> None:
        """Mark places in a document, in the place of what was marked: `[{"range", "message", "severity"?}]`."""
        await self._ctx.host.request("editor.diagnostics", uri=uri, diagnostics=diagnostics)


class HostOf:
    """Broker's operations by name, for what has no method of its own: `await ctx.host.request("fs.read", path="a")`."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    @property
    def available(self) -> bool:
        """Whether the plugin runs under broker."""
        return self._ctx.server.host.available

    @property
    def operations(self) -> frozenset[str]:
        """The operations that were granted."""
        return self._ctx.server.host.operations

    @property
    def request(self) -> Request:
        """Its result. Raises `HostUnavailable`, `HostError`."""
        return self._request

    async def _request(self, operation: str, /, **params: Any) -> Any:
        return await self._ctx.server.host.request(operation, params, self._ctx.about)

    def tell(self, operation: str, params: Json, then: Callable[[Any], None] | None = None) -> bool:
        """Have it done some time, from any thread; whether there is a broker that takes it. `then` has its result."""
        server = self._ctx.server
        if not server.host.available or operation not in server.host.operations:
            return False
        about = self._ctx.about
        server.call_soon(lambda: server.spawn(_told(server, operation, params, about, then)))
        return True


async def _told(
    server: Server, operation: str, params: Json, about: Json | None, then: Callable[[Any], None] | None
) -> None:
    try:
        result = await server.host.request(operation, params, about)
    except HostError as error:
        server.complain(f"{operation}: {error}")
        return
    if then is not None:
        then(result)


def _variable(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).upper()


def _value_of(result: Any) -> Any:
    """The value in a tool's result."""
    if not isinstance(result, dict):
        return result
    texts = [str(each.get("text", "")) for each in result.get("content", []) if each.get("type") == "text"]
    if result.get("isError"):
        raise ToolError("\n".join(texts) or "the tool failed")
    return result["structuredContent"] if "structuredContent" in result else "\n".join(texts)
