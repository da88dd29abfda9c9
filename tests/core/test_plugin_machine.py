"""A plugin's life as a state machine, in time that passes at once.

Whatever happens in whatever order: every request is settled exactly once, none is in two generations, a generation has
one instance per era at a time, and when the trouble is over the plugin serves again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.core.lane import Lane
from broker.core.ports import Call
from broker.errors import BrokerError
from broker.model import Limits, Spec
from tests.pretend import House, PretendFace, PretendInstance, tools
from tests.travel import Travelling

LIMITS = Limits(timeout=20, cap=40, start=5, idle=100)


class PluginLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Travelling()
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.calls: list[tuple[Call, asyncio.Task[Any]]] = []
        self.settled: dict[int, int] = {}
        self.began: dict[int, set[int]] = {}  # a call -> the generations that had it
        self.number = 0
        self.runner.run(self.build())

    async def build(self) -> None:
        self.house, self.face = House("notes", alone="notes", limits=LIMITS), PretendFace()
        self.house.runtime.listings["notes"] = tools("echo", "wait", "die")
        for name in ("echo", "wait", "die"):
            self.house.runtime.behaviours[name] = self.behave
        await self.house.known(self.face)

    async def behave(self, instance: PretendInstance, call: Call) -> Any:
        assert isinstance(instance.host, Lane)
        self.began.setdefault(id(call), set()).add(instance.host.plugin.generation)
        name = bytes(call.params["name"]).decode().strip('"')
        if name == "die":
            instance.die()
        if name != "echo":
            await instance.ended_call()
        return b"{}"

    @property
    def instances(self) -> list[PretendInstance]:
        return [instance for instance in self.house.runtime.instances if instance.alive]

    def spec(self) -> Spec:
        self.number += 1
        return Spec(name="notes", source="test.json", limits=LIMITS, command=(str(self.number),))

    # what a client does

    @rule(tool=st.sampled_from(["echo", "wait", "die"]), number=st.integers(0, 2))
    def call(self, tool: str, number: int) -> None:
        self.runner.run(self.begin(tool, number))

    async def begin(self, tool: str, number: int) -> None:
        call = self.face.call(tool, number=number)
        task = asyncio.ensure_future(self.house.router.call(call))
        task.add_done_callback(lambda done: self.settle(call, done))
        self.calls.append((call, task))
        await asyncio.sleep(0)

    def settle(self, call: Call, done: asyncio.Task[Any]) -> None:
        self.settled[id(call)] = self.settled.get(id(call), 0) + 1
        assert done.cancelled() or done.exception() is None or isinstance(done.exception(), BrokerError)

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        if self.calls:
            self.calls[which % len(self.calls)][1].cancel()
            self.runner.run(asyncio.sleep(0))

    # what a plugin does

    @rule()
    def answer(self) -> None:
        for instance in self.instances:
            instance.release.set()
        self.runner.run(asyncio.sleep(0))

    @rule(code=st.sampled_from([0, 1, -9]))
    def end(self, code: int) -> None:
        self.runner.run(self.kill(code))

    async def kill(self, code: int) -> None:
        for instance in self.instances:
            instance.code = code
            instance.die()

    @rule(broken=st.booleans())
    def breaks(self, broken: bool) -> None:
        (self.house.runtime.broken.add if broken else self.house.runtime.broken.discard)("notes")

    @rule(deaf=st.booleans(), stopped=st.booleans())
    def hang(self, deaf: bool, stopped: bool) -> None:
        for instance in self.instances:
            instance.deaf, instance.stopped = deaf, "was stopped" if stopped else None

    # what a person does

    @rule()
    def reload(self) -> None:
        self.runner.run(self.done(self.house.router.generations.apply([self.spec()])))

    @rule(what=st.sampled_from(["restart", "stop_one", "disable", "enable"]))
    def operate(self, what: str) -> None:
        self.runner.run(self.done(getattr(self.house.router.generations, what)("notes")))

    async def done(self, work: Any) -> None:
        try:
            await asyncio.wait_for(work, 300)
        except BrokerError:
            pass  # it is disabled, or does not start

    @rule(seconds=st.sampled_from([0.1, 1, 10, 70, 700]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    # what must hold

    @invariant()
    def no_request_is_settled_twice_or_in_two_generations(self) -> None:
        assert all(count == 1 for count in self.settled.values())
        assert all(len(generations) == 1 for generations in self.began.values())

    @invariant()
    def a_generation_has_one_instance(self) -> None:
        hosts = [instance.host for instance in self.instances if isinstance(instance.host, Lane)]
        assert len({id(host) for host in hosts}) == len(hosts)

    def teardown(self) -> None:
        try:
            self.runner.run(self.finish())
        finally:
            self.runner.close()

    async def finish(self) -> None:
        """The trouble ends: all is settled, and it serves again."""
        self.house.runtime.broken.clear()
        await self.done(self.house.router.generations.enable("notes"))
        await asyncio.sleep(1500)  # the longest the breaker can be open, and all deadlines
        assert all(task.done() for _, task in self.calls)
        assert len(self.settled) == len({id(call) for call, _ in self.calls})
        call = self.face.call("echo", number=99)
        await asyncio.wait_for(self.house.router.learned_for(call), 60)
        await asyncio.wait_for(self.house.router.call(call), 60)
        await self.house.router.stop(0)
        assert self.instances == []


TestPluginLife = PluginLife.TestCase
TestPluginLife.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
