"""What is public: nothing private, whatever form it hides in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.confine.egress.addresses import is_metadata, is_public

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"]
PRIVATE6 = [
    "::",
    "::1",
    "100::1",
    "2001:db8::1",
    "2001:2::1",
    "2001:20::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "64:ff9b:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
FORMS = {
    "mapped": "::ffff:{}",
    "compatible": "::{}",
    "translated": "::ffff:0:{}",
    "NAT64": "64:ff9b::{}",
    "ISATAP": "2600::5efe:{}",
}


def sixtofour(address: str) -> str:
    return str(IPv6Address(0x2002 << 112 | int(IPv4Address(address)) << 80 | 1))


def teredo(address: str) -> str:
    return str(IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | (int(IPv4Address(address)) ^ 0xFFFFFFFF)))


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE6, *METADATA])
def test_what_is_not_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "11.127.1.0", "192.31.196.1", "2606:4700::1111", "2a00::1"])
def test_what_anybody_may_have_is_public(address: str) -> None:
    assert is_public(address) and not is_metadata(address)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("address", [*PRIVATE[1:], "169.254.169.254", "168.63.129.16"])
def test_a_private_address_is_private_inside_one_of_ipv6(form: str, address: str) -> None:
    assert not is_public(form.format(address))


@pytest.mark.parametrize("address", [*PRIVATE, "169.254.169.254", "168.63.129.16"])
def test_tunnels_to_a_private_address_are_private(address: str) -> None:
    assert not is_public(sixtofour(address)) and not is_public(teredo(address))


def test_a_public_address_behind_a_gateway_stays_public() -> None:
    assert is_public("64:ff9b::8.8.8.8") and is_public("::ffff:8.8.8.8") and is_public(sixtofour("8.8.8.8"))


@pytest.mark.parametrize("address", METADATA)
def test_where_clouds_keep_credentials_is_known(address: str) -> None:
    assert is_metadata(address)


def test_where_clouds_keep_credentials_is_known_in_every_form() -> None:
    assert all(is_metadata(form.format("169.254.169.254")) for form in FORMS.values())
    assert is_metadata(sixtofour("168.63.129.16"))


@pytest.mark.parametrize("text", ["", "example.com", "1.2.3", "1.2.3.4.5", "0x7f.0.0.1", "[::1]", "1.1.1.1\0"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text) and not is_metadata(text)


@given(st.ip_addresses(v=4))
def test_no_form_makes_an_address_more_public(address: IPv4Address) -> None:
    plain = is_public(str(address))
    for form in FORMS.values():
        assert is_public(form.format(address)) <= plain
    assert is_public(sixtofour(str(address))) <= plain
