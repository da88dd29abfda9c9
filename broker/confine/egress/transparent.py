"""Connections of programs that know of no proxy: the address they connected to stands for a name."""

from __future__ import annotations

from broker.confine.egress.denied import Refused
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect, Way

VIA = "transparent"


async def serve(end: End, connect: Connect) -> End | None:
    """The far end of the connection, by the address of our end. One that is refused is reset."""
    address, port = end.transport.get_extra_info("sockname")[:2]
    return await _reach(end, connect, address, port)


def towards(address: str, port: int) -> Way:
    """The same for a connection that was meant for `address` and was led elsewhere."""

    async def serve_meant(end: End, connect: Connect) -> End | None:
        return await _reach(end, connect, address, port)

    return serve_meant


async def _reach(end: End, connect: Connect, address: str, port: int) -> End | None:
    try:
        return await connect(address, port, VIA)
    except (Refused, OSError):
        end.reset()
        return None
