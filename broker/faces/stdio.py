"""The owner of file descriptors 0 and 1; nobody else may name them.

Rule 1: the wire moves to private duplicates. 0 becomes /dev/null and 1 becomes stderr, so that a stray `print`
in us or in a library cannot tear a frame.
"""

from __future__ import annotations

import os
import sys


def claim() -> tuple[int, int]:
    """Take standard input and output for the wire: (descriptor to read, descriptor to write)."""
    wire_in, wire_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


def is_open() -> bool:
    """Whether whoever started us gave us both; to be asked before any other file is opened."""
    return sys.stdin is not None and sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison]
