"""The benchmark runs, in its quickest form, and what it finds is kept; no figure of it is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import calls, memory, startup
from tests.bench.audit import Audit, text_for
from tests.bench.figures import Figures, Measure
from tests.bench.goals import goals
from tests.bench.plan import Plan
from tests.bench.targets import BY_NAME, Place, Target
from tests.servers import ROOT

Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the quickest run wrote."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    words = ["all", "--quick", "--rounds", "1", "--only", "broker,direct", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goals of the project" in done.stdout
    return json.loads(file.read_text())


@pytest.mark.long
@pytest.mark.timeout(200)
def test_every_measure_has_a_figure_of_broker(found: Found) -> None:
    wanted = [
        *[of(case) for case in calls.SIZES for of in (calls.median_of, calls.worst_of, calls.cpu_of)],
        calls.RATE,
        *[of(count) for count in startup.QUICK for of in (startup.first_list, startup.started)],
        *[memory.configured(count) for count in memory.QUICK],
        memory.IN_USE,
    ]
    figures = {(row["group"], row["case"], row["what"]): row for row in found["rows"] if row["target"] == "broker"}
    assert {measure[:3] for measure in wanted} <= figures.keys()
    assert all(row["median"] > 0 or row["what"] in ("started", "CPU") for row in figures.values())


@pytest.mark.long
@pytest.mark.timeout(200)
def test_what_is_compared_is_a_multiple_of_direct(found: Found) -> None:
    [row] = [
        row for row in found["rows"] if row["target"] == "broker" and (row["case"], row["what"]) == ("1 MB", "p50")
    ]
    assert row["ratios"]["direct"] > 0


@pytest.mark.long
@pytest.mark.timeout(200)
def test_nothing_was_wrong_or_lost_and_nobody_was_started_for_a_list(found: Found) -> None:
    started = [row["median"] for row in found["rows"] if row["target"] == "broker" and row["what"] == "started"]
    assert found["faults"] == [] and set(started) == {0}


def test_a_goal_nobody_measured_is_neither_met_nor_missed() -> None:
    assert {goal.met for goal in goals(Figures())} == {None}


def test_a_ratio_is_taken_inside_a_round() -> None:
    figures, measure = Figures(), Measure("calls", "100 B", "p50", "µs")
    for round, (mine, theirs) in enumerate([(20, 10), (300, 100), (8, 4)]):
        figures.add(measure, "broker", round, mine)
        figures.add(measure, "direct", round, theirs)
    assert figures.ratio(measure, "broker", "direct") == 2


def test_a_target_that_ends_is_a_fault_and_costs_only_its_own_figures(tmp_path: Path) -> None:
    ends = Target(
        "broker", lambda file: [sys.executable, "-I", "-S", "-c", "import os; os.write(2, b'no'); os.read(0, 1)"]
    )
    plan = Plan(Place(tmp_path), [ends, BY_NAME["direct"]], 1, 0.01, True, lambda line: None)
    calls.latency(plan)
    [(target, what)] = plan.figures.faults
    assert target == "broker" and "ended" in what and what.endswith("no")
    assert plan.figures.median(calls.median_of("1 MB"), "direct") is not None


def reply(id: int, text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}).encode()


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        (reply(7, text_for(7, 100)), "none"),
        (reply(7, text_for(8, 100)), "1 wrong"),
        (b'{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}', "1 wrong"),
        (reply(7, text_for(7, 100)) + b"\n" + reply(7, text_for(7, 100)), "1 unasked"),
        (reply(8, text_for(8, 100)), "1 lost, 1 unasked"),
        (b"hello", "1 lost, 1 junk"),
        (b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', "1 lost"),
    ],
)
def test_a_call_is_answered_once_with_its_own_text_or_it_is_a_fault(said: bytes, faults: str) -> None:
    audit = Audit()
    audit.asked(7, 100)
    audit.hear(said + b"\n")
    audit.lose()
    assert str(audit.faults) == faults
