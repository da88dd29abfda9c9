"""The commands a person types, as real processes on the scripted server and a published one."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import BOUND, Home
from tests.servers import BY_NAME, PLUGINS, scripted

WARM_BOUND = 30.0  # seconds for a command that starts servers which were never met


class Shell:
    """Runs `broker` in a home; nothing is on its standard input unless it is given."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def command(self, *words: str) -> list[str]:
        name, *rest = words
        return [self._home.command, name, *self._home.flags, *rest]

    @property
    def env(self) -> dict[str, str]:
        return self._home.env

    def __call__(self, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=input,
            env=self.env,
            cwd=self._home.folder,
            capture_output=True,
            text=True,
            timeout=WARM_BOUND,
            check=False,
        )


def recorded(file: Path) -> dict[str, Any]:
    """The scripted server, with everything that is said to it kept in a file."""
    entry = scripted()
    line = f'tee "{file}" | "{entry["command"]}" "$@"'
    return {"command": "sh", "args": ["-c", line, "sh", *entry["args"]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def shell(folder: Path) -> Shell:
    servers = {"scripted": recorded(folder / "said"), "modern": scripted("--era", "modern")}
    return Shell(Home.of(folder, servers))


class Overheard:
    """What is said to a recorded server, as it is said: the file is a pipe."""

    def __init__(self, file: Path) -> None:
        os.mkfifo(file)
        self._pipe = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        self._said = b""

    def until(self, words: bytes) -> None:
        """Wait until somebody said `words`."""
        while words not in self._said:
            ready, _, _ = select.select([self._pipe], [], [], BOUND)
            chunk = os.read(self._pipe, 65536) if ready else b""
            assert chunk, f"nobody said {words!r}, only {self._said!r}"
            self._said += chunk

    def close(self) -> None:
        os.close(self._pipe)


def test_list_meets_everyone_once_and_then_nobody(shell: Shell, folder: Path) -> None:
    first = json.loads(shell("list", "--json").stdout)
    (folder / "said").unlink()
    second = json.loads(shell("list", "--json").stdout)
    assert [(row["name"], row["state"], row["tools"]) for row in first["plugins"]] == [
        ("scripted", "started", 25),
        ("modern", "started", 25),
    ]
    assert [row["state"] for row in second["plugins"]] == ["known", "known"]
    assert not (folder / "said").exists()
    assert second["plugins"][1]["mcp"] == {"legacy": None, "modern": "2026-07-28"}
    assert second["problems"] == []


def test_list_shows_failures_problems_and_that_nothing_is_confined(folder: Path) -> None:
    servers = {
        "bad": {"comand": "x"},
        "broken": {"command": sys.executable, "args": ["-c", "import sys; sys.exit('no key given')"]},
        "off": {"command": "x", "disabled": True},
        "some": {**scripted(), "tools": ["echo", "a*"]},
    }
    done = Shell(Home.of(folder, servers))("list")
    assert done.returncode == 0 and done.stderr == ""
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["off"][0] == "disabled"
    assert rows["some"][:7] == ["started", "2025-11-25", "1.0", "2", "of", "25", "no"]
    assert "broken failed" in done.stdout and "no key given" in done.stdout
    assert "1 problem in the configuration" in done.stdout and "`bad`" in done.stdout


def test_with_nothing_configured_list_says_what_to_do(folder: Path) -> None:
    done = Shell(Home.of(folder, {}))("list")
    assert done.returncode == 0
    assert "Nothing is configured" in done.stdout


def test_tools_are_the_definitions_clients_see(shell: Shell) -> None:
    found = json.loads(shell("tools", "--json", "scripted").stdout)
    assert len(found) == 25
    assert found[0]["name"] == "scripted__add"
    assert found[0]["x-unknown"] == {"a": 1}


def test_tools_are_grouped_by_plugin_with_a_line_each(shell: Shell) -> None:
    shown = shell("tools").stdout
    assert "scripted\n  scripted__add " in shown
    assert "Adds, with a structured result\n" in shown
    assert shown.index("\nscripted\n") > shown.index("modern\n")


def test_a_tool_named_exactly_is_shown_with_its_arguments(shell: Shell) -> None:
    shown = shell("tools", "scripted__add").stdout
    assert shown.splitlines()[0] == "scripted__add"
    assert "a=number, optional" in shown
    assert "scripted__big" in shell("tools", "scripted__b*").stdout


def test_only_the_plugin_that_is_meant_is_started(shell: Shell, folder: Path) -> None:
    assert shell("call", "modern__echo", "text=hi").stdout == "hi\n"
    assert not (folder / "said").exists()


def test_call_converts_by_the_schema_and_prints_the_answer(shell: Shell) -> None:
    assert shell("call", "scripted__echo", "text=5").stdout == "5\n"
    done = shell("call", "scripted__add", "a=1", "b=2.5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3.5\n", "")


@pytest.mark.parametrize("given", ['{"a": 1, "b": 2}', "-"])
def test_call_takes_json_and_gives_the_whole_result(shell: Shell, given: str) -> None:
    done = shell("call", "scripted__add", "--json", given, "--raw", input='{"a": 1, "b": 2}')
    result = json.loads(done.stdout)
    assert result["structuredContent"] == {"sum": 3}
    assert result["x-result"] == 7


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("scripted__ad",), 2, "no tool is called scripted__ad; did you mean scripted__add?"),
        (("add",), 2, "did you mean modern__add or scripted__add?"),
        (("scripted__add", "a=x"), 2, "`a` must be a number"),
        (("scripted__echo", "texd=x"), 2, "did you mean `text`?"),
        (("scripted__add", "--json", "{"), 2, "--json is not JSON"),
        (("scripted__fail",), 1, "scripted failure"),
        (("scripted__error",), 1, "answered with error -32050: scripted error"),
        (("modern__die", "code=7"), 3, "exit code 7"),
        (("modern__sample",), 1, "sampling"),
    ],
)
def test_a_call_that_fails_says_why_and_its_exit_code_says_whose_fault(
    shell: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    done = shell("call", *words)
    assert done.returncode == code
    assert done.stdout == ""
    assert said in done.stderr


def test_wrong_arguments_of_a_known_tool_start_nothing(shell: Shell, folder: Path) -> None:
    shell("tools", "scripted")
    (folder / "said").unlink()
    assert shell("call", "scripted__add", "c=1").returncode == 2
    assert not (folder / "said").exists()


def test_a_plugin_that_cannot_start_is_exit_code_3(folder: Path) -> None:
    done = Shell(Home.of(folder, {"gone": {"command": "no-such-program"}}))("call", "gone__x")
    assert done.returncode == 3
    assert "no-such-program is not on the PATH" in done.stderr


def test_a_call_that_takes_too_long_is_exit_code_3(folder: Path) -> None:
    slow = {**scripted(), "limits": {"timeout": "200ms"}}
    done = Shell(Home.of(folder, {"slow": slow}))("call", "slow__forever")
    assert done.returncode == 3
    assert "did not answer tools/call within 0.2 s" in done.stderr


@pytest.mark.parametrize("server", ["scripted", "modern"])
def test_log_messages_of_the_call_are_on_stderr(shell: Shell, server: str) -> None:
    done = shell("call", f"{server}__log", "level=warning")
    assert (done.stdout, done.stderr) == ("logged\n", "scripted: warning: a line at warning\n")


@pytest.mark.parametrize("server", ["scripted", "modern"])
def test_a_question_is_declined_where_nobody_can_be_asked(shell: Shell, server: str) -> None:
    done = shell("call", f"{server}__elicit", input="Ann\n")
    assert done.returncode == 0
    assert '"action": "decline"' in done.stdout
    assert f"{server} asked a question, which was declined" in done.stderr


@pytest.mark.parametrize("server", ["scripted", "modern"])
def test_a_question_is_asked_on_a_terminal(shell: Shell, server: str) -> None:
    master, slave = pty.openpty()
    command = shell.command("call", f"{server}__elicit", "message=Who are you?")
    with subprocess.Popen(
        command, env=shell.env, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as call:
        os.write(master, b"Ann\n")
        said, _ = call.communicate(timeout=WARM_BOUND)
    os.close(master)
    os.close(slave)
    assert call.returncode == 0
    assert b"asks: Who are you?" in said
    assert b'{"action": "accept", "content": {"name": "Ann"}}' in said


def test_ctrl_c_cancels_the_call_at_the_server(shell: Shell, folder: Path) -> None:
    server = Overheard(folder / "said")
    command = shell.command("call", "scripted__forever")
    with subprocess.Popen(command, env=shell.env, stdin=subprocess.DEVNULL) as call:
        server.until(b'"tools/call"')
        call.send_signal(signal.SIGINT)
        server.until(b'"notifications/cancelled"')
        assert call.wait(BOUND) == 130
    server.close()


def test_a_reader_that_leaves_early_is_no_error_of_ours(shell: Shell) -> None:
    line = f'"{shell.command("call")[0]}" "$@" | head -c 10'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *shell.command("call", "scripted__big", "bytes=3000000")[1:]],
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=WARM_BOUND,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("xxxxxxxxxx", "")


def test_a_published_server_is_listed_and_called(folder: Path) -> None:
    shell = Shell(Home.of(folder, {"time": BY_NAME["time"].entry(folder)}))
    assert "time__get_current_time  read-only" in shell("tools").stdout
    done = shell("call", "time__get_current_time", "timezone=Europe/Berlin")
    assert done.returncode == 0
    assert json.loads(done.stdout)["timezone"] == "Europe/Berlin"
    assert "the tool needs `timezone`" in shell("call", "time__get_current_time").stderr


def test_check_finds_no_fault_with_what_is_right(shell: Shell, folder: Path) -> None:
    done = shell("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "No problems: 2 plugins checked, nothing was started." in done.stdout
    assert not (folder / "said").exists()


def test_check_names_file_line_and_fix(folder: Path) -> None:
    (folder / "config.toml").write_text(
        '[servers.gone]\ncommand = "no-such-program"\n\n[servers.git]\ncommand = "sh"\nconcurency = 2\n'
    )
    done = Shell(Home.of_toml(folder, (folder / "config.toml").read_text()))("check")
    assert done.returncode == 1
    assert f"{folder}/config.toml:2\n  gone cannot be started: no-such-program is not on the PATH" in done.stdout
    assert f"{folder}/config.toml:6\n" in done.stdout and "concurency" in done.stdout
    assert "2 problems" in done.stdout


def test_check_finds_the_line_in_json(folder: Path) -> None:
    file = folder / "mcp.json"
    file.write_text('{"mcpServers": {\n  "ok": {"command": "sh"},\n  "My Gone": {"command": "no-such-program"}\n}}')
    found = json.loads(Shell(Home.of(folder, {}))("check", "--json", str(file)).stdout)
    assert [problem["where"] for problem in found] == [f"{file}:3"]


@pytest.mark.parametrize("name", ["greet-bin", "greet-js", "greet-py", "greet-ts"])
def test_check_takes_a_plugins_folder(shell: Shell, name: str) -> None:
    assert shell("check", str(PLUGINS / name)).returncode == 0
    assert shell("check", str(PLUGINS / name / "plugin.toml")).returncode == 0


def test_check_finds_a_fault_in_a_manifest(shell: Shell, folder: Path) -> None:
    (folder / "plugin.toml").write_text('name = "x"\nversion = "1"\napi = 1\nentry = "plugin.py"\n')
    done = shell("check", str(folder))
    assert done.returncode == 1
    assert f"{folder}/plugin.toml:2" in done.stdout and "semantic version" in done.stdout


def test_check_knows_of_tools_that_clients_cannot_tell_apart(folder: Path) -> None:
    shell = Shell(Home.of(folder, {"a": {"command": sys.executable, "args": [str(_twins(folder))]}}))
    shell("list")
    done = shell("check")
    assert done.returncode == 1
    assert "cannot tell apart" in done.stdout


def _twins(folder: Path) -> Path:
    """A server with two tools of one name."""
    code = """
import json, sys
tool = lambda name: {"name": name, "inputSchema": {"type": "object"}}
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        info = {"name": "twins", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    elif message["method"] == "tools/list":
        result = {"tools": [tool("Read"), tool("read")]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
    file = folder / "twins.py"
    file.write_text(code)
    return file


@pytest.mark.parametrize("words", [("--help",), ("call", "--help"), ("check", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert _imported(*words).isdisjoint({"rich", "asyncio", "psutil", "broker.app"})


def test_serving_a_client_imports_nothing_of_the_terminal(folder: Path) -> None:
    home = Home.of(folder, {})
    assert _imported(*home.args).isdisjoint({"rich", "broker.cli.terminal", "broker.cli.listing"})


def _imported(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "broker", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
