"""How a person reaches a broker that runs: JSON-RPC lines on a socket that only its own user can open.

    status                                   what this broker is, and every plugin of its
    restart, stop, disable, enable {name}    act on one plugin; its status afterwards
    warm {name, count}                       have so many of its instances ready ahead of calls
    grant {name, permissions}                allow these as long as this broker lives
    revoke {name}                            forget what was allowed so, and look again at what is granted

Rule 1: it must never cost a client anything: it begins late, a socket that cannot be had is a line in the log, and
        everything is bounded: connections, bytes, requests in work, and the patience with one who says nothing.
Rule 2: what a person asked for is done to its end, whether the person still waits or not.
Rule 3: who may connect is decided by the folder (see `core.meeting`) and asked again of the kernel at each connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from broker import __version__
from broker.core.generations import Generations
from broker.core.manifest import MOST_WARM
from broker.core.meeting import Folder, folders, is_ours
from broker.core.status import Here, Status
from broker.errors import BadArguments, NoSuchMethod, Overloaded
from broker.link import Link
from broker.model import Spec
from broker.stream import FdStream
from broker.wire.framing import Lines
from broker.wire.peer import Asked, Peer

if TYPE_CHECKING:
    from broker.permissions.gate import Gate

log = logging.getLogger("broker.control")

CONNECTIONS = 16  # at once; one more is hung up on
PATIENCE = 30.0  # seconds without a request in work or a new one, after which a connection is closed
IN_WORK = 8  # requests of one connection
ASKS = 100  # requests of one connection in all, before it is closed
LONGEST = 64 << 10  # bytes of a request, and of unread answers from which on nothing more is read
PAUSE = 1.0  # seconds without accepting when there are no descriptors left

_encode = msgspec.json.Encoder().encode
Reply = bytes | Raw
Opening = Callable[[], "Gate"]


class Control:
    """The control socket of one broker. `client` says whose broker this is."""

    def __init__(
        self, generations: Generations, client: Callable[[], str], gate: Callable[[], Gate] | None = None
    ) -> None:
        self._generations, self._client, self._gate = generations, client, gate
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._name = str(os.getpid())
        self._guests: set[Guest] = set()
        self._acts: set[asyncio.Task[Status]] = set()
        self._folder: Folder | None = None
        self._listener: socket.socket | None = None
        self._resting: asyncio.TimerHandle | None = None

    def open(self, environ: Mapping[str, str]) -> None:
        """Listen; a socket that cannot be had is only logged."""
        try:
            self._folder = Folder(folders(environ)[0], make=True)
            self._folder.sweep()
            self._listener = self._folder.listen(self._name)
        except OSError as error:
            log.warning("`broker restart` and its like will not reach this broker: %s", error)
            self.close()
        else:
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Hang up on everybody. Safe to call twice."""
        if self._resting is not None:
            self._resting.cancel()
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            assert self._folder is not None
            self._folder.withdraw(self._name)
        for guest in list(self._guests):
            guest.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def here(self) -> Here:
        """What this broker is, now."""
        uptime = round(time.monotonic() - self._began, 1)
        return Here(os.getpid(), __version__, self._client(), uptime, self._generations.statuses())

    async def act(self, method: str, asked: Named) -> Status:
        """Raises `NoSuchMethod`, `NotFound`, `PluginFailed`, `BadArguments`, `DangerousGrant`."""
        action = ACTIONS.get(method)
        permit = PERMITS.get(method) if self._gate is not None else None
        if action is None and permit is None:
            raise NoSuchMethod(f"{method} is nothing a broker can be asked here")
        log.info("%s %s, as a person asked", method, asked.name)
        if action is not None:
            work = action(self._generations, asked)
        else:
            assert permit is not None and self._gate is not None
            work = _permitted(self._generations, asked.name, partial(permit, self._gate(), asked.permissions))
        task = self._loop.create_task(work)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)
        return await asyncio.shield(task)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._rest()
            return
        if len(self._guests) >= CONNECTIONS or not is_ours(connection):
            connection.close()
            return
        guest = Guest(self, FdStream(fd := connection.detach(), fd), self._guests.discard)
        self._guests.add(guest)
        guest.start()

    def _rest(self) -> None:
        """Without descriptors the listener stays readable for ever: look away for a moment."""
        listener = self._listener
        assert listener is not None
        self._loop.remove_reader(listener)
        self._resting = self._loop.call_later(PAUSE, self._loop.add_reader, listener, self._accept)


