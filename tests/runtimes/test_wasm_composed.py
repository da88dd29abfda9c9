"""Components that are composed of others: each part has a memory of its own, all together as much as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wasmtime

from broker.core.ports import Call, Identity
from broker.errors import PluginUnavailable
from broker.model import Limits, Spec
from broker.runtimes import wasm_cache
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_components import compiled_here
from tests.runtimes.wasm_guests import Deaf

# A part that gives back what it is given, and grows its memory by some pages.
_PART = """
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
  (core instance $i (instantiate $m))
  (func (export "same") (param "text" string) (result string) (canon lift (core func $i "same")
    (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow")))
"""
# Another, in which the function of the first is called through its own memory.
_AROUND = """
  (import "same" (func $same (param "text" string) (result string)))
  (core module $libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048)))
  (core instance $libc (instantiate $libc))
  (core func $lowered (canon lower (func $same)
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "other" "same" (func $other (param i32 i32 i32)))
    (func (export "same") (param i32 i32) (result i32)
      (call $other (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
  (core instance $other (export "same" (func $lowered)))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "other" (instance $other))))
  (func (export "same") (param "text" string) (result string) (canon lift (core func $i "same")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow")))
"""


def composed(parts: int) -> bytes:
    """A chain of `parts` components, whose last one's functions are exported."""
    chain = [
        f'(instance $i{nth} (instantiate $around (with "same" (func $i{nth - 1} "same"))))' for nth in range(1, parts)
    ]
    first = "(instance $i0 (instantiate $part))"
    exported = f'(export "same" (func $i{parts - 1} "same")) (export "grow" (func $i{parts - 1} "grow"))'
    text = f"(component (component $part {_PART}) (component $around {_AROUND}) {first} {' '.join(chain)} {exported})"
    return bytes(wasmtime.wat2wasm(text))


async def begun(wasm: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WasmRuntime, Served]:
    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)
    (folder / "a.wasm").write_bytes(wasm)
    runtime = WasmRuntime(folder / "logs")
    spec = Spec(name="a", source="t", entry=str(folder / "a.wasm"), wasm="functions", limits=Limits(timeout=5))
    return runtime, await runtime.start(spec, Identity(), None, Deaf())


async def said(served: Served, tool: str, **given: object) -> str:
    call = Call(PretendFace(), Identity(), "tools/call", {"name": raw(tool), "arguments": raw(given)})
    return json.loads(bytes(await served.call(call)))["content"][0]["text"]


@pytest.mark.parametrize("parts", [1, 2, 4])
async def test_its_parts_call_each_other_and_share_what_one_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    runtime, served = await begun(composed(parts), tmp_path, monkeypatch)
    assert await said(served, "same", text="grüße 🙂") == "grüße 🙂"
    pages = (64 << 20) // 65536 // parts
    assert await said(served, "grow", pages=pages - 1) == "1"
    assert await said(served, "grow", pages=pages) == "-1"
    await runtime.close(1)


async def test_one_of_too_many_parts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginUnavailable, match="memory"):
        await begun(composed(5), tmp_path, monkeypatch)
