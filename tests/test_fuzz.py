"""The fuzzer finds what it is there to find; a person leaves it running with `make fuzz`."""

from __future__ import annotations

import pytest

from broker.wire import peer
from tests.fuzz.__main__ import programs, run


async def test_some_thousand_mutated_frames_break_nothing() -> None:
    assert await run(3, seed=1) == 0


async def test_a_parser_that_chokes_is_found_and_the_frame_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = peer._read_envelope

    def chokes(line: bytes) -> object:
        if b"NaN" in line:
            raise RuntimeError("choked")
        return good(line)

    monkeypatch.setattr(peer, "_read_envelope", chokes)
    assert await run(20, seed=1) == 1
    assert "NaN" in capsys.readouterr().out


async def test_some_generated_programs_break_nothing() -> None:
    assert await programs(2, seed=1) == 0
