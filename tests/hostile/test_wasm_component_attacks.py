"""Hostile WASM components: each is ended in its time, and a good plugin's calls go on unhindered meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import wasmtime

from broker.core.ports import Call, Identity
from broker.errors import BrokerError, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Limits, Spec
from broker.runtimes import wasm_cache, wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.hostile.wasm_attacks import Attack, some
from tests.hostile.wasm_component_attacks import CALLS, LOADS
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_components import compiled_here, component
from tests.runtimes.wasm_guests import Deaf, guest

ALLOWED = 0.3  # seconds of a call here
OVER = 0.25  # seconds a guest may live beyond its time
GAP = 0.4  # seconds a good call may take while a bad one runs; it takes 0.001


@pytest.fixture
async def runtime(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        return b"1"

    monkeypatch.setattr(wasm_plugin, "LOAD", 0.5)
    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)
    monkeypatch.setenv("NOT_GRANTED", "1")
    runtime = WasmRuntime(operations=host)
    yield runtime
    await runtime.close(1)


async def started(runtime: WasmRuntime, folder: Path, wasm: bytes, name: str) -> Served:
    entry = folder / f"{name}.wasm"
    entry.write_bytes(wasm)
    spec = Spec(name=name, source="t", entry=str(entry), limits=Limits(timeout=ALLOWED))
    return await runtime.start(spec, Identity(), None, Deaf())


def echo() -> Call:
    return Call(PretendFace(), Identity(), "tools/call", {"name": raw("echo"), "arguments": raw({"text": "x" * 99})})


async def ending(served: Served) -> str:
    """How a call of it ends; a single digit that it answers is told."""
    try:
        result = json.loads(bytes(await served.call(echo())))
    except (PluginFailed, TimedOut) as error:
        return str(error.facts["kind"])
    if result.get("isError"):
        return "complains"
    said = result["content"][0]["text"]
    return f"answers {said}" if said in ("0", "1") else "answers"


async def worst_of(good: Served, until: asyncio.Future[str]) -> float:
    """The longest call of the good plugin while the bad one is busy."""
    worst = 0.0
    while not until.done():
        began = time.monotonic()
        await good.call(echo())
        worst = max(worst, time.monotonic() - began)
        await asyncio.sleep(0.001)
    return worst


@pytest.mark.parametrize("attack", some(CALLS))
async def test_a_hostile_component_is_ended_and_others_go_on(
    runtime: WasmRuntime, tmp_path: Path, attack: Attack
) -> None:
    good = await started(runtime, tmp_path, guest(), "good")
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    began = time.monotonic()
    call = asyncio.ensure_future(ending(bad))
    worst = await asyncio.wait_for(worst_of(good, call), 10)
    assert time.monotonic() - began < ALLOWED + OVER
    assert call.result() in attack.ends.split("|") or call.result().partition(" ")[0] in attack.ends.split("|")
    assert worst < GAP
    assert await ending(good) == "answers"


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
    entry = tmp_path / "bad.wasm"
    entry.write_bytes(bytes(wasmtime.wat2wasm(_BULK.format(pages=1000, count=count, kind=kind))))
    spec = Spec(name="bad", source="t", entry=str(entry), limits=Limits(timeout=ALLOWED), wasm="functions")
    bad = await runtime.start(spec, Identity(), None, Deaf())
    asked = Call(PretendFace(), Identity(), "tools/call", {"name": raw("echo"), "arguments": raw({})})
    began = time.monotonic()
    call: asyncio.Future[str] = asyncio.ensure_future(_failing(bad, asked))
    worst = await asyncio.wait_for(worst_of(good, call), 10)
    assert call.result() in ("trap", "bad_abi", "memory_fault", "limit_exceeded")
    assert time.monotonic() - began < 1
    assert worst < GAP


async def _failing(served: Served, call: Call) -> str:
    with pytest.raises(PluginFailed) as caught:
        await served.call(call)
    return str(caught.value.facts["kind"])
