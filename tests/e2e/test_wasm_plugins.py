"""WASM plugins behind the real `broker mcp`, in both eras."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import ERAS, Home, opened, same_id
from tests.e2e.test_operating import Shell, until
from tests.runtimes.wasm_guests import Data, answer, guest, plugin

SPIN = "(loop (br 0)) (unreachable)"
NAMES = ["good__echo", "spin__echo", "trap__echo"]


def home(tmp_path: Path) -> Home:
    """A good plugin, one that never ends its calls, and one that breaks down in each; nobody met them yet."""
    data = Data()
    at, size = data.put("said hello")
    said = f"(call $log (i32.const 2) (i32.const {at}) (i32.const {size}))"
    plugin(tmp_path / "good", "good", guest(said + answer(data, {"result": {"said": "hello"}}), data=data))
    plugin(tmp_path / "spin", "spin", guest(SPIN), '[limits]\ntimeout = "10m"\n')
    plugin(tmp_path / "trap", "trap", guest("(unreachable)"))
    entries = "".join(f'[plugins.{name}]\npath = "{tmp_path / name}"\n' for name in ("good", "spin", "trap"))
    return Home.of_toml(tmp_path / "home", entries)


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Any]:
    """Such a home, and what `broker doctor` said of it, which met and compiled them all."""
    place = home(tmp_path_factory.mktemp("met"))
    words = [place.command, "doctor", "--json", *place.flags]
    return place, json.loads(subprocess.run(words, env=place.env, capture_output=True, timeout=60).stdout)


@pytest.fixture
def met(examined: tuple[Home, Any], tmp_path: Path) -> Home:
    """A copy of it, in which nothing has to be compiled."""
    place = Home(tmp_path / "home", examined[0].flags)
    shutil.copytree(examined[0].folder, place.folder)
    return place


@pytest.mark.parametrize("era", ERAS)
async def test_a_wasm_plugin_is_listed_and_answers(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path), era) as line:
        assert await line.listed(*NAMES) == NAMES
        result = await line.call("good__echo", {"text": "hi"})
        assert result["structuredContent"] == {"said": "hello"}


@pytest.mark.parametrize("era", ERAS)
async def test_wrong_arguments_are_told_before_the_guest_runs(met: Home, era: str) -> None:
    async with opened(met, era) as line:
        await line.listed(*NAMES)
        result = await line.call("trap__echo", {"text": 5})
        assert result["isError"] and "must be string" in result["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_breaks_down_costs_only_itself(met: Home, era: str) -> None:
    async with opened(met, era) as line:
        await line.listed(*NAMES)
        for _ in range(2):
            result = await line.call("trap__echo", {"text": "x"})
            assert result["isError"] and "trap gave no answer: it gave up" in result["content"][0]["text"]
        assert (await line.call("good__echo", {"text": "hi"}))["structuredContent"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_spinning_call_holds_up_nobody_and_ends_when_it_is_cancelled(met: Home, era: str) -> None:
    async with opened(met, era) as line:
        await line.listed(*NAMES)
        spinning = line.send("tools/call", {"name": "spin__echo", "arguments": {"text": "x"}})
        for _ in range(5):
            assert (await line.call("good__echo", {"text": "hi"}))["structuredContent"]
        assert not [said for said in line.said if same_id(said.get("id"), spinning)]
        line.cancel(spinning)
        broker = psutil.Process(line.process.pid)
        for _ in range(100):
            before = sum(broker.cpu_times()[:2])
            await asyncio.sleep(0.05)
            if sum(broker.cpu_times()[:2]) - before < 0.03:
                return
        raise AssertionError("the guest of a cancelled call still runs")


async def test_a_broker_leaves_in_time_while_a_guest_spins(met: Home) -> None:
    async with opened(met) as line:
        await line.listed(*NAMES)
        line.send("tools/call", {"name": "spin__echo", "arguments": {"text": "x"}})
        await line.call("good__echo", {"text": "hi"})


async def test_what_was_compiled_once_is_not_compiled_again(met: Home) -> None:
    kept = {path: path.stat().st_ino for path in met.folder.rglob("*.cwasm")}
    assert len(kept) == 3
    async with opened(met) as line:
        await line.listed(*NAMES)
        await line.call("good__echo", {"text": "hi"})
    assert {path: path.stat().st_ino for path in met.folder.rglob("*.cwasm")} == kept


def test_the_doctor_starts_wasm_plugins_and_tells_of_their_cache(examined: tuple[Home, Any]) -> None:
    said = examined[1]
    assert {each["name"]: each["state"] for each in said["plugins"]} == dict.fromkeys(("good", "spin", "trap"), "ok")
    found = said["wasm_cache"]
    assert (found["misses"], found["hits"], found["entries"], found["evictions"]) == (3, 0, 3, 0)
    assert found["bytes"] > 1000


async def test_a_person_sees_what_a_plugin_says_and_has_its_instances_made_ready(met: Home) -> None:
    shell = Shell(met)
    async with opened(met) as line:
        await line.listed(*NAMES)
        await until((met.folder / "home" / "run" / f"{line.process.pid}.sock").exists)
        code, out, _ = await shell("warm", "good", "4")
        assert (code, "4 of 4 instances ready with 256 KiB" in out) == (0, True)
        assert (await line.call("good__echo", {"text": "hi"}))["structuredContent"] == {"said": "hello"}
        code, out, _ = await shell("show", "good", "--json")
        about = json.loads(out)["about"]
        assert (about["description"], about["capabilities"]) == ("A guest of the tests.", ["tools"])
        assert about["schema"] == {"type": "object"}
        _, out, _ = await shell("show", "good")
        assert "says     guest 1 A guest of the tests." in out
        _, out, _ = await shell("log", "good")
        assert "info: said hello" in out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"op": "config.get", "params": {"key": "limit"}}, "7"),
        ({"op": "fs.read", "params": {"path": "/etc/passwd"}}, "permission-missing"),
        ({"op": "no.such", "params": {}}, "not-found"),
    ],
)
async def test_a_guest_asks_the_broker_and_is_held_to_its_permissions(
    tmp_path: Path, asked: dict[str, object], said: str
) -> None:
    data = Data()
    at, size = data.put(json.dumps(asked))
    head, _ = data.put('{"result":')
    # The host's answer, as it is, as the structured content of this tool's.
    code = f"""(local.set $p (call $call (i32.const {at}) (i32.const {size})))
      (local.set $n (call $alloc (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 11))))
      (memory.copy (local.get $n) (i32.const {head}) (i32.const 10))
      (memory.copy (i32.add (local.get $n) (i32.const 10))
        (i32.wrap_i64 (i64.shr_u (local.get $p) (i64.const 32))) (i32.wrap_i64 (local.get $p)))
      (i32.store8 (i32.add (local.get $n) (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 10))) (i32.const 125))
      (call $pack (local.get $n) (i32.add (i32.wrap_i64 (local.get $p)) (i32.const 11)))"""
    option = '[config.limit]\ntype = "integer"\ndefault = 7\n'
    plugin(tmp_path / "asks", "asks", guest(code, data=data), option)
    place = Home.of_toml(tmp_path / "home", f'[plugins.asks]\npath = "{tmp_path / "asks"}"\n')
    async with opened(place) as line:
        await line.listed("asks__echo")
        answered = (await line.call("asks__echo", {"text": "hi"}))["structuredContent"]
        assert said in str(answered.get("result", answered.get("error")))
