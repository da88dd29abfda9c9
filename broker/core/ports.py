"""The sockets in the wall: what the core asks of runtimes and faces, which plug into it from above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from msgspec import Raw, Struct
from msgspec.structs import replace

from broker.errors import BrokerError, NoSuchMethod, NotInClient, PluginFailed
from broker.model import Era, Kind, Listing, Spec
from broker.wire import eras, questions

Reply = bytes | Raw


class Caller(Protocol):
    """Whoever asks: a client's session on a face, or the command line."""

    @property
    def key(self) -> str:
        """Unique among the callers of this process; queues are fair between keys."""
        ...

    @property
    def title(self) -> str:
        """The client's name, for logs."""
        ...

    @property
    def clogged(self) -> bool:
        """Whether it does not read what is written to it: no call of its is begun now."""
        ...

    async def room(self) -> None:
        """Wait until it reads again, or has left."""
        ...

    def tell(self, method: str, params: Reply) -> None:
        """Send a notification that belongs to one of its calls."""
        ...

    async def ask(self, method: str, params: Reply) -> Reply:
        """Send it a request (sampling, elicitation, roots). Raises `RemoteError`, `NoSuchMethod`, `Closed`."""
        ...

    @property
    def operations(self) -> frozenset[str]:
        """The operations of the host (names of `hosttable`) that this client does itself; of others it is spared."""
        ...

    async def perform(self, op: str, plugin: str, params: bytes) -> Reply:
        """Do one of `operations` for a plugin: params and result as the table has them, as JSON.

        Raises `NotInClient`, `NotAnswered`, `NotFound`, `RemoteError`, `Closed`.
        """
        ...


class Face(Caller, Protocol):
    """A caller that is also told what changes while nobody asks."""

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        """The lists of these kinds are no longer what they were; `first`: a plugin was met, it did not change."""
        ...

    def commands_changed(self) -> None:
        """`Router.commands` gives others now."""
        ...

    def updated(self, uri: str) -> None:
        """A resource changed that this client subscribed to."""
        ...

    def task_changed(self, id: str, params: Reply) -> None:
        """A task changed that this client subscribed to."""
        ...

    def logged(self, params: Reply) -> None:
        """A plugin's log message that belongs to no call."""
        ...


class Identity(Struct, frozen=True, dict=True):
    """Who a client said it is, undecoded; handed to plugins it opens."""

    era: Era = Era.LEGACY
    version: str = ""
    info: Raw = Raw(b'{"name":"broker","version":"0"}')
    capabilities: Mapping[str, Raw] = {}

    @cached_property
    def abilities(self) -> frozenset[str]:
        """What a plugin may make use of, in one word each."""
        return questions.abilities(self.version or eras.LATEST_LEGACY, self.capabilities)

    @cached_property
    def unvoiced(self) -> Identity:
        """The same client as a plugin sees it that may not use its model."""
        return replace(self, capabilities={key: each for key, each in self.capabilities.items() if key != "sampling"})


class Call(Struct, eq=False):
    """One request on its way to a plugin. `params` are the plugin's own names already, without `_meta`."""

    caller: Caller
    identity: Identity
    method: str
    params: dict[str, Raw]
    meta: dict[str, Raw] | None = None
    token: Raw | None = None  # the caller's progress token, of whatever type
    log_level: str | None = None  # asked for by this request (modern), or by the session (legacy)
    chain: tuple[str, ...] = ()  # the plugins that wait for this call
    began: float = 0.0  # loop time at which it was first given to an instance
    due: float = 0.0  # loop time at which it times out; moved by progress
    end: float = 0.0  # loop time beyond which nothing moves it
    heard: bool = False  # its plugin said something about it already
    repeated: bool = False  # it is with its second instance
    late: bool = False
    questions: int = 0  # to the caller, still open: its clock stands still
    asked: Callable[[str, Reply], Awaitable[Reply]] | None = None  # how its caller is asked, if not by `Caller.ask`
    as_task: bool = False  # its plugin runs this tool only as a task, and its caller wants the result
    outward: Callable[[Reply], Reply] | None = None  # puts the caller's names into what its plugin says
    task: Any = None


