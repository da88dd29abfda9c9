"""`broker call`: one tool, called through the same router as every client's calls.

Exit codes: 0 it answered, 1 it answered with an error, 2 the command was wrong, 3 the plugin failed,
130 the person interrupted it, which cancels the call at the server.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from msgspec import Raw, Struct

from broker.cli.arguments import arguments
from broker.cli.learning import chosen, learn
from broker.cli.results import readable
from broker.cli.screen import plain, say_problems
from broker.cli.terminal import LEVEL, Terminal
from broker.core.catalog import Entry
from broker.core.router import Router
from broker.core.shape import table
from broker.errors import (
    Closed,
    FrameTooLarge,
    NotFound,
    Overloaded,
    PluginFailed,
    RemoteError,
    TimedOut,
)
from broker.model import Settings

TOOL_ERROR, PLUGIN_FAILED = 1, 3
ROUNDS = 10  # questions of a server in a row, before its call is given up (the official SDKs' number)
_FAILURES = (PluginFailed, TimedOut, Overloaded, FrameTooLarge, Closed)
_encode = msgspec.json.Encoder().encode


class Wanted(Struct, frozen=True):
    """What the command line asks for."""

    name: str
    words: tuple[str, ...]
    given: dict[str, Any]
    raw: bool


def perform(wanted: Wanted, found: Settings) -> int:
    """Call the tool and print its answer; the exit code."""
    from broker.app import run

    try:
        return run(lambda core: _Run(core, found, wanted).whole(), found)
    except RemoteError as error:
        return _failed(f"{wanted.name} answered with error {error.code}: {error}", "", TOOL_ERROR)
    except _FAILURES as error:
        return _failed(str(error), error.hint, PLUGIN_FAILED)


class _Run:
    """One call, from its name to what is printed of it."""

    def __init__(self, core: Router, found: Settings, wanted: Wanted) -> None:
        self._core, self._found, self._wanted = core, found, wanted
        self._terminal = Terminal(wanted.name)

    async def whole(self) -> int:
        with self._terminal as terminal:
            self._core.join(terminal)
            self._core.set_level(terminal, LEVEL)
            entry = await self._entry()
            definition = msgspec.json.decode(entry.raw, type=dict[str, Any])
            schema = table(definition.get("inputSchema")) or {}
            values = arguments(schema, self._wanted.words, self._wanted.given)
            terminal.asker = entry.plugin
            result = await self._answered(entry, values)
        return _shown(result, raw=self._wanted.raw)

    async def _entry(self) -> Entry:
        """The tool; a plugin that may own it and was never met is started to see."""
        core, name = self._core, self._wanted.name
        try:
            return core.catalog.tool(name)
        except NotFound:
            maybe = chosen(core, [name])
            await learn(core, self._terminal, maybe)
        try:
            return core.catalog.tool(name)
        except NotFound as error:
            failure = core.plugins[maybe[0]].failure if len(maybe) == 1 else None
            if failure is not None:
                raise failure from None
            say_problems(self._found.problems, stderr=True)
            raise _not_found(core, name, error) from None

    async def _answered(self, entry: Entry, values: dict[str, Any]) -> bytes:
        """The result; what a modern server asks for in between is asked, and the call made again with it."""
        params = {"name": Raw(_encode(entry.name)), "arguments": Raw(_encode(values))}
        listing = self._core.catalog.listing(entry.plugin)
        for _ in range(ROUNDS):
            call = self._terminal.call("tools/call", dict(params), listing)
            result = bytes(await self._core.call(call))
            asked = msgspec.json.decode(result, type=_Asked)
            if asked.kind != "input_required":
                return result
            params |= {"inputResponses": Raw(_encode(await self._answers(asked)))}
            if bytes(asked.state):
                params["requestState"] = Raw(bytes(asked.state))
        raise PluginFailed(f"{entry.name} asked {ROUNDS} times for more input, and was given up")

    async def _answers(self, asked: _Asked) -> dict[str, Raw]:
        return {
            key: Raw(bytes(await self._terminal.ask(request.method, request.params)))
            for key, request in asked.requests.items()
        }


class _Request(Struct):
    method: str
    params: Raw = Raw(b"{}")


class _Asked(Struct):
    """The part of a result that says whether it is one."""

    kind: str = msgspec.field(default="complete", name="resultType")
    requests: dict[str, _Request] = msgspec.field(default_factory=dict[str, _Request], name="inputRequests")
    state: Raw = msgspec.field(default=Raw(b""), name="requestState")  # empty: none


def _not_found(core: Router, name: str, error: NotFound) -> NotFound:
    """The same, also suggesting tools that are called so without their plugin's prefix."""
    owned = [entry.name for entry in core.catalog.entries("tools") if name in (entry.own, entry.plugin)]
    if not owned or "did you mean" in str(error):
        return error
    return NotFound(f"no tool is called {name}; did you mean {' or '.join(owned[:5])}?")


def _shown(result: bytes, *, raw: bool) -> int:
    found = msgspec.json.decode(result, type=dict[str, Any])
    wrong = bool(found.get("isError"))
    tty = sys.stdout.isatty()
    if raw:
        text = msgspec.json.format(result, indent=2 if tty else 0).decode()
    else:
        text = readable(found)
    if text:
        aside = wrong and not raw
        click.echo(plain(text) if tty or aside else text, err=aside)
    return TOOL_ERROR if wrong else 0


def _failed(what: str, hint: str, code: int) -> int:
    click.echo(f"broker: {plain(what)}" + (f"\n{plain(hint)}" if hint else ""), err=True)
    return code
