"""`broker types` writes down what a manifest says, and the compiler holds the source to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.authoring.creating import TEMPLATES, create
from broker.authoring.declarations import declarations, write
from broker.cli.creating import types
from broker.errors import ConfigError
from tests.npm_installed import installed
from tests.servers import NODE_MODULES

MANIFEST = """name = "todos"
version = "1.0.0"
api = 1
entry = "plugin.ENTRY"
[permissions]
secrets = ["api_key"]
[config.limit]
type = "integer"
default = 5
description = "How\\nmany */ x"
[config.kind]
type = "string"
enum = ["a", "b"]
[config."due-date"]
type = "string"
"""
SOURCE = """
import type { Ctx } from "@plugin-broker/sdk";

export async function right(ctx: Ctx): Promise<unknown[]> {
  const limit: number = ctx.config.get("limit");
  const kind: "a" | "b" | undefined = ctx.config.get("kind");
  const due: string | undefined = ctx.config.get("due-date", "today");
  return [limit, kind, due, await ctx.secrets.get("api_key")];
}

export async function wrong(ctx: Ctx): Promise<void> {
  ctx.config.get("limt"); // wrong
  ctx.config.get("kind", "c"); // wrong
  const text: string = ctx.config.get("limit"); // wrong
  await ctx.secrets.get("other"); // wrong
  console.log(text);
}
"""


def plugin(folder: Path, entry: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"plugin.{entry}").write_text("")
    (folder / "plugin.toml").write_text(MANIFEST.replace("ENTRY", entry))
    return folder


def test_an_option_or_a_secret_that_is_not_listed_is_an_error_of_the_compiler(tmp_path: Path) -> None:
    folder = tmp_path / "todos"
    create("todos", "typescript", "command", folder)
    installed(folder)
    (folder / "node_modules" / "@types").symlink_to(NODE_MODULES / "@types")
    assert write(plugin(folder, "ts")) == ["broker-env.d.ts"]
    (folder / "probe.ts").write_text(SOURCE)
    done = subprocess.run([NODE_MODULES / ".bin" / "tsc"], cwd=folder, capture_output=True, text=True, timeout=120)
    wrong = [f"probe.ts({line}," for line, text in enumerate(SOURCE.splitlines(), 1) if "// wrong" in text]
    found = [line.partition(",")[0] + "," for line in done.stdout.splitlines() if line.startswith("probe.ts(")]
    assert found == wrong, done.stdout


def test_the_language_server_of_lua_learns_the_plugins_own_options(tmp_path: Path) -> None:
    folder = plugin(tmp_path / "todos", "lua")
    assert write(folder) == [".luarc.json", "types/broker.d.lua"]
    text = (folder / "types" / "broker.d.lua").read_text()
    assert '---@overload fun(key: "limit"): integer\n---@overload fun(key: "kind"): string?\n' in text
    assert '---@overload fun(name: "api_key"): string?\nfunction broker.secrets.get(name) end' in text
    (folder / ".luarc.json").write_text("{}")
    assert write(folder) == ["types/broker.d.lua"] and (folder / ".luarc.json").read_text() == "{}"


@pytest.mark.parametrize("template", ["tool", "command", "hook"])
def test_the_templates_have_what_it_would_write(template: str) -> None:
    folder = TEMPLATES / "typescript" / template
    assert {name: (folder / name).read_text() for name in declarations(folder)} == declarations(folder)


def test_other_languages_need_nothing_and_that_is_said(tmp_path: Path) -> None:
    said = CliRunner().invoke(types, [str(plugin(tmp_path / "todos", "py"))])
    assert said.exit_code == 0 and "Nothing was written" in said.output
    assert sorted(path.name for path in (tmp_path / "todos").iterdir()) == ["plugin.py", "plugin.toml"]


def test_a_wrong_manifest_is_said(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text("name = 5\n")
    with pytest.raises(ConfigError, match=r"plugin\.toml"):
        write(tmp_path)
