"""connect(2), made by the broker on the plugin's socket.

A TCP socket is connected to a listener of ours on the loopback, wherever it was meant to go, and served from there.
The broker notes the port the kernel gave the plugin's socket, so it knows whose connection it accepts and for where;
whoever else connects to the listener is turned away.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from struct import pack

from broker.confine import kernel
from broker.confine.egress import proxy
from broker.confine.egress.doors import LOOPBACK
from broker.confine.egress.egress import Egress
from broker.confine.egress.notify import Call
from broker.confine.egress.ways import Way

LONGEST = 128  # bytes of an address; sizeof(struct sockaddr_storage)
PATIENCE = 200_000  # microseconds a blocking connect to ourselves may take: only a full queue makes it wait
QUEUING = 30.0  # seconds a blocking connect to a unix socket waits for a place in a full queue
AGAIN = 0.02  # seconds between two tries
NAME_CACHE = "/var/run/nscd/socket"  # the C library tries it for every name, and nobody asked for that

_PATIENCE = pack("ll", 0, PATIENCE)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_MAPPED = "::ffff:"  # before an IPv4 address, of a socket that speaks both
_INT = 0xFFFFFFFF
_NOT_LISTED = "is not among the sockets it may connect to."


class Connects:
    """Connects sockets of one plugin to what `egress` allows, and to `sockets`, paths of unix sockets."""

    def __init__(self, egress: Egress, proxy_port: int, sockets: Sequence[str] = ()) -> None:
        self._egress, self._proxy_port, self._sockets = egress, proxy_port, frozenset(sockets)
        self._expected: dict[tuple[str, int], Way] = {}
        self._adopting: set[asyncio.Task[None]] = set()
        self._borrows = True  # until the system says that this is forbidden, as Docker's usual profile does
        self._listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        self._listener.setblocking(False)
        self._port: int = self._listener.getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def connect(self, call: Call) -> None:
        """Do it. Raises `OSError`."""
        fd, at, length = call.arguments[0] & _INT, call.arguments[1], call.arguments[2] & _INT
        if length > LONGEST:
            raise OSError(errno.EINVAL, "address")
        address = _parsed(call.memory(at, length))
        if isinstance(address, str):
            await self._connect_unix(call, fd, address)
            return
        way = self._way(*address)
        if way is None:
            raise OSError(errno.EACCES, "not allowed")
        self._connect_tcp(call, fd, way)

    def _way(self, host: str, port: int) -> Way | None:
        if (host, port) == (LOOPBACK, self._proxy_port):
            return proxy.serve
        return self._egress.way(host, port)

    def _connect_tcp(self, call: Call, fd: int, way: Way) -> None:
        sock = self._borrowed(call, fd)
        if sock is None:
            self._replace(call, fd, way)
            return
        with sock:
            call.check()
            if sock.family not in _FAMILIES or sock.proto != socket.IPPROTO_TCP:
                raise OSError(errno.EACCES, "not a TCP socket")
            self._lead(sock, way)

    def _replace(self, call: Call, fd: int, way: Way) -> None:
        """Connect a socket of ours and put it where the plugin's is. What the plugin had set on that is lost."""
        flags = _socket_flags(call, fd)
        with socket.socket() as sock:
            self._lead(sock, way)
            sock.setblocking(not flags & os.O_NONBLOCK)
            call.place(sock, fd, flags)

    def _lead(self, sock: socket.socket, way: Way) -> None:
        """Connect to our own listener, and serve what arrives there. Raises `OSError`."""
        host = LOOPBACK if sock.family == socket.AF_INET else _MAPPED + LOOPBACK
        error = _connect(sock, (host, self._port))
        if error in (0, errno.EINPROGRESS):
            local = sock.getsockname()
            self._expected[local[0].removeprefix(_MAPPED), local[1]] = way
            self._accept()
        if error:
            raise OSError(error, "connect")

    def _accept(self) -> None:
        """Every connection that is there."""
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:  # none, or no descriptor is free; the plugin sees the end of what is not accepted
                return
            way = self._expected.pop(peer, None)
            if way is None:
                sock.close()
                continue
            task = self._loop.create_task(self._egress.adopt(sock, way))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    async def _connect_unix(self, call: Call, fd: int, path: str) -> None:
        if path == NAME_CACHE and path not in self._sockets:
            raise OSError(errno.ENOENT, path)
        if path not in self._sockets:
            self._egress.denials.refuse(path, None, "unix", _NOT_LISTED, f"net:unix:{path}" if path[:1] == "/" else "")
            raise OSError(errno.EACCES, "not allowed")
        end = self._loop.time() + QUEUING
        while self._connect_unix_to(call, fd, path):
            if self._loop.time() > end:
                raise OSError(errno.EAGAIN, "connect")
            await asyncio.sleep(AGAIN)

    def _connect_unix_to(self, call: Call, fd: int, path: str) -> bool:
        """Whether it is to be tried again: the queue is full, and who calls waits for that. Raises `OSError`."""
        there = kernel.pinned(path)
        try:
            sock = self._borrowed(call, fd)
            if sock is not None:
                with sock:
                    call.check()
                    return _connect_at_once(sock, there, waits=os.get_blocking(sock.fileno()))
            flags = _socket_flags(call, fd)
            with socket.socket(socket.AF_UNIX) as sock:
                if _connect_at_once(sock, there, waits=not flags & os.O_NONBLOCK):
                    call.check()
                    return True
                sock.setblocking(not flags & os.O_NONBLOCK)
                call.place(sock, fd, flags)
                return False
        finally:
            os.close(there)

    def _borrowed(self, call: Call, fd: int) -> socket.socket | None:
        """The plugin's socket; None where the system forbids to have it."""
        if not self._borrows:
            return None
        try:
            return call.borrow(fd)
        except PermissionError:
            self._borrows = False
            return None


