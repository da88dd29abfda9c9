"""Programs that nobody thought of: put together at random from what breaks sandboxes, the same ones on each run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fuzz.programs import Program
from tests.hostile.stalls import Stalls
from tests.hostile.test_lua_attacks import GRACE, guest, outcome

AT_ONCE = 50  # of a test; a thousand in all
SECONDS = 0.02  # of a script: what does not hang at this does not at more


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in range(AT_ONCE, 1000, AT_ONCE))]
)
async def test_no_program_hangs_or_breaks_the_broker(first: int, tmp_path: Path) -> None:
    for number in range(first, first + AT_ONCE):
        script = Program(number).script
        evil = guest(tmp_path / str(number), "evil", script, "inprocess", SECONDS)
        try:
            await evil.begin()
            with Stalls() as stalls:
                await asyncio.wait_for(outcome(evil, "p"), 10)
            assert stalls.ours < SECONDS + GRACE, script
            assert evil.place == "inprocess", script  # it was never given up on
        finally:
            await evil.stop(0)
