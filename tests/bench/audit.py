"""Whether every call was answered exactly once with exactly its text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import msgspec
from msgspec import Raw, Struct

ID_DIGITS = 10


class Part(Struct):
    """One piece of content."""

    text: str = ""


class Outcome(Struct):
    """The result of `tools/call`."""

    content: list[Part] = []


class Message(Struct):
    """Whatever a target says."""

    id: int | str | None = None
    method: str | None = None
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


_decode = msgspec.json.Decoder(Message).decode
_outcome = msgspec.json.Decoder(Outcome).decode


@cache
def _filling(size: int) -> str:
    return "x" * size


def text_for(id: int, size: int) -> str:
    """What call `id` says, in `size` bytes; no two calls say the same."""
    return f"{id:0{ID_DIGITS}d}" + _filling(size - ID_DIGITS)


@dataclass
class Faults:
    """Replies that were not as they must be."""

    lost: int = 0
    wrong: int = 0  # an error, or not the text of this call
    unasked: int = 0  # a second reply, or one to an id nobody used
    junk: int = 0  # lines that are no message

    def __bool__(self) -> bool:
        return any((self.lost, self.wrong, self.unasked, self.junk))

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in vars(self).items() if count) or "none"


class Audit:
    """The calls of one session and what became of them."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._open: dict[int, int] = {}  # id -> size of its text

    @property
    def open(self) -> int:
        """How many calls are not answered."""
        return len(self._open)

    def asked(self, id: int, size: int) -> None:
        self._open[id] = size

    def hear(self, data: bytes) -> None:
        """Judge whole lines of a target."""
        for line in data.split(b"\n"):
            if line:
                self._hear(line)

    def lose(self) -> None:
        """No more will be said."""
        self.faults.lost += len(self._open)
        self._open.clear()

    def _hear(self, line: bytes) -> None:
        try:
            message = _decode(line)
        except msgspec.MsgspecError:
            self.faults.junk += 1
            return
        if message.method is not None:  # a notification, or a request that may go unanswered here
            return
        size = self._open.pop(message.id, None) if isinstance(message.id, int) else None
        if size is None or not isinstance(message.id, int):
            self.faults.unasked += 1
        elif not _says(message, text_for(message.id, size)):
            self.faults.wrong += 1


def _says(message: Message, text: str) -> bool:
    try:
        content = _outcome(message.result).content
    except msgspec.MsgspecError:
        return False
    return len(content) == 1 and content[0].text == text
