"""The console of `broker dev`: what the plugin does is printed as it happens, and each line that is typed is a call.

Rule 1: one thing at a time, in the order of the lines; a question of the plugin's is answered by the next line.
Rule 2: Ctrl-C ends the running call, and where none runs the session. The end of the input ends it, too.
Rule 3: the plugin's own words never reach the terminal with control characters (see `screen`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import click
import msgspec

from broker.authoring.client import Json
from broker.authoring.session import Session
from broker.cli import arguments as typed
from broker.cli.livelog import LiveLog
from broker.cli.questions import answer
from broker.cli.results import readable
from broker.cli.screen import plain
from broker.cli.tools import say_tools
from broker.core import commands
from broker.core.events import NAMES
from broker.core.shape import nearest, table
from broker.errors import BadArguments, BrokerError, NotFound, PluginFailed

BLOCK = 64 << 10  # bytes read at once
HELP = """\
  TOOL {"key": value}     call a tool; TOOL key=value works too
  tools [TOOL]            the tools, or one with its arguments
  prompt NAME key=value   get a prompt
  resource URI            read a resource
  command NAME [JSON …]   run a command, as an editor would
  event NAME {"uri": …}   tell it of an event that it listens to
  restart                 start it anew
  help, quit              Ctrl-C ends a call, then the session; `call TOOL …` where a tool has one of these names"""


class Lines:
    """What is typed, line by line; from a terminal, a pipe or a file. On a terminal Ctrl-D ends one question only."""

    def __init__(self, fd: int) -> None:
        self._fd, self._rest = fd, b""
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._ended = False
        try:
            self._loop.add_reader(fd, self._read)
        except OSError:  # a file, which is always ready
            while not self._ended:
                self._read()

    async def next(self) -> str:
        """The next line, without its end. Raises `EOFError` at the end, and beyond it."""
        line = await self._lines.get()
        if line is None:
            if self._ended:
                self._lines.put_nowait(None)
            raise EOFError
        return line

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, BLOCK)
        except OSError:  # the terminal is gone
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            lines += [self._rest] * bool(self._rest)
            self._rest = b""
            self._ended = not os.isatty(self._fd)
        for line in lines:
            self._lines.put_nowait(line.decode("utf-8", "replace").strip())
        if not data:
            self._lines.put_nowait(None)
        if self._ended:
            self.close()


class Console(LiveLog):
    """The stage of one session, and who types there."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines
        self._running: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    async def asked(self, params: Json) -> Json:
        return await answer("it", params, self._answer)

    # what is typed

    async def serve(self, session: Session) -> None:
        """Do what is typed until there is nothing more, or `leave` was called."""
        ended = asyncio.ensure_future(self.over.wait())
        reading = asyncio.ensure_future(self._read(session))
        await asyncio.wait([ended, reading], return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, reading):
            task.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            reading.result()

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
        else:
            self.over.set()

    async def _read(self, session: Session) -> None:
        while not self.over.is_set():
            self.prompting = True
            self.prompt()
            try:
                line = await self._lines.next()
            except EOFError:
                return
            finally:
                self.prompting = False
            if line:
                self._running = asyncio.ensure_future(self._perform(line, session))
                await asyncio.wait([self._running])
                self._running = None

    async def _perform(self, line: str, session: Session) -> None:
        try:
            await self._do(line, session)
        except asyncio.CancelledError:
            self.say("cancelled", fg="yellow")
        except BrokerError as error:
            self.say(f"{error}", fg="red")
            if error.hint != type(error).hint:
                self.say(f"  {error.hint}")

    async def _do(self, line: str, session: Session) -> None:
        word, _, rest = line.partition(" ")
        known = _WORDS.get(word)
        if known is not None:
            await known(self, session, rest.strip())
        elif word in ("quit", "exit"):
            self.over.set()
        else:
            await self._tool(session, line)

    async def _help(self, session: Session, rest: str) -> None:
        self.say(HELP)

    async def _restart(self, session: Session, rest: str) -> None:
        await session.restart()

    async def _tools(self, session: Session, rest: str) -> None:
        entries = [entry for entry in session.core.catalog.entries("tools") if rest in ("", entry.name)]
        if not entries:
            self.say(f"it has no tool {rest}" if rest else "it has no tools")
        say_tools(entries, [rest])

    async def _tool(self, session: Session, rest: str) -> None:
        name, _, text = rest.partition(" ")
        try:
            entry = session.core.catalog.tool(name)
        except NotFound:
            raise _unknown(name, session) from None
        schema = table(msgspec.json.decode(entry.raw, type=Json).get("inputSchema")) or {}
        params = {"name": name, "arguments": _arguments(schema, text.strip())}
        began = monotonic()
        result = await session.client.request(session.core, "tools/call", params)
        failed = result.get("isError") is True
        self.say(readable(result), **({"fg": "red"} if failed else {}))
        said = "it says that it failed" if failed else "answered"
        self.say(f"({said} after {1000 * (monotonic() - began):.0f} ms)", dim=True)

    async def _prompted(self, session: Session, rest: str) -> None:
        name, _, text = rest.partition(" ")
        result = await session.client.request(
            session.core, "prompts/get", {"name": name, "arguments": _arguments({}, text.strip(), as_text=True)}
        )
        for message in typed.array(result.get("messages")):
            held = table(message) or {}
            self.say(f"{held.get('role', '?')}: {readable({'content': [held.get('content')]})}")

    async def _resource(self, session: Session, rest: str) -> None:
        result = await session.client.request(session.core, "resources/read", {"uri": rest})
        for content in typed.array(result.get("contents")):
            held = table(content) or {}
            text = held.get("text")
            self.say(text if isinstance(text, str) else readable({"content": [{"type": "resource", "resource": held}]}))

    async def _command(self, session: Session, rest: str) -> None:
        name, _, text = rest.partition(" ")
        offered = session.core.commands()
        if name not in {each.name for each in offered}:
            listed = ", ".join(f"{each.name} ({each.title})" for each in offered) or "none"
            raise NotFound(f"it has no command {name!r}", hint=f"There are: {listed}.")
        params = {"name": f"{session.spec.name}.{name}", "arguments": _values(text)}
        result = await session.client.request(session.core, commands.METHOD, params)
        value = result.get("value") if result.keys() == {"value"} else readable(result)
        self.say(value if isinstance(value, str) else msgspec.json.encode(value).decode())

    async def _event(self, session: Session, rest: str) -> None:
        name, _, text = rest.partition(" ")
        if name not in NAMES:
            raise BadArguments(f"there is no event {name!r}", hint=f"There are {', '.join(NAMES)}.")
        if not session.core.events.listens(session.spec.name, name):
            self.say(f"it does not listen to {name}, so nothing was told")
            return
        session.core.happened(name, msgspec.json.encode(typed.read(text.strip() or None)))
        self.say(f"told of {name}")

    async def _answer(self, prompt: str) -> str:
        click.echo(plain(prompt), nl=False)
        if not sys.stdin.isatty():
            click.echo()
        return await self._lines.next()


