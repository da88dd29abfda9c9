"""What the user of an editor runs: commands and tools of plugins, by `workspace/executeCommand`.

    broker.run    ["PLUGIN.COMMAND", ...arguments]
    broker.call   ["PLUGIN__TOOL", {arguments}]
    PLUGIN.COMMAND   [...arguments]

Rule 1: each passes `Router.call`, like any call of an AI client.
Rule 2: a run ends when its user ends it, by either of the two ways LSP has, and then its plugin's call ends too.
Rule 3: the editor gets what the plugin returned. A text is also shown, unless the client said it shows results itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import msgspec
from msgspec import Raw

from broker.core import commands
from broker.core.ports import Call, Caller, Identity, Reply
from broker.core.router import Router
from broker.errors import BadArguments, BrokerError, FrameTooLarge
from broker.faces.lsp_editor import Editor
from broker.faces.lsp_progress import WorkDone, fresh_token
from broker.wire.peer import Asked, Id

RUN, CALL = "broker.run", "broker.call"

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
Trace = Callable[[str, str], None]


class Runs:
    """The runs of one session, which `caller` is for the core; `cancel` ends a request of the editor's by its id.

    `largest`: bytes of a result.
    """

    def __init__(
        self,
        editor: Editor,
        router: Router,
        caller: Caller,
        identity: Identity,
        *,
        cancel: Callable[[Id], None],
        trace: Trace,
        largest: int,
    ) -> None:
        self._editor, self._router, self._caller, self._identity = editor, router, caller, identity
        self._cancel, self._trace, self._largest = cancel, trace, largest
        self._going: dict[bytes, tuple[Id, WorkDone]] = {}  # by token, as JSON

    async def execute(self, asked: Asked, params: Any) -> bytes:
        """The result of `workspace/executeCommand`. Raises `BrokerError`."""
        command, arguments, token = _parts(params)
        try:
            if command == CALL:
                return await self._run(asked.id, token, *_tool(arguments))
            if command == RUN:
                command, arguments = self._named(arguments)
            return await self._run(asked.id, token, *self._command(command, arguments))
        except BrokerError as error:
            if not self._editor.wishes.results:  # Helix only logs it
                self._editor.message("error", f"{command}: {error}")
            raise

    def progressed(self, params: Reply) -> None:
        """A plugin told how far a call is, as MCP has it."""
        with suppress(msgspec.MsgspecError, KeyError):
            said = msgspec.json.decode(params, type=dict[str, Any])
            going = self._going.get(_encode(said["progressToken"]))
            if going is not None:
                message = said.get("message")
                going[1].report(message if isinstance(message, str) else None, _percentage(said))

    def cancelled(self, token: object) -> bool:
        """The user ended a run by its progress; whether it was one of these."""
        going = self._going.get(_encode(token))
        if going is not None:
            self._cancel(going[0])
        return going is not None

    def _named(self, arguments: list[Any]) -> tuple[str, list[Any]]:
        if not arguments or not isinstance(arguments[0], str):
            known = ", ".join(each.shown for each in self._router.commands()) or "none yet"
            raise BadArguments(f"{RUN} needs the name of a command; there are: {known}", hint=_HINT)
        return arguments[0], arguments[1:]

    def _command(self, name: str, arguments: list[Any]) -> tuple[str, str, dict[str, Raw]]:
        """(title, method, params) of a command. Raises `NotFound`."""
        offered = self._router.commands()
        found = next((each for each in offered if each.shown == name), None)
        if found is None:
            raise commands.missing(name, offered)
        title = f"{found.plugin}: {found.title}"
        return title, commands.METHOD, {"name": Raw(_encode(name)), "arguments": Raw(_encode(arguments))}

    async def _run(self, id: Id, given: int | str | None, title: str, method: str, params: dict[str, Raw]) -> bytes:
        token = fresh_token() if given is None else given
        key, began = _encode(token), monotonic()
        if key in self._going:
            raise BadArguments(f"the token {str(token)[:100]!r} belongs to another run already")
        work = WorkDone(self._editor, token, title, given=given is not None)
        self._going[key] = id, work
        self._trace(f"{title}: begun", "")
        ended = "cancelled"
        try:
            call = Call(self._caller, self._identity, method, params, token=Raw(key))
            if not self._router.all_known:
                await self._meet(call)
            result = _value(method, bytes(await self._router.call(call)))
            if len(result) > self._largest:
                raise FrameTooLarge(f"the result of {title} has {len(result)} bytes; the limit is {self._largest}")
            ended = "done"
        except BrokerError as error:
            ended = str(error)
            raise
        finally:
            del self._going[key]
            work.end()
            self._trace(f"{title}: {ended} after {1000 * (monotonic() - began):.0f} ms", "")
        self._show(title, result)
        return result

    async def _meet(self, call: Call) -> None:
        """Wait for the lists of the plugin that `call` is for: a command may stand for one of its tools."""
        await self._router.learned_for(call)
        owner = msgspec.json.decode(call.params["name"], type=str).partition(".")[0]
        plugin = self._router.plugins.get(owner)
        if call.method == commands.METHOD and plugin is not None and not plugin.spec.missing:
            learning = plugin.learn(self._identity, self._caller)
            if learning is not None:
                await asyncio.wait([learning])

    def _show(self, title: str, result: bytes) -> None:
        self._trace(f"{title}: returned", result.decode(errors="replace"))
        if self._editor.wishes.results:
            return
        level, text = shown(msgspec.json.decode(result))
        if text:
            lines = text.strip().splitlines()
            more = f" (and {len(lines) - 1} more lines, in the log)" if len(lines) > 1 else ""
            about = f"{title}: " if level == "error" else ""
            self._editor.message(level, about + lines[0] + more)
            if more:
                self._editor.log(level, f"{title}: {text}")


def _percentage(said: Json) -> float | None:
    try:
        done, total = (msgspec.convert(said.get(name), float) for name in ("progress", "total"))
    except msgspec.ValidationError:
        return None
    found = 100 * done / total if total > 0 else math.nan
    return found if math.isfinite(found) else None


def _value(method: str, result: bytes) -> bytes:
    """What a command's handler returned; a tool that stands for a command has returned what tools do."""
    if method != commands.METHOD:
        return result
    held = msgspec.json.decode(result, type=dict[str, Raw])
    return bytes(held["value"]) if held.keys() == {"value"} else result


