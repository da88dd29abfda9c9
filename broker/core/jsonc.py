"""JSON as people write it (comments, trailing commas) made plain, and the members of an object in order."""

from __future__ import annotations

import re
from typing import NamedTuple

# A string is matched first so that what looks like a comment inside it stays. The possessive `*+` and the
# open ends keep every pattern linear in hostile text.
_STRING = rb'"(?:[^"\\\n]|\\.)*+"?'
_COMMENT = rb"(?s)" + _STRING + rb"|//[^\n]*+|/\*.*?(?:\*/|\Z)"
_COMMA = rb"(?s)" + _STRING + rb"|,(?=\s*+[}\]])"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)


class Member(NamedTuple):
    """One `"key": value` of an object: both as they are written, and the offset of the key."""

    key: bytes
    value: bytes
    offset: int


def plain(text: bytes) -> bytes:
    """`text` with comments and trailing commas blanked: every other byte keeps its line and column."""
    return re.sub(_COMMA, _spaced, uncommented(text))


def uncommented(text: bytes) -> bytes:
    """`text` with comments blanked, its trailing commas kept."""
    return re.sub(_COMMENT, _spaced, text)


def members(text: bytes) -> list[Member]:
    """The members of the valid JSON object `text`, also those whose key comes twice."""
    found: list[Member] = []
    key: re.Match[bytes] | None = None
    depth = start = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        if key is not None and ((depth == 1 and mark == b",") or depth == 0):
            found.append(Member(key[0], text[start : token.start()].strip(), key.start()))
            key = None
        elif depth == 1 and key is None and mark[:1] == b'"':
            key = token
        elif depth == 1 and mark == b":":
            start = token.end()
    return found


def _spaced(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0][:1] == b'"' else re.sub(rb"[^\n]", b" ", found[0])
