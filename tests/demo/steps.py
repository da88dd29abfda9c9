"""What the demo does, one function a step. A step returns what happened in a few words, or raises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import psutil
from mcp import Client
from mcp.types import CallToolResult, TextContent

from tests.demo.setting import BUNDLED, REAL, Setting, server_of, servers_of

SOON = 10.0  # seconds every wait of a step is bounded by
ASKING = "greet-ts"  # what runs TypeScript on an older Node starts a compiler, which has to be granted
ALL: frozenset[str] = frozenset((*BUNDLED, *REAL))

Step = tuple[str, Callable[[], Awaitable[str]]]


class Visit:
    """The steps of one client at one broker."""

    def __init__(self, setting: Setting, client: Client, broker: psutil.Process) -> None:
        self._setting, self._client, self._broker = setting, client, broker

    def first(self) -> list[Step]:
        """With nothing known: everything is met, called, cancelled, killed."""
        calls = self._setting.calls().items()
        return [
            ("meet every server, and list", self._first_list),
            ("call a plugin that asks for more than it has", self._refused),
            (f"broker grant {ASKING}", self._granted),
            *((f"call {name}", self._calls(name, arguments)) for name, arguments in calls),
            ("cancel a call of 20 s", self._cancel),
            ("kill -9 a server in the middle of a call", self._kill),
            ("call the killed server again", self._call_again),
        ]

    def second(self) -> list[Step]:
        """With everything known: a list needs nobody, a call needs one."""
        return [
            ("a second broker's first list", self._known_list),
            ("its first call starts the one server it needs", self._lone_call),
        ]

    async def _first_list(self) -> str:
        found: set[str] = set()
        for _ in range(6):  # a list waits a bounded time for servers that are slow to start
            tools = (await self._client.list_tools()).tools
            found = {tool.name.partition("__")[0] for tool in tools}
            if found >= ALL:
                return f"{len(tools)} tools of {len(found)} servers"
        raise AssertionError(f"these showed nothing: {', '.join(sorted(ALL - found))}")

    async def _refused(self) -> str:
        tool = next(each.name for each in (await self._client.list_tools()).tools if each.name.startswith(ASKING))
        said = _text(await self._client.call_tool(tool, {"name": "world"}))
        _expect(f"broker grant {ASKING} run:node" in said, said)
        return said

    async def _granted(self) -> str:
        said = f"granted {await self._setting.grant(ASKING)}"
        async with asyncio.timeout(SOON):
            while not any(each.name == f"{ASKING}__greet" for each in (await self._client.list_tools()).tools):
                await asyncio.sleep(0.05)
        return said

    async def _known_list(self) -> str:
        tools = (await self._client.list_tools()).tools
        started = len(servers_of(self._broker))
        _expect(started == 0, f"{started} servers were started for a list that is known")
        found = {tool.name.partition("__")[0] for tool in tools}
        _expect(found >= ALL, f"these are missing: {', '.join(sorted(ALL - found))}")
        return f"{len(tools)} tools of {len(found)} servers, none of them started"

    async def _lone_call(self) -> str:
        said = await self._greeting("greet-bin")
        started = len(servers_of(self._broker))
        _expect(started == 1, f"{started} servers run, not 1")
        return said

    def _calls(self, name: str, arguments: dict[str, object]) -> Callable[[], Awaitable[str]]:
        async def call() -> str:
            result = await self._client.call_tool(name, arguments)
            _expect(not result.is_error, f"{name} answered with an error: {_text(result)}")
            return _text(result)

        return call

    async def _cancel(self) -> str:
        progressed = asyncio.Event()
        call = asyncio.create_task(self._sleep("greet-py", 20, progressed))
        await asyncio.wait_for(progressed.wait(), SOON)
        call.cancel()
        await asyncio.wait([call])
        # The plugin serves one call at a time, so this answer means that it has let go of the other.
        await self._greeting("greet-py")
        return "cancelled after its first progress; the server answers the next call at once"

    async def _kill(self) -> str:
        progressed, undisturbed = asyncio.Event(), asyncio.Event()
        other = asyncio.create_task(self._sleep("greet-py", 0.5, undisturbed))
        victim = asyncio.create_task(self._sleep("greet-js", 20, progressed))
        async with asyncio.timeout(SOON):
            await progressed.wait()
            await undisturbed.wait()
            _expect(not other.done(), "the other call had ended already")
            server_of(self._broker, "greet-js").send_signal(signal.SIGKILL)
            told = await victim
            _expect(told.is_error, "the killed server's call did not fail")
            _expect("SIGKILL" in _text(told), f"the failure does not say why: {_text(told)}")
            _expect(_text(await other) == "slept 0.5 s", "the other call was disturbed")
        return "its call failed and says why; a call of greet-py meanwhile ended as it should"

    async def _call_again(self) -> str:
        said = await self._greeting("greet-js")
        return f"{said}, in process {server_of(self._broker, 'greet-js').pid}"

    async def _greeting(self, name: str) -> str:
        said = _text(await asyncio.wait_for(self._client.call_tool(f"{name}__greet", {"name": "again"}), SOON))
        _expect(said == f"Hello, again, from {name}", said)
        return said

    async def _sleep(self, name: str, seconds: float, progressed: asyncio.Event) -> CallToolResult:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            progressed.set()

        arguments = {"seconds": seconds}
        return await self._client.call_tool(f"{name}__sleep", arguments, progress_callback=on_progress)


def _text(result: CallToolResult) -> str:
    first = next((part for part in result.content if isinstance(part, TextContent)), None)
    _expect(first is not None or not result.content, "the answer has no text")
    return " ".join(first.text.split()) if first else "an answer without content"


def _expect(fact: bool, otherwise: str) -> None:
    if not fact:
        raise AssertionError(otherwise)
