"""Checks straight at a plugin's stdin and stdout: what every client may rely on, odd frames, and its end.

They are what the conformance suite asks of a server over stdio, as far as it can be asked of any: nothing that a tool
does is relied on, and no tool is called in a way that it could run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import psutil
from msgspec import Struct

from broker.authoring.client import Json
from broker.authoring.frames import FRAMES, Frame
from broker.authoring.rawserver import ANSWER, EXIT, RawServer
from broker.authoring.report import Check, judged, skipped
from broker.core.shape import table
from broker.errors import BrokerError, PluginFailed

Start = Callable[[], Awaitable[RawServer]]
SETTLE = 0.5  # seconds that answers to odd frames may come behind the last sign of life
DEATHS = 3  # processes that odd frames may end before the rest of them is left out
FIRST = 7_000_000  # of the ids of odd frames, away from those of other requests
METHOD = -32601
_LISTS = {"tools": "tools/list", "resources": "resources/list", "prompts": "prompts/list"}


class _Facts(Struct):
    """What a server said as it was opened, and its tools."""

    opened: Json
    tools: list[Json]

    @property
    def capabilities(self) -> Json:
        return dict(table(self.opened.get("capabilities")) or {})


async def manners(start: Start, within: float) -> AsyncGenerator[Check]:
    """The checks of one conversation in order, and of its end. Raises nothing: what fails is a check."""
    async with _running(start) as server:
        if isinstance(server, str):
            yield judged("it starts alone", [server], _START)
            return
        try:
            facts = _Facts(await server.open(within=within), [])
            yield Check(name="it opens a conversation", why=_opened(server, facts))
            for name, fix, check in _CHECKS:
                yield await _tried(name, fix, check(server, facts))
            yield judged("stdout is for MCP alone", [f"it wrote {each!r}" for each in server.noise], _NOISE)
            yield await _end(server)
        except PluginFailed as error:
            yield judged("it opens a conversation", [str(error)], _START)


async def odd(start: Start, within: float) -> AsyncGenerator[Check]:
    """The odd frames: whether it outlives them, and which it leaves without an answer."""
    course = _Course(start, within)
    await course.run()
    yield judged(
        "it outlives odd frames",
        [*course.deaths, *course.silences],
        "Catch what the parser raises, for one line only; a client's mistake must not end the plugin.",
        f"{course.sent} frames",
    )
    yield judged("no answer where none is owed", course.wrong, "Answer each id once, and no notification.")
    if course.deaths or course.silences:
        yield skipped("odd frames are answered", "it does not outlive them")
        return
    said = f"all {course.owed} that are owed an answer"
    if course.unanswered:
        few = ", ".join(course.unanswered[:5])
        said = f"{len(course.unanswered)} of {course.owed} are not, and who sends them would wait: {few}"
    yield Check(name="odd frames are answered", why=said)


class _Sent(Struct):
    """A frame that was sent; `nameless`: how many errors without an id there were, then how many came for it."""

    id: int
    frame: Frame
    nameless: int


class _Course:
    """One after the other, each followed by a sign of life."""

    def __init__(self, start: Start, within: float) -> None:
        self._start, self._within = start, within
        self.deaths: list[str] = []
        self.silences: list[str] = []
        self.wrong: list[str] = []
        self.unanswered: list[str] = []
        self.sent = self.owed = 0

    async def run(self) -> None:
        left = list(FRAMES)
        while left and len(self.deaths) + len(self.silences) < DEATHS:
            async with _running(self._start) as server:
                if isinstance(server, str):
                    self.deaths.append(server)
                    return
                left = await self._some(server, left)
                if left == list(FRAMES):  # it was not even opened
                    return

    async def _some(self, server: RawServer, frames: Sequence[Frame]) -> list[Frame]:
        """Send frames until the server does not live any more; those that are left."""
        sent: list[_Sent] = []
        rest = list(frames)
        try:
            await server.open(within=self._within)
            while rest:
                one = _Sent(FIRST + len(rest), rest.pop(0), _nameless_so_far(server))
                sent.append(one)
                server.send(one.frame.bytes(one.id))
                await server.sign_of_life()
                one.nameless = _nameless_so_far(server) - one.nameless
        except PluginFailed as error:
            self._broke(server, sent, error)
        await asyncio.sleep(SETTLE if any(_lacks(server, each) for each in sent) else 0)
        for each in sent:
            self._judge(server, each)
        return rest

    def _broke(self, server: RawServer, sent: Sequence[_Sent], error: PluginFailed) -> None:
        by = f"after {sent[-1].frame.name}" if sent else "before the first frame"
        (self.deaths if server.ended else self.silences).append(f"{by}: {error}")

    def _judge(self, server: RawServer, one: _Sent) -> None:
        self.sent += 1
        frame, answers = one.frame, len(server.replies.get(str(one.id), ()))
        if frame.owed == "nothing" and answers:
            self.wrong.append(f"{frame.name} was answered")
        if answers > frame.data.count(b"@ID@"):
            self.wrong.append(f"{frame.name} was answered {answers} times")
        self.owed += frame.owed in ("answer", "error")
        if _lacks(server, one):
            self.unanswered.append(frame.name)


def _lacks(server: RawServer, one: _Sent) -> bool:
    """Whether it is owed an answer that did not come."""
    if one.frame.owed not in ("answer", "error") or str(one.id) in server.replies:
        return False
    return one.frame.owed == "answer" or not one.nameless


def _nameless_so_far(server: RawServer) -> int:
    return len(server.replies.get("null", ()))


@asynccontextmanager
async def _running(start: Start) -> AsyncGenerator[RawServer | str]:
    """A process that is ended in any case; a sentence, if it does not start."""
    try:
        server = await start()
    except (BrokerError, OSError, ValueError) as error:
        yield str(error)
        return
    try:
        yield server
    finally:
        await server.close()


async def _tried(name: str, fix: str, check: Awaitable[str | None]) -> Check:
    """A check that says what is wrong, nothing if all is well, None if it does not apply."""
    try:
        wrong = await check
    except PluginFailed as error:
        wrong = str(error)
    return skipped(name, "it has none") if wrong is None else judged(name, [wrong] if wrong else [], fix)


def _opened(server: RawServer, facts: _Facts) -> str:
    if server.modern:
        return "modern: server/discover"
    return f"legacy: initialize, {facts.opened.get('protocolVersion')}"


async def _shape(server: RawServer, facts: _Facts) -> str:
    members = ("supportedVersions",) if server.modern else ("protocolVersion", "serverInfo")
    missing = [name for name in (*members, "capabilities") if name not in facts.opened]
    return f"{', '.join(missing)} is missing in its opening answer" if missing else ""


async def _ids(server: RawServer, facts: _Facts) -> str | None:
    if server.modern:
        return None
    for id in ('"a b"', "0", "-3", '""', "9007199254740991"):
        server.send(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}\n' % id.encode())
        await server.reply(id, f"ping with the id {id}")
    return ""


async def _unknown(server: RawServer, facts: _Facts) -> str:
    code = _code(await server.ask("no/such/method"))
    return "" if code == METHOD else f"an unknown method is answered with {code or 'a result'}, and not with {METHOD}"


async def _honest(server: RawServer, facts: _Facts) -> str:
    """Whether it has the lists that it says it has."""
    for capability, method in _LISTS.items():
        said = await server.ask(method)
        if capability in facts.capabilities:
            found = (table(said.get("result")) or {}).get(capability)
            if not isinstance(found, list):
                return f"it says that it has {capability}, and {method} gives none"
            if capability == "tools":
                facts.tools = [dict(table(each) or {}) for each in found]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return ""


async def _stable(server: RawServer, facts: _Facts) -> str | None:
    if "tools" not in facts.capabilities:
        return None
    again = (table((await server.ask("tools/list")).get("result")) or {}).get("tools")
    return "" if again == facts.tools else "two lists of tools, one after the other, differ"


async def _nameless(server: RawServer, facts: _Facts) -> str | None:
    if "tools" not in facts.capabilities:
        return None
    tries: tuple[Json, ...] = ({}, {"name": "no such tool", "arguments": {}})
    for params in tries:
        said = await server.ask("tools/call", params)
        if not _failed(said):
            return f"tools/call with {params} is answered with a result"
    return ""


async def _needy(server: RawServer, facts: _Facts) -> str | None:
    """A tool that needs arguments, called with none."""
    tool = next((each for each in facts.tools if (table(each.get("inputSchema")) or {}).get("required")), None)
    if tool is None:
        return None
    said = await server.ask("tools/call", {"name": tool["name"], "arguments": {}})
    return "" if _failed(said) else f"{tool['name']} was called without what it requires, and did not fail"


async def _nowhere(server: RawServer, facts: _Facts) -> str | None:
    if "resources" not in facts.capabilities:
        return None
    said = await server.ask("resources/read", {"uri": "nowhere://nothing"})
    return "" if "error" in said else "a resource that is not there is answered with a result"


async def _promptless(server: RawServer, facts: _Facts) -> str | None:
    if "prompts" not in facts.capabilities:
        return None
    said = await server.ask("prompts/get", {"name": "no such prompt"})
    return "" if "error" in said else "a prompt that is not there is answered with a result"


async def _end(server: RawServer) -> Check:
    """It must end when its input does, with all that it started."""
    children = _family(server.child.pid)
    took = await server.leave()
    wrong = [] if took is not None else [f"it runs on, {EXIT:g} s after the end of its input"]
    await server.child.end(grace=0.2)
    alive = [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    wrong += [f"{len(alive)} processes of it are left behind"] if alive else []
    return judged("it ends with its input", wrong, _EOF, "" if took is None else f"after {took:.2f} s")


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _code(said: Json) -> object:
    return (table(said.get("error")) or {}).get("code")


def _failed(said: Json) -> bool:
    return "error" in said or (table(said.get("result")) or {}).get("isError") is True


_START = f"Write nothing but MCP on stdout, and answer the first request within {ANSWER:g} s."
_NOISE = "Print to stderr: in other clients a line on stdout that is no message ends the connection."
_EOF = "Leave the loop that reads stdin at its end, and end the processes you started."
_CHECKS: Sequence[tuple[str, str, Callable[[RawServer, _Facts], Awaitable[str | None]]]] = (
    ("its opening answer is whole", "The specification's section on the lifecycle has its members.", _shape),
    ("ids come back as they were", "Keep an id as it is: a text stays a text, 0 is one, too.", _ids),
    ("an unknown method is an error", f"Answer it with the error {METHOD}.", _unknown),
    ("it has the lists it says it has", "Leave a capability out of the opening answer, or serve its list.", _honest),
    ("a list stays the same", "Build it once, in one order: clients cache it, and users approve it.", _stable),
    ("a call of no tool fails", "Answer with the error -32602, or a result with isError.", _nameless),
    ("missing arguments are refused", "Check the arguments against inputSchema before the tool runs.", _needy),
    ("a resource that is not there is an error", "Answer with an error.", _nowhere),
    ("a prompt that is not there is an error", "Answer with an error.", _promptless),
)