class Guest:
    """One connection to the control socket."""

    def __init__(self, control: Control, stream: FdStream, on_gone: Callable[[Guest], None]) -> None:
        self._control, self._on_gone = control, on_gone
        self._in_work = self._asks = 0
        self._leave: asyncio.TimerHandle | None = None
        self._link = Link(
            Peer(Lines(LONGEST)),
            stream,
            on_ask=self._asked,
            on_tell=lambda told: None,
            on_end=self._ended,
            on_junk=lambda junk: self._close_soon(),
            max_unsent=LONGEST,
        )

    def start(self) -> None:
        """Begin to serve."""
        self._link.start()
        self._wait()

    def close(self) -> None:
        self._link.close()

    def _asked(self, asked: Asked) -> Reply | Coroutine[Any, Any, Reply]:
        self._wait()
        self._asks += 1
        if self._asks > ASKS:
            self._close_soon()
            raise Overloaded(f"{ASKS} requests are enough for one connection")
        if asked.method == "status":
            return _encode(self._control.here())
        if self._in_work >= IN_WORK:
            raise Overloaded(f"{IN_WORK} requests are in work already")
        return self._act(asked)

    async def _act(self, asked: Asked) -> Reply:
        self._in_work += 1
        try:
            return _encode(await self._control.act(asked.method, _named(asked.params)))
        finally:
            self._in_work -= 1
            self._wait()

    def _close_soon(self) -> None:
        """When what it was told just now is on its way."""
        asyncio.get_running_loop().call_soon(self.close)

    def _wait(self) -> None:
        """Give it its time anew; none runs while a request of its is in work."""
        if self._leave is not None:
            self._leave.cancel()
        self._leave = asyncio.get_running_loop().call_later(PATIENCE, self._bored) if self._link.open else None

    def _bored(self) -> None:
        if self._in_work:
            self._wait()
        else:
            self.close()

    def _ended(self) -> None:
        if self._leave is not None:
            self._leave.cancel()
        self._on_gone(self)


Action = Callable[[Generations, "Named"], Coroutine[Any, Any, Status]]
ACTIONS: dict[str, Action] = {
    "restart": lambda plugins, asked: plugins.restart(asked.name),
    "stop": lambda plugins, asked: plugins.stop_one(asked.name),
    "disable": lambda plugins, asked: plugins.disable(asked.name),
    "enable": lambda plugins, asked: plugins.enable(asked.name),
    "warm": lambda plugins, asked: plugins.warm(asked.name, asked.count),
}


class Named(Struct):
    """What a request says: which plugin, and of a grant, what; of instances, how many."""

    name: str
    permissions: tuple[str, ...] = ()
    count: Annotated[int, Meta(ge=0, le=MOST_WARM)] = 1


def _named(params: Raw) -> Named:
    try:
        return msgspec.json.decode(params, type=Named)
    except msgspec.MsgspecError:
        raise BadArguments(f"`name` must say which plugin, and `count` be at most {MOST_WARM}") from None


def _grant(gate: Gate, permissions: tuple[str, ...], spec: Spec) -> Spec:
    return gate.grant_once(spec, gate.approval(spec), gate.chosen(spec, permissions), "a terminal")


def _revoke(gate: Gate, permissions: tuple[str, ...], spec: Spec) -> Spec:
    return gate.forget(spec)


Permit = Callable[["Gate", tuple[str, ...], Spec], Spec]
PERMITS: dict[str, Permit] = {"grant": _grant, "revoke": _revoke}


async def _permitted(plugins: Generations, name: str, permit: Callable[[Spec], Spec]) -> Status:
    """Have a plugin run with what it is permitted then. Programs are read for it, which may take a moment."""
    await plugins.change(await asyncio.to_thread(permit, plugins.named(name).spec))
    return plugins.named(name).status()


async def serve(
    generations: Generations,
    client: Callable[[], str],
    environ: Mapping[str, str],
    gate: Callable[[], Gate] | None = None,
) -> None:
    """Let people in until cancelled. `gate` opens it; without one nobody can be granted anything here."""
    control = Control(generations, client, gate)
    control.open(environ)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        control.close()
