"""The bench of SDKs prints how many times ours the others take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.authors import OURS, SERVERS, run, table


@pytest.mark.long
def test_a_plugin_of_the_sdk_starts_and_answers_several_times_faster(tmp_path: Path) -> None:
    figures = run(2, tmp_path)
    ours = figures.pop(OURS)
    for other in figures.values():
        assert min(other.start) > 3 * min(ours.start)
        assert min(other.memory) > 2 * min(ours.memory)
    assert table({OURS: ours, **figures}).row_count == len(SERVERS)
