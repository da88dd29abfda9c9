"""WASM plugins, loaded and called as the router does it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import BrokerError, PermissionMissing, PluginFailed, PluginUnavailable, RemoteError, TimedOut
from broker.model import UNBOUNDED, Era, Limits, Spec
from broker.runtimes import served as served_module
from broker.runtimes import wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import ECHO_TOOL, Data, Deaf, answer, guest

OLD, NEW = Identity(era=Era.LEGACY), Identity(era=Era.MODERN, version="2026-07-28")
Open = Callable[..., Awaitable[Served]]
SPIN = "(loop (br 0)) (unreachable)"
# Counts its own calls and answers with the number, one digit.
COUNTING = """(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store8 (i32.const {at}) (i32.add (i32.const 48) (global.get $calls)))
  (call $pack (i32.const {start}) (i32.const {size}))"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def runtime(kept: Path, tmp_path: Path) -> AsyncIterator[WasmRuntime]:
    runtime = WasmRuntime(tmp_path / "logs", kept / "cache", kept / "wasm.key")
    yield runtime
    await runtime.close(1)


@pytest.fixture
def open_(runtime: WasmRuntime, tmp_path: Path) -> Open:
    async def begin(wasm: bytes, **spec: Any) -> Served:
        name = spec.pop("name", "a")
        entry = tmp_path / f"{name}.wasm"
        entry.write_bytes(wasm)
        spec.setdefault("limits", Limits(timeout=5))
        return await runtime.start(Spec(name=name, source="t", entry=str(entry), **spec), OLD, None, Deaf())

    return begin


def call(identity: Identity = OLD, tool: str = "echo", **arguments: Any) -> Call:
    given = arguments or {"text": "hello"}
    return Call(PretendFace(era=identity.era), identity, "tools/call", {"name": raw(tool), "arguments": raw(given)})


def counting() -> bytes:
    data = Data()
    start, size = data.put('{"result":"?"}')
    return guest(COUNTING.format(at=start + 11, start=start, size=size), data=data)


def text_of(result: Any) -> str:
    return json.loads(bytes(result))["content"][0]["text"]


async def test_a_plugin_is_listed_and_called_in_both_eras(open_: Open) -> None:
    served = await open_(guest())
    listing = await served.lists()
    assert [json.loads(bytes(tool)) for tool in listing.tools] == [ECHO_TOOL]
    assert text_of(await served.call(call())) == "echoed"
    assert json.loads(bytes(await served.call(call(NEW))))["resultType"] == "complete"


async def test_every_call_has_an_instance_of_its_own(open_: Open) -> None:
    served = await open_(counting())
    assert [text_of(await served.call(call())) for _ in range(3)] == ["1", "1", "1"]


async def test_a_shared_instance_keeps_what_it_knows(open_: Open) -> None:
    served = await open_(counting(), instance="shared")
    assert [text_of(await served.call(call())) for _ in range(3)] == ["1", "2", "3"]


async def test_arguments_that_do_not_fit_never_reach_the_guest(open_: Open) -> None:
    served = await open_(guest("(unreachable)"))
    result = json.loads(bytes(await served.call(call(text=5))))
    assert result["isError"]
    assert "must be string" in result["content"][0]["text"]


async def test_an_error_of_the_guest_is_a_result_in_its_own_words(open_: Open) -> None:
    data = Data()
    code = answer(data, {"error": {"code": "no-such-city", "message": "There is no such city."}})
    result = json.loads(bytes(await (await open_(guest(code, data=data))).call(call())))
    assert (result["isError"], result["content"][0]["text"]) == (True, "There is no such city.")


async def test_a_trap_costs_only_its_call(open_: Open) -> None:
    served = await open_(guest("(unreachable)"))
    for _ in range(4):
        with pytest.raises(PluginFailed, match="it gave up"):
            await served.call(call())


async def test_a_call_that_runs_too_long_is_ended_on_time(open_: Open) -> None:
    served = await open_(guest(SPIN), limits=Limits(timeout=0.2))
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await served.call(call())
    assert time.monotonic() - began < 0.2 + 0.25


