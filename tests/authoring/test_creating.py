"""`broker new` makes a plugin under the name that was asked for, or nothing at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.authoring import toolchains
from broker.authoring.creating import TEMPLATES, create, offered
from broker.cli import cli
from broker.cli.creating import new
from broker.core.manifest import examine
from broker.errors import BadArguments, ConfigError

ALL = [(language, template) for language, some in offered().items() for template in some]
BUILT = "plugin.wasm"  # what a build leaves


@pytest.mark.parametrize(("language", "template"), ALL)
def test_each_template_becomes_a_plugin_of_its_new_name(tmp_path: Path, language: str, template: str) -> None:
    folder = tmp_path / "deep" / "down"
    files = create("my-first", language, template, folder)
    assert {"plugin.toml", "README.md", ".gitignore"} <= set(files)
    assert [file for file in files if "my-plugin" in (folder / file).read_text("utf-8")] == []
    if BUILT in (folder / "plugin.toml").read_text():
        (folder / BUILT).touch()
    manifest = examine(folder / "plugin.toml")
    assert manifest.name == "my-first" and "my-first" in (folder / "README.md").read_text()
    assert len((folder / "README.md").read_text().splitlines()) < 40


@pytest.mark.parametrize(("language", "template"), ALL)
def test_what_a_template_asks_for_is_what_it_uses(language: str, template: str) -> None:
    """So that nobody begins with a permission that nothing needs."""
    manifest = (TEMPLATES / language / template / "plugin.toml").read_text()
    asked = re.findall(r"^(\w+) = \[", manifest.partition("[permissions]")[2].partition("\n[")[0], re.MULTILINE)
    assert asked == (["ui"] if template == "command" else [])


def test_lua_comes_with_what_its_language_server_wants(tmp_path: Path) -> None:
    for template in offered()["lua"]:
        create("words", "lua", template, tmp_path / template)
        assert (tmp_path / template / "types" / "broker.d.lua").read_text().startswith("---@meta")
        assert '"workspace.library": ["types"]' in (tmp_path / template / ".luarc.json").read_text()
    assert '(key: "greeting"): string' in (tmp_path / "tool" / "types" / "broker.d.lua").read_text()


def test_nothing_of_a_trial_of_the_template_itself_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = tmp_path / "templates" / "python" / "tool"
    for name in ("plugin.toml", "__pycache__/x.pyc", "node_modules/a/index.js", "plugin.wasm", "target/x"):
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text("my-plugin")
    monkeypatch.setattr("broker.authoring.creating.TEMPLATES", tmp_path / "templates")
    assert create("words", "python", "tool", tmp_path / "words") == ["plugin.toml"]


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "../a", "a/b", "-a", "a-", "a--b", "1a", "a" * 33, "ä", "a\n", "con.x"]
)
def test_what_is_no_name_is_refused_with_one_that_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArguments, match="is no name for a plugin") as refused:
        create(name, "python", "tool", tmp_path / "x")
    near = re.search(r"Call it (\S+)\.$", refused.value.hint)
    if near is not None:
        create(near[1], "python", "tool", tmp_path / "near")
    assert not (tmp_path / "x").exists()


def test_an_unknown_language_or_template_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadArguments, match="did you mean python") as refused:
        create("a", "pyton", "tool", tmp_path / "a")
    assert refused.value.hint == f"There are {', '.join(offered())}."
    with pytest.raises(BadArguments, match="no template 'toool' in lua") as refused:
        create("a", "lua", "toool", tmp_path / "a")
    assert refused.value.hint == "There are command, hook, tool."
    for language in ("..", "", ".", "python/tool"):
        with pytest.raises(BadArguments):
            create("a", language, "tool", tmp_path / "a")


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name in ("full", "file", "link"):
        with pytest.raises(ConfigError, match="nothing is overwritten"):
            create("a", "python", "tool", tmp_path / name)
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path / "full") == ["mine"] and os.listdir(tmp_path / "empty") == []
    assert "plugin.py" in create("a", "python", "tool", tmp_path / "empty")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "full", "link"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        create("a", "python", "tool", tmp_path / "file" / "below")


def test_the_command_says_what_it_made_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = CliRunner().invoke(new, ["words", "--lang", "typescript", "--path", str(tmp_path / "a b")])
    assert ran.exit_code == 0 and "plugin.test.ts" in ran.output
    assert "https://nodejs.org    # Node.js 22.18 or newer: missing here" in ran.output
    assert f"cd '{tmp_path / 'a b'}'" in ran.output


def test_the_command_names_every_language() -> None:
    said = CliRunner().invoke(cli, ["new", "--help"]).output
    assert [language for language in offered() if language not in said] == []


def test_a_tool_that_is_too_old_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for version, lacking in (("v20.19.5", ["Node.js 22.18 or newer"]), ("v22.18.0", []), ("v24.1.0", []), ("", None)):
        node.write_text(f"#!/bin/sh\necho {version}\n")
        node.chmod(0o755)
        found = [need.what for need in toolchains.missing("typescript")]
        assert found == (["Node.js 22.18 or newer"] if lacking is None else lacking)
