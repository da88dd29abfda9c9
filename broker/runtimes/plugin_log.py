"""What a plugin prints on stderr, and as noise on stdout: its last lines in memory, the whole in its log file."""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path

log = logging.getLogger("broker.plugin")

TAIL_LINES = 20  # in an error message
TAIL_BYTES = 2048
FILE_BYTES = 4 << 20  # then the file becomes NAME.log.1 and a new one is begun


class PluginLog:
    """The log of one plugin; `path` None keeps only the last lines."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        self._size = 0
        self._rest = b""
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)

    def write(self, data: bytes) -> None:
        """Keep what it printed; a disk that refuses costs the file, not the plugin."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-TAIL_BYTES:]
        self._lines.extend(line[-TAIL_BYTES:] for line in lines if line.strip())
        if self._path is not None:
            try:
                self._append(self._path, data)
            except OSError as error:
                log.warning("%s cannot be written: %s", self._path, error)
                self._path = None

    def tail(self) -> str:
        """Its last lines."""
        lines = [*self._lines, self._rest] if self._rest.strip() else list(self._lines)
        return b"\n".join(lines)[-TAIL_BYTES:].decode("utf-8", "replace").strip()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, path: Path, data: bytes) -> None:
        if self._fd >= 0 and self._size > FILE_BYTES:
            self.close()
            os.replace(path, path.with_name(path.name + ".1"))
        if self._fd < 0:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
        self._size += os.write(self._fd, data)