class Host(Protocol):
    """What an instance may tell whoever holds it."""

    def progressed(self, call: Call) -> None: ...
    def changed(self, kinds: set[Kind]) -> None: ...
    def updated(self, uri: str) -> None: ...
    def logged(self, params: Reply) -> None: ...
    def told(self, calls: Sequence[Call], method: str, params: Reply) -> None: ...
    def ended(self, instance: Instance, error: BrokerError) -> None: ...
    async def ask(self, calls: Sequence[Call], method: str, params: Reply) -> Reply: ...


class Instance(Protocol):
    """One running copy of a plugin."""

    @property
    def era(self) -> Era: ...

    @property
    def heard(self) -> int:
        """A number that changes whenever anything comes from it."""
        ...

    @property
    def pid(self) -> int | None: ...

    @property
    def working(self) -> bool:
        """Whether it works at tasks it answered for already."""
        ...

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        ...

    async def call(self, call: Call) -> Reply:
        """Run one call. Raises `PluginFailed`, `RemoteError`, `Unsent`, `Lost`. Cancellation reaches the plugin."""
        ...

    async def hook(self, event: bytes, call: Call) -> Reply:
        """What it says to an event, as JSON (see `hooks`); what it asks for meanwhile belongs to `call`.

        Raises `PluginFailed`, `RemoteError`, `NoSuchMethod`.
        """
        ...

    async def probe(self) -> None:
        """Ask for a sign of life; any answer is one. Raises `PluginFailed` if it ended."""
        ...

    def suspended(self) -> str | None:
        """Why it cannot answer at all, if the system knows: it was stopped by a signal, it waits for a disk."""
        ...

    async def fail(self, reason: str) -> None:
        """End it as if it had crashed: `reason` follows its name in what its callers are told."""
        ...

    async def lists(self, kinds: set[Kind] | None = None) -> Listing:
        """What it shows now; with `kinds`, only those lists are asked for anew."""
        ...

    async def watch(self, uri: str) -> None: ...
    async def unwatch(self, uri: str) -> None: ...
    def level(self, level: str) -> None: ...
    def tell(self, method: str, params: Reply) -> None: ...
    def happened(self, name: str, params: bytes) -> None:
        """Tell it of an event that it subscribed to (see `events`); it has no answer and takes no turn in line."""
        ...

    async def stop(self, grace: float) -> None:
        """End it and every process of it. Safe to call twice."""
        ...


class Runtime(Protocol):
    """What executes a kind of plugin."""

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Instance:
        """A new instance, opened in the identity's era if it can be. Raises `PluginUnavailable`."""
        ...

    async def close(self, grace: float) -> None:
        """End everything it started that is not gone yet."""
        ...


class Showing(Protocol):
    """What keeps account of what plugins show beside their tools, and takes it away when they end."""

    def replaced(self, spec: Spec) -> None:
        """This is what the plugin runs as from now on."""
        ...

    def rested(self, name: str) -> None:
        """No instance of the plugin runs any more."""
        ...

    def cancelled(self, name: str, id: str) -> bool:
        """A person wants work that the plugin shows to end; whether there is such work."""
        ...


class Unsent(Exception):
    """The instance ended before the call was written to it: the next one may have it."""


class Lost(Exception):
    """The instance ended while it had the call; `error` says how."""

    def __init__(self, error: PluginFailed) -> None:
        super().__init__(str(error))
        self.error = error


class Plain:
    """Of a client that does no operation of the host itself: it is told and asked what its own protocol has."""

    operations: frozenset[str] = frozenset()

    async def perform(self, op: str, plugin: str, params: bytes) -> Reply:
        raise NotInClient(f"{plugin} asked for {op}, which this client cannot do")

    def commands_changed(self) -> None:
        """It shows none."""


class Nobody(Plain):
    """The caller when no client is there: answers nothing, hears nothing."""

    key = "broker"
    title = "broker"
    clogged = False

    async def room(self) -> None:
        """There is always room."""

    def tell(self, method: str, params: Reply) -> None:
        """Nobody hears it."""

    async def ask(self, method: str, params: Reply) -> Reply:
        raise NoSuchMethod(f"no client is here to answer {method}")
