"""The TypeScript on the page of an operation is run, all of it by one Node: it asks the host for what the page says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from tests.docs.running import mistyped
from tests.docs.test_operations import EXAMPLES, NAMES, asked_for, code, meant
from tests.npm_installed import NODE, installed

HEAD = """
import { command, definePlugin, s, tool } from "@plugin-broker/sdk";
import { pluginClient } from "@plugin-broker/sdk/testing";

const given = JSON.parse(process.env.GIVEN!);
"""
# Each function is called, and each plugin that is declared is started; what the host was asked for is printed by name.
TAIL = """
const options = { replies: given.replies, config: given.config };
const asked: Record<string, unknown> = {};
const client = await pluginClient(definePlugin({ name: "example", version: "1", commands, tools }), options);
for (const name of [...Object.keys(commands), ...Object.keys(tools)]) {
  const since = client.host.requests.length;
  await (name in commands ? client.command(name) : client.call(name));
  await client.command("settled");
  asked[name] = client.host.requests.slice(since);
}
await client.close();
for (const [name, plugin] of Object.entries(declared)) {
  const one = await pluginClient(plugin, options);
  await one.until(() => one.host.requests.some(([operation]) => operation === given.names[name]));
  asked[name] = one.host.requests;
  await one.close();
}
console.log(JSON.stringify(asked));
"""


def script() -> str:
    """A program that does what every page says."""
    functions: dict[str, list[str]] = {"command": ["settled: command({ run: () => null }),"], "tool": []}
    declared: list[str] = []
    for number, name in enumerate(NAMES):
        example, (short, long) = EXAMPLES[name], code(name, "TypeScript")
        if example.declared:
            declared.append(f"short{number}: {short.strip().removeprefix('export default ').removesuffix(';')},")
        elif short:
            functions[example.within].append(function(example.within, f"short{number}", short))
        functions[example.within].append(function(example.within, f"long{number}", long))
    tables = {"commands": functions["command"], "tools": functions["tool"], "declared": declared}
    return HEAD + "".join(f"const {name} = {{\n{chr(10).join(each)}\n}};\n" for name, each in tables.items()) + TAIL


def function(kind: str, name: str, lines: str) -> str:
    takes = ' description: "x", input: s.object({}),' if kind == "tool" else ""
    return f"{name}: {kind}({{{takes} async run(_, ctx) {{\n{indent(lines.strip(), '  ')}\n}} }}),"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, and the SDK beside it."""
    made = tmp_path_factory.mktemp("typescript")
    installed(made)
    (made / "all.mts").write_text(script())
    return made


def test_its_types_are_right(folder: Path) -> None:
    assert mistyped(folder, "all.mts") == ""


@pytest.fixture(scope="module")
def asked(folder: Path) -> dict[str, list[tuple[str, Any]]]:
    given = {
        "replies": {name: each.result for name, each in EXAMPLES.items() if name != "config.get"},
        "config": {"limit": EXAMPLES["config.get"].result},
        "names": {f"short{number}": name for number, name in enumerate(NAMES)},
    }
    env = {"GIVEN": json.dumps(given), "PATH": str(NODE), "NODE_TEST_CONTEXT": "child"}
    done = subprocess.run(
        [str(NODE / "node"), "all.mts"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_the_typescript_of_a_page_asks_for_it(asked: dict[str, list[tuple[str, Any]]], name: str) -> None:
    number, example = NAMES.index(name), EXAMPLES[name]
    kinds = ["long"]
    if example.typescript and name not in ("config.get", "progress"):  # the one is known ahead, the other is of MCP
        kinds.append("short")
    for kind in kinds:
        found = [(op, meant(op, params)) for op, params in asked[f"{kind}{number}"]]
        assert asked_for(name) in found, kind