async def test_three_kills_in_a_minute_quarantine_the_plugin(open_: Open) -> None:
    served = await open_(guest(SPIN), limits=Limits(timeout=0.05))
    for _ in range(3):
        with pytest.raises(TimedOut):
            await served.call(call())
    with pytest.raises(PluginUnavailable, match="3 times within a minute"):
        await served.call(call())


async def test_a_cancelled_call_ends_its_guest_and_frees_the_thread(open_: Open) -> None:
    served = await open_(guest(SPIN), limits=Limits(timeout=30))
    task = asyncio.ensure_future(served.call(call()))
    await asyncio.wait([task], timeout=0.1)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.25


async def test_another_plugins_calls_go_on_while_one_spins(open_: Open) -> None:
    spinning, good = await open_(guest(SPIN), name="spin"), await open_(guest(), name="good")
    task = asyncio.ensure_future(spinning.call(call()))
    for _ in range(20):
        assert text_of(await asyncio.wait_for(good.call(call()), 1)) == "echoed"
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_stopping_ends_a_guest_that_runs(open_: Open) -> None:
    served = await open_(guest(SPIN), limits=Limits(timeout=30))
    task = asyncio.ensure_future(served.call(call()))
    await asyncio.wait([task], timeout=0.05)
    await served.stop(1)
    with pytest.raises(BrokerError):
        await asyncio.wait_for(task, 1)


async def test_a_configuration_that_breaks_its_schema_is_refused_before_any_call(open_: Open) -> None:
    schema = {"result": {"type": "object", "properties": {"limit": {"type": "integer"}}, "required": ["limit"]}}
    wasm = guest(ops={"schema": schema})
    with pytest.raises(PluginUnavailable, match="`limit` is missing"):
        await open_(wasm)
    assert text_of(await (await open_(wasm, config={"limit": 3})).call(call())) == "echoed"


async def test_operations_it_has_not_are_simply_absent(open_: Open) -> None:
    unknown = {"error": {"code": "unknown-op"}}
    served = await open_(guest(ops={"describe": unknown, "schema": unknown, "tools/list": unknown}))
    assert (await served.lists()).tools == []


@pytest.mark.parametrize(
    ("wasm", "why"),
    [
        (b"", "no WASM binary"),
        (b"(module)", "no WASM binary"),
        (b"\0asm\x0d\0\1\0", "component"),
        (b"\0asm\x02\0\0\0", "version nobody knows"),
        (b"\0asm\1\0\0\0junk", "cut off|no valid"),
        (guest(version=99), "speaks protocol 99"),
        (guest(more='(func (export "health") (result i32) (i32.const 7))'), "not well .health 7."),
        (guest(more='(func (export "health") (result i32) (loop (br 0)) (i32.const 0))'), "longer than it may"),
        (guest(more='(func (export "health") (result i64) (i64.const 0))'), "health has the type"),
        (guest(imports='(import "env" "x" (func))'), "imports env.x"),
        (guest(imports='(import "host" "exec" (func))'), "imports host.exec"),
        (guest(imports='(import "host" "log" (func (param i32)))'), "host.log has the type"),
        (guest(imports='(import "host" "log" (global i32))'), "host.log is no function"),
    ],
)
async def test_an_unfit_file_is_refused_with_its_reason(open_: Open, wasm: bytes, why: str) -> None:
    with pytest.raises(PluginUnavailable, match=why):
        await asyncio.wait_for(open_(wasm), 20)


async def test_what_it_logs_is_in_its_log_file(open_: Open, tmp_path: Path) -> None:
    data = Data()
    at, size = data.put("hello from inside")
    code = f"(call $log (i32.const 1) (i32.const {at}) (i32.const {size})) " + answer(data, {"result": 1})
    await (await open_(guest(code, data=data))).call(call())
    assert "warning: hello from inside\n" in (tmp_path / "logs" / "a.log").read_text()


async def test_a_storm_of_log_lines_is_counted_and_cut(open_: Open, tmp_path: Path) -> None:
    data = Data()
    at, size = data.put("x" * 1000)
    code = f"""(loop $more
        (call $log (i32.const 1) (i32.const {at}) (i32.const {size}))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_s (local.get $n) (i32.const 200)))) """ + answer(data, {"result": 1})
    await (await open_(guest(code, data=data))).call(call())
    written = (tmp_path / "logs" / "a.log").read_text()
    assert len(written) < 70_000
    assert "more lines of this call were not kept" in written


