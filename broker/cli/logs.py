"""`broker log`: the end of a plugin's own log, or of the audit file, and what comes after it.

Rule 1: a file is read through its descriptor; when the name stands for another file, the old one is read to its end.
Rule 2: what a plugin printed reaches a terminal with its control characters made visible.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from broker.cli.screen import plain
from broker.core.audit import FILE, Line
from broker.core.shape import nearest
from broker.errors import NotFound
from broker.model import Settings

BLOCK = 64 << 10  # bytes that are read at once
LONGEST = 1 << 20  # bytes of a line without end that are kept
LOOK = 0.2  # seconds between two looks for more

Show = Callable[[bytes], str | None]


def log_of(name: str, logs: Path, found: Settings) -> Path:
    """The log file of a plugin. Raises `NotFound` for a name that is not configured and never wrote one."""
    folder = logs / "plugins"
    known = {spec.name for spec in found.plugins} | {path.name.split(".log")[0] for path in _files(folder)}
    if name not in known:
        near = nearest(name, known)
        more = f"; did you mean {near}?" if near else f"; there are {', '.join(sorted(known)) or 'none'}"
        raise NotFound(f"no plugin is called {name}{more}", hint="Run `broker list` to see them.")
    return folder / f"{name}.log"


def audit_of(logs: Path) -> Path:
    """The audit file."""
    return logs / FILE


def show(path: Path, lines: int, *, follow: bool, shown: Show) -> int:
    """Print the last lines of a file and of the one it was before, then, with `follow`, those to come."""
    tail = Tail(path)
    said = False
    for line in tail.last(lines):
        said = _say(shown(line)) or said
    if not (said or follow):
        click.echo(f"Nothing is in {path}.", err=True)
    while follow:
        for line in tail.more():
            _say(shown(line))
        time.sleep(LOOK)
    return 0


def printed(line: bytes) -> str:
    """A line of a plugin's."""
    return plain(line.decode("utf-8", "replace").rstrip("\r"))


def whole(line: bytes) -> str:
    """An audit line as it is."""
    text = line.decode("utf-8", "replace")
    return plain(text) if sys.stdout.isatty() else text


def readable(line: bytes) -> str | None:
    """An audit line for a person, in local time; None for one that a crash or a full disk tore."""
    try:
        call = msgspec.json.decode(line, type=Line)
        at = datetime.fromisoformat(call.time).astimezone()
    except ValueError:
        return None
    words = (
        f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}",
        f"{call.client} ->",
        call.plugin or "(nobody)",
        call.method,
        call.name,
        _took(call.ms),
        call.outcome,
    )
    return plain("  ".join(word for word in words if word)).replace("\n", "\\n")


class Tail:
    """A file that grows and is now and then another under the same name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""

    def last(self, count: int) -> list[bytes]:
        """The last `count` whole lines there are, of the file and of the one before it."""
        self._open()
        end = os.lseek(self._fd, 0, os.SEEK_END) if self._fd >= 0 else 0
        lines, self._rest = _last_lines(self._fd, end, count) if self._fd >= 0 else ([], b"")
        if len(lines) < count:
            lines = _older(self._path.with_name(self._path.name + ".1"), count - len(lines)) + lines
        return lines[len(lines) - count :] if count else []

    def more(self) -> Iterator[bytes]:
        """The lines that came since."""
        yield from self._new()
        if not self._is_current():
            yield from self._new()  # what came between the two looks
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            if self._rest:
                yield self._rest
                self._rest = b""
            self._open()
            yield from self._new()

    def _new(self) -> Iterator[bytes]:
        while self._fd >= 0 and (data := os.read(self._fd, BLOCK)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[:LONGEST]
            yield from lines

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._fd = -1

    def _is_current(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return self._fd < 0
        if self._fd < 0:
            return False
        ours = os.fstat(self._fd)
        cut = ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR)  # somebody emptied it
        return not cut and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)


def _last_lines(fd: int, end: int, count: int) -> tuple[list[bytes], bytes]:
    """The last `count` whole lines before `end`, and what has no end of line yet; read from the back."""
    data, start = b"", end
    while start > 0 and data.count(b"\n") <= count:
        size = min(BLOCK, start)
        start -= size
        data = os.pread(fd, size, start) + data
    *lines, rest = data.split(b"\n")
    return (lines[-count:] if count else []), rest[-LONGEST:]


def _older(path: Path, count: int) -> list[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            lines, rest = _last_lines(file.fileno(), end, count)
    except FileNotFoundError:
        return []
    return [*lines, rest] if rest else lines


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*.log*"))


def _say(text: str | None) -> bool:
    if text is None:
        return False
    click.echo(text)
    return True


def _took(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
