"""Instances of a WASM plugin that are ready ahead of calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.pool import Pool
from broker.core.ports import Call, Identity
from broker.errors import BadArguments
from broker.model import Limits, Spec
from broker.runtimes import wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import BUMP, HOST, Data, Deaf, guest

PAGE = 65536
Open = Callable[..., Awaitable[Served]]


def call() -> Call:
    return Call(PretendFace(), Identity(), "tools/call", {"name": raw("echo"), "arguments": raw({"text": "hello"})})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def open_(kept: Path, tmp_path: Path) -> AsyncIterator[Open]:
    runtimes: list[WasmRuntime] = []

    async def begin(wasm: bytes, host: Any = None, **spec: Any) -> Served:
        runtimes.append(WasmRuntime(cache=kept / "cache", key=kept / "wasm.key", operations=host))
        (tmp_path / "a.wasm").write_bytes(wasm)
        whole = Spec(name="a", source="t", entry=str(tmp_path / "a.wasm"), limits=Limits(timeout=5), **spec)
        return await runtimes[-1].start(whole, Identity(), None, Deaf())

    yield begin
    await asyncio.gather(*(each.close(1) for each in runtimes))


def pool_of(served: Served) -> Pool:
    assert served.pool is not None
    return served.pool


async def ready(served: Served, count: int) -> Pool:
    """Its pool once so many are ready, which is soon."""
    async with asyncio.timeout(10):
        while pool_of(served).ready != count:
            await asyncio.sleep(0.002)
    return pool_of(served)


async def test_as_many_are_ready_as_its_manifest_says(open_: Open) -> None:
    served = await open_(guest(), warm=4)
    assert await ready(served, 4) == Pool(wanted=4, ready=4, bytes=4 * PAGE)


async def test_a_call_takes_one_and_another_one_comes_in_its_place(open_: Open) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        asked.set()
        await go.wait()
        return b"1"

    data = Data()
    at, size = data.put('{"op":"state.get","params":{}}')
    asking = guest(f"(call $call (i32.const {at}) (i32.const {size}))", data=data, imports=HOST, alloc=BUMP)
    served = await open_(asking, host, warm=3)
    await ready(served, 3)
    task = asyncio.ensure_future(served.call(call()))
    await asyncio.wait_for(asked.wait(), 5)
    assert pool_of(served).ready == 2
    go.set()
    assert json.loads(bytes(await task))["content"]
    await ready(served, 3)


async def test_calls_from_the_pool_know_nothing_of_each_other(open_: Open) -> None:
    data = Data()
    start, size = data.put('{"result":"?"}')
    counting = f"""(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store8 (i32.const {start + 11}) (i32.add (i32.const 48) (global.get $calls)))
      (call $pack (i32.const {start}) (i32.const {size}))"""
    served = await open_(guest(counting, data=data), warm=8)
    await ready(served, 8)
    answers = await asyncio.gather(*(served.call(call()) for _ in range(40)))
    assert {json.loads(bytes(each))["content"][0]["text"] for each in answers} == {"1"}
    await ready(served, 8)


async def test_more_and_fewer_can_be_asked_for_while_it_runs(open_: Open) -> None:
    served = await open_(guest())
    assert await served.warm(6) == Pool(wanted=6, ready=6, bytes=6 * PAGE)
    assert (await served.warm(2)).ready == 2
    assert (await served.warm(0)).ready == 0
    await served.call(call())
    assert pool_of(served).ready == 0


async def test_together_they_hold_only_so_much_memory(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_plugin, "POOL", 10 * PAGE)
    served = await open_(guest(pages="4"))
    assert await served.warm(16) == Pool(wanted=16, ready=2, bytes=8 * PAGE)
    assert (await served.warm(1)).ready == 1


async def test_one_alone_may_hold_more(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_plugin, "POOL", PAGE)
    served = await open_(guest(pages="4"))
    assert (await served.warm(3)).ready == 1


async def test_none_is_left_when_it_is_stopped(open_: Open) -> None:
    served = await open_(guest(), warm=5)
    await ready(served, 5)
    await served.stop(1)
    await ready(served, 0)


async def test_stopping_while_they_are_made_leaves_none(open_: Open) -> None:
    served = await open_(guest(), warm=16)
    await served.stop(1)
    await ready(served, 0)


async def test_a_start_function_that_never_ends_costs_its_own_instances_only(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_plugin, "HEALTH", 0.02)
    # The first instance, which is asked what it offers, is the one with the time of a load.
    slow = "(func $slow (local $n i32) (loop (local.set $n (i32.add (local.get $n) (i32.const 1)))"
    slow += " (br_if 0 (i32.ne (local.get $n) (i32.const 0x20000000))))) (start $slow)"
    served = await open_(guest(more=slow))
    assert (await served.warm(2)).ready == 0


async def test_where_all_calls_share_one_instance_there_is_no_pool(open_: Open) -> None:
    served = await open_(guest(), instance="shared", warm=4)
    assert served.pool is None
    with pytest.raises(BadArguments):
        await served.warm(2)
