"""A folder for what a plugin would write to /tmp, where it has no private root: its own, gone when it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PREFIX = "broker-scratch-"


def make(name: str, run: Sequence[str] | None) -> str:
    """A new folder that only its user can enter, by its real path. What dead brokers left is removed. Blocks.

    In it are links to the programs in `run`, for `programs`.
    """
    base = Path(os.path.realpath(tempfile.gettempdir()))
    for left in base.glob(f"{_PREFIX}*"):
        maker = left.name.removeprefix(_PREFIX).partition("-")[0]
        if maker.isdigit() and not os.path.exists(f"/proc/{maker}") and _is_ours(left):
            shutil.rmtree(left, ignore_errors=True)
    made = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{name}-", dir=base)
    os.mkdir(programs(made))
    for path in dict.fromkeys(run or ()):
        with suppress(FileExistsError):  # another of the same name comes first
            os.symlink(path, os.path.join(programs(made), os.path.basename(path)))
    return made


def programs(folder: str) -> str:
    """The PATH of a plugin with this folder: a program that it may not start is not there, instead of forbidden.

    Many programs ask whether there is a tool by starting it, and are ready for "no such file" alone.
    """
    return os.path.join(folder, "bin")


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of our user's: in /tmp anybody can make one, or a link, of any name."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return path.is_dir() and not path.is_symlink() and found.st_uid == os.getuid()
