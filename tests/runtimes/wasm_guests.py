"""Guests of the WASM tests, written by hand: a good one that echoes, and how to make any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wasmtime

from broker.core.ports import Call, Host, Instance, Reply
from broker.errors import BrokerError, NoSuchMethod
from broker.model import Kind

ECHO_TOOL: dict[str, Any] = {
    "name": "echo",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
_PACK = "(i64.or (i64.shl (i64.extend_i32_u (local.get {at})) (i64.const 32)) (i64.extend_i32_u (local.get {size})))"
_PACKED = "(func $pack (param $at i32) (param $size i32) (result i64) " + _PACK.format(at="$at", size="$size") + ")"

# `contains` looks for a text of the data segment in the request; the answers lie in data segments, too.
_MODULE = """
(module
  {imports}
  (memory (export "memory") {pages})
  (global $next (mut i32) (i32.const 32768))
  (global $calls (mut i32) (i32.const 0))
  {data}
  (func $alloc (export "alloc") (param $size i32) (result i32) (local $at i32)
    {alloc})
  (func (export "protocol_version") (result i32) (i32.const {version}))
  {pack}
  (func $contains (param $at i32) (param $size i32) (param $what i32) (param $length i32) (result i32)
    (local $i i32) (local $j i32)
    (block $no
      (loop $each
        (br_if $no (i32.gt_s (i32.add (local.get $i) (local.get $length)) (local.get $size)))
        (local.set $j (i32.const 0))
        (block $differs
          (loop $byte
            (br_if $differs (i32.ne
              (i32.load8_u (i32.add (local.get $at) (i32.add (local.get $i) (local.get $j))))
              (i32.load8_u (i32.add (local.get $what) (local.get $j)))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br_if $byte (i32.lt_s (local.get $j) (local.get $length))))
          (return (i32.const 1)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $each)))
    (i32.const 0))
  (func $handle (export "handle") (param $at i32) (param $size i32) (result i64) (local $n i32) (local $p i64)
    {branches}
    {called})
  {more})
"""
BUMP = """(local.set $at (global.get $next))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1)))))
    (local.get $at)"""
HOST = """(import "host" "log" (func $log (param i32 i32 i32)))
  (import "host" "call" (func $call (param i32 i32) (result i64)))"""


class Data:
    """Texts in a guest's memory, one behind the other."""

    def __init__(self) -> None:
        self._at, self._segments = 1024, list[str]()

    def put(self, text: str | bytes) -> tuple[int, int]:
        """Where it lies, and how long it is."""
        raw = text.encode() if isinstance(text, str) else text
        at, self._at = self._at, self._at + len(raw)
        escaped = "".join(f"\\{byte:02x}" for byte in raw)
        self._segments.append(f'(data (i32.const {at}) "{escaped}")')
        return at, len(raw)

    def wat(self) -> str:
        return "\n  ".join(self._segments)


def answer(data: Data, value: object) -> str:
    """Code that answers with `value`, which is text or JSON."""
    text = value if isinstance(value, str | bytes) else json.dumps(value, separators=(",", ":"))
    at, size = data.put(text)
    return f"(call $pack (i32.const {at}) (i32.const {size}))"


def guest(
    called: str | None = None,
    *,
    ops: dict[str, object] | None = None,
    more: str = "",
    imports: str = HOST,
    alloc: str = BUMP,
    pages: str = "1",
    version: int = 1,
    data: Data | None = None,
) -> bytes:
    """A plugin with the tool `echo`; `called` is the code of a `tools/call`, and `ops` what other operations answer."""
    data = data or Data()
    answers: dict[str, object] = {
        "describe": {"result": {"name": "guest", "version": "1", "description": "A guest of the tests."}},
        "schema": {"result": {"type": "object"}},
        "tools/list": {"result": {"tools": [ECHO_TOOL]}},
        **(ops or {}),
    }
    branches: list[str] = []
    for op, value in answers.items():
        at, size = data.put(f'"op":"{op}"')
        given = value[5:] if isinstance(value, str) and value.startswith("code:") else answer(data, value)
        asked = f"(call $contains (local.get $at) (local.get $size) (i32.const {at}) (i32.const {size}))"
        branches.append(f"(if {asked} (then (return {given})))")
    called = called if called is not None else answer(data, {"result": "echoed"})
    text = _MODULE.format(
        imports=imports,
        pages=pages,
        data=data.wat(),
        alloc=alloc,
        version=version,
        pack=_PACKED,
        branches="\n    ".join(branches),
        called=called,
        more=more,
    )
    return bytes(wasmtime.wat2wasm(text))


class Deaf(Host):
    """A holder that hears nothing: a guest says nothing outside of its calls."""

    def progressed(self, call: Call) -> None: ...
    def changed(self, kinds: set[Kind]) -> None: ...
    def updated(self, uri: str) -> None: ...
    def logged(self, params: Reply) -> None: ...
    def told(self, calls: Sequence[Call], method: str, params: Reply) -> None: ...
    def ended(self, instance: Instance, error: BrokerError) -> None: ...
    async def ask(self, calls: Sequence[Call], method: str, params: Reply) -> Reply:
        raise NoSuchMethod("nobody is here")


def plugin(folder: Path, name: str, wasm: bytes, manifest: str = "") -> Path:
    """A plugin folder with this guest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.wasm").write_bytes(wasm)
    head = f'name = "{name}"\nversion = "1.0.0"\napi = 1\nentry = "plugin.wasm"\n'
    (folder / "plugin.toml").write_text(head + manifest)
    return folder
