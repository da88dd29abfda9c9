"""Everything a confined plugin says to the network passes here, in the broker's loop.

Rule 1: what the list does not allow is refused and told; a refusal says what to grant.
Rule 2: nothing of one plugin delays another: its connections, lookups and bytes on the way are bounded.
Rule 3: nothing here trusts what a plugin sends: not its packets, not its heads, not the names in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from broker.confine.egress import proxy, transparent
from broker.confine.egress.allow import LOCALHOST, LOOPBACK, Allow, permission
from broker.confine.egress.denied import Denials, Denied
from broker.confine.egress.dial import Dialler
from broker.confine.egress.dns_doors import Datagrams, stream
from broker.confine.egress.doors import DNS, EVERYWHERE
from broker.confine.egress.ends import End, relay
from broker.confine.egress.lookup import Lookup, Lookups, ask_system
from broker.confine.egress.names import Names
from broker.confine.egress.ways import Way
from broker.permissions.hosts import host_name, is_address

MOST = 64  # connections of one plugin at a time: some 40 MB if it reads none of them
OPENING = 30.0  # seconds from accepting a connection until it leads somewhere
IDLE = 600.0  # seconds without a byte until a connection counts as forgotten; long polls pause for minutes


class Statistics(Struct):
    """What happened so far. Bytes are those of connections that have ended."""

    open: int = 0  # connections now
    connected: int = 0  # that reached a host
    failed: int = 0  # allowed, and not reached
    refused: int = 0  # connections and lookups
    names: int = 0  # lookups that were answered
    sent: int = 0  # bytes from the plugin
    received: int = 0


class Egress:
    """The network of one plugin. `told` hears of each different refusal once.

    Raises `ValueError` for what is no target.
    """

    def __init__(
        self,
        plugin: str,
        allowed: Sequence[str],
        told: Callable[[Denied], None],
        *,
        lookup: Lookup = ask_system,
        idle: float = IDLE,
    ) -> None:
        self._allow = Allow(allowed)
        self.denials = Denials(plugin, told)
        self._dialler = Dialler(self._allow, self.denials, Lookups(lookup))
        self._names = Names()
        self._idle = idle
        self._statistics = Statistics()
        self._tasks: set[asyncio.Task[None]] = set()
        self._doors: list[asyncio.Server | Datagrams] = []
        self._closed = False

    @property
    def statistics(self) -> Statistics:
        self._statistics.open = len(self._tasks)
        self._statistics.refused = self.denials.count
        return self._statistics

    async def start(self, sockets: dict[str, socket.socket]) -> None:
        """Serve the sockets that the plugin's namespace sent out, named as in `doors`. They are ours from here on."""
        waiting = dict(sockets)
        try:
            for door in sockets:
                await self._open(door, waiting.pop(door))
        finally:  # whoever started it may have been cancelled
            for sock in waiting.values():
                sock.close()

    async def adopt(self, sock: socket.socket, way: Way) -> None:
        """Serve a connection of the plugin's that was accepted elsewhere."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(partial(End, partial(self._begin, way)), sock)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Break every connection and close the doors. Safe to call twice."""
        self._closed = True
        for door in self._doors:
            door.close()
        self._doors.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def resolve(self, asked: str) -> str | None:
        """The address that stands for a name a plugin asks for; None if it may not know it."""
        try:
            name = host_name(asked)
        except ValueError as error:
            self.denials.refuse(asked, None, "dns", str(error))
            return None
        if name == LOCALHOST:
            return LOOPBACK[0]
        if is_address(name) or not self._allow.knows(name):
            self.denials.refuse(name, None, "dns", "is not among the hosts it may reach.", permission(name, None))
            return None
        self._statistics.names += 1
        return self._names.address(name)

    def named(self, address: str) -> str | None:
        """The name an address was made up for."""
        return self._names.name(address)

    def way(self, address: str, port: int) -> Way | None:
        """How a connection to `address` is served where the broker connects for the plugin; None: told and refused."""
        if port == _DNS_PORT:
            return stream(self.resolve)
        host = self._host(address, port)
        if self._allow.target(host, port) is None:
            self.denials.refuse(host, port, transparent.VIA, _NOT_LISTED, permission(host, port))
            return None
        return transparent.towards(address, port)

    async def _open(self, door: str, sock: socket.socket) -> None:
        sock.setblocking(False)
        if door == DNS:
            self._doors.append(Datagrams(sock, self.resolve))
            return
        way = transparent.serve if door.startswith(f"tcp:{EVERYWHERE}:") else proxy.serve
        protocol = partial(End, partial(self._begin, way))
        server = await asyncio.get_running_loop().create_server(protocol, sock=sock, start_serving=False)
        self._doors.append(server)  # before anything can end us
        await server.start_serving()

    def _begin(self, way: Way, end: End) -> None:
        if self._closed:
            end.reset()
            return
        if len(self._tasks) >= MOST:
            self.denials.refuse("*", None, "connect", f"would be more than {MOST} connections at a time.")
            end.reset()
            return
        task = asyncio.get_running_loop().create_task(self._serve(way, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, way: Way, end: End) -> None:
        far: End | None = None
        try:
            with contextlib.suppress(EOFError, TimeoutError):
                async with asyncio.timeout(OPENING):
                    far = await way(end, self._connect)
            if far is not None:
                await relay(end, far, self._idle)
                self._statistics.sent += end.moved
                self._statistics.received += far.moved
            else:
                await end.part()
        finally:
            end.abort()
            if far is not None:
                far.abort()

    async def _connect(self, host: str, port: int, via: str) -> End:
        try:
            sock = await self._dialler.dial(self._host(host, port), port, via)
        except OSError:
            self._statistics.failed += 1
            raise
        self._statistics.connected += 1
        _, end = await asyncio.get_running_loop().create_connection(End, sock=sock)
        return end

    def _host(self, named: str, port: int) -> str:
        """What a plugin means by a host: a made-up address stands for its name."""
        if named in LOOPBACK and self._allow.target(named, port) is None:
            return LOCALHOST
        return self._names.name(named) or named


_DNS_PORT = 53
_NOT_LISTED = "is not among the hosts it may reach."
