"""A file of the user's: read with a bound, and for TOML the lines its keys stand on.

tomllib forgets where a key stood, so a mistake is looked up with a small scan of the text. The scan runs only
when there is something to say; where it is unsure it names the table's line instead of the key's.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.core.shape import Key, Wrong
from broker.model import Problem

MAX_TOML = 1 << 20  # bytes; written by hand, the longest seen is a few KiB

# Patterns of the error path are compiled when there is an error.
_KEY = r"""(?:"(?:[^"\\]|\\.)*+"|'[^']*+'|[A-Za-z0-9_-]++)"""
_KEYS = rf"{_KEY}(?:\s*+\.\s*+{_KEY})*+"
_HEADER = rf"\s*(\[\[?)\s*({_KEYS})\s*\]"
_ASSIGN = rf"\s*({_KEYS})\s*="
_PART = r""""((?:[^"\\]|\\.)*+)"|'([^']*+)'|([A-Za-z0-9_-]++)"""
_AT_LINE = r" \(at (?:line (\d+), column \d+|end of document)\)$"
_PRIVATE = r"(?i)\b(env|headers)\b|token|secret|passw|api.?key|authorization"
_LONGEST_QUOTE = 160  # characters


class Faulty(Exception):
    """A file, or one entry of it, cannot be used; `problem` says where, what and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.where}: {problem.what}")
        self.problem = problem


def read_text(path: Path, limit: int) -> str:
    """The text of a regular UTF-8 file (a byte order mark is dropped) of at most `limit` bytes, or Faulty."""
    data = _read(path, limit)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Faulty(Problem(f"{path}:{line}", "it is not UTF-8 text.", "Save it as UTF-8.")) from None


def _read(path: Path, limit: int) -> bytes:
    try:
        # A FIFO would wait for a writer for ever, a device would never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise Faulty(Problem(str(path), "it is not a file.", "Name a regular file."))
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be used"
        raise Faulty(Problem(str(path), f"it cannot be read: {reason}.", "Check the path.")) from None
    if len(data) > limit:
        what = f"it is larger than {limit >> 10} KiB, too large for a configuration."
        raise Faulty(Problem(str(path), what, "Name the right file, or split it."))
    return data


class Toml:
    """A TOML file: its `data`, and the line each key stands on."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.split("\n")
        self._index: dict[tuple[Key, ...], int] | None = None
        self.data = self._parsed(text)

    def _parsed(self, text: str) -> dict[str, object]:
        try:
            return tomllib.loads(text)
        except RecursionError:
            raise Faulty(Problem(f"{self.path}:1", "its tables are nested too deeply.")) from None
        except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
            raise Faulty(self._syntax(str(error))) from None

    def _syntax(self, said: str) -> Problem:
        at = re.search(_AT_LINE, said)
        line = int(at[1]) if at and at[1] else len(self._lines)
        reason = re.sub(_AT_LINE, "", said)
        return Problem(f"{self.path}:{line}", f"this is not TOML: {reason}.{self._quoted(line)}")

    def where(self, keys: Sequence[Key]) -> str:
        """`file:line` of a key, or of the nearest table around it."""
        return f"{self.path}:{self._line(keys)[0]}"

    def blame(self, wrong: Wrong, *prefix: Key, about: str = "") -> Problem:
        """`wrong`, found below the keys of `prefix`, with its place and the line quoted."""
        keys = (*prefix, *wrong.keys)
        line, exact = self._line(keys)
        what = about + wrong.what + (self._quoted(line) if exact else "")
        return Problem(f"{self.path}:{line}", what, wrong.fix)

    def _line(self, keys: Sequence[Key]) -> tuple[int, bool]:
        if self._index is None:
            self._index = dict(_positions(self._lines))
        for size in range(len(keys), 0, -1):
            if line := self._index.get(tuple(keys[:size])):
                return line, size == len(keys) or isinstance(keys[size], int)
        return 1, False

    def _quoted(self, number: int) -> str:
        line = self._lines[number - 1].strip()
        if not line:
            return ""
        header = next((text for text in reversed(self._lines[:number]) if re.match(_HEADER, text)), "")
        if re.search(_PRIVATE, line) or re.search(_PRIVATE, header):
            name, equals, _ = line.partition("=")
            line = f"{name}{equals} …" if equals else line.partition('"')[0]
        return f" The line says: {line[:_LONGEST_QUOTE]}"


def read_toml(path: Path, limit: int = MAX_TOML) -> Toml:
    """The TOML file at `path`; Faulty when it cannot be read, is over `limit` bytes or is not TOML."""
    return Toml(path, read_text(path, limit))


def _positions(lines: Sequence[str]) -> Iterator[tuple[tuple[Key, ...], int]]:
    table: tuple[Key, ...] = ()
    counts: dict[tuple[Key, ...], int] = {}
    inside = ""  # the quotes of a multi-line string that is still open
    for number, line in enumerate(lines, 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if header := re.match(_HEADER, line):
            table = _split(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, number
        elif assign := re.match(_ASSIGN, line):
            keys = (*table, *_split(assign[1]))
            yield from ((keys[:size], number) for size in range(len(table) + 1, len(keys) + 1))
        inside = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")


def _split(keys: str) -> tuple[str, ...]:
    return tuple(part[0] or part[1] or part[2] for part in re.findall(_PART, keys))
