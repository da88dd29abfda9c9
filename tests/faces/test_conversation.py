"""A conversation as a state machine: whatever a client and its plugins do, each request has exactly one outcome.

Two clients, one legacy and one modern, use ids of every kind, use them again, cancel, answer and stop listening, while
plugins answer, crash, ask and report progress. Time passes at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.core.ports import Call
from broker.faces.mcp import Session
from broker.model import Limits
from broker.stream import MemoryStream
from broker.wire import eras
from tests.pretend import House, PretendInstance, raw
from tests.travel import Travelling

Json = dict[str, Any]
META = {
    eras.VERSION: "2026-07-28",
    eras.CLIENT_INFO: {"name": "m", "version": "1"},
    eras.CLIENT_CAPABILITIES: {"roots": {}},
}
IDS = st.sampled_from([0, 1, -1, 2**53 + 1, 2**70, "", "1", "0", "ü", "x" * 200])
NOISE = [b"\n", b"{}\n", b"[]\n", b"nonsense\n", b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n', b"\xff\xfe\n"]
TOOLS = ["echo", "wait", "die", "ask"]


def key(id: Any) -> tuple[str, Any]:
    return type(id).__name__, id


class Side:
    """One client and its books: which requests are open, and what came for each."""

    def __init__(self, house: House, name: str, modern: bool) -> None:
        self.modern = modern
        self.open: set[tuple[str, Any]] = set()
        self.cancelled: set[tuple[str, Any]] = set()  # for these an answer may have been on its way
        self.wrong: list[Json] = []
        self.tokens: set[str] = set()
        self.state: Json | None = None
        self.stream, far = MemoryStream.pair()
        self.session = Session(house.router, far, key=name, max_frame=8 << 20, on_end=lambda: None)
        self.session.start()
        self._rest = b""
        self.stream.start(self.read, lambda: None)

    def write(self, **message: Any) -> None:
        self.stream.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def ask(self, id: Any, method: str, **params: Any) -> None:
        """A request; with an id that is open already it is refused without one."""
        self.open.add(key(id))
        self.cancelled.discard(key(id))
        meta: Json = {**(META if self.modern else {}), "progressToken": f"{id}"}
        self.write(id=id, method=method, params={**params, "_meta": meta})

    def read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.take(json.loads(line))

    def take(self, message: Json) -> None:
        if "method" in message:
            if "id" in message:  # it is asked for its roots
                self.write(id=message["id"], result={"roots": []})
        elif "id" in message:
            self.settle(message)

    def settle(self, message: Json) -> None:
        found = key(message["id"])
        if found in self.open:
            self.open.discard(found)
        elif found in self.cancelled:
            self.cancelled.discard(found)
        else:
            self.wrong.append(message)
        if message.get("result", {}).get("resultType") == "input_required":
            self.state = message["result"]


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Travelling()
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.trouble: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        self.runner.run(self.build())

    async def build(self) -> None:
        self.house = House("a", "b", limits=Limits(timeout=20, cap=40))
        for name in TOOLS:
            self.house.runtime.behaviours[name] = self.behave
        self.house.runtime.listings["a"] = self.house.runtime.listings["b"] = listing(TOOLS)
        self.sides = [Side(self.house, "legacy", False), Side(self.house, "modern", True)]
        info = {"name": "t", "version": "1"}
        self.sides[0].ask(9, "initialize", protocolVersion="2025-11-25", capabilities={"roots": {}}, clientInfo=info)
        self.sides[0].write(method="notifications/initialized")
        for side in self.sides:
            side.ask(8, "tools/list")
        await asyncio.sleep(5)

    async def behave(self, instance: PretendInstance, call: Call) -> Any:
        name = json.loads(bytes(call.params["name"]))
        instance.host.progressed(call)
        if name == "die":
            instance.die()
        if name == "ask":
            await instance.host.ask([call], "roots/list", b"{}")
        elif name != "echo":
            await instance.ended_call()
        return raw({"content": []})

    def now(self, act: Callable[..., None], *args: Any, **rest: Any) -> None:
        """Do it in a turn of the loop."""

        async def turn() -> None:
            act(*args, **rest)
            await asyncio.sleep(0)

        self.runner.run(turn())

    @rule(side=st.integers(0, 1), id=IDS, plugin=st.sampled_from("ab"), tool=st.sampled_from([*TOOLS, "none"]))
    def call(self, side: int, id: Any, plugin: str, tool: str) -> None:
        if key(id) not in self.sides[side].open:
            self.now(self.sides[side].ask, id, "tools/call", name=f"{plugin}__{tool}", arguments={})

    @rule(side=st.integers(0, 1), id=IDS, method=st.sampled_from(["tools/list", "ping", "no/such", "resources/list"]))
    def ask(self, side: int, id: Any, method: str) -> None:
        if key(id) not in self.sides[side].open:
            self.now(self.sides[side].ask, id, method)

    @rule(side=st.integers(0, 1), id=IDS)
    def use_an_open_id_again(self, side: int, id: Any) -> None:
        self.runner.run(asyncio.sleep(0.1))  # what is on its way has come
        if key(id) in self.sides[side].open:
            self.now(self.sides[side].write, id=id, method="tools/list", params={})

    @rule(side=st.integers(0, 1), id=IDS)
    def cancel(self, side: int, id: Any) -> None:
        chosen = self.sides[side]
        self.now(chosen.write, method="notifications/cancelled", params={"requestId": id})
        if key(id) in chosen.open:
            chosen.open.discard(key(id))
            chosen.cancelled.add(key(id))
            self.runner.run(asyncio.sleep(0.1))  # else its id would still be in flight

    @rule(id=IDS, fresh=st.booleans())
    def retry(self, id: Any, fresh: bool) -> None:
        side = self.sides[1]
        if side.state is not None and key(id) not in side.open:
            answers = {name: {"roots": []} for name in side.state["inputRequests"]}
            more = {"inputResponses": answers, "requestState": side.state["requestState"]}
            self.now(side.ask, id, "tools/call", name="a__ask" if fresh else "b__ask", arguments={}, **more)

    @rule(side=st.integers(0, 1), noise=st.sampled_from(NOISE))
    def noise(self, side: int, noise: bytes) -> None:
        self.now(self.sides[side].stream.send, noise)

    @rule(side=st.integers(0, 1), id=IDS)
    def answer_what_nobody_asked(self, side: int, id: Any) -> None:
        self.now(self.sides[side].write, id=id, result={})

    @rule()
    def plugins_answer(self) -> None:
        for instance in self.house.runtime.instances:
            instance.release.set()

    @rule()
    def plugins_crash(self) -> None:
        self.runner.run(self.crash())

    async def crash(self) -> None:
        for instance in self.house.runtime.instances:
            if instance.alive:
                instance.die()

    @rule(seconds=st.sampled_from([0.01, 1, 30, 400]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @invariant()
    def nothing_is_answered_twice_and_nothing_goes_wrong_inside(self) -> None:
        assert self.trouble == [] and [side.wrong for side in self.sides] == [[], []]

    def teardown(self) -> None:
        try:
            self.runner.run(self.finish())
        finally:
            self.runner.close()

    async def finish(self) -> None:
        await asyncio.sleep(1000)
        assert [side.open for side in self.sides] == [set(), set()]
        self.nothing_is_answered_twice_and_nothing_goes_wrong_inside()
        await self.house.router.stop(0)


def listing(names: list[str]) -> Any:
    from tests.pretend import tools

    return tools(*names)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
