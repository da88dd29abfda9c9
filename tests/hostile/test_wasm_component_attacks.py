"""Hostile WASM components: each is ended in its time, and a good plugin's calls go on unhindered meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import wasmtime

from broker.errors import BrokerError, PluginUnavailable
from broker.runtimes import wasm_cache, wasm_plugin
from broker.runtimes.wasm import WasmRuntime
from tests.hostile.wasm_attacks import Attack, some
from tests.hostile.wasm_component_attacks import CALLS, LOADS
from tests.hostile.wasm_world import allowed, beside, calling, ending, operations, started
from tests.runtimes.wasm_components import compiled_here, component
from tests.runtimes.wasm_guests import guest


@pytest.fixture
async def runtime(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    monkeypatch.setattr(wasm_plugin, "LOAD", 0.5)
    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)
    monkeypatch.setenv("NOT_GRANTED", "1")
    runtime = WasmRuntime(operations=operations)
    yield runtime
    await runtime.close(1)


@pytest.mark.parametrize("attack", some(CALLS))
async def test_a_hostile_component_is_ended_and_others_go_on(
    runtime: WasmRuntime, tmp_path: Path, attack: Attack
) -> None:
    good = await started(runtime, tmp_path, guest(), "good")
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    assert allowed(await beside(good, asyncio.ensure_future(ending(bad))), attack.ends)


@pytest.mark.parametrize("attack", some(LOADS))
async def test_a_hostile_component_is_refused_with_its_reason(
    runtime: WasmRuntime, tmp_path: Path, attack: Attack
) -> None:
    with pytest.raises(PluginUnavailable, match=attack.ends):
        await asyncio.wait_for(started(runtime, tmp_path, attack.make(), "bad"), 20)


async def test_bits_turned_over_in_a_component_never_hurt(runtime: WasmRuntime, tmp_path: Path) -> None:
    dice = random.Random(6)
    whole = component()
    for _ in range(40):
        broken = bytearray(whole)
        for _ in range(2):
            broken[dice.randrange(8, len(broken))] ^= 1 << dice.randrange(8)
        try:
            await ending(await started(runtime, tmp_path, bytes(broken), "bits"))
        except BrokerError:
            continue


_BULK = """(component (core module $m (memory (export "memory") {pages})
  (func (export "f") (result i32)
    (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const {count})) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func (export "echo") (result (list {kind})) (canon lift (core func $i "f") (memory (core memory $i "memory")))))"""


@pytest.mark.parametrize(("count", "kind"), [(60 << 20, "u8"), (10 << 20, "u32"), (250_000, "u32"), (5 << 20, "bool")])
async def test_a_function_cannot_flood_its_host_with_a_list(
    runtime: WasmRuntime, tmp_path: Path, count: int, kind: str
) -> None:
    good = await started(runtime, tmp_path, guest(), "good")
    wasm = bytes(wasmtime.wat2wasm(_BULK.format(pages=1000, count=count, kind=kind)))
    bad = await started(runtime, tmp_path, wasm, "bad", wasm="functions")
    end = await beside(good, asyncio.ensure_future(ending(bad, calling())), bound=1)
    assert end in ("trap", "bad_abi", "memory_fault", "limit_exceeded")
