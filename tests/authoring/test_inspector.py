"""npx runs the MCP Inspector on one plugin, through the broker; where it cannot, what to do about it is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from broker.authoring.inspector import PACKAGE, command
from broker.errors import ConfigError, NotFound


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    for name in ("node", "npx"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return {"PATH": str(tmp_path / "bin")}


def test_a_folder_is_served_by_a_session(tmp_path: Path, environ: dict[str, str]) -> None:
    words = command(str(tmp_path), [], (), environ, lambda node: (24, 1))
    npx = str(tmp_path / "bin" / "npx")
    broker = [sys.executable, "-m", "broker"]
    assert words == [npx, "--yes", PACKAGE, "--", *broker, "dev", str(tmp_path), "--mcp"]


def test_a_configured_plugin_is_passed_through(environ: dict[str, str]) -> None:
    words = command("todos", ["todos"], (), environ, lambda node: (22, 19))
    assert words[-3:] == ["mcp", "--passthrough", "todos"]


def test_what_follows_goes_to_the_inspector_its_mode_first(tmp_path: Path, environ: dict[str, str]) -> None:
    words = command(str(tmp_path), [], ("--cli", "--method", "tools/list"), environ, lambda node: (24, 0))
    assert words[2:7] == [PACKAGE, "--cli", "--method", "tools/list", "--"]


def test_a_name_nobody_knows_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="did you mean todos"):
        command("todo", ["todos"], (), environ, lambda node: (24, 0))


@pytest.mark.parametrize("version", [(20, 20), (22, 18), None])
def test_a_node_that_is_too_old_is_an_error_with_what_to_do(
    tmp_path: Path, environ: dict[str, str], version: tuple[int, int] | None
) -> None:
    with pytest.raises(ConfigError, match=r"needs Node\.js 22\.19") as found:
        command(str(tmp_path), [], (), environ, lambda node: version)
    assert "nodejs.org" in found.value.hint


def test_no_node_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no node"):
        command(str(tmp_path), [], (), {"PATH": os.devnull}, lambda node: (24, 0))
