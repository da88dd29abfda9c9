"""The bench of SDKs prints how many times ours the others take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.authors import LANGUAGES, run, table

# What the others take at least, in times of ours: start, memory. They take about twice as much as that.
LEAST = {"Python": (3, 2), "JavaScript": (1.5, 1.5)}


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_plugin_of_the_sdk_starts_sooner_and_is_smaller(tmp_path: Path, language: str) -> None:
    figures = run(2, tmp_path, language)
    ours, *others = figures.values()
    start, memory = LEAST[language]
    for other in others:
        assert min(other.start) > start * min(ours.start)
        assert min(other.memory) > memory * min(ours.memory)
    assert table(figures, language).row_count == len(figures)
