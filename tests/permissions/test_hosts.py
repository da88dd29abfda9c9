"""Two spellings of one host are one host, and what two programs read differently is none."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.permissions.hosts import NetTarget, host_name, is_address, parse_target

label = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=8).map(lambda text: f"a{text}z")
name = st.lists(label, min_size=1, max_size=4).map(".".join)
address = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: host_name(str(ip))))
host = st.one_of(name, name.map("*.{}".format), address, st.just("*"))
port = st.integers(1, 65535)


@st.composite
def targets(draw: st.DrawFn) -> NetTarget:
    low, high = sorted((draw(port), draw(port)))
    chosen = draw(host)
    return NetTarget(chosen, low, high, draw(st.booleans()) or is_address(chosen))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("API.Acme.dev.:443", "api.acme.dev:443"),
        ("api.acme.dev", "api.acme.dev:443"),
        ("*.x.org", "*.x.org:443"),
        ("*:80", "*:80"),
        ("*", "*:443"),
        ("10.0.0.5:5432", "10.0.0.5:5432"),
        ("10.0.0.5:5432!private", "10.0.0.5:5432"),
        ("[2001:DB8:0::1]", "[2001:db8::1]:443"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ("db.internal:5432!private", "db.internal:5432!private"),
        ("x:8000-8100", "x:8000-8100"),
        ("x:80-80", "x:80"),
        ("x:1-65535", "x:*"),
        ("bücher.example:1", "xn--bcher-kva.example:1"),
        ("BÜCHER。example:1", "xn--bcher-kva.example:1"),
        ("_dmarc.x.org:53", "_dmarc.x.org:53"),
    ],
)
def test_each_target_has_one_spelling(text: str, meant: str) -> None:
    assert str(parse_target(text)) == meant
    assert str(parse_target(meant)) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", ":443", "x:", "x:0", "x:65536", "x:01", "x:+1", "x: 1", "x:8-7", "x:1-", "x:٣", "x:*-1", "x:1!Private"),
        *("2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "010.0.0.1", "0", "1.2.3.4.", "1.2.3.4.5"),
        *("a.0x1", "a.1", "①②", "::1", "[::1", "[::1]x", "[::1]443", "[fe80::1%eth0]:1", "[x]:1", "[1.2.3.4"),
        *("https://x", "x/y", "u@x", "x y", "x\ty", "x\0", "x\r\nHost: y", "a..b", "...", "-a", "a-", "a#.b", "a%2e"),
        *("*.1.2.3.4", "*.*.x", "a.*.x", "*x.y", "*.", "**", "straße.de", "faß.de", "a\u200db.de", "ὀδός.gr"),
        *("x:1!private!private", "x!private:1", "x:1!public", "a" * 64, ".".join(["abcdefgh"] * 30), "ü" * 5000),
    ],
)
def test_what_programs_read_differently_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|must|looks)\b.*\.$"):
        parse_target(text)


@given(targets())
def test_what_is_printed_is_read_as_the_same(target: NetTarget) -> None:
    assert parse_target(str(target)) == target


@given(st.text())
def test_any_text_is_a_target_or_is_refused_in_words(text: str) -> None:
    try:
        target = parse_target(text)
    except ValueError as error:
        assert str(error).endswith(".")
    else:
        assert parse_target(str(target)) == target
        assert str(target).isascii()


@given(targets())
def test_every_target_covers_itself(target: NetTarget) -> None:
    assert target.covers(target)


@given(targets(), targets(), targets())
def test_covering_passes_on(a: NetTarget, b: NetTarget, c: NetTarget) -> None:
    if a.covers(b) and b.covers(c):
        assert a.covers(c)


@given(targets(), targets(), st.one_of(name, address), port)
def test_what_is_covered_allows_nothing_more(a: NetTarget, b: NetTarget, somewhere: str, at: int) -> None:
    for near in (somewhere, b.host.removeprefix("*."), f"a.{b.host.removeprefix('*.')}"):
        for number in (at, b.low, b.high):
            if a.covers(b) and b.allows(near, number):
                assert a.allows(near, number)
                assert a.private or not b.private


@pytest.mark.parametrize(
    ("target", "inside", "outside"),
    [
        ("*.x.org", ["a.x.org", "a.b.x.org"], ["x.org", "ax.org", "a.x.org.evil.com"]),
        ("x.org", ["x.org"], ["a.x.org", "x.org.evil.com", "1.2.3.4"]),
        ("*", ["x.org", "1.2.3.4", "::1"], []),
        ("10.0.0.5", ["10.0.0.5"], ["10.0.0.50", "x.org"]),
    ],
)
def test_only_what_it_names_is_allowed(target: str, inside: list[str], outside: list[str]) -> None:
    found = parse_target(target)
    assert all(found.allows(each, 443) and not found.allows(each, 444) for each in inside)
    assert not any(found.allows(each, 443) for each in outside)


def test_a_name_alone_does_not_cover_what_lies_below_it() -> None:
    assert not parse_target("x.org").covers(parse_target("*.x.org"))
    assert not parse_target("*.x.org").covers(parse_target("x.org"))
    assert parse_target("*.x.org").covers(parse_target("*.y.x.org"))


def test_a_public_grant_does_not_cover_private_addresses() -> None:
    assert not parse_target("*:*").covers(parse_target("db:5432!private"))
    assert parse_target("*:*!private").covers(parse_target("10.0.0.5:80"))
