"""Every template passes its own test in a folder that `broker new` has just made, without a network.

`make test-all` tries them all and prints how long each took, from `broker new` to green; the default run those in
Python and one in TypeScript and Lua.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.authoring.creating import create, offered
from tests.npm_installed import NODE, installed
from tests.rust import cargo
from tests.servers import NODE_MODULES, VENV

ALL = [(language, template) for language, some in offered().items() for template in some]
BROKER = str(VENV / "broker")
BOUND = 900.0  # seconds for a compiler on a busy machine
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
GREEN = {
    "python": PYTEST,
    "typescript": ["node", "--test"],
    "javascript": ["node", "--test"],
    "lua": [BROKER, "test", "."],
    "rust": ["make", "test"],
    "c": ["make", "test"],
    "assemblyscript": ["make", "test", f"ASC={NODE_MODULES}/.bin/asc"],
    "wasm-python": ["make", "test"],
    "wasm-javascript": ["make", "test", f"COMPONENTIZE={NODE_MODULES}/.bin/componentize-qjs"],
}


def ran(folder: Path, *argv: str, node: str = "") -> str:
    """What a command says that succeeds there; `node`: the folder of another Node than the machine's."""
    path = os.pathsep.join([*([node] if node else []), str(VENV), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "BROKER_HOME": str(folder.parent / "home")}
    env.pop("NODE_TEST_CONTEXT", None)
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_first_tests_in_python_are_green_within_a_minute(tmp_path: Path) -> None:
    began = time.monotonic()
    ran(tmp_path, BROKER, "new", "my-tool")
    for template in ("command", "hook"):
        create(f"my-{template}", "python", template, tmp_path / f"my-{template}")
    assert "6 passed" in ran(tmp_path, *PYTEST, "--import-mode=importlib", "my-tool", "my-command", "my-hook")
    assert time.monotonic() - began < 60


def test_the_first_test_in_typescript_is_green_and_its_types_agree(tmp_path: Path) -> None:
    create("my-tool", "typescript", "tool", tmp_path / "plugin")
    installed(tmp_path / "plugin")
    assert "pass 2" in ran(tmp_path / "plugin", "node", "--test", node=str(NODE))
    (tmp_path / "plugin" / "node_modules" / "@types").symlink_to(NODE_MODULES / "@types")
    ran(tmp_path / "plugin", str(NODE_MODULES / ".bin" / "tsc"))


def test_the_first_tests_in_lua_are_green_under_broker(tmp_path: Path) -> None:
    create("my-tool", "lua", "tool", tmp_path / "plugin")
    said = ran(tmp_path / "plugin", BROKER, "test", ".")
    assert re.search("^ok +it greets$", said, re.MULTILINE) and "FAILED" not in said


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("language", "template"), ALL)
def test_from_nothing_to_the_first_green_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str, template: str
) -> None:
    more = [f"CARGO={cargo()}"] if language == "rust" else []
    folder, node = tmp_path / "plugin", str(NODE) if language == "typescript" else ""
    began = time.monotonic()
    ran(tmp_path, BROKER, "new", "my-first", "--lang", language, "--template", template, "--path", str(folder))
    made = time.monotonic()
    if (folder / "package.json").exists() and "plugin-broker" in (folder / "package.json").read_text():
        installed(folder)
    ran(folder, *GREEN[language], *more, node=node)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{language}/{template}: made in {made - began:.1f} s, green after {time.monotonic() - began:.1f} s\n"
        )
