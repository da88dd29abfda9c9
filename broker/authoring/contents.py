"""Which files of a plugin's folder go into its archive.

Rule 1: nothing from outside of the folder, by whichever link. Nothing that is neither a file nor a folder.
Rule 2: what has a hidden name stays out, and so does what looks like a secret; that is said.
Rule 3: what only its author needs stays out: tests, caches, environments, what builds leave behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct

from broker.core.shape import Wrong

_SECRET = (
    ".env", ".env.*", "*.env", ".netrc", ".npmrc", ".pypirc", ".git-credentials", "credentials*.json", "id_rsa*",
    "id_ed25519*", "id_ecdsa*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx",
    *(f"secrets.{kind}" for kind in ("json", "toml", "yaml", "yml", "ini", "txt")),
)  # fmt: skip
_TESTS = ("conftest.py", "test_*.py", "*_test.py", "*.test.*", "tests.toml")
_OF_BUILDS = ("__pycache__", "*.pyc", "*.pyo", "*.egg-info", "*.tsbuildinfo", "*.d.lua", "*.wit", "broker-env.d.ts")
# Deeper down these may be names of anything.
_AT_THE_ROOT = ("tests", "test", "target", "coverage", "htmlcov", "zig-out", "Makefile", "*.mcpb", "*.dxt", "*.zip")
_PACKAGES = "node_modules"


class Contents(Struct, frozen=True):
    """What goes in: the file behind each name in the archive. And what was left out because it looks like a secret."""

    files: dict[str, Path]
    secrets: Sequence[str]


def contents(folder: Path, output: Path | None = None) -> Contents:
    """The files of a plugin, without its archive of before. Raises Wrong for what cannot be in one."""
    files: dict[str, Path] = {}
    secrets: list[str] = []

    def wanted(name: str, entry: os.DirEntry[str]) -> bool:
        if _matches(entry.name, _SECRET) and not os.path.isdir(entry.path):
            secrets.append(name)
            return False
        return not (entry.name.startswith(".") or entry.name == _PACKAGES or _is_of_its_author(name, entry))

    old = os.path.realpath(output) if output is not None else None
    files.update((name, path) for name, path in _walked(folder, folder, wanted) if os.path.realpath(path) != old)
    return Contents(files, sorted(secrets))


def everything(package: Path, folder: Path) -> dict[str, Path]:
    """The files of a package that lies in the plugin's folder, without those of the packages in it."""
    return dict(_walked(package, folder, lambda _, entry: entry.name not in (_PACKAGES, "__pycache__")))


def _is_of_its_author(name: str, entry: os.DirEntry[str]) -> bool:
    if _matches(entry.name, (*_TESTS, *_OF_BUILDS)) or ("/" not in name and _matches(name, _AT_THE_ROOT)):
        return True
    return os.path.isdir(entry.path) and os.path.lexists(
        os.path.join(entry.path, "pyvenv.cfg")
    )  # an environment of Python


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _walked(place: Path, folder: Path, wanted: Callable[[str, os.DirEntry[str]], bool]) -> Iterator[tuple[str, Path]]:
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
        path = Path(entry.path)
        name = path.relative_to(folder).as_posix()
        if not wanted(name, entry):
            continue
        _check_link(name, entry, folder)
        if entry.is_dir():
            yield from _walked(path, folder, wanted)
        elif stat.S_ISREG(entry.stat().st_mode):
            yield name, path
        else:
            raise Wrong(f"{name} is neither a file nor a folder.", fix="Take it out of the folder.")


def _check_link(name: str, entry: os.DirEntry[str], folder: Path) -> None:
    if not entry.is_symlink():
        return
    target = Path(os.path.realpath(entry.path))
    if not os.path.exists(target):
        raise Wrong(f"{name} is a link to nothing.", fix="Take it out of the folder.")
    if not target.is_relative_to(folder.resolve()) or target.is_dir():
        what = "a folder" if target.is_dir() else "a file outside of the plugin's folder"
        raise Wrong(f"{name} is a link to {what}.", fix="Put what it leads to in its place.")
