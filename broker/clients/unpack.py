"""An archive that a stranger made, unpacked into a folder of its own: all of it or nothing.

Rule 1: no name leads out of the folder, or means one file on one system and another on the next.
Rule 2: only files and folders. No links, no devices, no set-id bits, no file of somebody else's.
Rule 3: what the archive says of itself is not believed: bytes are counted as they come.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from broker.core.shape import Wrong

MAX_ARCHIVE = 512 << 20  # bytes
MAX_FILES = 50_000  # of one archive; large ones bring their node_modules
MAX_FILE = 512 << 20  # bytes of one unpacked file
MAX_ALL = 2 << 30  # bytes of all of them
MAX_DEPTH = 64  # folders in folders
MAX_NAME = 1024  # bytes of a path

_ENCRYPTED = 1  # flag bit of a member
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE = 1 << 20
_WINDOWS = frozenset(("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))))


def unpacked(archive: Path, place: Path) -> Path:
    """A new folder in `place` with everything that is in the zip file. Wrong says why there is none, then."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=place))
    try:
        with _opened(archive) as held:
            members = list(_checked(held))
            _extract(held, members, folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, _UNREADABLE):
            raise Wrong(f"it cannot be unpacked: {error}.", fix="Get the file anew.") from None
        raise
    return folder


_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


def _opened(archive: Path) -> zipfile.ZipFile:
    if archive.stat().st_size > MAX_ARCHIVE:
        raise Wrong(f"it is larger than {MAX_ARCHIVE >> 20} MiB.")
    return zipfile.ZipFile(archive)


def _checked(held: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Every member with the names of its path. Wrong for one that must not be there."""
    members = held.infolist()
    if len(members) > MAX_FILES:
        raise Wrong(f"it has more than {MAX_FILES} files.")
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for member in members:
        names = _names(member)
        same = tuple(unicodedata.normalize("NFKC", name).casefold() for name in names)
        above = {same[:end] for end in range(1, len(same))}
        twice = same in files or (same in folders and not member.is_dir())
        if twice or above & files:
            raise Wrong(f"{_shown(member)} is in it twice, or as a file and as a folder.")
        folders |= above
        (folders if member.is_dir() else files).add(same)
        _check_kind(member)
        yield member, names


def _names(member: zipfile.ZipInfo) -> tuple[str, ...]:
    text = member.orig_filename
    names = tuple(text.removesuffix("/").split("/"))
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NAME or len(names) > MAX_DEPTH:
        raise Wrong(f"{_shown(member)} has too long a name.")
    if not text.isprintable() or any(mark in text for mark in '\\:*?"<>|'):
        raise Wrong(f"{_shown(member)} has a character in its name that not every system takes.")
    for name in names:
        if name in ("", ".", "..") or name != name.strip() or name.endswith("."):
            raise Wrong(f"{_shown(member)} has a name that leads elsewhere.")
        if name.partition(".")[0].lower() in _WINDOWS:
            raise Wrong(f"{_shown(member)} is the name of a device on Windows.")
    return names


def _check_kind(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind and (kind == stat.S_IFDIR) != member.is_dir()):
        raise Wrong(f"{_shown(member)} is neither a file nor a folder, but a link or a device.")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise Wrong(f"{_shown(member)} is encrypted, or packed in a way nobody uses.")


def _extract(held: zipfile.ZipFile, members: list[tuple[zipfile.ZipInfo, tuple[str, ...]]], folder: Path) -> None:
    left = MAX_ALL
    for member, names in members:
        path = folder.joinpath(*names)
        if member.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        left -= _write(held, member, path, min(left, MAX_FILE))


def _write(held: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> int:
    """The bytes it had. Wrong if there are more than `most`."""
    mode = 0o700 if member.external_attr >> 16 & 0o100 else 0o600
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    count = 0
    with open(number, "wb") as file, held.open(member) as source:
        while piece := source.read(_PIECE):
            count += len(piece)
            if count > most:
                raise Wrong(
                    f"it is larger than {MAX_ALL >> 30} GiB unpacked, or a file in it than {MAX_FILE >> 20} MiB."
                )
            file.write(piece)
    return count


def _shown(member: zipfile.ZipInfo) -> str:
    return ascii(member.orig_filename[:200])