def _connect(sock: socket.socket, address: tuple[str, int]) -> int:
    """Connect, within `PATIENCE` also where its owner waits for as long as it takes. An error number, or 0."""
    before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, len(_PATIENCE))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
    try:
        return sock.connect_ex(address)
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, before)


def _connect_at_once(sock: socket.socket, there: int, *, waits: bool) -> bool:
    """Connect to the unix socket that `there` is a descriptor of, without waiting for a place in its queue.

    Whether there is none and the caller `waits` for one. Raises `OSError`.
    """
    if sock.family != socket.AF_UNIX:
        raise OSError(errno.EAFNOSUPPORT, "not a unix socket")
    os.set_blocking(sock.fileno(), False)
    try:
        error = sock.connect_ex(f"/proc/self/fd/{there}")
    finally:
        os.set_blocking(sock.fileno(), waits)
    if error == errno.EAGAIN and waits:
        return True
    _raise(error)
    return False


def _socket_flags(call: Call, fd: int) -> int:
    if not call.link(f"fd/{fd}").startswith("socket:"):
        raise OSError(errno.ENOTSOCK, "connect")
    return call.flags(fd)


def _raise(error: int) -> None:
    if error:
        raise OSError(error, "connect")


def _parsed(address: bytes) -> tuple[str, int] | str:
    """Host and port, or the path of a unix socket. Raises `OSError`."""
    try:
        family = int.from_bytes(address[:2], "little")
        if family == socket.AF_UNIX:
            return os.fsdecode(address[2:].split(b"\0")[0])
        port = int.from_bytes(address[2:4], "big")
        if family == socket.AF_INET:
            return socket.inet_ntop(family, address[4:8]), port
        if family == socket.AF_INET6:
            return socket.inet_ntop(family, address[8:24]).removeprefix(_MAPPED), port
    except ValueError:
        raise OSError(errno.EINVAL, "address") from None
    raise OSError(errno.EAFNOSUPPORT, "address")
