"""Which addresses are the public internet's, whatever form they hide in. Pure.

Rule 1: the tables are our own: what Python's `ipaddress` calls global has changed between its versions.
Rule 2: an IPv6 address that carries an IPv4 one is as public as that (mapped, compatible, translated, NAT64, 6to4,
        Teredo, ISATAP): some gateway on the way may unwrap it.
Rule 3: what a registry of IANA keeps for anything but plain hosts is not public, nor are two addresses at which clouds
        serve a machine's credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# https://www.iana.org/assignments/iana-ipv4-special-registry, with multicast; 192.88.99.0/24 were relays of 6to4
_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
        192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
        """.split(),
    )
)
_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is given out to hosts
# https://www.iana.org/assignments/iana-ipv6-special-registry, as far as it lies in there
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))

# The rest are in link-local, shared or unique-local ranges; these two look public (Azure, Oracle).
_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",  # a container's role at AWS
            "169.254.170.23",
            "100.100.100.200",  # Alibaba
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",  # Google
        ),
    )
)
_CARRIERS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))  # in their last bits
_SIXTOFOUR, _TEREDO = IPv6Network("2002::/16"), IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)  # bits 32 to 63
_WORD = 0xFFFFFFFF


def is_public(address: str) -> bool:
    """Whether `address` is one that anybody on the internet may have. False for what is no address."""
    try:
        judged = ip_address(address)
    except ValueError:
        return False
    if isinstance(judged, IPv4Address):
        return _public(judged)
    carried = list(_carried(judged))
    return (_carries(judged) or _public_6(judged)) and all(map(_public, carried))


def is_metadata(address: str) -> bool:
    """Whether a cloud serves a machine's credentials there."""
    try:
        judged = ip_address(address)
    except ValueError:
        return False
    carried = _carried(judged) if isinstance(judged, IPv6Address) else ()
    return judged in _METADATA or any(each in _METADATA for each in carried)


def _public(address: IPv4Address) -> bool:
    return address not in _METADATA and not any(address in network for network in _NOT_PUBLIC)


def _public_6(address: IPv6Address) -> bool:
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def _carries(address: IPv6Address) -> bool:
    """Whether it is nothing but a form of the IPv4 addresses in it."""
    return any(address in network for network in (*_CARRIERS, _SIXTOFOUR, _TEREDO))


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses in it."""
    number = int(address)
    if any(address in network for network in _CARRIERS) or number >> 32 & _WORD in _ISATAP:
        yield IPv4Address(number & _WORD)
    if address in _SIXTOFOUR:
        yield IPv4Address(number >> 80 & _WORD)
    if address in _TEREDO:  # its server, and its host, which is written in reverse
        yield IPv4Address(number >> 64 & _WORD)
        yield IPv4Address(~number & _WORD)
