"""Small changes to bytes, most of them of the kind that breaks parsers: cuts, repeats, tokens in the wrong place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\r", b"\0", b"null", b"true", b"1e999", b"-0", b"\\ud800",
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b'"id":1,', b'"jsonrpc":"2.0",',
    b'"method":',
    b'"params":{}', b'"result":{}', b'"error":{}', b'"_meta":', b"@ID@", b"9" * 40, b"[" * 200, b"/*", b"NaN",
]  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """`data` after one to six changes; `others` are there to be mixed in."""
    for _ in range(random.randint(1, 6)):
        data = random.choice(_CHANGES)(data, others, random)
    return data


def _flip(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    return data[:start] + data[end:]


def _repeat(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _insert(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(TOKENS) + data[at:]


def _mix(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(others)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


_CHANGES: list[Callable[[bytes, Sequence[bytes], Random], bytes]] = [_flip, _cut, _repeat, _insert, _insert, _mix]
