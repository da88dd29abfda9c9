"""A WASM plugin whose file is replaced while it is called: one generation or the other, and none lost."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.core.listings import Listings
from broker.core.pool import Pool
from broker.core.ports import Call
from broker.core.router import Router
from broker.core.status import Status
from broker.errors import BadArguments
from broker.model import Limits, Spec
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace
from tests.runtimes.wasm_guests import Data, answer, guest

CALLERS = 6


def saying(word: str, **ops: object) -> bytes:
    data = Data()
    return guest(answer(data, {"result": word}), data=data, ops={"describe": {"result": {"version": word}}, **ops})


class Setting:
    """A broker with one WASM plugin, and a client."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self.file, self.face = folder / "a.wasm", PretendFace()
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.runtime = WasmRuntime(cache=kept / "cache", key=kept / "wasm.key", operations=self._host)
        self.put(saying("one"))
        limits = Limits(timeout=20, memory=64 << 20)
        self.spec = Spec(name="a", source="t", entry=str(self.file), limits=limits, concurrency=CALLERS)
        self.router = Router([self.spec], self.runtime, Listings(None))

    def put(self, wasm: bytes) -> None:
        """Replace the file."""
        new = self.file.with_suffix(".new")
        new.write_bytes(wasm)
        os.replace(new, self.file)

    async def replace(self, wasm: bytes) -> None:
        self.put(wasm)
        await self.router.generations.apply([self.spec], touched={"a"})

    async def say(self) -> str:
        call = self.face.call("a__echo", text="hello")
        return json.loads(bytes(await self.router.call(call)))["content"][0]["text"]

    @property
    def status(self) -> Status:
        return self.router.generations.statuses()[0]

    async def _host(self, spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        self.asked.set()
        await self.go.wait()
        return b'"answered"'


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def setting(kept: Path, tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(tmp_path, kept)
    setting.router.join(setting.face)
    await setting.router.learned(setting.face.identity, setting.face, 30)
    yield setting
    await setting.router.stop(1)
    await setting.runtime.close(1)


async def test_calls_while_its_file_is_replaced_all_succeed_on_one_version_each(setting: Setting) -> None:
    over = asyncio.Event()

    async def caller() -> list[str]:
        said: list[str] = []
        while not over.is_set():
            said.append(await setting.say())
        return said

    callers = [asyncio.ensure_future(caller()) for _ in range(CALLERS)]
    for word in ("two", "three", "four"):
        await setting.replace(saying(word))
        assert await setting.say() == word
    over.set()
    order = {"one": 0, "two": 1, "three": 2, "four": 3}
    for said in await asyncio.wait_for(asyncio.gather(*callers), 20):
        assert [order[word] for word in said] == sorted(order[word] for word in said)
    assert setting.status.about is not None and setting.status.about.version == "four"


async def test_a_call_in_the_middle_is_finished_by_the_version_it_began_on(setting: Setting) -> None:
    data = Data()
    at, size = data.put('{"op":"state.get","params":{}}')
    await setting.replace(guest(f"(call $call (i32.const {at}) (i32.const {size}))", data=data))
    old = asyncio.ensure_future(setting.say())
    await asyncio.wait_for(setting.asked.wait(), 10)
    await setting.replace(saying("new"))
    assert await setting.say() == "new"
    assert not old.done()
    setting.go.set()
    assert await asyncio.wait_for(old, 10) == "answered"


async def test_a_new_file_that_does_not_load_leaves_the_old_version_in_place(setting: Setting) -> None:
    await setting.replace(b"\0asm\1\0\0\0junk")
    assert await setting.say() == "one"
    assert "goes on" in (setting.status.failure or "") or "cannot be started" in (setting.status.failure or "")


async def test_instances_are_made_ready_by_command_until_it_is_replaced(setting: Setting) -> None:
    status = await setting.router.generations.warm("a", 5)
    assert status.pool == Pool(wanted=5, ready=5, bytes=5 << 16)
    await setting.replace(saying("two"))
    assert await setting.say() == "two"
    assert setting.status.pool is not None and setting.status.pool.wanted == 1


async def test_what_is_no_wasm_plugin_is_not_started_for_it(setting: Setting) -> None:
    other = Spec(name="b", source="t", command=("/no/such/program",))
    await setting.router.generations.apply([setting.spec, other])
    with pytest.raises(BadArguments, match="b has no instances"):
        await setting.router.generations.warm("b", 2)
