"""Connects to a host for a plugin, if the list allows it.

Rule 1: a name is looked up once; what is dialled is exactly an address that was judged. An answer that changes
        between two lookups (rebinding) changes nothing.
Rule 2: at most `MOST` addresses are tried; the next one begins when the last has failed or taken `STAGGER` seconds.
        The first that connects is taken, the others are closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from broker.confine.egress.allow import LOCALHOST, LOOPBACK, Allow, fit, permission
from broker.confine.egress.denied import Denials, Denied, Refused
from broker.confine.egress.lookup import Lookups
from broker.permissions.hosts import NetTarget, host_name, is_address

MOST = 4  # addresses of one host
STAGGER = 0.25  # seconds; RFC 8305, section 8
PATIENCE = 15.0  # seconds until a host counts as unreachable


class Dialler:
    """Connects to what one plugin may reach."""

    def __init__(self, allow: Allow, denials: Denials, lookups: Lookups) -> None:
        self._allow, self._denials, self._lookups = allow, denials, lookups

    async def dial(self, host: str, port: int, via: str) -> socket.socket:
        """A connected socket. Raises `Refused` if it may not be, `OSError` if it cannot be reached."""
        name, target = self._judged(host, port, via)
        found = await self._addresses(name)
        chosen = fit(found, target)
        if not chosen:
            raise Refused(self._not_public(name, port, via, found))
        return await first_of(chosen[:MOST], port)

    async def _addresses(self, name: str) -> Sequence[str]:
        if name == LOCALHOST:
            return LOOPBACK
        return [name] if is_address(name) else await self._lookups.addresses(name)

    def _judged(self, host: str, port: int, via: str) -> tuple[str, NetTarget]:
        try:
            name = host_name(host)
        except ValueError as error:
            raise Refused(self._denials.refuse(host, port, via, str(error))) from None
        target = self._allow.target(name, port)
        if target is None:
            why = "is not among the hosts it may reach."
            raise Refused(self._denials.refuse(name, port, via, why, permission(name, port)))
        return name, target

    def _not_public(self, name: str, port: int, via: str, found: Sequence[str]) -> Denied:
        why = f"leads to {', '.join(found[:MOST]) or 'nowhere'}, which is not on the public internet."
        return self._denials.refuse(name, port, via, why, permission(name, port, private=True))


async def first_of(addresses: Sequence[str], port: int) -> socket.socket:
    """A socket connected to the first of `addresses` that takes it. Raises `OSError`."""
    waiting, tries = list(addresses), set[asyncio.Task[socket.socket]]()
    failure: BaseException | None = OSError("no address")
    try:
        async with asyncio.timeout(PATIENCE):
            while waiting or tries:
                if waiting:
                    tries.add(asyncio.ensure_future(_connected(waiting.pop(0), port)))
                patience = STAGGER if waiting else None
                done, tries = await asyncio.wait(tries, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                won = [each for each in done if each.exception() is None]
                tries.update(won[1:])
                if won:
                    return won[0].result()
                failure = next((each.exception() for each in done), failure)
    except TimeoutError:
        failure = OSError(f"{', '.join(addresses)} at port {port} does not answer")
    finally:
        _drop(tries)
    assert failure is not None
    raise failure


def _drop(tries: set[asyncio.Task[socket.socket]]) -> None:
    for each in tries:
        if not each.cancel() and not each.cancelled() and each.exception() is None:
            each.result().close()


async def _connected(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock
