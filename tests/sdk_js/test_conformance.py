"""The MCP conformance suite on a plugin of the JavaScript SDK: it scores as the official SDKs' own servers do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.test_conformance import RUN_BOUND, SUITES, judged
from tests.sdk_js.places import CONFORMANCE_PLUGIN
from tests.sdk_python.test_conformance import NOT_SCORED, PASSED


@pytest.mark.long
@pytest.mark.timeout(RUN_BOUND)
@pytest.mark.parametrize("name", SUITES)
async def test_a_plugin_of_the_sdk_scores_in_full(tmp_path: Path, name: str) -> None:
    found = await judged(SUITES[name], CONFORMANCE_PLUGIN, os.environ, tmp_path)
    failed = [f"{check}: {outcome}" for check, outcome in found.items() if outcome.status == "FAILURE"]
    assert [each for each in failed if not each.startswith(NOT_SCORED)] == []
    assert sum(outcome.status == "SUCCESS" for outcome in found.values()) == PASSED[name]
