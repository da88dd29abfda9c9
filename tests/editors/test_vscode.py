"""Our extension in a real VS Code: code-server, looked at and clicked through Chromium by `vscode/drive.mjs`.

One run of it all, a minute, is what the tests here look at. Its screenshots are in `.editors/vscode/shots`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.editors.world import EDITORS, GONE, NOTE, World
from tests.marked import all_gone
from tests.servers import ROOT, VENV

pytestmark = [pytest.mark.editors, pytest.mark.timeout(300)]

PLACE = ROOT / ".editors" / "vscode"
NODE = PLACE / "bin" / "node"
SERVER = PLACE / "node_modules" / "code-server" / "out" / "node" / "entry.js"
DRIVER = Path(__file__).parent / "vscode" / "drive.mjs"
EXTENSION = EDITORS / "vscode"
SETTINGS = {
    "broker.command": [str(VENV / "broker")],
    "security.workspace.trust.startupPrompt": "never",
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
}

Json = dict[str, Any]


def test_the_extension_passes_its_type_checker_and_its_linter() -> None:
    _npm("run", "--silent", "check")


@pytest.fixture(scope="module")
def steps(world: World) -> dict[str, Json]:
    """What each step of the driver saw; the last is `ended`, seconds until everything that had run was gone."""
    if not (PLACE / ".stamp").exists():
        pytest.skip("VS Code is not here: `make test-editors` installs it")
    _bring_own_broker(world)
    _npm("run", "--silent", "package")
    with _code_server(world) as address:
        lines = _driven(world, address)
    took = asyncio.run(all_gone(world.mark, GONE))
    return {**{line["step"]: line for line in lines}, "ended": {"seconds": took}}


def _bring_own_broker(world: World) -> None:
    """The workspace itself says what to run as the broker: a program that leaves a file behind."""
    own = world.workspace / "own-broker"
    own.write_text(f'#!/bin/sh\necho > "{world.workspace / "ran"}"\nexec "{VENV / "broker"}" "$@"\n')
    own.chmod(0o755)
    (world.workspace / ".vscode").mkdir()
    (world.workspace / ".vscode" / "settings.json").write_text(json.dumps({"broker.command": [str(own)]}))


def _npm(*words: str) -> None:
    env = {**os.environ, "PATH": f"{PLACE / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([PLACE / "bin" / "npm", *words], cwd=EXTENSION, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _code_server(world: World) -> Generator[str]:
    """A VS Code that serves the world's workspace with our extension in it; its address."""
    user = world.folder / "code"
    (user / "User").mkdir(parents=True)
    (user / "User" / "settings.json").write_text(json.dumps(SETTINGS))
    places = ["--user-data-dir", user, "--extensions-dir", world.folder / "extensions", "--config", user / "c.yaml"]
    command = [NODE, SERVER, *places]
    env = {**world.env, "BROKER_CONFIG": str(world.config)}
    install = [*command, "--install-extension", EXTENSION / "dist" / "plugin-broker.vsix"]
    subprocess.run(install, env=env, check=True, capture_output=True, timeout=60)
    log = world.folder / "code-server.log"
    serve = [*command, "--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry", "--disable-update-check"]
    with log.open("w") as out:
        running = subprocess.Popen(serve, env=env, stdout=out, stderr=out, cwd=world.workspace, start_new_session=True)
    try:
        yield _address(log)
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(20)


def _address(log: Path) -> str:
    """Where it listens, as soon as it says so."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := re.search(r"HTTP server listening on (http://\S+[0-9])", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def _driven(world: World, address: str) -> list[Json]:
    """What the driver said, line by line."""
    chromium = PLACE / "bin" / "chromium"
    said = {
        "address": address,
        "chromium": str(chromium) if chromium.exists() else "/usr/bin/chromium",
        "modules": f"{PLACE}/",
        "shots": str(PLACE / "shots"),
        "workspace": str(world.workspace),
    }
    command = [NODE, DRIVER, json.dumps(said)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=world.env)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, lines[-1] if lines else done.stderr
    return lines


def test_the_status_bar_shows_that_the_broker_runs_and_what_a_plugin_put_there(steps: dict[str, Json]) -> None:
    assert "demo is busy" in steps["status"]["bar"]


def test_a_command_from_the_palette_shows_its_toast_and_its_result(steps: dict[str, Json]) -> None:
    assert steps["greet"]["toast"] == "demo: Hello you from demo"
    assert steps["greet"]["result"] == "greeted you"


def test_consent_is_three_buttons_and_a_click_on_the_first_lets_the_plugin_go_on(steps: dict[str, Json]) -> None:
    assert steps["consent"]["buttons"] == ["Allow once", "Always allow", "Deny"]
    assert "shy" in steps["consent"]["question"]
    assert steps["allowed"]["toast"].startswith("shy: Hello")


def test_a_question_is_answered_by_its_button_and_dismissing_it_is_a_no(steps: dict[str, Json]) -> None:
    assert steps["sure"]["result"] == "sure: True"
    assert steps["dismissed"]["result"] == "sure: False"


def test_a_plugin_has_the_user_pick_and_type(steps: dict[str, Json]) -> None:
    assert steps["choose"]["result"] == "chose green"
    assert steps["type"]["result"] == "typed Grace"


def test_what_went_wrong_is_a_notification(steps: dict[str, Json]) -> None:
    assert steps["fail"]["error"] == "Fail: this never works"


def test_a_plugin_edits_and_reads_what_was_not_saved_and_marks_what_it_finds(steps: dict[str, Json]) -> None:
    assert steps["insert"]["result"] == "applied: True"
    text = "inserted\n" + NOTE
    assert steps["length"]["result"] == f"{len(text)} characters"
    assert steps["lint"]["result"] == "found 1"


def test_a_long_run_shows_a_notification_whose_button_cancels_it(steps: dict[str, Json]) -> None:
    assert steps["work"]["left"] == 0


def test_a_tool_is_called_with_the_arguments_it_must_have_filled_in_to_edit(steps: dict[str, Json]) -> None:
    assert steps["call"]["offered"] == '{"to":0}'
    assert steps["call"]["result"] == "counted to 2"


def test_a_workspace_that_is_not_trusted_chooses_no_program_and_brings_agents_no_server(steps: dict[str, Json]) -> None:
    assert steps["restricted"]["marks"] == 1
    assert steps["untrusted"]["ran"] is False
    assert not any("Plugin Broker" in server for server in steps["untrusted"]["servers"])


def test_trust_lets_the_workspace_choose_its_broker_and_agents_have_it_as_a_server(steps: dict[str, Json]) -> None:
    assert any("Plugin Broker" in server for server in steps["trusted"]["servers"])


def test_nothing_is_left_when_vs_code_ends(steps: dict[str, Json]) -> None:
    assert steps["ended"]["seconds"] < GONE
