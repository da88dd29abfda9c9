"""WASM components: those of our world, and any other whose functions its user lets be tools."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from broker.core.ports import Call, Identity
from broker.errors import PluginFailed, PluginUnavailable, TimedOut
from broker.model import Era, Limits, Spec
from broker.runtimes import wasm_cache
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_components import compiled_here, component, gives, says
from tests.runtimes.wasm_guests import ECHO_TOOL, Data, Deaf, guest

Open = Callable[..., Awaitable[Served]]
COUNT = """(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store8 (i32.const {at}) (i32.add (i32.const 48) (global.get $calls)))
  (call $gives (i32.const 0) (i32.const {at}) (i32.const 1))"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("components")


@pytest.fixture
async def runtime(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)

    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        return params if op == "state.get" else b'"set by the user"'

    runtime = WasmRuntime(tmp_path / "logs", kept / "cache", kept / "wasm.key", operations=host)
    yield runtime
    await runtime.close(1)


@pytest.fixture
def open_(runtime: WasmRuntime, tmp_path: Path) -> Open:
    async def begin(file: bytes, **spec: Any) -> Served:
        entry = tmp_path / "a.wasm"
        entry.write_bytes(file)
        spec.setdefault("limits", Limits(timeout=5))
        return await runtime.start(Spec(name="a", source="t", entry=str(entry), **spec), Identity(), None, Deaf())

    return begin


async def called(served: Served, tool: str = "echo", **arguments: Any) -> Any:
    given = arguments or ({"text": "hello"} if tool == "echo" else {})
    call = Call(PretendFace(), Identity(), "tools/call", {"name": raw(tool), "arguments": raw(given)})
    return json.loads(bytes(await served.call(call)))


async def text_of(served: Served, tool: str = "echo", **arguments: Any) -> str:
    return (await called(served, tool, **arguments))["content"][0]["text"]


async def test_a_component_of_our_world_is_listed_and_called_in_both_eras(open_: Open) -> None:
    served = await open_(component())
    assert [json.loads(bytes(tool)) for tool in (await served.lists()).tools] == [ECHO_TOOL]
    assert await text_of(served) == "echoed"
    new = Identity(era=Era.MODERN, version="2026-07-28")
    call = Call(PretendFace(), new, "tools/call", {"name": raw("echo"), "arguments": raw({"text": "x"})})
    assert json.loads(bytes(await served.call(call)))["resultType"] == "complete"


async def test_each_call_has_an_instance_of_its_own_unless_one_is_shared(open_: Open) -> None:
    data = Data()
    at, _ = data.put("?")
    wasm = component(COUNT.format(at=at), data=data)
    served = await open_(wasm)
    assert [await text_of(served) for _ in range(3)] == ["1", "1", "1"]
    served = await open_(wasm, instance="shared")
    assert [await text_of(served) for _ in range(3)] == ["1", "2", "3"]


async def test_a_component_logs_and_calls_its_host(open_: Open, tmp_path: Path) -> None:
    data = Data()
    (log, size), (op, op_size), (params, params_size) = map(data.put, ("hello", "state.get", '{"key":"k"}'))
    code = f"""(call $log (i32.const 1) (i32.const {log}) (i32.const {size}))
      (call $call (i32.const {op}) (i32.const {op_size}) (i32.const {params}) (i32.const {params_size}) (i32.const 128))
      (i32.const 128)"""
    served = await open_(component(code, data=data))
    assert (await called(served))["structuredContent"] == {"key": "k"}
    await served.stop(1)
    assert (tmp_path / "logs" / "a.log").read_text() == "warning: hello\n"


async def test_a_component_reads_its_configuration(open_: Open) -> None:
    data = Data()
    key, size = data.put("who")
    code = f"""(call $config (i32.const {key}) (i32.const {size}) (i32.const 128))
      (call $gives (i32.const 0) (i32.load (i32.const 132)) (i32.load (i32.const 136)))"""
    assert await text_of(await open_(component(code, data=data))) == "set by the user"


async def test_an_error_of_a_component_is_a_result_in_its_own_words(open_: Open) -> None:
    data = Data()
    result = await called(await open_(component(gives(data, "There is no such city.", 1), data=data)))
    assert (result["isError"], result["content"][0]["text"]) == (True, "There is no such city.")


async def test_a_component_says_what_its_configuration_must_be(open_: Open) -> None:
    data = Data()
    rules = {"type": "object", "properties": {"limit": {"type": "integer"}}}
    wasm = component(data=data, interfaces={"settings": {"schema": says(data, rules)}})
    await open_(wasm, config={"limit": 5})
    with pytest.raises(PluginUnavailable, match="does not agree with its schema"):
        await open_(wasm, config={"limit": "many"})


async def test_a_hook_of_a_component_is_asked(open_: Open) -> None:
    data = Data()
    served = await open_(component(data=data, interfaces={"hooks": {"hook": gives(data, {"allow": False})}}))
    call = Call(PretendFace(), Identity(), "tools/call", {})
    assert json.loads(bytes(await served.hook(b"{}", call))) == {"allow": False}


async def test_what_a_component_observes_is_a_tool(open_: Open) -> None:
    data = Data()
    guest = {"describe": says(data, {"capabilities": ["observe"]})}
    observer = {"observe": gives(data, {"evidence": {"seen": 3}})}
    served = await open_(component(data=data, interfaces={"guest": guest, "observer": observer}))
    assert (await called(served, "observe"))["structuredContent"] == {"seen": 3}


async def test_a_loop_in_a_component_is_ended_on_time_and_the_next_call_is_served(open_: Open) -> None:
    data = Data()
    spin = f"(if (i32.lt_u (local.get 3) (i32.const 20)) (then (loop (br 0)))) {gives(data, '5')}"
    served = await open_(component(spin, data=data), limits=Limits(timeout=0.2))
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await called(served, text="hello")
    assert time.monotonic() - began < 0.45
    assert await text_of(served, text="hello, all of you") == "5"


