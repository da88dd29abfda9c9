"""Where the inside of a JSON string can be cut, without decoding it."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_BACKSLASH = b"\\"
_ESCAPE = 6  # bytes of the longest, a backslash with u and four digits
_HIGH = re.compile(rb"\\u[dD][89abAB]..", re.DOTALL)  # the first half of a character, as two escapes


def inside(string: Raw) -> bytes:
    """What stands between the quotes of a JSON string. Raises `MsgspecError` for any other value."""
    raw = bytes(string)
    if raw[:1] != b'"':
        _text(raw)
    return raw[1:-1]


def within(text: str) -> bytes:
    """`text` as the inside of a JSON string."""
    return _encode(text)[1:-1]


def boundary(string: bytes, start: int, end: int) -> int:
    """The last place up to `end` between two characters of what is inside a string; `start` is one."""
    if end >= len(string):
        return len(string)
    while string[end] & 0xC0 == 0x80:  # within a character of UTF-8
        end -= 1
    end = _before_escape(string, start, end)
    if _HIGH.fullmatch(string, end - _ESCAPE, end) and _before_escape(string, start, end - 1) == end - _ESCAPE:
        end -= _ESCAPE
    return end


def _before_escape(string: bytes, start: int, end: int) -> int:
    """`end`, or where the escape begins that it is in."""
    at = string.rfind(_BACKSLASH, max(start, end - _ESCAPE), end)
    if at < 0:
        return end
    run = string[start : at + 1]
    if (len(run) - len(run.rstrip(_BACKSLASH))) % 2 == 0:  # the second of a pair: a backslash itself
        return end
    length = _ESCAPE if string[at + 1 : at + 2] == b"u" else 2
    return end if at + length <= end else at
