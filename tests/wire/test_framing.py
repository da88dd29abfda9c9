"""Where frames end, whatever the cuts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import WireError
from broker.wire.framing import HEAD, MAX_HEADER, Headers, Lines, TooLong

BODIES = st.lists(st.binary(max_size=40).map(lambda body: body.replace(b"\n", b"")), max_size=8)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at the given places."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(BODIES, CUTS)
def test_lines_are_the_same_for_any_cut_of_the_bytes(bodies: list[bytes], cuts: list[int]) -> None:
    framing = Lines()
    data = b"".join(body + b"\n" for body in bodies)
    found = [line for piece in pieces(data, cuts) for line in framing.feed(piece)]
    assert [line for line in found if line] == [body for body in bodies if body]


@given(BODIES, CUTS)
def test_header_frames_are_the_same_for_any_cut_of_the_bytes(bodies: list[bytes], cuts: list[int]) -> None:
    framing = Headers()
    data = b"".join(b"".join(Headers.wrap(b"", body, b"")) for body in bodies)
    assert [body for piece in pieces(data, cuts) for body in framing.feed(piece)] == bodies


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_a_line_past_the_limit_costs_only_itself(cut: int) -> None:
    framing = Lines(limit=10_000)
    data = b"a\n" + b"x" * 50_000 + b"\nb\n"
    found = [line for i in range(0, len(data), cut) for line in framing.feed(data[i : i + cut])]
    assert [len(line) for line in found] == [1, 2 * HEAD, 1]
    assert [isinstance(line, TooLong) for line in found] == [False, True, False]


def test_an_endless_line_takes_bounded_memory() -> None:
    framing = Lines(limit=1000)
    for _ in range(1000):
        assert framing.feed(b"x" * 1000) == []
    assert len(framing._head or b"") <= HEAD  # pyright: ignore[reportPrivateUsage]
    assert framing._parts == []  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1",
        b"Content-Length: 1e3",
        b"Content-Length: 999999999999999999999",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Type: json",
    ],
)
def test_a_header_that_cannot_be_used_is_the_end(head: bytes) -> None:
    with pytest.raises(WireError):
        Headers().feed(head + b"\r\n\r\n{}")


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_a_body_past_the_limit_costs_only_itself(cut: int) -> None:
    framing = Headers(limit=10_000)
    long = b"".join(Headers.wrap(b"a", b"x" * 50_000, b"b"))
    data = long + b"".join(Headers.wrap(b"", b"{}", b""))
    found = [body for i in range(0, len(data), cut) for body in framing.feed(data[i : i + cut])]
    assert [len(body) for body in found] == [2 * HEAD, 2] and found[1] == b"{}"
    assert isinstance(found[0], TooLong) and found[0][:1] == b"a" and found[0][-1:] == b"b"


def test_header_names_are_read_in_any_case() -> None:
    assert Headers().feed(b"content-length:2\r\nX-Y: z\r\n\r\n{}") == [b"{}"]


def test_headers_that_never_end_are_the_end() -> None:
    with pytest.raises(WireError):
        Headers().feed(b"x" * (MAX_HEADER + 1))
