"""Extism modules, which run as tools when their user allows it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from broker.core.ports import Call, Identity
from broker.errors import PermissionMissing, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Limits, Spec
from broker.runtimes import wasm_cache
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_components import compiled_here
from tests.runtimes.wasm_guests import Deaf

Open = Callable[..., Awaitable[Served]]
_MODULE = """
(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input (param i64) (result i32)))
  (import "extism:host/env" "input_offset" (func $offset (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $size (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error (param i64)))
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $set (param i64 i64)))
  (import "extism:host/env" "log_info" (func $log (param i64)))
  (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
  (memory (export "memory") 1)
  (func (export "upper") (result i32) (local $i i64) (local $at i64)
    (local.set $at (call $alloc (call $length)))
    (loop $each
      (call $store (i64.add (local.get $at) (local.get $i)) (i32.and (call $input (local.get $i)) (i32.const 0xdf)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $each (i64.lt_u (local.get $i) (call $length))))
    (call $output (local.get $at) (local.get $i))
    (i32.const 0))
  (func (export "echo") (result i32) (call $output (call $offset) (call $length)) (i32.const 0))
  (func (export "conf") (result i32) (local $at i64)
    (local.set $at (call $config (call $offset)))
    (call $output (local.get $at) (call $size (local.get $at))) (i32.const 0))
  (func (export "vars") (result i32) (local $at i64)
    (call $set (call $offset) (call $offset))
    (local.set $at (call $get (call $offset)))
    (call $output (local.get $at) (call $size (local.get $at))) (i32.const 0))
  (func (export "fetch") (result i32) (local $at i64)
    (local.set $at (call $http (call $offset) (i64.const 0)))
    (call $output (local.get $at) (call $size (local.get $at))) (i32.const 0))
  (func (export "note") (call $log (call $offset)))
  (func (export "fails") (result i32) (call $error (call $offset)) (i32.const 1))
  (func (export "code") (result i32) (i32.const 7))
  (func (export "spin") (loop (br 0)))
  (func (export "far") (drop (call $load (i64.const 0xffffffff0))))
  (func (export "lies") (call $output (i64.const -9) (i64.const 100)))
  (func (export "huge") (call $output (i64.const 0) (i64.const 0xfffffffff)))
  (func (export "fill") (loop $l (br_if $l (i64.ne (call $alloc (i64.const 65536)) (i64.const 0)))))
  (func (export "flood") (loop (call $log (call $offset)) (br 0)))
  (func (export "_hidden") (unreachable))
  (func (export "other") (param i32) (unreachable)))
"""


@pytest.fixture(scope="module")
def module() -> bytes:
    return bytes(wasmtime.wat2wasm(_MODULE))


@pytest.fixture
async def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        if "granted.example" not in json.loads(params)["url"]:
            raise PermissionMissing("a may not reach other.example")
        return b'{"status":200,"base64":"aGVsbG8="}'

    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)
    runtime = WasmRuntime(tmp_path / "logs", operations=host)
    yield runtime
    await runtime.close(1)


@pytest.fixture
def open_(runtime: WasmRuntime, tmp_path: Path) -> Open:
    async def begin(file: bytes, **spec: Any) -> Served:
        (tmp_path / "a.wasm").write_bytes(file)
        given: dict[str, Any] = {"wasm": "extism", "limits": Limits(timeout=0.3), "config": {"who": "me"}, **spec}
        made = Spec(name="a", source="t", entry=str(tmp_path / "a.wasm"), **given)
        return await runtime.start(made, Identity(), None, Deaf())

    return begin


async def called(served: Served, tool: str, given: object = "hello") -> Any:
    asked = {"name": raw(tool), "arguments": raw({"input": given})}
    return json.loads(bytes(await served.call(Call(PretendFace(), Identity(), "tools/call", asked))))


async def text_of(served: Served, tool: str, given: object = "hello") -> str:
    return (await called(served, tool, given))["content"][0]["text"]


async def test_its_functions_are_tools_only_if_the_user_says_so(open_: Open, module: bytes) -> None:
    with pytest.raises(PluginUnavailable, match="it imports extism:host/env"):
        await open_(module, wasm="plugin")
    names = {json.loads(bytes(tool))["name"] for tool in (await (await open_(module)).lists()).tools}
    assert {"upper", "echo", "note"} <= names
    assert not {"_hidden", "other", "memory"} & names


async def test_a_text_goes_in_and_a_text_comes_out(open_: Open, module: bytes, tmp_path: Path) -> None:
    served = await open_(module)
    assert await text_of(served, "upper", "hello") == "HELLO"
    assert await text_of(served, "echo", "grüße") == "grüße"
    assert await text_of(served, "echo", "") == ""
    assert (await called(served, "echo", {"a": 1}))["structuredContent"] == {"a": 1}
    assert await text_of(served, "conf", "who") == "me"
    assert await text_of(served, "conf", "whom") == ""
    assert await text_of(served, "vars", "x") == "x"
    await called(served, "note", "said")
    assert (tmp_path / "logs" / "a.log").read_text() == "info: said\n"


async def test_its_errors_are_results_in_its_own_words(open_: Open, module: bytes) -> None:
    served = await open_(module)
    result = await called(served, "fails", "no such city")
    assert (result["isError"], result["content"][0]["text"]) == (True, "no such city")
    assert (await called(served, "code"))["content"][0]["text"] == "It ended with 7."


async def test_it_reaches_only_hosts_that_were_granted(open_: Open, module: bytes) -> None:
    served = await open_(module)
    assert await text_of(served, "fetch", {"url": "https://granted.example/"}) == "hello"
    with pytest.raises(PluginFailed, match=r"may not reach other\.example"):
        await called(served, "fetch", {"url": "https://other.example/"})


@pytest.mark.parametrize(
    ("tool", "kind"), [("far", "guest_panic"), ("lies", "bad_abi"), ("huge", "bad_abi"), ("flood", "bad_abi")]
)
async def test_a_lie_or_a_flood_ends_only_its_call(open_: Open, module: bytes, tool: str, kind: str) -> None:
    served = await open_(module, limits=Limits(timeout=5))
    with pytest.raises(PluginFailed) as caught:
        await called(served, tool)
    assert caught.value.facts["kind"] == kind
    assert await text_of(served, "upper") == "HELLO"


async def test_memory_and_time_are_bounded(open_: Open, module: bytes) -> None:
    served = await open_(module)
    assert "isError" not in await called(served, "fill")
    with pytest.raises(TimedOut):
        await called(served, "spin")


async def test_what_no_extism_host_gives_is_refused(open_: Open) -> None:
    wat = '(module (import "extism:host/user" "x" (func)) (func (export "f")))'
    with pytest.raises(PluginUnavailable, match="imports extism:host/user"):
        await open_(bytes(wasmtime.wat2wasm(wat)))
