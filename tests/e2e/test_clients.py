"""Every official client walks through a broker with one server of each kind, and finds everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e import guides
from tests.e2e.harness import KINDS, LATEST_LEGACY, MODERN, Home, Json, driven
from tests.fixtures.scripted_tools import lists

# Both SDKs deprecate what the legacy era has and the modern one has not; the legacy era is what is tested.
pytestmark = [pytest.mark.matrix, pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")]

DRIVERS = Path(__file__).parent / "node"
SERVERS = sorted(KINDS)
STEPS = [[1, 3, "step 1"], [2, 3, "step 2"], [3, 3, "step 3"]]
WALKS = [
    ("sdk", "legacy"),
    ("sdk", "auto"),
    ("sdk", MODERN),
    ("fast", "legacy"),
    ("fast", "auto"),
    ("sdk1.mjs", "legacy"),
    ("client2.mjs", "legacy"),
    ("client2.mjs", "auto"),
    ("client2.mjs", "modern"),
]


async def report_of(client: str, mode: str, home: Home) -> Json:
    if client.endswith(".mjs"):
        return await driven(home, DRIVERS / client, mode, SERVERS=",".join(SERVERS))
    async with (guides.sdk if client == "sdk" else guides.fast)(home, mode) as guide:
        return await guides.walk(guide, SERVERS)


@pytest.mark.parametrize(("client", "mode"), WALKS)
async def test_a_client_finds_everything(tmp_path: Path, client: str, mode: str) -> None:
    report = await report_of(client, mode, Home.of(tmp_path, KINDS))
    era = "legacy" if mode == "legacy" else "modern"
    assert report["version"] == (LATEST_LEGACY if era == "legacy" else MODERN)
    assert report["pinged"] is (True if era == "legacy" else None)
    faults = [fault for name in SERVERS for fault in faults_of(name, era, client, report["servers"][name])]
    assert not faults, "\n".join(faults)


def faults_of(name: str, era: str, client: str, found: Json) -> list[str]:
    """Every step whose outcome is not the right one."""
    if "broke" in found:
        return [f"{name}: {found['broke']}"]
    wanted = expected(name, era)
    message = found["error"]["message"].removeprefix("MCP error -32050: ")  # the TypeScript SDK 1.x adds it
    got = {**found, "error": {**found["error"], "message": message}}
    if client.endswith(".mjs"):
        # The TypeScript SDKs drop progress that arrives together with the answer; `cancelled` needs one to come.
        wanted["progress"] = STEPS[: len(found["progress"])]
    return [
        f"{name}: {step} is {got.get(step)!r}, not {value!r}"
        for step, value in wanted.items()
        if got.get(step) != value
    ]


def expected(name: str, era: str) -> dict[str, Any]:
    home = "" if name == SERVERS[0] else f"broker://{name}/"
    shown = lists(read_only=False)
    opened = era if name in ("dual", "locked") else "modern" if name == "modern" else "legacy"
    wanted: dict[str, Any] = {
        "tools": sorted(f"{name}__{tool['name']}" for tool in shown["tools"]),
        "prompts": [f"{name}__hello"],
        "resources": [f"{home}demo://a", f"{home}demo://b"],
        "templates": [f"{home}demo://item/{{id}}"],
        "echo": "hi",
        "add": {"sum": 5},
        "failed": True,
        "error": {"code": -32050, "message": "scripted error", "data": {"k": 1}},
        "progress": STEPS,
        "cancelled": True,
        "heard": (["notifications/initialized"] if opened == "legacy" else []) + ["notifications/cancelled"],
        "read": "text of demo://a",
        "readItem": "text of demo://item/7",
        "prompt": "Say hello to Ann",
        "completion": ["bert", "bob"],
        "itemCompletion": ["1", "10"],
        "updated": 1,
        "extra": True,
        "logged": ["error"],
    }
    answers = {"elicit": ("who", guides.ANSWER), "sample": ("answer", guides.SAMPLED), "roots": ("roots", guides.ROOTS)}
    if opened == era:  # where the eras differ a question has to be translated
        wanted |= {tool: answer if era == "legacy" else {key: answer} for tool, (key, answer) in answers.items()}
    return wanted
