"""What a confined process must prepare in its own network namespace, so that its connections come to the broker. Pure.

A door is a listening socket there: `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT`. The namespace's loopback device is up and
has `addresses()`, its /etc/resolv.conf says `nameserver 127.0.0.1`, and the sockets are sent to the broker.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.confine.egress.names import OWN
from broker.permissions.hosts import NetTarget, is_address, parse_target

DNS = "udp:127.0.0.1:53"
LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
MOST = 64  # ports of their own; those of wider ranges are reached through the proxy only

_PROXY = 3128  # the port proxies use; the next free one if the list names it


def doors(allowed: Sequence[str]) -> tuple[str, ...]:
    """The sockets to make. Raises `ValueError` for what is no target."""
    clear = tuple(f"tcp:{EVERYWHERE}:{port}" for port in _ports(allowed))
    return (DNS, f"tcp:{LOOPBACK}:{proxy_port(allowed)}", *clear)


def addresses(allowed: Sequence[str]) -> tuple[str, ...]:
    """What the loopback device has, as `ADDRESS/BITS`: the made-up range, and IPv4 addresses the list writes down."""
    hosts = {target.host for target in map(parse_target, allowed)}
    written = sorted(host for host in hosts if is_address(host) and ":" not in host and not host.startswith("127."))
    return (f"{OWN}/16", *(f"{host}/32" for host in written))


def proxy_port(allowed: Sequence[str]) -> int:
    """Where the proxy listens in the namespace."""
    taken = set(_ports(allowed))
    return next(port for port in range(_PROXY, _PROXY + MOST + 1) if port not in taken)


def needs_proxy(allowed: Sequence[str]) -> bool:
    """Whether the list allows ports that only programs which know the proxy can reach."""
    ports = set(_ports(allowed))
    return any(not ports.issuperset(range(target.low, target.high + 1)) for target in map(parse_target, allowed))


def environment(port: int) -> dict[str, str]:
    """What tells programs of a proxy at this port: curl, Python's and Go's libraries, Node.js 22.21 or newer."""
    http, socks = f"http://{LOOPBACK}:{port}", f"socks5h://{LOOPBACK}:{port}"
    spelled = {"HTTP_PROXY": http, "HTTPS_PROXY": http, "ALL_PROXY": socks, "NO_PROXY": "localhost,127.0.0.1,::1"}
    return {**spelled, **{name.lower(): value for name, value in spelled.items()}, "NODE_USE_ENV_PROXY": "1"}


def _ports(allowed: Sequence[str]) -> list[int]:
    """Ports with a door of their own: narrow ranges first."""
    found: set[int] = set()
    for target in sorted(map(parse_target, allowed), key=_width):
        if len(found) + _width(target) <= MOST:
            found.update(range(target.low, target.high + 1))
    return sorted(found)


def _width(target: NetTarget) -> int:
    return target.high - target.low + 1
