"""What a program of Linux needs to be loaded, read from its file; nothing is run (`ldd` would run it)."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

_INTERP, _DYNAMIC, _LOAD = 3, 2, 1
_NEEDED, _STRTAB, _RPATH, _RUNPATH = 1, 5, 15, 29


class Needs(Struct, frozen=True):
    """Of one program or library."""

    loader: str = ""  # the program that loads it; empty: it is a library, or holds everything itself
    libraries: tuple[str, ...] = ()  # names, as the loader looks for them
    folders: tuple[str, ...] = ()  # where it says that they are, before the system's


def is_program(path: str) -> bool:
    """Whether the file is one that the kernel loads itself, not a script."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def libraries(path: str) -> Iterator[str]:
    """The loader and every library that lies in a folder the program names itself, as deep as they go."""
    waiting, seen = [os.path.realpath(path)], set[str]()
    while waiting:
        program = waiting.pop()
        if program in seen:
            continue
        seen.add(program)
        found = needs(program)
        if is_program(found.loader):  # a header can name any file
            yield found.loader
        for library in found.libraries:
            lies = next((at for folder in found.folders if is_program(at := os.path.join(folder, library))), None)
            if lies is not None:
                yield lies
                waiting.append(os.path.realpath(lies))


def needs(path: str) -> Needs:
    """What the file says; nothing if it is none, or none that can be read."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(path, data)
    except (OSError, struct.error, ValueError, LookupError, StopIteration):
        return Needs()


def system_folders(conf: Path = Path("/etc/ld.so.conf")) -> list[str]:
    """The folders that the machine's owner added to those of the loader."""
    try:
        lines = conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = list[str]()
    for line in (line.partition("#")[0].strip() for line in lines):
        if line.startswith("include "):
            pattern = Path(line.split(None, 1)[1])
            for each in sorted(pattern.parent.glob(pattern.name)):
                found += system_folders(each)
        elif line.startswith("/"):
            found.append(line)
    return found


def _read(path: str, data: mmap.mmap) -> Needs:
    if data[:5] != b"\x7fELF\x02":  # 32-bit programs are found where the system keeps them
        return Needs()
    order = "<" if data[5] == 1 else ">"
    (table,) = struct.unpack_from(f"{order}Q", data, 32)
    size, count = struct.unpack_from(f"{order}HH", data, 54)
    parts = [struct.unpack_from(f"{order}IIQQQQQQ", data, table + size * n) for n in range(count)]
    loader = b"".join(data[part[2] : part[2] + part[5]] for part in parts if part[0] == _INTERP).rstrip(b"\0")
    loads = {part[3]: (part[2], part[5]) for part in parts if part[0] == _LOAD}
    names, folders = list[str](), list[str]()
    for part in parts:
        if part[0] == _DYNAMIC:
            names, folders = _dynamic(data, order, part[2], part[5], loads)
    origin = os.path.dirname(path)
    found = [folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", origin) for folder in folders]
    return Needs(os.fsdecode(loader), tuple(names), tuple(os.path.normpath(f) for f in found if f.startswith("/")))


def _dynamic(
    data: mmap.mmap, order: str, at: int, size: int, loads: Mapping[int, tuple[int, int]]
) -> tuple[list[str], list[str]]:
    """Names of libraries, and folders; `loads` says where in the file an address lies: address -> (place, size)."""
    pairs = list(struct.iter_unpack(f"{order}QQ", data[at : at + size // 16 * 16]))
    address = dict(pairs)[_STRTAB]
    strings = next(place + address - start for start, (place, n) in loads.items() if start <= address < start + n)

    def text(offset: int) -> str:
        return os.fsdecode(data[strings + offset : data.find(b"\0", strings + offset)])

    named = [text(value) for tag, value in pairs if tag == _NEEDED]
    folders = [text(value) for tag, value in pairs if tag in (_RPATH, _RUNPATH)]
    return named, [folder for joined in folders for folder in joined.split(":") if folder]
