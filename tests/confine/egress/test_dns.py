"""The DNS stub: it knows the listed names, and nothing it is sent upsets it."""

from __future__ import annotations

from struct import pack, unpack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.confine.egress.dns import answer
from broker.confine.egress.egress import Egress
from broker.confine.egress.names import Names

A, AAAA, ANY, HTTPS = 1, 28, 255, 65


def question(name: str, kind: int = A, *, flags: int = 0x0100, count: int = 1, group: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return pack("!HHHHHH", 0x1234, flags, count, 0, 0, 0) + labels + b"\0" + pack("!HH", kind, group)


def known(name: str) -> str | None:
    return "11.127.1.0" if name.lower() == "a.test" else None


def parts(said: bytes | None) -> tuple[int, int, bytes]:
    """Error code, number of answers, the last four bytes."""
    assert said is not None
    number, flags, questions, answers, *_ = unpack("!HHHHHH", said[:12])
    assert number == 0x1234 and flags & 0x8000 and questions == 1
    return flags & 15, answers, said[-4:]


def test_a_known_name_has_its_address() -> None:
    assert parts(answer(question("a.test"), known)) == (0, 1, bytes([11, 127, 1, 0]))


def test_the_question_comes_back_as_it_was_written() -> None:
    asked = question("A.tEsT")
    said = answer(asked, known)
    assert said is not None and said[12 : len(asked)] == asked[12:]


@pytest.mark.parametrize("kind", [AAAA, ANY, HTTPS, 16])
def test_a_known_name_has_nothing_but_that(kind: int) -> None:
    assert parts(answer(question("a.test", kind), known))[:2] == (0, 0)


def test_an_unknown_name_does_not_exist() -> None:
    assert parts(answer(question("b.test"), known))[:2] == (3, 0)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 12,
        question("a.test")[:-1],
        question("a.test", count=0),
        question("a.test", count=2),
        question("a.test", flags=0x8000),
        question("a.test", flags=0x2800),
        question("a.test")[:12] + b"\xc0\x0c\0\1\0\1",
        question("a.test") + b"x" * 512,
        question("a.test")[:12] + b"\0\0\1\0\1",
        question("a.test")[:12] + b"\2\xff\xfe\0\0\1\0\1",
        question("a.test")[:12] + b"\x3fa",
    ],
)
def test_what_is_no_plain_question_gets_no_answer(packet: bytes) -> None:
    assert answer(packet, known) is None


@given(st.binary(max_size=600))
@example(question("a.test"))
def test_no_packet_upsets_it(packet: bytes) -> None:
    said = answer(packet, known)
    assert said is None or (said[:2] == packet[:2] and len(said) <= len(packet) + 16)


@given(st.data())
def test_no_packet_that_is_nearly_a_question_upsets_it(data: st.DataObject) -> None:
    packet = bytearray(question("some.name.a.test"))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    names = Names()
    said = answer(bytes(packet), names.address)
    assert said is None or said[2] & 0x80


async def test_what_may_be_known_is_decided_by_the_list() -> None:
    told: list[str] = []
    egress = Egress("todos", ["a.test:443", "*.cdn.test:443", "8.8.8.8:53"], lambda denied: told.append(denied.host))
    assert egress.resolve("A.test.") == egress.resolve("a.test") is not None
    assert egress.resolve("x.cdn.test") and egress.resolve("localhost") == "127.0.0.1"
    assert [egress.resolve(name) for name in ("c2VjcmV0.evil.test", "8.8.8.8", "a\nb", "cdn.test")] == [None] * 4
    assert told == ["c2vjcmv0.evil.test", "8.8.8.8", "a\\nb", "cdn.test"]
