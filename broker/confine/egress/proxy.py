"""One port for every kind of proxy: the first byte says which one is meant."""

from __future__ import annotations

from broker.confine.egress import http_proxy, socks
from broker.confine.egress.ends import End
from broker.confine.egress.ways import Connect


async def serve(end: End, connect: Connect) -> End | None:
    """The far end of the connection that `end` asks for; None if it was told that there is none. Raises `EOFError`."""
    way = socks.serve if await end.first() == socks.VERSION else http_proxy.serve
    return await way(end, connect)
