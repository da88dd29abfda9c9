"""`broker import` and `broker export` as real processes, in a home with clients in it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import BOUND, spoken
from tests.e2e.test_command_line import WARM_BOUND
from tests.servers import VENV, scripted

BROKER = str(VENV / "broker")
MOVED = ("XDG_", "CLAUDE", "CODEX", "GEMINI", "COPILOT", "BROKER_", "VSCODE_")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody whose folder is `tmp_path`, with broker not on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(MOVED)}
    return {**kept, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BROKER, *words], env=env, cwd=env["HOME"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=WARM_BOUND, check=False,
    )  # fmt: skip


def cursor(env: dict[str, str]) -> Path:
    """Cursor's file with one server in it."""
    file = Path(env["HOME"]) / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": {"Scripted One": scripted()}}))
    return file


def config(env: dict[str, str]) -> Path:
    folder = "Library/Application Support" if sys.platform == "darwin" else ".config"
    return Path(env["HOME"]) / folder / "broker" / "config.toml"


def test_what_was_imported_is_served(env: dict[str, str]) -> None:
    cursor(env)
    done = run(env, "import", "--write")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 server written to" in done.stdout
    assert run(env, "check").returncode == 0
    assert run(env, "call", "scripted-one__echo", "text=hi").stdout == "hi\n"


async def test_the_entry_that_is_exported_starts_broker(env: dict[str, str], tmp_path: Path) -> None:
    cursor(env)
    run(env, "import", "--write")
    done = run(env, "export", "claude")
    assert (done.returncode, done.stderr) == (0, "")
    entry = json.loads((tmp_path / ".claude.json").read_text())["mcpServers"]["broker"]
    assert entry == {"type": "stdio", "command": BROKER, "args": ["mcp"]}
    async with spoken(entry["command"], entry["args"], env, tmp_path, "legacy", {}) as line:
        await line.initialize()
        assert await line.text("scripted-one__echo", {"text": "hi"}) == "hi"


def test_undo_leaves_every_byte_as_it_was(env: dict[str, str]) -> None:
    file = cursor(env)
    before = file.read_bytes()
    assert run(env, "export", "cursor", "zed").returncode == 0
    assert b"broker" in file.read_bytes()
    assert run(env, "export", "cursor", "zed", "--undo").returncode == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("", False), ("yess", False)])
def test_somebody_at_a_terminal_is_asked_and_only_a_yes_is_one(env: dict[str, str], answer: str, written: bool) -> None:
    cursor(env)
    master, slave = pty.openpty()
    with subprocess.Popen([BROKER, "import"], env=env, cwd=env["HOME"], stdin=slave, stdout=slave) as process:
        os.close(slave)
        os.write(master, answer.encode() + b"\n")
        assert process.wait(BOUND) == 0
        said = os.read(master, 65536)
    os.close(master)
    assert b"[servers.scripted-one]" in said and b"[y/N]" in said
    assert config(env).exists() is written


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("import", "emacs"), 2, "neither a client"),
        (("export", "emacs"), 2, "no client"),
        (("export",), 2, "CLIENT"),
        (("import", "cursor"), 1, "no such file of Cursor"),
    ],
)
def test_what_is_wrong_is_said_with_the_right_exit_code(
    env: dict[str, str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = run(env, *words)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_tomlkit_is_read_by_nothing_else(env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "broker", "check"],
        env=env, cwd=env["HOME"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert "broker.cli.moving" in done.stderr
    assert "tomlkit" not in done.stderr and "broker.clients.known" not in done.stderr