def shown(result: Any) -> tuple[str, str]:
    """How a result is shown to a person, as (level, text); no text: not at all."""
    if isinstance(result, str):
        return "info", result
    held = cast("Json", result) if isinstance(result, dict) else {}
    blocks = cast("list[Any]", held["content"]) if isinstance(held.get("content"), list) else []
    texts = [each["text"] for each in blocks if isinstance(each, dict) and isinstance(each.get("text"), str)]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return "error" if held.get("isError") is True else "info", "\n".join(cast("list[str]", texts))


def _parts(params: Any) -> tuple[str, list[Any], int | str | None]:
    """(command, arguments, token) of what was asked. Raises `BadArguments`."""
    held = cast("Json", params) if isinstance(params, dict) else {}
    command, arguments, token = held.get("command"), held.get("arguments"), held.get("workDoneToken")
    if not isinstance(command, str):
        raise BadArguments("workspace/executeCommand needs a string `command`", hint=_HINT)
    if arguments is not None and not isinstance(arguments, list):
        raise BadArguments("`arguments` must be a list", hint=_HINT)
    good = isinstance(token, (int, str)) and not isinstance(token, bool)
    return command, cast("list[Any]", arguments or []), token if good else None


def _tool(arguments: list[Any]) -> tuple[str, str, dict[str, Raw]]:
    """(title, method, params) of a call of a tool."""
    name = arguments[0] if arguments else None
    given: object = arguments[1] if len(arguments) > 1 and arguments[1] is not None else {}
    if not isinstance(name, str) or not isinstance(given, dict) or len(arguments) > 2:
        raise BadArguments(f"{CALL} needs the name of a tool and an object of arguments", hint=_HINT)
    return name, "tools/call", {"name": Raw(_encode(name)), "arguments": Raw(_encode(given))}


_HINT = "`broker.run` takes a command's name and its arguments, `broker.call` a tool's name and an object."
