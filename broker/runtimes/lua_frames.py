"""What the broker and a Lua worker say to each other: frames of a length, a kind, a number of seconds, and parts.

Imports nothing of ours: the worker runs it too.
"""

from __future__ import annotations

import struct

MOST = 16 << 20  # bytes of a frame; a script's heap is not larger unless its user says so
LOAD, INVOKE, ANSWER, REFUSAL = b"L", b"I", b"A", b"N"  # to the worker
RESULT, TEXT, FAILURE, KILLED, ASK = b"R", b"T", b"E", b"K", b"H"  # from it
HEAD = struct.Struct("!Icd")
_LENGTH = struct.Struct("!I")


class Torn(Exception):
    """Bytes that are no frame."""


def frame(kind: bytes, *parts: bytes, seconds: float = 0.0) -> bytes:
    """One frame."""
    body = b"".join([_LENGTH.pack(len(part)) + part for part in parts])
    return HEAD.pack(len(body), kind, seconds) + body


def parts(body: bytes) -> list[bytes]:
    """The parts of a body. Raises `Torn`."""
    found: list[bytes] = []
    at = 0
    while at < len(body):
        if at + 4 > len(body):
            raise Torn
        end = at + 4 + _LENGTH.unpack_from(body, at)[0]
        if end > len(body):
            raise Torn
        found.append(body[at + 4 : end])
        at = end
    return found


class Frames:
    """Cuts what arrives into frames of at most `MOST` bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, float, list[bytes]]]:
        """The frames that are whole now: kind, seconds, parts. Raises `Torn`."""
        self._buffer += data
        found: list[tuple[bytes, float, list[bytes]]] = []
        while len(self._buffer) >= HEAD.size:
            length, kind, seconds = HEAD.unpack_from(self._buffer)
            if length > MOST:
                raise Torn
            end = HEAD.size + length
            if len(self._buffer) < end:
                break
            found.append((kind, seconds, parts(bytes(self._buffer[HEAD.size : end]))))
            del self._buffer[:end]
        return found
