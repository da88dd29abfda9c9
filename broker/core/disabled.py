"""What a person switched off by `broker disable`, for every broker that starts later: a list of names in a file.

Rule 1: it only switches off. What is disabled in a configuration file cannot be enabled here.
Rule 2: the file is replaced as a whole, by one process at a time; one that cannot be read switches nothing off, and is
        told as a Problem.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from broker.errors import ConfigError
from broker.model import Problem
from broker.permissions.written import alone, replace_file

FILE = "disabled.json"


class Kept(Struct):
    """The content of the file."""

    disabled: list[str] = []


def switched_off(folder: Path) -> tuple[frozenset[str], list[Problem]]:
    """The names that are switched off, and what is wrong with the file."""
    path = folder / FILE
    try:
        return frozenset(msgspec.json.decode(path.read_bytes(), type=Kept).disabled), []
    except FileNotFoundError:
        return frozenset(), []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        what = f"it cannot be read, so nothing is switched off by it: {reason}."
        return frozenset(), [Problem(str(path), what, "Remove it, and run `broker disable NAME` again.")]


def switch(folder: Path, name: str, *, off: bool) -> bool:
    """Switch `name` off or on for brokers that start later; whether that changes anything. Raises `ConfigError`."""
    try:
        with alone(folder / FILE):
            old, _ = switched_off(folder)
            new = old | {name} if off else old - {name}
            if new == old:
                return False
            data = msgspec.json.encode(Kept(sorted(new)))
            replace_file(folder / FILE, data + b"\n", lasting=True)
            return True
    except OSError as error:
        raise ConfigError(
            f"{folder / FILE} cannot be written: {error.strerror or error}",
            hint="Make room on the disk, or correct the rights of the folder.",
        ) from None
