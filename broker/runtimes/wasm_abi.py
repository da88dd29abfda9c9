"""What a WASM plugin must be before any of it runs: a core module with our exports and no imports but ours.

Rule 1: `counted` reads only the section headers of the file, before anything compiles it; it trusts no number.
Rule 2: `check` asks wasmtime for the types of what was compiled: its word decides, because calls rest on it.
Rule 3: nothing is instantiated here, so no start function ran yet.

The ABI: exports `memory`, `alloc(i32)->i32`, `handle(i32 ptr, i32 len)->i64` (the answer as ptr<<32|len; UTF-8 JSON
both ways), `protocol_version()->i32`, and if wanted `dealloc(i32 ptr, i32 len)` and `health()->i32`, 0 being well;
imports `host.log(i32 level, i32 ptr, i32 len)` and `host.call(i32 ptr, i32 len)->i64`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 64 << 20  # bytes of a file; a whole Python in WASM has 18 MB
PROTOCOLS = (1,)
MOST_EXPORTS = 1000  # looking through 99,000 costs half a second of Python
MOST_IMPORTS = 100  # there are 2 of ours, 46 of WASI
_MAGIC = b"\0asm"
_MODULE, _COMPONENT = b"\1\0\0\0", b"\x0d\0\1\0"
_IMPORTS, _MEMORIES, _EXPORTS = 2, 5, 7  # numbers of sections
_LONGEST_LEB = 5  # bytes of a u32

Signature = tuple[tuple[str, ...], tuple[str, ...]]
_REQUIRED: dict[str, Signature] = {
    "alloc": (("i32",), ("i32",)),
    "handle": (("i32", "i32"), ("i64",)),
    "protocol_version": ((), ("i32",)),
}
_OPTIONAL: dict[str, Signature] = {
    "dealloc": (("i32", "i32"), ()),
    "health": ((), ("i32",)),
    "_initialize": ((), ()),
}
IMPORTS: dict[str, Signature] = {
    "log": (("i32", "i32", "i32"), ()),
    "call": (("i32", "i32"), ("i64",)),
}
WASI = "wasi_snapshot_preview1"
# The functions of WASI's first edition by the types of their parameters; each gives an i32, but `proc_exit` nothing.
_WASI = {
    "": "sched_yield",
    "i": "fd_close fd_datasync fd_sync proc_exit proc_raise",
    "ii": "args_get args_sizes_get clock_res_get environ_get environ_sizes_get fd_fdstat_get fd_fdstat_set_flags"
    " fd_filestat_get fd_prestat_get fd_renumber fd_tell random_get sock_shutdown",
    "iI": "fd_filestat_set_size",
    "iIi": "clock_time_get",
    "iII": "fd_allocate fd_fdstat_set_rights",
    "iii": "fd_prestat_dir_name path_create_directory path_remove_directory path_unlink_file sock_accept",
    "iIIi": "fd_advise fd_filestat_set_times",
    "iIii": "fd_seek",
    "iiii": "fd_read fd_write poll_oneoff",
    "iiiIi": "fd_pread fd_pwrite fd_readdir",
    "iiiii": "path_filestat_get path_symlink sock_send",
    "iiiiii": "path_readlink path_rename sock_recv",
    "iiiiIIi": "path_filestat_set_times",
    "iiiiiii": "path_link",
    "iiiiiIIii": "path_open",
}
_TYPES = {"i": "i32", "I": "i64"}
GIVEN: dict[str, dict[str, Signature]] = {
    "host": IMPORTS,
    WASI: {
        name: (tuple(_TYPES[letter] for letter in letters), () if name == "proc_exit" else ("i32",))
        for letters, names in _WASI.items()
        for name in names.split()
    },
}


class Unfit(Exception):
    """The file is no plugin that can be run; the text completes "NAME cannot be started: …"."""


def counted(wasm: bytes) -> None:
    """Raises `Unfit` for what is no WASM, and for a core module with more of something than any plugin needs."""
    if len(wasm) > LARGEST:
        raise Unfit(f"its file has {len(wasm) >> 20} MiB; the most is {LARGEST >> 20} MiB")
    if wasm[:4] != _MAGIC:  # wasmtime would take the text format too
        raise Unfit("its file is no WASM binary")
    if wasm[4:8] == _COMPONENT:
        return
    if wasm[4:8] != _MODULE:
        raise Unfit("it is of a WASM version nobody knows")
    counts = _counts(wasm)
    for section, what, most in (
        (_IMPORTS, "imports", MOST_IMPORTS),
        (_MEMORIES, "memories", 1),
        (_EXPORTS, "exports", MOST_EXPORTS),
    ):
        if counts.get(section, 0) > most:
            raise Unfit(f"it has {counts[section]} {what}; the most is {most}")


def is_component(wasm: bytes) -> bool:
    """By its header."""
    return wasm[:4] == _MAGIC and wasm[4:8] == _COMPONENT


def check(module: Any) -> frozenset[str]:
    """The optional exports it has. Raises `Unfit` when its imports or exports are not those of the ABI."""
    for each in module.imports:
        known = GIVEN.get(each.module, {})
        if each.name not in known:
            raise Unfit(f"it imports {_quoted(each.module)}.{_quoted(each.name)}; broker gives only host.* and WASI")
        _same(f"its import {each.module}.{each.name}", each.type, known[each.name])
    exports = {each.name: each.type for each in module.exports}
    _has_memory(exports)
    for name, wanted in _REQUIRED.items():
        if name not in exports:
            raise Unfit(f"it does not export {name}")
        _same(f"its export {name}", exports[name], wanted)
    for name, wanted in _OPTIONAL.items():
        if name in exports:
            _same(f"its export {name}", exports[name], wanted)
    return frozenset(_OPTIONAL.keys() & exports.keys())


def _has_memory(exports: Mapping[str, Any]) -> None:
    from wasmtime import MemoryType

    if not isinstance(exports.get("memory"), MemoryType):
        raise Unfit("it does not export its memory as `memory`")


def _same(what: str, found: Any, wanted: Signature) -> None:
    from wasmtime import FuncType

    if not isinstance(found, FuncType):
        raise Unfit(f"{what} is no function")
    has = tuple(map(str, found.params)), tuple(map(str, found.results))
    if has != wanted:
        raise Unfit(f"{what} has the type {_written(has)}, and must have {_written(wanted)}")


def _written(signature: Signature) -> str:
    params, results = signature
    return f"({', '.join(params[:8])}) -> ({', '.join(results[:8])})"


def _quoted(name: str) -> str:
    return ascii(name[:40])[1:-1]


def _counts(wasm: bytes) -> dict[int, int]:
    """How many entries each section says it has, by the section's number."""
    counts: dict[int, int] = {}
    at = 8
    while at < len(wasm):
        section = wasm[at]
        size, at = _leb(wasm, at + 1)
        if size > len(wasm) - at:
            raise Unfit("its file is cut off, or no WASM")
        if section and size:
            counts[section] = counts.get(section, 0) + _leb(wasm, at)[0]
        at += size
    return counts


def _leb(wasm: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and where it ends."""
    value = 0
    for place, byte in enumerate(wasm[at : at + _LONGEST_LEB]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise Unfit("its file is cut off, or no WASM")
