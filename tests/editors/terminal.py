"""An editor in a terminal that nobody sees: its keys are typed, its screen is read as a person reads it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pyte

BOUND = 25.0  # seconds for anything to appear
PAUSE = 0.1
ROWS, COLUMNS = 40, 140
ESCAPE = "\x1b"


class Screen(pyte.Screen):
    """One that swallows what editors ask of their terminal, and what only newer ones know."""

    def report_device_status(self, *args: Any, **kwargs: Any) -> None:
        """There is nobody to report to."""

    def select_graphic_rendition(self, *attrs: int, private: bool = False) -> None:
        """Private ones are about keys."""
        if not private:
            super().select_graphic_rendition(*attrs)


class Terminal:
    """One running editor."""

    def __init__(self, words: Sequence[str | Path], env: Mapping[str, str], folder: Path) -> None:
        self._screen = Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._process: Any = pexpect.spawn(
            str(words[0]), [*map(str, words[1:])], env=dict(env), cwd=str(folder), dimensions=(ROWS, COLUMNS)
        )

    def type(self, keys: str) -> None:
        self._process.send(keys)

    def command(self, text: str) -> None:
        """Type an Ex command."""
        self.type(f":{text}\r")

    def look(self) -> str:
        """What is on the screen now, after reading for a moment."""
        end = time.monotonic() + PAUSE
        while time.monotonic() < end:
            try:
                self._stream.feed(self._process.read_nonblocking(65536, timeout=PAUSE))
            except pexpect.TIMEOUT:
                break
            except pexpect.EOF:
                break
        return "\n".join(line.rstrip() for line in self._screen.display)

    def seen(self, *texts: str) -> str:
        """Wait until all of this is on the screen at once; the screen."""
        end = time.monotonic() + BOUND
        while time.monotonic() < end:
            screen = self.look()
            if all(text in screen for text in texts):
                return screen
            time.sleep(PAUSE / 4)
        raise AssertionError(f"{texts} never appeared; there was\n{self.look()}")

    def shows(self, text: str, seconds: float) -> bool:
        """Whether this is on the screen before the seconds are over."""
        end = time.monotonic() + seconds
        while text not in self.look():
            if time.monotonic() > end:
                return False
        return True

    def gone(self, text: str) -> None:
        """Wait until this is not on the screen any more."""
        end = time.monotonic() + BOUND
        while text in (screen := self.look()):
            assert time.monotonic() < end, f"{text!r} stayed\n{screen}"

    def ended(self) -> int:
        """Wait until it has quit; the exit code."""
        end = time.monotonic() + BOUND
        while self._process.isalive():
            self.look()
            assert time.monotonic() < end, f"it does not quit\n{self.look()}"
        return int(self._process.exitstatus if self._process.exitstatus is not None else -1)

    def close(self) -> None:
        self._process.close(force=True)


@contextmanager
def opened(words: Sequence[str | Path], env: Mapping[str, str], folder: Path) -> Generator[Terminal]:
    """An editor that is killed if the test did not quit it."""
    terminal = Terminal(words, env, folder)
    try:
        yield terminal
    finally:
        terminal.close()
