"""Components of the WASM tests, written by hand: one of the world `plugin`, and how to make any other."""

from __future__ import annotations

import json

import wasmtime

from broker.runtimes import wasm_kinds
from broker.runtimes.wasm_abi import Unfit
from tests.runtimes.wasm_guests import ECHO_TOOL, Data

# Its parts: a module with the memory, which whatever is imported can use; and the one with the code.
_COMPONENT = """
(component
  {imports}
  (core module $libc
    (memory (export "memory") {pages})
    (global $next (mut i32) (i32.const 32768))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      {realloc}))
  (core instance $libc (instantiate $libc))
  {lowered}
  (core module $main
    (import "libc" "memory" (memory {pages}))
    {needs}
    (global $calls (mut i32) (i32.const 0))
    {data}
    (func $says (param $at i32) (param $size i32) (result i32)
      (i32.store (i32.const 64) (local.get $at))
      (i32.store (i32.const 68) (local.get $size))
      (i32.const 64))
    (func $gives (param $error i32) (param $at i32) (param $size i32) (result i32)
      (i32.store (i32.const 64) (local.get $error))
      (i32.store (i32.const 68) (local.get $at))
      (i32.store (i32.const 72) (local.get $size))
      (i32.const 64))
    {functions}
    {more})
  (core instance $main (instantiate $main (with "libc" (instance $libc)) {gives}))
  {lifted}
  {exports})
"""
_REALLOC = """(local.set $at (global.get $next))
      (local.set $at (i32.and (i32.add (local.get $at) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (block $fits
        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1)))))
      (local.get $at)"""
_OPTIONS = '(memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))'
HOST = """(import "broker:plugin/host@1.0.0" (instance $host
    (type $l (enum "error" "warning" "info" "debug"))
    (export "level" (type $level (eq $l)))
    (export "log" (func (param "level" $level) (param "message" string)))
    (export "call" (func (param "op" string) (param "params" string) (result (result string (error string)))))
    (export "config" (func (param "key" string) (result (option string))))))"""
HOST_FUNCTIONS = {
    "log": ("host", "(param i32 i32 i32)"),
    "call": ("host", "(param i32 i32 i32 i32 i32)"),
    "config": ("host", "(param i32 i32 i32)"),
}
# By the export of the world: its type, and the type of its core function.
_SAYS = ("(result string)", "(result i32)")
_DOES = (
    '(param "name" string) (param "arguments" string) (result (result string (error string)))',
    "(param i32 i32 i32 i32) (result i32)",
)
_HEARS = ('(param "x" string) (result (result string (error string)))', "(param i32 i32) (result i32)")
TYPES = {
    "guest": {"describe": _SAYS, "list-tools": _SAYS, "call-tool": _DOES},
    "settings": {"schema": _SAYS},
    "hooks": {"hook": _HEARS},
    "observer": {"observe": _HEARS},
}


def compiled_here(wasm: bytes, seconds: float) -> bytes:
    """`wasm_cache.compile_apart` without a process of its own, which costs half a second for each of these guests."""
    try:
        return wasm_kinds.compiled(wasm)
    except wasmtime.WasmtimeError as error:
        raise Unfit(f"its file is no valid WASM: {error}") from None


def says(data: Data, value: object) -> str:
    """Code that gives a text."""
    at, size = data.put(value if isinstance(value, str | bytes) else json.dumps(value))
    return f"(call $says (i32.const {at}) (i32.const {size}))"


def gives(data: Data, value: object, error: int = 0) -> str:
    """Code that gives a result of two texts."""
    at, size = data.put(value if isinstance(value, str | bytes) else json.dumps(value))
    return f"(call $gives (i32.const {error}) (i32.const {at}) (i32.const {size}))"


def component(
    called: str | None = None,
    *,
    data: Data | None = None,
    more: str = "",
    pages: str = "1",
    realloc: str = _REALLOC,
    interfaces: dict[str, dict[str, str]] | None = None,
    imports: str = HOST,
    functions: dict[str, tuple[str, str]] | None = None,
    exported: str | None = None,
) -> bytes:
    """A plugin with the tool `echo`; `called` is the code of `call-tool`, `interfaces` that of other exports.

    `functions`: what it calls of its imports, as name: (instance, type of the core function).
    """
    data = data or Data()
    code: dict[str, dict[str, str]] = {
        "guest": {
            "describe": says(data, {"name": "component", "version": "1"}),
            "list-tools": says(data, {"tools": [ECHO_TOOL]}),
            "call-tool": called if called is not None else gives(data, "echoed".join('""')),
        },
    }
    for interface, each in (interfaces or {}).items():
        code.setdefault(interface, {}).update(each)
    functions = HOST_FUNCTIONS if functions is None else functions
    made = [
        (interface, name, *TYPES[interface][name], body)
        for interface, each in code.items()
        for name, body in each.items()
    ]
    text = _COMPONENT.format(
        imports=imports,
        pages=pages,
        realloc=realloc,
        lowered="\n  ".join(_lowered(name, instance) for name, (instance, _) in functions.items()),
        needs="\n    ".join(
            f'(import "given" "{name}" (func ${_id(name)} {kind}))' for name, (_, kind) in functions.items()
        ),
        data=data.wat(),
        functions="\n    ".join(
            f'(func (export "{name}") {kind} (local $n i32) {body})' for _, name, _, kind, body in made
        ),
        more=more,
        gives=f'(with "given" (instance {" ".join(_given(name) for name in functions)}))',
        lifted="\n  ".join(
            f'(func ${name} {kind} (canon lift (core func $main "{name}") {_OPTIONS}))' for _, name, kind, _, _ in made
        ),
        exports=exported
        if exported is not None
        else "\n  ".join(_exported(interface, code[interface]) for interface in code),
    )
    return bytes(wasmtime.wat2wasm(text))


def _id(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _given(name: str) -> str:
    return f'(export "{name}" (func ${_id(name)}))'


def _lowered(name: str, instance: str) -> str:
    return f'(core func ${_id(name)} (canon lower (func ${instance} "{name}") {_OPTIONS}))'


def _exported(interface: str, names: dict[str, str]) -> str:
    fields = " ".join(f'(export "{name}" (func ${name}))' for name in names)
    return f'(instance ${interface} {fields}) (export "broker:plugin/{interface}@1.0.0" (instance ${interface}))'