async def test_a_file_is_told_by_its_header_and_not_by_its_name(open_: Open) -> None:
    assert await text_of(await open_(guest())) == "echoed"
    assert await text_of(await open_(component())) == "echoed"


async def test_a_component_is_compiled_once(open_: Open, runtime: WasmRuntime) -> None:
    data = Data()
    wasm = component(gives(data, '"only here"'), data=data)
    for _ in range(3):
        await open_(wasm)
    assert runtime.statistics is not None
    assert (runtime.statistics.misses, runtime.statistics.hits) == (1, 2)


# components that know nothing of broker

_MATHS = """
(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))
    (func (export "spin") (loop (br 0)))
    (func (export "fails") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (type $point' (record (field "x" s32) (field "y" s32)))
  (export $point "point" (type $point'))
  (type $colour' (enum "red" "green"))
  (export $colour "colour" (type $colour'))
  (func $add (param "a" u8) (param "b" u8) (result u32) (canon lift (core func $i "add")))
  (func $half (param "x" f64) (result f64) (canon lift (core func $i "half")))
  (func $same (param "text" string) (result string) (canon lift (core func $i "same")
    (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func $bytes (param "data" (list u8)) (result (list u8)) (canon lift (core func $i "same")
    (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func $sum (param "at" $point) (result s32) (canon lift (core func $i "add")))
  (func $colours (param "all" (list $colour)) (result (list $colour)) (canon lift (core func $i "same")
    (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func $spin (canon lift (core func $i "spin")))
  (func $fails (param "really" bool) (result (result)) (canon lift (core func $i "fails")))
  (export "add" (func $add))
  (export "half" (func $half))
  (export "same" (func $same))
  (export "bytes" (func $bytes))
  (export "sum" (func $sum))
  (export "colours" (func $colours))
  (export "spin" (func $spin))
  (export "fails" (func $fails))
  (instance $more (export "add" (func $add)))
  (export "acme:maths/more@1.2.0" (instance $more)))
"""


@pytest.fixture(scope="module")
def maths() -> bytes:
    return bytes(wasmtime.wat2wasm(_MATHS))


async def test_functions_are_tools_only_if_the_user_says_so(open_: Open, maths: bytes) -> None:
    with pytest.raises(PluginUnavailable, match='wasm = "functions"'):
        await open_(maths)
    served = await open_(maths, wasm="functions")
    names = {json.loads(bytes(tool))["name"] for tool in (await served.lists()).tools}
    assert names == {"add", "half", "same", "bytes", "sum", "colours", "spin", "fails", "more_add"}


@pytest.mark.parametrize(
    ("tool", "given", "found"),
    [
        ("add", {"a": 3, "b": 4}, "7"),
        ("more_add", {"a": 30, "b": 4}, "34"),
        ("half", {"x": 3}, "1.5"),
        ("same", {"text": "grüße 🙂"}, "grüße 🙂"),
        ("same", {"text": ""}, ""),
        ("bytes", {"data": "AAEC/w=="}, "AAEC/w=="),
        ("sum", {"at": {"x": -5, "y": 3}}, "-2"),
        ("colours", {"all": ["red", "green", "red"]}, '["red","green","red"]'),
    ],
)
async def test_a_function_is_called_with_json(open_: Open, maths: bytes, tool: str, given: Any, found: str) -> None:
    served = await open_(maths, wasm="functions")
    assert await text_of(served, tool, **given) == found


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("add", {"a": 256, "b": 0}),
        ("add", {"a": -1, "b": 0}),
        ("add", {"a": 1}),
        ("add", {"a": 1.5, "b": 1}),
        ("add", {"a": True, "b": 1}),
        ("half", {"x": "1"}),
        ("bytes", {"data": "no base64!"}),
        ("sum", {"at": {"x": 1}}),
        ("colours", {"all": ["blue"]}),
    ],
)
async def test_what_does_not_fit_never_reaches_a_function(open_: Open, maths: bytes, tool: str, given: Any) -> None:
    served = await open_(maths, wasm="functions")
    assert (await called(served, tool, **given))["isError"]


async def test_a_function_that_loops_is_ended(open_: Open, maths: bytes) -> None:
    served = await open_(maths, wasm="functions", limits=Limits(timeout=0.2))
    with pytest.raises(TimedOut):
        await called(served, "spin")


async def test_a_result_without_a_value_is_fine_or_an_error(open_: Open, maths: bytes) -> None:
    served = await open_(maths, wasm="functions")
    assert "isError" not in await called(served, "fails", really=False)
    assert (await called(served, "fails", really=True))["isError"]


async def test_many_bytes_take_no_second(open_: Open, maths: bytes) -> None:
    data = base64.b64encode(bytes(range(256)) * 100).decode()
    served = await open_(maths, wasm="functions")
    began = time.monotonic()
    assert await text_of(served, "bytes", data=data) == data
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("wasm", "allowed", "why"),
    [
        (lambda: component(), "extism", "it is a component"),
        (lambda: guest(), "functions", "it is a core module"),
    ],
)
async def test_the_users_word_must_agree_with_the_file(
    open_: Open, wasm: Callable[[], bytes], allowed: str, why: str
) -> None:
    with pytest.raises(PluginUnavailable, match=why):
        await open_(wasm(), wasm=allowed)


async def test_a_component_that_failed_is_replaced(open_: Open) -> None:
    served = await open_(component("(unreachable)"), instance="shared")
    for _ in range(2):
        with pytest.raises(PluginFailed, match="it gave up"):
            await called(served)
