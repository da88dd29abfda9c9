"""`broker pack`, as a person types it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli.packing import pack
from broker.errors import ConfigError

MANIFEST = """name = "todos"
version = "1.2.3"
api = 1
entry = "plugin.ENTRY"
[permissions]
net = ["x.org:443"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "todos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "todos"


def writes(folder: Path, entry: str) -> None:
    (folder / f"plugin.{entry}").write_text("")
    (folder / "plugin.toml").write_text(MANIFEST.replace("ENTRY", entry))


def test_it_says_what_it_made_and_what_it_left_out(folder: Path) -> None:
    writes(folder, "mjs")
    (folder / ".env").write_text("TOKEN=hunter2")
    ran = CliRunner().invoke(pack, ["todos"])
    made = Path("todos-1.2.3.mcpb").read_bytes()
    said = ran.output
    assert ran.exit_code == 0 and f"todos-1.2.3.mcpb  {len(made):,} bytes, 3 files" in said
    assert f"sha256 {hashlib.sha256(made).hexdigest()}" in said and b"hunter2" not in made
    assert "net: x.org:443" in said and "left out: .env, which looks like a secret" in said
    assert "and so do other clients" in said


def test_it_says_when_only_broker_takes_it_and_when_its_build_is_old(folder: Path) -> None:
    writes(folder, "wasm")
    (folder / "plugin.c").write_text("")
    os.utime(folder / "plugin.wasm", (0, 0))
    said = CliRunner().invoke(pack, ["todos", "--output", "out/mine.zip"]).output
    assert Path("out/mine.zip").is_file() and "`broker add` takes it." in said
    assert "note: plugin.c was changed after the last build" in said


def test_a_program_reads_the_same_as_json(folder: Path) -> None:
    writes(folder, "lua")
    held = json.loads(CliRunner().invoke(pack, ["todos", "--json"]).output)
    assert held["sha256"] == hashlib.sha256(Path(held["file"]).read_bytes()).hexdigest()
    assert held["permissions"] == {"net": ["x.org:443"]} and held["names"] == ["plugin.lua", "plugin.toml"]


def test_what_is_no_plugin_is_said(folder: Path) -> None:
    ran = CliRunner().invoke(pack, [str(folder)])
    assert isinstance(ran.exception, ConfigError) and "plugin.toml" in str(ran.exception)
