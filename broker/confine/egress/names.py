"""Made-up addresses: each name a plugin may know gets one of its own, which exists only in the plugin's namespace.

The range belongs to 11.0.0.0/8, which looks public: programs that refuse private addresses themselves (the real
mcp-server-fetch does) refused 198.18.0.0/15. Nothing is ever sent there: in the namespace the whole range is local.
"""

from __future__ import annotations

from ipaddress import IPv4Address

NETWORK = "11.127.0.0/16"
OWN = "11.127.0.1"  # what the namespace's loopback device has: `AI_ADDRCONFIG` wants one outside 127/8
MOST = 4096  # names that have an address at a time; a wildcard lets a plugin ask for any number

_FIRST = int(IPv4Address("11.127.1.0"))
_COUNT = 255 * 256


class Names:
    """Name and address of each other. A name that was not asked for in a long time loses its address.

    Addresses go round the whole range, so one comes to another name only some 60,000 names later.
    """

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}  # the least recently asked for first
        self._names: dict[str, str] = {}
        self._next = 0

    def address(self, name: str) -> str:
        """The address that stands for `name`."""
        address = self._addresses.pop(name, None) or self._new(name)
        self._addresses[name] = address
        return address

    def name(self, address: str) -> str | None:
        """What `address` was made up for; None if it was not."""
        return self._names.get(address)

    def _new(self, name: str) -> str:
        if len(self._addresses) >= MOST:
            oldest = next(iter(self._addresses))
            del self._names[self._addresses.pop(oldest)]
        while (address := str(IPv4Address(_FIRST + self._next % _COUNT))) in self._names:
            self._next += 1
        self._next += 1
        self._names[address] = name
        return address
