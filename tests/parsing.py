"""Whether a frame says the same to a program in Python and to one in JavaScript.

Two values are the same when they have the same members, texts of the same UTF-16 units, and numbers of the same IEEE
double: that is all JavaScript keeps of a number, so of an integer above 2^53 the digits are for its readers to mind.
A name that occurs twice counts once, the last time, as both have it. What one of the two cannot read is a difference.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any, cast

from tests.servers import TESTS

SCRIPT = TESTS / "e2e" / "node" / "canonical.mjs"
LARGEST = 1 << 20  # bytes of a frame that is kept
BOUND = 60  # seconds

_kept: set[bytes] = set()


def keep(frames: Iterable[bytes]) -> None:
    """Have these compared when the tests are over."""
    _kept.update(frame for frame in frames if len(frame) <= LARGEST)


def kept() -> list[bytes]:
    return sorted(_kept)


def differences(frames: Sequence[bytes]) -> list[str]:
    """Every frame that the two read differently."""
    lines = b"".join(frame.rstrip(b"\n") + b"\n" for frame in frames)
    done = subprocess.run(["node", str(SCRIPT)], input=lines, capture_output=True, check=True, timeout=BOUND)
    read = done.stdout.decode("ascii").splitlines()
    assert len(read) == len(frames)
    return [
        f"{frame[:300]!r}\n  Python: {ours[:300]}\n  Node:   {theirs[:300]}"
        for frame, theirs in zip(frames, read, strict=True)
        if (ours := canonical(frame)) != theirs or ours == UNREADABLE
    ]


UNREADABLE = "unreadable"


def canonical(frame: bytes) -> str:
    """What Python reads, in the one spelling that canonical.mjs has too."""
    try:
        value = json.loads(frame.rstrip(b"\n").decode(), parse_int=float, parse_constant=_refused)
    except ValueError:
        return UNREADABLE
    return _spelled(value)


def _spelled(value: Any) -> str:
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, cast('list[Any]', value)))}]"
    if isinstance(value, dict):
        members = sorted(cast("dict[str, Any]", value).items(), key=lambda member: _units(member[0]))
        return "{" + ",".join(f"{_units(name)}:{_spelled(each)}" for name, each in members) + "}"
    return _units(value) if isinstance(value, str) else json.dumps(value)


def _units(text: str) -> str:
    return f'"{text.encode("utf-16-be", "surrogatepass").hex()}"'


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
