"""Hostile WASM guests: each is ended in its time, and a good plugin's calls go on unhindered meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from broker.core.ports import Identity
from broker.errors import BrokerError, PluginUnavailable
from broker.model import Spec
from broker.runtimes import wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.hostile.stalls import Stalls
from tests.hostile.wasm_attacks import CALLS, LOADS, Attack, bomb, some
from tests.hostile.wasm_world import ALLOWED, OVER, allowed, beside, ending, operations, started
from tests.runtimes.wasm_guests import Deaf, guest


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def runtime(kept: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    monkeypatch.setattr(wasm_plugin, "LOAD", 0.5)
    runtime = WasmRuntime(cache=kept / "cache", key=kept / "wasm.key", operations=operations)
    yield runtime
    await runtime.close(1)


@pytest.mark.parametrize("attack", some(CALLS))
async def test_a_hostile_call_is_ended_and_others_go_on(runtime: WasmRuntime, tmp_path: Path, attack: Attack) -> None:
    if attack.ends == "load":
        with pytest.raises(PluginUnavailable):
            await started(runtime, tmp_path, attack.make(), "bad")
        return
    good = await started(runtime, tmp_path, guest(), "good")
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    assert allowed(await beside(good, asyncio.ensure_future(ending(bad))), attack.ends)


@pytest.mark.parametrize("attack", some(LOADS, ends=False))
async def test_a_hostile_file_is_refused_with_its_reason(runtime: WasmRuntime, tmp_path: Path, attack: Attack) -> None:
    with pytest.raises(PluginUnavailable, match=attack.ends):
        await asyncio.wait_for(started(runtime, tmp_path, attack.make(), "bad"), 20)


async def test_memory_is_bounded_however_many_calls_take_all_they_may(runtime: WasmRuntime, tmp_path: Path) -> None:
    attack = next(each for each in CALLS if each.name == "growing page by page and touching each")
    bad = await started(runtime, tmp_path, attack.make(), "bad")
    before = psutil.Process().memory_info().rss
    for _ in range(10):
        assert allowed(await ending(bad), "answers")
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

    await beside(good, asyncio.ensure_future(loading()), bound=10)


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
    with Stalls() as stalls:
        assert await asyncio.gather(*map(ending, bad)) == ["deadline"] * 8
    assert stalls.ours < ALLOWED + OVER


async def test_what_fails_in_one_guests_host_calls_is_never_told_to_another(
    runtime: WasmRuntime, tmp_path: Path
) -> None:
    lying = next(each for each in CALLS if each.name == "a log line of minus one bytes").make()
    bad, good = await started(runtime, tmp_path, lying, "bad"), await started(runtime, tmp_path, guest(), "good")

    async def endings(served: Served) -> set[str]:
        return {await ending(served) for _ in range(300)}

    assert await asyncio.gather(endings(bad), endings(good)) == [{"bad_abi"}, {"answers"}]
