"""Every script of `lua_attacks` against each place where scripts run, while another plugin is called."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.core.ports import Call, Identity
from broker.errors import BrokerError, HostFailed
from broker.model import Limits, Spec
from broker.runtimes import lua_guest
from broker.runtimes.lua_guest import LuaGuest, Place
from broker.runtimes.lua_spare import Workers
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Ended, GuestError
from tests.hostile.lua_attacks import CLASSES
from tests.hostile.stalls import Stalls, parent
from tests.pretend import PretendFace

GRACE = 0.25  # seconds from the end of a script's time until it is over, whatever it does
UNHINDERED = 0.1  # seconds that a call of another plugin may take meanwhile; it takes 0.0002 by itself
FAST, REAL = 0.03, 0.1  # seconds of a script: in every run of the tests, and as it is without a word of its user's
SOME = 3  # of the attacks on a process, every so manieth is in every run

CALLER = Call(PretendFace(), Identity(), "tools/call", {})


async def operations(spec: Spec, op: str, params: bytes, call: Call | None) -> bytes:
    if op == "large":
        return json.dumps("x" * 200_000).encode()
    if op == "raises":
        raise ValueError("/a/path of ours")
    if op == "echo":
        return params
    raise HostFailed(f"there is no operation {op}")


workers = Workers()


def guest(folder: Path, name: str, script: str, place: Place, seconds: float = REAL) -> LuaGuest:
    folder.mkdir(exist_ok=True)
    entry = folder / f"{name}.lua"
    entry.write_text(script)
    limits = Limits(script=seconds)
    spec = Spec(name=name, source="t", entry=str(entry), limits=limits, unconfined=True, cwd=str(folder))
    return LuaGuest(spec, place, PluginLog(None), lambda: workers, operations)


@pytest.fixture(autouse=True)
async def _no_spare_is_left() -> AsyncIterator[None]:
    yield
    await workers.close()


@pytest.fixture
async def bystander(tmp_path: Path) -> AsyncIterator[LuaGuest]:
    one = guest(tmp_path / "other", "bystander", "broker.tool{name='t', run=function() return 1 end}", "inprocess")
    await one.begin()
    yield one
    await one.stop(0)


def surroundings(folder: Path) -> None:
    """What a script may want to load."""
    folder.mkdir()
    (folder / "words.lua").write_text("return {}")
    (folder / "compiled.lua").write_bytes(b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n")
    (folder.parent / "secret.lua").write_text("return 'ESCAPED'")
    os.symlink(folder.parent / "secret.lua", folder / "linked.lua")
    os.mkfifo(folder / "pipe.lua")
    (folder / "folder.lua").mkdir()


@pytest.mark.parametrize("seconds", [FAST, pytest.param(REAL, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", ["inprocess", "process"])
@pytest.mark.parametrize("kind", CLASSES)
async def test_every_attack_of_a_class_is_over_in_time_and_others_are_served(
    kind: str, place: Place, seconds: float, tmp_path: Path, bystander: LuaGuest
) -> None:
    surroundings(tmp_path / "evil")
    step = SOME if place == "process" and seconds == FAST else 1
    for name, body in list(CLASSES[kind].items())[::step]:
        script = (
            f"broker.tool{{name='attack', run=function() {body} end}}"
            "\nbroker.tool{name='fine', run=function() return 'fine' end}"
        )
        evil = guest(tmp_path / "evil", "evil", script, place, seconds)
        await evil.begin()
        try:
            took, said, hindered = await attacked(evil, bystander)
            assert took < seconds + GRACE, name
            assert hindered < UNHINDERED, name
            assert "ESCAPED" not in said, name
            assert await outcome(evil, "fine") == "fine", name  # in a new state, where the old one was ended
        finally:
            await evil.stop(0)


async def attacked(evil: LuaGuest, bystander: LuaGuest) -> tuple[float, str, float]:
    """How long its attack took, what came of it, and the longest call of the bystander meanwhile."""
    hindered, pids = 0.0, () if evil.pid is None else (evil.pid, parent(evil.pid))
    with Stalls() as whole:
        attack = asyncio.ensure_future(outcome(evil, "attack"))
        while not attack.done():
            with Stalls() as one:
                assert await bystander.invoke("tools", "t", b"{}", CALLER) == b"1"
            hindered = max(hindered, one.ours)
            whole.look(*pids)
            await asyncio.wait([attack], timeout=0.005)
    return whole.ours, await attack, hindered


async def outcome(evil: LuaGuest, tool: str) -> str:
    """What its caller learns."""
    try:
        said = await asyncio.wait_for(evil.invoke("tools", tool, b"{}", CALLER), 10)
        return said if isinstance(said, str) else said.decode()
    except (GuestError, Ended, BrokerError) as error:
        return str(error)


async def test_there_are_enough_attacks() -> None:
    assert sum(map(len, CLASSES.values())) >= 150


LOADING = {
    "loops": "while true do end",
    "no Lua": "this is no Lua",
    "deep": "return " + "(" * 250_000 + "1" + ")" * 250_000,
    "long": "return " + "..".join(["'x'"] * 100_000),
    "many locals": "".join(f"local a{n} = {n}\n" for n in range(300)),
    "many constants": "return {" + ",".join(f"'{n}'" for n in range(60_000)) + "}, while",
    "compiled": "\x1bLua\x54\x00\x19\x93",
    "larger than a file may be": "--" + "x" * 5_000_000,
    "throws": "error('no')",
    "throws a table": "error({})",
    "yields": "coroutine.yield()",
    "two tools of a name": "for _ = 1, 2 do broker.tool{name='t', run=print} end",
    "no name": "broker.tool{run=print}",
    "no function": "broker.tool{name='t'}",
    "unknown key": "broker.tool{name='t', run=print, x=1}",
    "unknown type": "broker.tool{name='t', run=print, input={a='strin'}}",
    "too many": "for i = 1, 2000 do broker.tool{name='t' .. i, run=print} end",
    "control characters": "broker.tool{name='a\\nb', run=print}",
    "itself": "require('evil')",
}


@pytest.mark.parametrize("place", ["inprocess", "process"])
@pytest.mark.parametrize("name", LOADING)
async def test_a_script_that_cannot_be_loaded_is_refused_in_time(
    name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua_guest, "LOAD", 0.2)
    evil = guest(tmp_path / "evil", "evil", LOADING[name], place)
    try:
        with pytest.raises(BrokerError, match="evil"):
            await asyncio.wait_for(evil.begin(), 20)
    finally:
        await evil.stop(0)