async def asking(tmp_path: Path, host: Any, *, timeout: float = 5) -> Served:
    """A plugin that answers with what `host.call` gave it."""
    data = Data()
    at, size = data.put('{"op":"state.get","params":{"key":"k"}}')
    entry = tmp_path / "a.wasm"
    entry.write_bytes(guest(f"(call $call (i32.const {at}) (i32.const {size}))", data=data))
    runtime = WasmRuntime(operations=host)
    spec = Spec(name="a", source="t", entry=str(entry), limits=Limits(timeout=timeout))
    return await runtime.start(spec, OLD, None, Deaf())


async def test_the_host_is_asked_on_the_loop_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        assert asyncio.get_running_loop()
        return json.dumps([spec.name, op, json.loads(params)]).encode()

    served = await asking(tmp_path, host)
    assert json.loads(text_of(await served.call(call()))) == ["a", "state.get", {"key": "k"}]
    await served.stop(1)


async def test_a_refusal_of_the_host_is_told_in_its_words(tmp_path: Path) -> None:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        raise PermissionMissing("a may not do that")

    served = await asking(tmp_path, host)
    result = json.loads(bytes(await served.call(call())))
    assert (result["isError"], result["content"][0]["text"]) == (True, "a may not do that")
    await served.stop(1)


async def test_a_host_that_does_not_answer_holds_nobody_beyond_the_deadline(tmp_path: Path) -> None:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    served = await asking(tmp_path, host, timeout=0.2)
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await served.call(call())
    assert time.monotonic() - began < 0.2 + 0.25
    await served.stop(1)


async def test_a_call_cancelled_while_the_host_is_asked_ends_at_once(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    served = await asking(tmp_path, host, timeout=30)
    task = asyncio.ensure_future(served.call(call()))
    await asyncio.wait_for(asked.wait(), 5)
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert time.monotonic() - began < 0.25
    await served.stop(1)


async def test_a_slow_call_is_said_to_be_slow(open_: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_plugin, "SOFT", 0.05)
    served = await open_(guest(SPIN), limits=Limits(timeout=0.2))
    with pytest.raises(TimedOut):
        await served.call(call())
    assert "echo runs for more than 0.05 s" in (tmp_path / "logs" / "a.log").read_text()


async def test_a_slow_call_learns_so_from_the_next_answer_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        return b'"value"'

    monkeypatch.setattr(wasm_plugin, "SOFT", 0.0)
    data = Data()
    at, size = data.put('{"op":"state.get","params":{"key":"k"}}')
    head, _ = data.put('{"result":')
    # Its host's answer, as it is, as its own result.
    code = f"""(local.set $p (call $call (i32.const {at}) (i32.const {size})))
      (local.set $n (call $alloc (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 11))))
      (memory.copy (local.get $n) (i32.const {head}) (i32.const 10))
      (memory.copy (i32.add (local.get $n) (i32.const 10))
        (i32.wrap_i64 (i64.shr_u (local.get $p) (i64.const 32))) (i32.wrap_i64 (local.get $p)))
      (i32.store8 (i32.add (local.get $n) (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 10))) (i32.const 125))
      (call $pack (local.get $n) (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 11)))"""
    (tmp_path / "a.wasm").write_bytes(guest(code, data=data))
    runtime = WasmRuntime(operations=host)
    spec = Spec(name="a", source="t", entry=str(tmp_path / "a.wasm"), limits=Limits(timeout=5))
    served = await runtime.start(spec, OLD, None, Deaf())
    said = json.loads(bytes(await served.call(call())))["structuredContent"]
    assert said["result"] == "value" and said["event"]["name"] == "soft-limit"
    assert 0 < said["event"]["left"] <= 5
    await served.stop(1)


async def test_a_method_it_has_not_is_refused(open_: Open) -> None:
    served = await open_(guest())
    with pytest.raises(RemoteError):
        await served.call(Call(PretendFace(), OLD, "completion/complete", {}))


EVIDENCE = {"cpu": "cool"}


def observing(said: dict[str, Any]) -> bytes:
    described = {"result": {"name": "thermometer", "capabilities": ["observe"]}}
    return guest(ops={"describe": described, "observe": {"result": said}})


async def test_what_it_observes_is_a_tool_that_gives_its_evidence(open_: Open) -> None:
    served = await open_(observing({"evidence": EVIDENCE}))
    assert len((await served.lists()).tools) == 2
    result = json.loads(bytes(await served.call(call(tool="observe"))))
    assert result["structuredContent"] == EVIDENCE


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"error": {"message": "The sensor is gone."}}, "The sensor is gone."),
        ({"evidence": EVIDENCE, "error": {"message": "x"}}, "not both or neither"),
        ({}, "not both or neither"),
    ],
)
async def test_an_observation_is_one_evidence_or_one_error(open_: Open, said: dict[str, Any], words: str) -> None:
    result = json.loads(bytes(await (await open_(observing(said))).call(call(tool="observe"))))
    assert result["isError"] and words in result["content"][0]["text"]


