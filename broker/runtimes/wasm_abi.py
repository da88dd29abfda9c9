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
MOST_IMPORTS = 2  # each of ours once
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
_OPTIONAL: dict[str, Signature] = {"dealloc": (("i32", "i32"), ()), "health": ((), ("i32",))}
IMPORTS: dict[str, Signature] = {
    "log": (("i32", "i32", "i32"), ()),
    "call": (("i32", "i32"), ("i64",)),
}


class Unfit(Exception):
    """The file is no plugin that can be run; the text completes "NAME cannot be started: …"."""


def counted(wasm: bytes) -> None:
    """Raises `Unfit` for what is no core module, or has more of something than any plugin needs."""
    if len(wasm) > LARGEST:
        raise Unfit(f"its file has {len(wasm) >> 20} MiB; the most is {LARGEST >> 20} MiB")
    if wasm[:4] != _MAGIC:  # wasmtime would take the text format too
        raise Unfit("its file is no WASM binary")
    if wasm[4:8] == _COMPONENT:
        raise Unfit("it is a WASM component, and only core modules can be run yet")
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


def check(module: Any) -> frozenset[str]:
    """The optional exports it has. Raises `Unfit` when its imports or exports are not those of the ABI."""
    for each in module.imports:
        if each.module != "host" or each.name not in IMPORTS:
            raise Unfit(
                f"it imports {_quoted(each.module)}.{_quoted(each.name)}; broker gives only host.log and host.call"
            )
        _same(f"its import host.{each.name}", each.type, IMPORTS[each.name])
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
