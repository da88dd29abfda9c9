"""The comparison of Python and Node can tell a difference, and finds none where there is none."""

from __future__ import annotations

import pytest

from tests import parsing

SAME = [
    b'{"a":1,"a":2,"__proto__":{"b":1},"10":1,"9":2,"":0}',
    b'"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\u2028 \xe2\x80\xa8 \\u0000"',
    b'"\\ud800"',
    b"[0,-0,-0.0,1E400,-1e400,5e-324,1e-400,9007199254740993,18446744073709551617,0.1,1.0,1e2]",
    b"[" * 300 + b"]" * 300,
    b"[true,false,null]",
]
UNREADABLE = [b"NaN", b"[Infinity]", b"\xef\xbb\xbf{}", b'"\xff"', b'"\x01"', b"01", b"{} {}", b""]


def test_what_both_read_the_same_is_no_difference() -> None:
    assert parsing.differences(SAME) == []


@pytest.mark.parametrize("frame", UNREADABLE)
def test_what_one_of_them_cannot_read_is_a_difference(frame: bytes) -> None:
    assert len(parsing.differences([b"{}", frame])) == 1


def test_zero_and_minus_zero_and_neighbours_are_told_apart() -> None:
    found = [
        parsing.canonical(each) for each in (b"0", b"-0", b"1", b'"1"', b"true", b"9007199254740992", b"[]", b"{}")
    ]
    assert len(set(found)) == len(found)
    assert parsing.canonical(b"9007199254740993") == parsing.canonical(b"9007199254740992")
