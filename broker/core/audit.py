"""Who called what, when, and how it ended: one JSON line for every call. Never an argument, never a result.

Rule 1: a call costs one tuple. Lines are made and written together, once a second or when `MANY` wait.
Rule 2: what waits is written when the broker ends. A broker that is killed loses its last second.
Rule 3: of a tool's result only its `isError` is read, and only of one short enough that this costs nothing: such a
        call ended `tool-error`. A longer one ended `ok`, because it was answered; failures are short.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call, Reply
from broker.core.rotated import Rotated
from broker.errors import BrokerError
from broker.permissions.redaction import Redactions

FILE = "audit.jsonl"
FILE_BYTES = 8 << 20  # about 40,000 calls; as many again in audit.jsonl.1
PAUSE = 1.0  # seconds between two writes
MANY = 256  # lines that are not kept waiting: together they take about a millisecond to make
LONGEST = 500  # characters of a name or URI
LOOKED = 64 << 10  # bytes of a result that is looked into; 64 KiB take 20 us
OF_TOOLS = ("tools/call", "tasks/result")  # methods whose result is a tool's

_encode_lines = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder().decode


class Line(Struct, frozen=True, gc=False):
    """One call, as it stands in the file."""

    time: str  # when it came in; UTC, RFC 3339
    client: str
    plugin: str  # empty if the name belongs to none
    method: str
    name: str  # the plugin's own name of the tool or prompt, or the URI
    ms: float
    outcome: str  # ok, tool-error (its plugin says so), cancelled, or the stable name of the error
    pid: int  # of the broker


_Note = tuple[float, float, str, str, str, Raw | None, str]


class Audit:
    """The audit file of one broker, in the folder `logs`. Names go there without the values of `redactions`."""

    def __init__(self, logs: Path, redactions: Redactions | None = None) -> None:
        self._redactions = redactions or Redactions()
        self._file = Rotated(logs / FILE, FILE_BYTES)
        self._notes: list[_Note] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, call: Call, plugin: str, began: float, ended: Reply | BaseException) -> None:
        """Keep how a call ended that began at `began` (monotonic): with a result, or an exception."""
        params, notes, outcome = call.params, self._notes, "ok"
        name = params.get("name") or params.get("uri") or params.get("ref")
        if isinstance(ended, BaseException):
            outcome = _outcome(ended)
            name = Raw(bytes(name)) if name is not None else None  # not the whole message it was a part of
        elif call.method in OF_TOOLS and _failed(ended):
            outcome = "tool-error"
        notes.append((began, time.monotonic(), call.caller.title, plugin, call.method, name, outcome))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self.flush)
        elif len(notes) >= MANY:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        notes, self._notes = self._notes, []
        if notes:
            self._file.append(_encode_lines(list(_lines(notes, self._redactions))))

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self.flush()
        self._file.close()


def _lines(notes: list[_Note], redactions: Redactions) -> Iterator[Line]:
    pid = os.getpid()
    now = time.time() - time.monotonic()  # the notes are of the last second, in which no clock drifts
    for began, ended, client, plugin, method, raw, outcome in notes:
        second, fraction = divmod(now + began, 1)
        moment = f"{_second(second)}.{int(fraction * 1000):03}Z"
        name = redactions.text(plugin, _name(raw)) if raw is not None else ""
        yield Line(moment, client, plugin, method, name, int((ended - began) * 10_000) / 10, outcome, pid)


@lru_cache(4)
def _second(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _name(raw: Raw) -> str:
    """The text of a name or URI; of a completion's `ref` the one it holds."""
    try:
        found = _decode(raw)
    except msgspec.MsgspecError:
        return ""
    if isinstance(found, dict):
        found = found.get("name") or found.get("uri")  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    return found[:LONGEST] if isinstance(found, str) else ""


class _Result(Struct):
    isError: bool = False


_decode_result = msgspec.json.Decoder(_Result).decode


def _failed(result: Reply) -> bool:
    """Whether a tool's result says that the tool failed."""
    if len(memoryview(result)) > LOOKED:
        return False
    held = bytes(result)
    try:
        return b'"isError"' in held and _decode_result(held).isError
    except msgspec.MsgspecError:
        return False


def _outcome(error: BaseException) -> str:
    if isinstance(error, BrokerError):
        return error.name
    return "internal-error" if isinstance(error, Exception) else "cancelled"
