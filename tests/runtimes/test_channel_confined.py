"""The channel of a confined plugin, in every mechanism of confinement that this machine has."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.confine import backends
from broker.confine.backends import BACKENDS
from tests.runtimes.desks import DESK, GRANTED, desk_spec, opened
from tests.servers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")
EVIL = ROOT / "tests" / "hostile" / "channel_evil.py"
WAYS = [*((backend, ()) for backend in BACKENDS), ("native", ("run:true",))]


@pytest.fixture(params=WAYS, ids=lambda way: "-".join((way[0], *("forks" for _ in way[1]))))
async def granted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What is granted beside the rest, on a machine that has only one mechanism."""
    backend, more = request.param
    has = await backends.examine(without=BACKENDS[: BACKENDS.index(backend)])
    if has.backend != backend:
        pytest.skip(f"NOT TESTED: {backend} does not work here: {backends.tried(has)}")

    async def found(**_: Any) -> backends.Abilities:
        return has

    monkeypatch.setattr(backends, "abilities", found)
    return more


async def test_a_confined_plugin_talks_with_its_host_and_holds_nothing_else(
    tmp_path: Path, granted: tuple[str, ...]
) -> None:
    words = (sys.executable, str(EVIL), "descriptors")
    read = (f"read:{EVIL}",)
    evil = desk_spec(
        name="evil", entry=None, command=words, unconfined=False, commands=(), granted=(*GRANTED, *granted, *read)
    )
    confined = desk_spec(unconfined=False, granted=(*GRANTED, *granted, f"read:{DESK}"))
    async with opened(tmp_path, confined, evil) as world:
        world.face.performs = {"toast": {"shown": True}}
        assert await world.run("desk.hello", "Ada") == {"value": {"greeted": "Ada"}}
        assert world.did("toast")[0]["title"] == "Good day, Ada"
        await asyncio.wait_for(world.router.learned(world.face.identity, world.face, 10), 10)
        assert await world.text("evil") == "still here"
        assert "[0, 1, 2, 3]" in await world.logged("evil", "]")
