"""The worker that is kept ready: who gets it, who does not, and when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.confine.tree import Child
from broker.core.ports import Identity
from broker.model import Spec
from broker.runtimes.lua_runtime import LuaRuntime
from broker.runtimes.lua_spare import Workers
from broker.runtimes.plugin_log import PluginLog
from tests.confine.jailed import native
from tests.hostile.evil import until
from tests.runtimes.test_process import Holder

HEAP = 16 << 20
PLUGIN = Spec(name="p", source="t", unconfined=True)
OTHER = Spec(name="other", source="t", unconfined=True)
HELD = Spec(name="held", source="t")


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    found = Workers()
    yield found
    await found.close()


async def ready(workers: Workers) -> None:
    await until(lambda: workers.ready)


async def begin(workers: Workers, spec: Spec, memory: int = HEAP) -> tuple[Child, bool]:
    """A worker, and whether it was there before it was asked for; it is ended at once."""
    asked = asyncio.get_running_loop().time()
    child = await workers.begin(spec, memory, PluginLog(None))
    await child.end(grace=0)
    return child, child.started < asked


async def test_the_next_worker_is_the_one_that_waits_and_it_is_nobodys_before(workers: Workers) -> None:
    first, was_there = await begin(workers, PLUGIN)
    assert not was_there
    await ready(workers)
    second, was_there = await begin(workers, OTHER)
    assert was_there
    assert second.pid != first.pid
    await ready(workers)  # there is another


@pytest.mark.parametrize(
    ("spec", "memory"), [(PLUGIN, 2 * HEAP), (Spec(name="p", source="t", unconfined=True, strict=True), HEAP)]
)
async def test_who_is_held_otherwise_does_not_get_it(workers: Workers, spec: Spec, memory: int) -> None:
    await begin(workers, PLUGIN)
    await ready(workers)
    _, was_there = await begin(workers, spec, memory)
    assert not was_there
    assert workers.ready


@native
async def test_a_spare_is_confined_like_any_other(workers: Workers) -> None:
    await begin(workers, HELD)
    await ready(workers)
    child, was_there = await begin(workers, HELD)
    assert was_there
    assert child.enforced is not None
    _, was_there = await begin(workers, PLUGIN)
    assert not was_there


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
async def test_a_spare_that_was_killed_is_given_to_nobody(workers: Workers) -> None:
    import psutil

    before = _workers()
    await begin(workers, PLUGIN)
    await ready(workers)
    (spare,) = _workers() - before
    psutil.Process(spare).kill()
    await until(lambda: not workers.ready)
    child, was_there = await begin(workers, PLUGIN)
    assert not was_there
    assert child.pid != spare


def _workers() -> set[int]:
    import psutil

    found: set[int] = set()
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if "lua_worker.py" in " ".join(each.cmdline()):
                found.add(each.pid)
    return found


async def test_with_the_last_script_in_a_process_goes_the_spare(tmp_path: Path) -> None:
    (tmp_path / "p.lua").write_text("broker.tool{name='t', run=print}")
    spec = Spec(name="p", source="t", entry=str(tmp_path / "p.lua"), cwd="/", unconfined=True, isolation="process")
    before, runtime = _workers(), LuaRuntime()
    served = await runtime.start(spec, Identity(), None, Holder())
    await served.stop(0)
    await runtime.close(0)
    await until(lambda: _workers() <= before)
