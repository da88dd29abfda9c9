"""A worker that dies or lies costs its own script one call: what it says is never more than bytes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker.confine.tree import spawn
from broker.core.ports import Identity
from broker.errors import PluginFailed, TimedOut
from broker.model import Limits, Spec
from broker.runtimes import lua_guest
from broker.runtimes.lua_guest import LuaGuest
from broker.runtimes.lua_runtime import LuaRuntime
from broker.runtimes.lua_spare import Workers
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Ended, GuestError
from tests.hostile.evil import until
from tests.hostile.stalls import Stalls
from tests.hostile.test_lua_attacks import CALLER, operations
from tests.runtimes.test_process import Holder

REPLACED = 0.05  # seconds until another worker serves, where one waits
# What a worker that was taken over by its script may do with its pipes; it has read the first frame.
LIES = {
    "an oversized frame": "w(struct.pack('!Icd', 1 << 30, b'R', 0))",
    "a frame of no kind": "w(struct.pack('!Icd', 0, b'?', 0))",
    "a torn part": "w(struct.pack('!Icd', 4, b'R', 0) + b'\\xff\\xff\\xff\\xff')",
    "text": "w(b'Traceback (most recent call last):\\n' * 100)",
    "an operation without params": "w(struct.pack('!Icd', 8, b'H', 0) + struct.pack('!I', 4) + b'echo')",
    "operations at once": "w((struct.pack('!Icd', 14, b'H', 0) + struct.pack('!I', 4)"
    " + b'echo' + struct.pack('!I', 2) + b'{}') * 1000)",
    "nothing": "pass",
    "a flood": "[w(bytes(1 << 20)) for _ in range(100)]",
}


class Liars(Workers):
    """Gives workers that do something else than they must."""

    def __init__(self, does: str) -> None:
        super().__init__()
        self._does = does

    async def begin(self, spec: Spec, memory: int, plugin_log: PluginLog) -> Any:
        program = (
            "import os, struct, sys, time\n"
            "def w(data):\n"
            "    while data: data = data[os.write(1, data):]\n"
            f"os.read(0, 1 << 16)\n{self._does}\ntime.sleep(60)"
        )
        return await spawn([sys.executable, "-I", "-S", "-c", program], env={}, cwd=None)


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that_breaks_the_rules_is_ended(
    lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua_guest, "LOAD", 0.3)
    monkeypatch.setattr("broker.runtimes.lua_process.BOOT", 0.5)
    entry = tmp_path / "p.lua"
    entry.write_text("broker.tool{name='t', run=print}")
    spec = Spec(name="p", source="t", entry=str(entry), cwd="/", unconfined=True, isolation="process")
    workers = Liars(LIES[lie])
    guest = LuaGuest(spec, "process", PluginLog(None), lambda: workers, operations)
    with pytest.raises((PluginFailed, TimedOut, Ended), match=r"p cannot be loaded: p (was ended|worked for)"):
        await asyncio.wait_for(guest.begin(), 10)
    await guest.stop(0)
    await until(lambda: not any(map(_lies, psutil.Process().children(recursive=True))))


def _lies(process: psutil.Process) -> bool:
    try:
        return "def w(data)" in " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return False


@pytest.fixture
async def runtime() -> AsyncIterator[LuaRuntime]:
    found = LuaRuntime()
    yield found
    await found.close(0)


async def test_a_worker_that_crashes_is_replaced_at_once_by_the_one_that_waits(tmp_path: Path) -> None:
    entry = tmp_path / "p.lua"
    entry.write_text("broker.tool{name='t', run=function() while true do end end}")
    limits, workers = Limits(script=30), Workers()
    spec = Spec(name="p", source="t", entry=str(entry), cwd="/", unconfined=True, limits=limits)
    guest = LuaGuest(spec, "process", PluginLog(None), lambda: workers, operations)
    await guest.begin()
    await until(lambda: workers.ready)
    assert guest.pid is not None
    attack = asyncio.ensure_future(guest.invoke("tools", "t", b"{}", CALLER))
    await asyncio.wait([attack], timeout=0.1)
    os.kill(guest.pid, signal.SIGSEGV)
    with pytest.raises(Ended, match="was ended") as ended:
        await asyncio.wait_for(attack, 10)
    assert isinstance(ended.value.error, PluginFailed)
    with Stalls() as stalls:
        with pytest.raises(GuestError):
            await guest.invoke("tools", "no such tool", b"{}", CALLER)  # which loads it anew
        stalls.look(guest.pid)
    assert stalls.ours < REPLACED
    await guest.stop(0)
    await workers.close()


ALONE = """
import asyncio, sys
from broker.core.ports import Identity
from broker.model import Spec
from broker.runtimes.lua_runtime import LuaRuntime

async def main():
    runtime = LuaRuntime()
    spec = Spec(name="p", source="t", entry=sys.argv[1], cwd="/", unconfined=True, isolation="process")
    await runtime.start(spec, Identity(), None, None)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_no_worker_outlives_a_broker_that_was_killed(tmp_path: Path) -> None:
    entry = tmp_path / "p.lua"
    entry.write_text("broker.tool{name='t', run=print}")
    broker = await asyncio.create_subprocess_exec(sys.executable, "-c", ALONE, str(entry), stdout=-1)
    assert broker.stdout is not None
    assert await asyncio.wait_for(broker.stdout.readline(), 30) == b"ready\n"
    family = psutil.Process(broker.pid).children(recursive=True)
    assert family
    broker.kill()
    await broker.wait()
    await until(lambda: not any(map(_runs, family)))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


SPINS = """
import asyncio, sys
from broker.core.ports import Call, Identity, Nobody
from broker.model import Limits, Spec
from broker.runtimes.lua_runtime import LuaRuntime

async def main():
    spec = Spec(name="p", source="t", entry=sys.argv[1], cwd="/", limits=Limits(script=0))
    served = await LuaRuntime().start(spec, Identity(), None, None)
    asyncio.ensure_future(served._guest.invoke("tools", "t", b"{}", Call(Nobody(), Identity(), "", {})))
    await asyncio.sleep(0.1)
    print("spins", flush=True)
    sys.exit(0)

asyncio.run(main())
"""


async def test_the_interpreter_ends_while_a_script_spins(tmp_path: Path) -> None:
    entry = tmp_path / "p.lua"
    entry.write_text("broker.tool{name='t', run=function() while true do end end}")
    broker = await asyncio.create_subprocess_exec(sys.executable, "-c", SPINS, str(entry), stdout=-1, stderr=-1)
    assert broker.stdout is not None
    assert await asyncio.wait_for(broker.stdout.readline(), 30) == b"spins\n"
    began = time.monotonic()
    await asyncio.wait_for(broker.wait(), 10)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("isolation", "own"), [("auto", False), ("inprocess", False), ("process", True)])
async def test_its_user_says_where_a_script_runs(
    isolation: Any, own: bool, tmp_path: Path, runtime: LuaRuntime
) -> None:
    entry = tmp_path / "p.lua"
    entry.write_text("broker.tool{name='t', run=print}")
    spec = Spec(name="p", source="t", entry=str(entry), cwd="/", unconfined=True, isolation=isolation)
    served = await runtime.start(spec, Identity(), None, Holder())
    assert (served.pid is not None) is own
