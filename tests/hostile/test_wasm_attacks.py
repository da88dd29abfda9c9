"""Hostile WASM guests: each is ended in its time, and a good plugin's calls go on unhindered meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from broker.core.ports import Call, Identity
from broker.errors import BrokerError, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Limits, Spec
from broker.runtimes import wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.hostile.wasm_attacks import CALLS, LOADS, Attack, bomb, some
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf, guest

ALLOWED = 0.3  # seconds of a call here
OVER = 0.25  # seconds a guest may live beyond its time
GAP = 0.2  # seconds a good call may take while a bad one runs; it takes 0.0005


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def runtime(kept: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        return b"1"

    monkeypatch.setattr(wasm_plugin, "LOAD", 0.5)
    runtime = WasmRuntime(cache=kept / "cache", key=kept / "wasm.key", operations=host)
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
    """How a call of it ends."""
    try:
        result = json.loads(bytes(await served.call(echo())))
    except (PluginFailed, TimedOut) as error:
        return str(error.facts["kind"])
    return "complains" if result.get("isError") else "answers"


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
async def test_a_hostile_call_is_ended_and_others_go_on(runtime: WasmRuntime, tmp_path: Path, attack: Attack) -> None:
    good = await started(runtime, tmp_path, guest(), "good")
    if attack.ends == "load":
        with pytest.raises(PluginUnavailable):
            await started(runtime, tmp_path, attack.make(), "bad")
        return
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    for last in (False, False, True):  # of three, because the machine may be busy with something else
        began = time.monotonic()
        call = asyncio.ensure_future(ending(bad))
        worst = await asyncio.wait_for(worst_of(good, call), 10)
        took = time.monotonic() - began
        assert call.result() in attack.ends.split("|")
        if took < ALLOWED + OVER and worst < GAP:
            break
        assert not last, f"it took {took:.2f} s, and a good call {worst:.2f} s meanwhile"
    assert await ending(good) == "answers"


@pytest.mark.parametrize("attack", some(LOADS, ends=False))
async def test_a_hostile_file_is_refused_with_its_reason(runtime: WasmRuntime, tmp_path: Path, attack: Attack) -> None:
    with pytest.raises(PluginUnavailable, match=attack.ends):
        await asyncio.wait_for(started(runtime, tmp_path, attack.make(), "bad"), 20)


async def test_memory_is_bounded_however_many_calls_take_all_they_may(runtime: WasmRuntime, tmp_path: Path) -> None:
    attack = next(each for each in CALLS if each.name == "growing page by page and touching each")
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    before = psutil.Process().memory_info().rss
    for _ in range(10):
        assert await ending(bad) == "answers"
    assert psutil.Process().memory_info().rss - before < 128 << 20


async def test_a_compiler_bomb_is_given_up_and_the_loop_stays_free(
    runtime: WasmRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker.runtimes import wasm_cache

    good = await started(runtime, tmp_path, guest(), "good")
    monkeypatch.setattr(wasm_cache.ModuleCache.__init__, "__defaults__", (wasm_cache.BUDGET, 2.0))
    fresh = WasmRuntime()

    async def loading() -> str:
        with pytest.raises(PluginUnavailable, match="cannot be compiled within 2 s"):
            await started(fresh, tmp_path, bomb(), "bomb")
        return ""

    began = time.monotonic()
    worst = await asyncio.wait_for(worst_of(good, asyncio.ensure_future(loading())), 30)
    assert time.monotonic() - began < 10
    assert worst < GAP


async def test_a_pipe_instead_of_a_file_holds_nobody(runtime: WasmRuntime, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.wasm")
    spec = Spec(name="p", source="t", entry=str(tmp_path / "p.wasm"))
    with pytest.raises(PluginUnavailable, match="no file"):
        await asyncio.wait_for(runtime.start(spec, Identity(), None, Deaf()), 5)


async def test_a_file_of_a_gigabyte_is_not_read(runtime: WasmRuntime, tmp_path: Path) -> None:
    (tmp_path / "h.wasm").touch()
    os.truncate(tmp_path / "h.wasm", 1 << 30)
    spec = Spec(name="h", source="t", entry=str(tmp_path / "h.wasm"))
    with pytest.raises(PluginUnavailable, match="MiB"):
        await asyncio.wait_for(runtime.start(spec, Identity(), None, Deaf()), 5)


async def test_bits_turned_over_in_a_file_never_hurt(runtime: WasmRuntime, tmp_path: Path) -> None:
    dice = random.Random(6)
    whole = guest()
    for _ in range(12):
        broken = bytearray(whole)
        for _ in range(3):
            broken[dice.randrange(8, len(broken))] ^= 1 << dice.randrange(8)
        try:
            await ending(await started(runtime, tmp_path, bytes(broken), "bits"))
        except BrokerError:
            continue


async def test_eight_spinning_plugins_at_once_are_all_ended_in_time(runtime: WasmRuntime, tmp_path: Path) -> None:
    wasm = next(each for each in CALLS if each.name == "a loop").make()
    bad = [await started(runtime, tmp_path, wasm, f"bad{number}") for number in range(8)]
    for last in (False, True):  # a third time they would be left alone
        began = time.monotonic()
        assert await asyncio.gather(*map(ending, bad)) == ["deadline"] * 8
        if (took := time.monotonic() - began) < ALLOWED + OVER:
            break
        assert not last, f"they took {took:.2f} s"


async def test_what_fails_in_one_guests_host_calls_is_never_told_to_another(
    runtime: WasmRuntime, tmp_path: Path
) -> None:
    lying = next(each for each in CALLS if each.name == "a log line of minus one bytes").make()
    bad, good = await started(runtime, tmp_path, lying, "bad"), await started(runtime, tmp_path, guest(), "good")

    async def endings(served: Served) -> set[str]:
        return {await ending(served) for _ in range(300)}

    assert await asyncio.gather(endings(bad), endings(good)) == [{"bad_abi"}, {"answers"}]
