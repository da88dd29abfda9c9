"""Network targets in one spelling: `host:port` as a manifest writes it, and the host a plugin names when it connects.

    api.acme.dev:443     one name, one port
    api.acme.dev         port 443
    *.acme.dev:443       every name below acme.dev, not acme.dev itself
    *:80                 any host
    10.0.0.5:5432        an address; `[2001:db8::1]:443` for IPv6
    api.acme.dev:8000-8100, api.acme.dev:*
    db.internal:5432!private   also if it resolves to an address that is not public

Rule 1: two spellings of one host become equal: case, a final dot, IDN, an IPv4 address inside an IPv6 one.
Rule 2: what one program takes for a name and another for an address (`2130706433`, `0x7f.1`, `010.0.0.1`) is neither.
Rule 3: nothing is looked up here; these functions are pure. An address that is written down counts as meant, private
        or not; a name needs `!private` to lead to one.
"""

from __future__ import annotations

import re

from msgspec import Struct

ANY = "*"
BELOW = "*."
PRIVATE = "!private"
HTTPS = 443
LAST_PORT = 65535

_LONGEST = 253  # characters of a name in DNS
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# URL parsers take a name that ends like this for an IPv4 address (WHATWG URL, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", re.ASCII)
# Older and newer IDN rules turn these into different names: sharp s, final sigma, and the two joiners.
_TWO_MEANINGS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")


class NetTarget(Struct, frozen=True, order=True):
    """Where a plugin may connect to: a host and a range of ports, both ends included."""

    host: str  # as `host_name` gives it, or `*.` before a name, or `*`
    low: int
    high: int
    private: bool = False  # addresses that are not public are allowed too

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        mark = PRIVATE if self.private and not is_address(self.host) else ""
        return f"{host}:{_port_text(self.low, self.high)}{mark}"

    def allows(self, host: str, port: int) -> bool:
        """Whether a connection to `host` (as `host_name` gives it) and `port` is one of these.

        With `private` False, the caller still refuses addresses that are not public.
        """
        return self.low <= port <= self.high and self.names(host)

    def names(self, host: str) -> bool:
        """Whether `host` (as `host_name` gives it) is allowed at any port."""
        if self.host == ANY:
            return True
        if self.host.startswith(BELOW):
            return host.endswith(self.host[1:]) and host != self.host[1:]
        return host == self.host

    def covers(self, other: NetTarget) -> bool:
        """Whether everything `other` allows is allowed by this one."""
        ports = self.low <= other.low and other.high <= self.high
        return ports and (self.private or not other.private) and self._covers_host(other.host)

    def _covers_host(self, host: str) -> bool:
        if host == self.host or self.host == ANY:
            return True
        if host.startswith(BELOW):
            return self.host.startswith(BELOW) and self.names(host.removeprefix(BELOW))
        return host != ANY and self.names(host)


def parse_target(text: str) -> NetTarget:
    """`text` as a target. ValueError says, as the rest of a sentence about it, why it is none."""
    target, mark, rest = text.partition("!")
    if mark and mark + rest != PRIVATE:
        raise ValueError(f"has an unknown mark; only {PRIVATE} is one.")
    if "/" in target:
        raise ValueError("must be host:port, without a scheme or path.")
    host, port = _halves(target)
    low, high = _ports(port)
    name = _pattern(host)
    return NetTarget(name, low, high, bool(mark) or is_address(name))


def host_name(text: str) -> str:
    """The one spelling of a host: a lower-case name in ASCII without a final dot, or an address.

    ValueError says, as the rest of a sentence about it, why it is none.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if _ADDRESS.fullmatch(inner):
        return _address(inner)
    if inner is not text:
        raise ValueError("has brackets around something that is no IPv6 address.")
    name = _ascii(text).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is not a host name.")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError("is a number that some programs take for an address; write it as an address.")
    return name


def is_address(host: str) -> bool:
    """Whether `host`, as `host_name` gives it, is an address rather than a name."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _halves(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, end, port = text.partition("]")
        if not end or (port and not port.startswith(":")):
            raise ValueError("must have its port after the bracket, as in [2001:db8::1]:443.")
        return host + end, port[1:] if port else str(HTTPS)
    if text.count(":") > 1:
        raise ValueError("must have brackets around an IPv6 address, as in [2001:db8::1]:443.")
    host, colon, port = text.partition(":")
    return host, port if colon else str(HTTPS)


def _ports(text: str) -> tuple[int, int]:
    if text == ANY:
        return 1, LAST_PORT
    low, dash, high = text.partition("-")
    ends = (low, high if dash else low)
    if not all(_PORT.fullmatch(end) for end in ends) or not int(ends[0]) <= int(ends[1]) <= LAST_PORT:
        raise ValueError("must have a port of 1 to 65535, two of them as 8000-8100, or * for every port.")
    return int(ends[0]), int(ends[1])


def _port_text(low: int, high: int) -> str:
    if (low, high) == (1, LAST_PORT):
        return ANY
    return str(low) if low == high else f"{low}-{high}"


def _pattern(host: str) -> str:
    if host == ANY:
        return host
    if not host.startswith(BELOW):
        return host_name(host)
    name = host_name(host.removeprefix(BELOW))
    if is_address(name):
        raise ValueError("has a * before an address.")
    return BELOW + name


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    if len(text) > _LONGEST:
        raise ValueError("is not a host name.")
    if _TWO_MEANINGS.search(text):
        raise ValueError("has a character that stands for different names in different programs; write its xn-- form.")
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("is not a host name.") from None


def _address(text: str) -> str:
    from ipaddress import IPv6Address, ip_address  # 2 ms that a start without network targets does not pay

    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError("looks like an address, and is none.") from None
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(inner or address)