async def test_a_hook_of_it_answers(open_: Open) -> None:
    said = {"allow": False, "reason": "not on my watch"}
    served = await open_(guest(ops={"hook": {"result": said}}))
    assert json.loads(bytes(await served.hook(b'{"type":"pre_request"}', call()))) == said


async def test_a_hook_that_computes_for_too_long_is_ended_by_its_processor_time(open_: Open) -> None:
    served = await open_(guest(ops={"hook": f"code:{SPIN}"}))
    with pytest.raises(PluginFailed, match="more processor time"):
        await asyncio.wait_for(served.hook(b"{}", call()), 2)


async def test_a_hook_that_waits_for_too_long_is_ended_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(wasm_plugin, "HOOK_WALL", 0.2)
    served = await asking(tmp_path, host)
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await asyncio.wait_for(served.hook(b"{}", call()), 5)
    assert time.monotonic() - began < 2
    await served.stop(1)


async def test_one_that_takes_too_long_to_load_is_given_up(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_plugin, "LOAD", 0.2)
    for op in ("describe", "tools/list"):
        with pytest.raises(PluginUnavailable, match="longer than it may"):
            await asyncio.wait_for(open_(guest(ops={op: f"code:{SPIN}"})), 20)


async def test_after_a_kill_a_shared_instance_is_a_new_one(open_: Open) -> None:
    data = Data()
    start, size = data.put('{"result":"?"}')
    # Counts; a call with the letter z in it never ends.
    at, length = data.put('"z"')
    asked = f"(call $contains (local.get $at) (local.get $size) (i32.const {at}) (i32.const {length}))"
    code = f"(if {asked} (then (loop (br 0)))) " + COUNTING.format(at=start + 11, start=start, size=size)
    served = await open_(guest(code, data=data), instance="shared", limits=Limits(timeout=0.2))
    assert [text_of(await served.call(call())) for _ in range(2)] == ["1", "2"]
    with pytest.raises(TimedOut):
        await served.call(call(text="z"))
    assert text_of(await served.call(call())) == "1"


async def test_memory_beyond_64_mib_is_its_users_to_give(open_: Open) -> None:
    data = Data()
    grown = "(drop (memory.grow (i32.const 1600)))"  # to 100 MiB; a refusal leaves one page
    more = "(if (i32.gt_u (memory.size) (i32.const 1024)) (then (return {large}))) {small}"
    code = grown + more.format(large=answer(data, {"result": "large"}), small=answer(data, {"result": "small"}))
    wasm = guest(code, data=data)
    assert text_of(await (await open_(wasm)).call(call())) == "small"
    unbounded = Limits(timeout=5, memory=UNBOUNDED)
    assert text_of(await (await open_(wasm, limits=unbounded)).call(call())) == "large"


def test_the_numbers_are_those_that_were_agreed() -> None:
    found = wasm_plugin.SOFT, wasm_plugin.LOAD, wasm_plugin.HEALTH, wasm_plugin.HOOK_CPU, wasm_plugin.HOOK_WALL
    assert found == (5, 10, 1, 0.1, 1)
    assert (wasm_plugin.MEMORY, wasm_plugin.GRACE) == (64 << 20, 0.25)
    assert (served_module.KILLS, served_module.WINDOW) == (3, 60)
