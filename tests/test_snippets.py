"""What `editors/README.md` tells people to paste is what their editors take: each snippet is parsed as its kind."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lupa
import pytest
from click.testing import CliRunner

from broker.cli import cli
from broker.cli.locating import CLIENTS
from tests.servers import ROOT

EDITORS = ROOT / "editors"
TEXT = (EDITORS / "README.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))


def snippets(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.M | re.S)


def all_of(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def kakoune(text: str) -> None:
    assert text.count("{") == text.count("}")
    tomllib.loads(text[text.rindex("%{") + 2 : text.index("}")])


def lua(text: str) -> None:
    runtime: Any = lupa.LuaRuntime(unpack_returned_tuples=True)
    runtime.eval("function(text) return load('return ' .. text) or assert(load(text)) end")(text)


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "lua": lua,
    "kak": kakoune,
    "sh": shlex.split,
}


@pytest.mark.parametrize("language", PARSERS)
def test_every_snippet_is_read_by_what_reads_its_language(language: str) -> None:
    found = all_of(language)
    assert found
    for each in found:
        PARSERS[language](each)


def test_every_link_leads_to_a_section() -> None:
    targets = {name.lower().replace(" ", "-") for name in SECTIONS}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", TEXT)) <= targets


def test_all_start_broker_by_the_same_words() -> None:
    helix = tomllib.loads(snippets("Helix", "toml")[0])["language-server"]["broker"]
    sublime = json.loads(snippets("Sublime Text", "json")[0])["broker"]
    zed = json.loads(snippets("Zed", "json")[0])["context_servers"]["broker"]
    assert [helix["command"], *helix["args"]] == sublime["command"] == ["broker", "lsp"]
    assert [zed["command"], *zed["args"]] == ["broker", "mcp"]


def test_the_plugin_for_claude_code_starts_both_faces() -> None:
    folder = EDITORS / "claude-code"
    manifest = json.loads((folder / ".claude-plugin" / "plugin.json").read_text())
    mcp = json.loads((folder / manifest["mcpServers"]).read_text())["mcpServers"]["broker"]
    lsp = json.loads((folder / manifest["lspServers"]).read_text())["broker"]
    assert [mcp["args"], lsp["args"]] == [["mcp"], ["lsp"]]
    assert {*mcp["args"], *lsp["args"]} <= set(cli.commands)
    market = json.loads((folder / ".claude-plugin" / "marketplace.json").read_text())
    (entry,) = market["plugins"]
    installed = f"{entry['name']}@{market['name']}"
    assert (
        entry["name"] == manifest["name"] and f"claude plugin install {installed}\n" in snippets("Claude Code", "sh")[0]
    )


@pytest.mark.parametrize("editor", CLIENTS)
def test_broker_says_where_each_client_is(editor: str) -> None:
    done = CliRunner().invoke(cli, ["where", editor])
    assert done.exit_code == 0 and Path(done.output) == EDITORS / editor and any(Path(done.output).iterdir())


def test_the_wheel_takes_every_client_that_broker_finds() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == ["broker", *(f"editors/{each}" for each in CLIENTS)]
    assert wheel["sources"] == {"editors": "broker/editors"}
