"""A folder for what a plugin would write to /tmp, where it has no private root: its own, gone when it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "broker-scratch-"


def make(name: str) -> str:
    """A new folder that only its user can enter, by its real path. What dead brokers left is removed. Blocks."""
    base = Path(os.path.realpath(tempfile.gettempdir()))
    for left in base.glob(f"{_PREFIX}*"):
        maker = left.name.removeprefix(_PREFIX).partition("-")[0]
        if maker.isdigit() and not os.path.exists(f"/proc/{maker}") and _is_ours(left):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{name}-", dir=base)


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of our user's: in /tmp anybody can make one, or a link, of any name."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return path.is_dir() and not path.is_symlink() and found.st_uid == os.getuid()
