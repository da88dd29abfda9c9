"""What a person approved, as digests: a grant counts only for exactly that.

Rule 1: each part has a digest of its own, so that what changed can be said. No part can be read back: a command line
        may hold a token.
Rule 2: every text goes into a digest with its length before it: `a b` and `c` is not `a` and `b c`.
Rule 3: a program is read once. As long as size, times and inode are those of the approval, it is the same: the time
        of its last change is the kernel's, and no program without the machine's own rights can set it back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from broker.model import Spec
from broker.permissions.scopes import Table, texts

MANIFEST = "plugin.toml"
READ = 1 << 20  # bytes at a time; node is 100 MB


class Stamp(Struct, frozen=True):
    """What tells, without reading, that a file is the one that was read."""

    device: int
    inode: int
    size: int
    written: int  # both times in nanoseconds
    changed: int


class Program(Struct, frozen=True):
    """The file that is started, without links, and what was in it."""

    path: str
    sha256: str
    stamp: Stamp


class Approval(Struct, frozen=True):
    """Everything a grant is bound to."""

    manifest: str  # the file, or of a plain server its table of permissions
    command: str  # its command line, or the entry file's path
    folder: str  # where it is started
    environment: str  # the names of what its entry sets, not the values
    program: Program | None  # None: there was none when it was approved


def approval(spec: Spec, program: str | None, known: Sequence[Program] = ()) -> Approval:
    """What approving `spec` now approves. `program` is the path of what would be started.

    If it is one of the `known`, it is not read again. Raises `OSError` if the manifest or the program cannot be read.
    """
    return Approval(
        manifest=_digest(_manifest(spec)),
        command=_digest((spec.entry or "", *spec.command)),
        folder=_digest((spec.cwd or "",)),
        environment=_digest(sorted(spec.env)),
        program=None if program is None else examined(program, known),
    )


def changes(approved: Approval, now: Approval) -> str:
    """What is not as it was approved, as the rest of a sentence; empty if all is.

    A program that is not found now is no change: it cannot be started either.
    """
    parts = [said for name, said in _SAID.items() if getattr(approved, name) != getattr(now, name)]
    if now.program is not None and not _same(approved.program, now.program):
        parts.append(f"the program {now.program.path}")
    if not parts:
        return ""
    subject = " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[:-1] else parts)
    return f"{subject} changed since it was granted"


def examined(path: str, known: Sequence[Program] = ()) -> Program:
    """The program at `path`. Raises `OSError`."""
    path = os.path.realpath(path)
    with open(path, "rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        for each in known:
            if (each.path, each.stamp) == (path, stamp):
                return each
        sha256 = hashlib.sha256()
        while piece := file.read(READ):
            sha256.update(piece)
    return Program(path, sha256.hexdigest(), stamp)


_SAID = {
    "manifest": "what it asks for or its manifest",
    "command": "its command line",
    "folder": "the folder it is started in",
    "environment": "the names of its environment variables",
}


def _same(approved: Program | None, now: Program) -> bool:
    return approved is not None and (approved.path, approved.sha256) == (now.path, now.sha256)


def _manifest(spec: Spec) -> Iterator[str | bytes]:
    """A manifest's bytes; and always the table, which was read a moment earlier than the bytes."""
    if spec.version and spec.cwd:  # only a manifest gives a version
        with open(os.path.join(spec.cwd, MANIFEST), "rb") as file:
            yield file.read()
    yield from texts(spec.permissions or _NOTHING)


_NOTHING: Table = {}


def _digest(parts: Iterable[str | bytes]) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        # JSON can spell half of a surrogate pair, and a file name can be any bytes.
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        sha256.update(len(data).to_bytes(8, "big") + data)
    return sha256.hexdigest()


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
