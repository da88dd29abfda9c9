"""A runtime in memory, for tests of the core: plugins that echo, wait, die and lie on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from broker.core.listings import Listings
from broker.core.ports import Call, Host, Identity, Lost, Reply, Unsent
from broker.core.router import Router
from broker.errors import BrokerError, NoSuchMethod, NotInClient, PluginFailed, PluginUnavailable
from broker.model import Era, Kind, Limits, Listing, Spec


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def tools(*names: str, **extra: Any) -> Listing:
    return Listing(
        versions={Era.LEGACY: "2025-11-25"},
        capabilities={"tools": raw({}), "resources": raw({"subscribe": True})},
        tools=[raw({"name": name}) for name in names],
        **extra,
    )


class PretendInstance:
    """Answers with its plugin's name and what it was asked; `wait` waits to be released, `die` ends it."""

    def __init__(self, runtime: PretendRuntime, spec: Spec, era: Era, host: Host) -> None:
        self.runtime, self.spec, self.era, self.host = runtime, spec, era, host
        self.listing = runtime.listings.get(spec.name, tools("echo", "wait", "die"))
        self.alive = True
        self.running: list[Call] = []
        self.most = 0
        self.cancelled = 0
        self.release = asyncio.Event()
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watching: list[str] = []
        self.levels: list[str] = []
        self.told: list[str] = []
        self.events: list[Any] = []
        self.heard_of: list[tuple[str, Any]] = []
        self.heard = self.probes = 0
        self.deaf = False
        self.stopped: str | None = None
        self.verdict, self.code = "ended", 1
        self.pid = len(runtime.instances) + 1
        self.uptime = 1.0
        self.working = False

    async def call(self, call: Call) -> Reply:
        if not self.alive:
            raise Unsent
        self.running.append(call)
        self.most = max(self.most, len(self.running))
        self.runtime.started.set()
        try:
            return await self._answer(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.remove(call)

    async def _answer(self, call: Call) -> Reply:
        name = json.loads(bytes(call.params.get("name", b'""')))
        behave = self.runtime.behaviours.get(name)
        if behave is not None:
            return await behave(self, call)
        if name == "die":
            self.die()
        if name in ("wait", "die"):
            await self.ended_call()
        return raw({"plugin": self.spec.name, "params": {k: json.loads(bytes(v)) for k, v in call.params.items()}})

    async def ended_call(self) -> None:
        """Wait to be released. Raises `Lost` when it dies meanwhile."""
        release = asyncio.ensure_future(self.release.wait())
        try:
            await asyncio.wait([release, self.died], return_when=asyncio.FIRST_COMPLETED)
        finally:
            release.cancel()
        if not self.alive:
            raise Lost(self.obituary())

    def die(self) -> None:
        self.alive = False
        if not self.died.done():
            self.died.set_result(None)
        self.host.ended(self, self.obituary())

    def obituary(self) -> PluginFailed:
        return PluginFailed(f"{self.spec.name} {self.verdict}", facts={"plugin": self.spec.name, "exitCode": self.code})

    async def hook(self, event: bytes, call: Call) -> Reply:
        self.events.append(json.loads(event))
        behave = self.runtime.hooks.get(self.spec.name)
        return raw({} if behave is None else await behave(self.events[-1], call))

    async def probe(self) -> None:
        self.probes += 1
        if self.deaf:
            await asyncio.get_running_loop().create_future()
        self.heard += 1

    def suspended(self) -> str | None:
        return self.stopped

    async def fail(self, reason: str) -> None:
        self.verdict = reason
        self.die()

    async def lists(self, kinds: set[Kind] | None = None) -> Listing:
        return self.listing

    async def watch(self, uri: str) -> None:
        self.watching.append(uri)

    async def unwatch(self, uri: str) -> None:
        self.watching.remove(uri)

    def level(self, level: str) -> None:
        self.levels.append(level)

    def tell(self, method: str, params: Reply) -> None:
        self.told.append(method)

    def happened(self, name: str, params: bytes) -> None:
        self.heard_of.append((name, json.loads(params)))

    async def stop(self, grace: float = 0) -> None:
        self.alive, self.verdict = False, "was stopped"
        if not self.died.done():
            self.died.set_result(None)


class PretendRuntime:
    """Counts what it starts; `broken` plugins never start, `slow` ones wait for `go`."""

    def __init__(self) -> None:
        self.instances: list[PretendInstance] = []
        self.listings: dict[str, Listing] = {}
        self.behaviours: dict[str, Callable[[PretendInstance, Call], Any]] = {}
        self.hooks: dict[str, Callable[[Any, Call], Any]] = {}  # by plugin: what it says to an event
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.speaks: dict[str, set[Era]] = {}
        self.starting = self.most_starting = self.tries = 0

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> PretendInstance:
        self.tries += 1
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            if spec.name in self.slow:
                await self.go.wait()
            await asyncio.sleep(0)
        finally:
            self.starting -= 1
        if spec.name in self.broken:
            raise PluginUnavailable(f"{spec.name} cannot be started: not found")
        spoken = self.speaks.get(spec.name, {Era.LEGACY})
        era = identity.era if identity.era in spoken else next(iter(spoken))
        instance = PretendInstance(self, spec, era, host)
        versions: dict[Era, str | None] = {one: ("v" if one in spoken else None) for one in Era}
        instance.listing = msgspec.structs.replace(instance.listing, versions=versions)
        self.instances.append(instance)
        return instance

    async def close(self, grace: float) -> None:
        for instance in self.instances:
            await instance.stop(grace)

    def of(self, name: str) -> list[PretendInstance]:
        return [instance for instance in self.instances if instance.spec.name == name]


class PretendFace:
    """A client in memory."""

    def __init__(self, key: str = "client", era: Era = Era.LEGACY) -> None:
        self.key, self.title = key, key
        self.identity = Identity(era=era)
        self.clogged = False
        self.cleared = asyncio.Event()
        self.told: list[tuple[str, Any]] = []
        self.changes: list[set[Kind]] = []
        self.updates: list[str] = []
        self.logs: list[Any] = []
        self.answers: dict[str, Any] = {}
        self.performs: dict[str, Any] = {}  # operation -> its result, or the error that it raises
        self.performed: list[tuple[str, str, Any]] = []
        self.command_changes = 0
        self.news = asyncio.Event()  # whenever it was asked to do something

    @property
    def operations(self) -> frozenset[str]:
        return frozenset(self.performs)

    async def perform(self, op: str, plugin: str, params: bytes) -> Reply:
        self.performed.append((op, plugin, json.loads(params)))
        self.news.set()
        found = self.performs.get(op, NotInClient(op))
        if isinstance(found, BrokerError):
            raise found
        return raw(found)

    def commands_changed(self) -> None:
        self.command_changes += 1

    async def room(self) -> None:
        await self.cleared.wait()

    def tell(self, method: str, params: Reply) -> None:
        self.told.append((method, json.loads(bytes(params))))

    async def ask(self, method: str, params: Reply) -> Reply:
        if method not in self.answers:
            raise NoSuchMethod(method)
        return raw(self.answers[method])

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        self.changes.append(kinds)

    def updated(self, uri: str) -> None:
        self.updates.append(uri)

    def task_changed(self, id: str, params: Reply) -> None:
        self.told.append((id, json.loads(bytes(params))))

    def logged(self, params: Reply) -> None:
        self.logs.append(json.loads(bytes(params)))

    def call(self, tool: str, chain: tuple[str, ...] = (), **arguments: Any) -> Call:
        params = {"name": raw(tool), "arguments": raw(arguments)}
        return Call(self, self.identity, "tools/call", params, chain=chain)


class House:
    """A router over pretended plugins."""

    def __init__(self, *names: str, alone: str | None = None, listings: Listings | None = None, **spec: Any) -> None:
        self.runtime = PretendRuntime()
        specs = [Spec(name=name, source="test.json", **spec) for name in names]
        self.router = Router(specs, self.runtime, listings or Listings(None), alone=alone)

    async def known(self, face: PretendFace) -> House:
        """With every list learned, and `face` here."""
        self.router.join(face)
        await self.router.learned(face.identity, face, 5)
        return self

    async def call(self, face: PretendFace, tool: str, **arguments: Any) -> Any:
        result = await asyncio.wait_for(self.router.call(face.call(tool, **arguments)), 5)
        return json.loads(bytes(result))


SHORT = Limits(timeout=0.05, cap=0.2, start=5)
Error = BrokerError
