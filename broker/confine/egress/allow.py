"""The list of what a plugin may reach, and the judgement of one connection against it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from broker.confine.egress.addresses import is_metadata, is_public
from broker.permissions.hosts import PRIVATE, NetTarget, host_name, is_address, parse_target

LOCALHOST = "localhost"
LOOPBACK = ("127.0.0.1", "::1")


class Allow:
    """What `allowed` (targets as a manifest writes them) stands for. Raises `ValueError` for what is no target."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.targets = [parse_target(text) for text in allowed]

    def target(self, host: str, port: int) -> NetTarget | None:
        """What allows `host` (as `host_name` gives it) at `port`; one that says `!private` before others."""
        found = [target for target in self.targets if target.allows(host, port)]
        return max(found, key=lambda target: target.private, default=None)

    def knows(self, host: str) -> bool:
        """Whether `host` is allowed at any port, so that its name may be given an address."""
        return any(target.names(host) for target in self.targets)


def fit(addresses: Sequence[str], target: NetTarget) -> list[str]:
    """Those of `addresses`, looked up for a host that `target` allows, that may be dialled.

    Where a cloud hands out its credentials is never meant by a name, only by writing down the address.
    """
    if target.host == LOCALHOST:  # means nothing else, so writing it down is saying so
        return [address for address in addresses if address in LOOPBACK]
    if is_address(target.host):
        return [address for address in addresses if _same(address, target.host)]
    if target.private:
        return [address for address in addresses if not is_metadata(address)]
    return [address for address in addresses if is_public(address)]


def permission(host: str, port: int | None, *, private: bool = False) -> str:
    """What would have to be granted for it; empty where no grant would help."""
    try:
        name = host_name(host)
    except ValueError:
        return ""
    name = f"[{name}]" if ":" in name else name
    end = "" if port is None else f":{port}"
    return f"net:{name}{end}{PRIVATE if private else ''}"


def _same(address: str, host: str) -> bool:
    try:
        return host_name(address) == host
    except ValueError:
        return False
