"""A DNS server for one plugin: it answers names the plugin may know with made-up addresses, and asks nobody.

Rule 1: no name a plugin asks for leaves the broker, so a lookup carries nothing out. What it may not know does not
        exist (NXDOMAIN), and that is told.
Rule 2: only IPv4 addresses are made up: AAAA and every other type exists without an answer.
Rule 3: what is no well-formed question gets no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack, unpack_from

LARGEST = 512  # bytes of a question: RFC 1035; with extensions real ones stay below this
TTL = 30  # seconds; nothing changes meanwhile, but a program should come back before its name is forgotten

_HEADER = 12  # bytes
_A, _INTERNET = 1, 1
_NOERROR, _NXDOMAIN = 0, 3
_QUERY_BITS = 0xF8  # of the third byte: an answer, or an operation other than a query
_ANSWER, _RECURSION = 0x8080, 0x0100  # this is an answer and recursion is available; recursion was desired
_NAME_OF_QUESTION = b"\xc0\x0c"

Resolve = Callable[[str], str | None]  # name as it was asked -> address in text; None: it does not exist


def answer(question: bytes, resolve: Resolve) -> bytes | None:
    """The answer to a packet; None if it is none that is answered."""
    try:
        name, kind, end = _read(question)
    except (IndexError, ValueError):
        return None
    address = resolve(name)
    record = _record(address) if address is not None and kind == (_A, _INTERNET) else b""
    flags = _ANSWER | (_RECURSION if question[2] & 1 else 0) | (_NXDOMAIN if address is None else _NOERROR)
    return question[:2] + pack("!HHHHH", flags, 1, bool(record), 0, 0) + question[_HEADER:end] + record


def _read(question: bytes) -> tuple[str, tuple[int, int], int]:
    """The name, its type and class, and where the question ends. Raises `IndexError`, `ValueError`."""
    if not _HEADER < len(question) <= LARGEST or question[2] & _QUERY_BITS or question[4:6] != b"\0\1":
        raise ValueError("not one question")
    at, labels = _HEADER, list[str]()
    while length := question[at]:
        if length > 63:  # a pointer, or nothing that exists
            raise ValueError("not a plain name")
        labels.append(question[at + 1 : at + 1 + length].decode("ascii"))
        at += length + 1
    if len(question) < at + 5 or not labels:
        raise ValueError("cut off")
    kind, group = unpack_from("!HH", question, at + 1)
    return ".".join(labels), (kind, group), at + 5


def _record(address: str) -> bytes:
    numbers = bytes(int(number) for number in address.split("."))
    return _NAME_OF_QUESTION + pack("!HHIH", _A, _INTERNET, TTL, len(numbers)) + numbers
