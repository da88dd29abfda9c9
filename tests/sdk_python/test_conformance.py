"""The MCP conformance suite on a plugin of the SDK: it scores as the official SDKs' own servers do, which is in full.

What fails is in extensions that neither the SDK nor the official ones have (tasks, skills), and is not scored.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conformance.test_conformance import RUN_BOUND, SUITES, Suite, judged

PLUGIN = Path(__file__).with_name("conformance_plugin.py")
NOT_SCORED = ("tasks-", "sep-2640-skills")
PASSED = {"0.1": 44, "0.2 for 2025-11-25": 81, "0.2 for 2026-07-28": 164}


@pytest.mark.long
@pytest.mark.timeout(RUN_BOUND)
@pytest.mark.parametrize("name", SUITES)
async def test_a_plugin_of_the_sdk_scores_in_full(tmp_path: Path, name: str) -> None:
    suite: Suite = SUITES[name]
    found = await judged(suite, [sys.executable, str(PLUGIN)], os.environ, tmp_path)
    failed = [f"{check}: {outcome}" for check, outcome in found.items() if outcome.status == "FAILURE"]
    assert [each for each in failed if not each.startswith(NOT_SCORED)] == []
    assert sum(outcome.status == "SUCCESS" for outcome in found.values()) == PASSED[name]
