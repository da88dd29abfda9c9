"""To be watched is no way out: whoever learns what a plugin wants runs it with the same walls as ever."""

from __future__ import annotations

from typing import Any

import pytest

from broker.confine.witness import Witness
from tests.hostile.outside import Outside
from tests.hostile.test_escapes import ALLOWED, OTHERS, ROOMS, able, escapes, tried
from tests.hostile.test_escapes import outside as outside

pytestmark = [pytest.mark.slow, pytest.mark.long]

WATCHED = [room for room in ROOMS if room != "exhaustion"]  # to be watched is slow, and those make a million calls


@pytest.mark.timeout(180)
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("room", WATCHED)
async def test_nothing_gets_out_of_a_plugin_that_is_watched(outside: Outside, room: str, backend: str) -> None:
    found = await able(backend)
    witness = Witness()
    held: dict[str, Any] = {"witness": witness}
    got = await tried(outside, found, room, run=(), **held)
    assert escapes(got, backend, tuple(ALLOWED)) == {}
    assert not [said for said in got.values() if said.startswith("!!")]  # a mistake in an attempt proves nothing
    assert outside.state() == outside.before
    assert room != "files" or witness.tried