_WORDS: dict[str, Callable[[Console, Session, str], Awaitable[None]]] = {
    "help": Console._help,  # pyright: ignore[reportPrivateUsage]
    "tools": Console._tools,  # pyright: ignore[reportPrivateUsage]
    "call": Console._tool,  # pyright: ignore[reportPrivateUsage]
    "prompt": Console._prompted,  # pyright: ignore[reportPrivateUsage]
    "resource": Console._resource,  # pyright: ignore[reportPrivateUsage]
    "command": Console._command,  # pyright: ignore[reportPrivateUsage]
    "event": Console._event,  # pyright: ignore[reportPrivateUsage]
    "restart": Console._restart,  # pyright: ignore[reportPrivateUsage]
}


def _unknown(name: str, session: Session) -> BrokerError:
    failure = session.core.plugins[session.spec.name].failure
    if failure is not None:
        return PluginFailed("it does not run, so it has no tools; save it once it is mended")
    tools = [entry.name for entry in session.core.catalog.entries("tools")]
    near = nearest(name, [*tools, *_WORDS, "quit"])
    meant = f"; did you mean {near}?" if near else ""
    return NotFound(f"it has no tool {name!r}{meant}", hint=f"Its tools are {', '.join(tools) or 'none'}; or `help`.")


def _arguments(schema: typed.Schema, text: str, *, as_text: bool = False) -> Json:
    """The arguments in `text`: a JSON object, or words `key=value`. Raises `BadArguments`."""
    if text.startswith("{"):
        return typed.read(text)
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadArguments(f"{text!r} cannot be read: {error}", hint='Write {"key": "value"} instead.') from None
    if as_text:
        schema = {"properties": {word.partition("=")[0]: {"type": "string"} for word in words}}
    return typed.arguments(schema, words, {})


def _values(text: str) -> list[Any]:
    """The arguments of a command: JSON values one after the other. Raises `BadArguments`."""
    import json

    found: list[Any] = []
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except ValueError as error:
            raise BadArguments(f"{text!r} is not JSON: {error}", hint='Write a text as "text".') from None
        found.append(value)
        text = text[end:].lstrip()
    return found
