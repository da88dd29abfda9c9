"""What a plugin prints on stderr, and as noise on stdout: its last lines in memory, the whole in its log file."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from broker.core.rotated import Rotated
from broker.permissions.redaction import Lines, Redaction

TAIL_LINES = 20  # in an error message
TAIL_BYTES = 2048
FILE_BYTES = 4 << 20  # then the file becomes NAME.log.1 and a new one is begun
LONGEST = 8 << 10  # bytes that may wait for the end of their line; what is longer becomes several lines


class PluginLog:
    """The log of one plugin, without the values of `redaction`; `path` None keeps only the last lines.

    The file gets whole lines, because several brokers may write it at once.
    """

    def __init__(self, path: Path | None, redaction: Redaction | None = None) -> None:
        self._clean = Lines(redaction) if redaction else None
        self._file = Rotated(path, FILE_BYTES) if path is not None else None
        self._rest = b""
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)

    def write(self, data: bytes) -> None:
        """Keep what it printed; a disk that refuses costs the file, not the plugin."""
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        if len(rest) > LONGEST:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._rest = rest
        self._keep(whole + newline)

    def tail(self) -> str:
        """Its last lines."""
        rest = self._rest if self._clean is None else self._clean.peek(self._rest)
        lines = [*self._lines, rest] if rest.strip() else list(self._lines)
        return b"\n".join(lines)[-TAIL_BYTES:].decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Write what has no end of line yet, and let go of the file; what is written later opens it again."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._keep(rest + b"\n")
        if self._file is not None:
            self._file.close()

    def _keep(self, lines: bytes) -> None:
        if self._clean is not None:
            lines = b"\n".join(map(self._clean.take, lines.split(b"\n")))
        self._lines.extend(line[-TAIL_BYTES:] for line in lines.split(b"\n") if line.strip())
        if self._file is not None and lines:
            self._file.append(lines)
