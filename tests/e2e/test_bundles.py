"""A bundle from the file to its first answer: imported, confined to its own folder, and taught what else it needs."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.confine.jailed import NODE, native
from tests.e2e.harness import Home, opened

pytestmark = [
    native,
    pytest.mark.timeout(180),
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None, reason="NOT TESTED: there is no `node` here"),
]

SERVER = """
import fs from "node:fs";
import readline from "node:readline";
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
const read = (path) => { try { return fs.readFileSync(path, "utf8"); } catch (error) { return error.code; } };
const tool = { name: "look", description: "What it sees", inputSchema: { type: "object" } };
const answers = {
  "initialize": ({ protocolVersion }) =>
    ({ protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "notes", version: "1" } }),
  "tools/list": () => ({ tools: [tool] }),
  "tools/call": () => ({ content: [{ type: "text", text: JSON.stringify({
    own: read(new URL("../assets/own.txt", import.meta.url)), note: read(process.argv[2]), key: process.env.API_KEY,
  }) }] }),
};
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  if (method in answers) say({ id, result: answers[method](params) });
  else say({ id, error: { code: -32601, message: "no " + method } });
});
"""
MANIFEST: dict[str, Any] = {
    "manifest_version": "0.3",
    "name": "Notes",
    "version": "1.0.0",
    "description": "Keeps notes",
    "author": {"name": "A"},
    "server": {
        "type": "node",
        "entry_point": "server/index.mjs",
        "mcp_config": {"command": "node", "args": ["${__dirname}/server/index.mjs", "${user_config.note}"]},
    },
    "user_config": {"note": {"type": "file", "title": "Note", "description": "to read", "required": True}},
}


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that starts on a busy machine is no scripted server."""
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)


def said(home: Home, *words: str) -> str:
    """What the command printed; 1 is an answer too."""
    argv = [home.command, *words[:1], "--config", str(home.folder / "config.toml"), *words[1:]]
    done = subprocess.run(argv, env=home.env, cwd=home.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr


async def looked(home: Home) -> dict[str, str]:
    async with opened(home) as line:
        return json.loads(await line.text("notes__look"))


async def test_a_bundle_sees_its_own_folder_and_learns_the_rest(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("the note")
    with zipfile.ZipFile(tmp_path / "notes.mcpb", "w") as held:
        held.writestr("manifest.json", json.dumps(MANIFEST))
        held.writestr("server/index.mjs", SERVER)
        held.writestr("assets/own.txt", "its own")
    home = Home.of_toml(tmp_path / "home", "")
    assert "sees its own folder" in said(
        home, "import", str(tmp_path / "notes.mcpb"), "--write", "--set", f"note={note}"
    )
    assert await looked(home) == {"own": "its own", "note": "ENOENT"}
    assert f"read:{note}" in said(home, "learn", "notes", "--write", "--", "look")
    assert await looked(home) == {"own": "its own", "note": "the note"}
    assert "refused nothing" in said(home, "learn", "notes", "--", "look")
