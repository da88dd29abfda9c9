"""Looking after brokers that run: real brokers, two at once, and the commands of a person."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import BOUND, Home, Line, opened
from tests.servers import scripted

COMMAND_BOUND = 30.0  # seconds; a command that starts servers on a busy machine


class Shell:
    """`broker` in a home, beside brokers that run."""

    def __init__(self, home: Home, *flags: str) -> None:
        self.home, self._flags = home, flags or home.flags

    async def __call__(self, *words: str, flags: bool = True) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            self.home.command,
            words[0],
            *(self._flags if flags else ()),
            *words[1:],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.home.env,
            cwd=self.home.folder,
        )
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_BOUND)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


class World:
    """A home with the scripted server as `a` and `b`, and brokers on it."""

    def __init__(self, home: Home, stack: AsyncExitStack) -> None:
        self.home, self._stack = home, stack
        self.shell = Shell(home)

    @property
    def run(self) -> Path:
        return self.home.folder / "home" / "run"

    @property
    def logs(self) -> Path:
        return self.home.folder / "home" / "logs"

    async def broker(self) -> Line:
        """One more broker, reachable."""
        line = await self._stack.enter_async_context(opened(self.home))
        await until((self.run / f"{line.process.pid}.sock").exists)
        return line

    def calls(self) -> list[dict[str, Any]]:
        file = self.logs / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def in_(folder: Path, text: str) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        yield World(Home.of_toml(folder, text), stack)


def entry(name: str, *flags: str, more: str = "") -> str:
    server = scripted(*flags)
    return f"[servers.{name}]\ncommand = {json.dumps(server['command'])}\nargs = {json.dumps(server['args'])}\n{more}\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    mine = ("--stderr", str(tmp_path))  # so that no test finds the processes of another
    async with in_(tmp_path, entry("a", *mine) + entry("b", *mine)) as found:
        yield found


async def test_list_shows_what_plugins_do_in_brokers_that_run(world: World) -> None:
    code, said, _ = await world.shell("list", "--json")
    assert code == 0 and all(row["running"] == [] for row in json.loads(said)["plugins"])
    one = await world.broker()
    assert await one.text("a__echo", {"text": "hi"}) == "hi"
    pid = int(await one.text("a__whoami"))
    rows = {row["name"]: row for row in json.loads((await world.shell("list", "--json"))[1])["plugins"]}
    (a,), (b,) = rows["a"]["running"], rows["b"]["running"]
    assert (a["broker"], a["client"], a["state"], b["state"]) == (one.process.pid, "line", "ready", "off")
    assert a["pids"] == [pid] and b["pids"] == [] and a["uptime"] > 0 and b["uptime"] is None
    assert "ready" in (await world.shell("list"))[1]
    await world.broker()
    assert "ready (line), off (line)" in " ".join((await world.shell("list"))[1].split())


async def test_a_plugin_is_restarted_in_every_broker(world: World) -> None:
    one, other = await world.broker(), await world.broker()
    for line in (one, other):
        assert await line.text("a__echo", {"text": "hi"}) == "hi"
    before = {process.pid for line in (one, other) for process in line.processes()}
    code, said, _ = await world.shell("restart", "a")
    assert code == 0
    for line in (one, other):
        assert f"line (pid {line.process.pid}): a is ready" in said
        assert await line.text("a__echo", {"text": "again"}) == "again"
    after = {process.pid for line in (one, other) for process in line.processes()}
    assert after - before


async def test_a_plugin_that_is_stopped_comes_back_when_it_is_called(world: World) -> None:
    line = await world.broker()
    await line.text("a__echo", {"text": "hi"})
    code, said, _ = await world.shell("stop", "a")
    assert (code, said) == (0, f"line (pid {line.process.pid}): a is off\n")
    assert await line.text("a__echo", {"text": "back"}) == "back"


async def test_a_disabled_plugin_is_gone_here_and_in_brokers_to_come(world: World) -> None:
    one = await world.broker()
    assert "a__echo" in await one.names()
    code, said, _ = await world.shell("disable", "a")
    assert code == 0 and "a is disabled from now on" in said and "a is disabled" in said.splitlines()[1]
    other = await world.broker()
    for line in (one, other):
        names = await line.names()
        assert "a__echo" not in names and "b__echo" in names
        assert (await line.error("tools/call", {"name": "a__echo", "arguments": {}}))["code"] == -32602
    assert '"state": "disabled"' in (await world.shell("list", "--json"))[1]
    code, said, _ = await world.shell("enable", "a")
    assert code == 0 and "a is enabled from now on" in said
    for line in (one, other, await world.broker()):
        assert await line.text("a__echo", {"text": "hi"}) == "hi"


async def test_without_a_broker_only_the_future_changes(world: World) -> None:
    code, said, err = await world.shell("disable", "a")
    assert code == 1 and "a is disabled from now on" in said and "No broker is running now" in err
    line = await world.broker()
    assert "a__echo" not in await line.names()
    code, _, err = await world.shell("restart", "b")
    assert code == 0


async def test_no_broker_runs_is_said(world: World) -> None:
    for command in ("restart", "stop"):
        assert (await world.shell(command, "a"))[0::2] == (1, "No broker is running now.\n")


async def test_a_name_nobody_knows_is_told_with_the_nearest(tmp_path: Path) -> None:
    async with in_(tmp_path, entry("files")) as world:
        await world.broker()
        for command in ("restart", "stop", "disable", "enable", "log"):
            code, _, err = await world.shell(command, "file")
            assert (code, "did you mean files?" in err) == (2, True), (command, err)
        assert not (tmp_path / "home" / "state" / "disabled.json").exists()


async def test_a_plugin_of_files_the_command_was_not_told_of_is_reached(world: World) -> None:
    line = await world.broker()
    await line.text("a__echo", {"text": "hi"})
    empty = world.home.folder / "empty.toml"
    empty.write_text("")
    code, said, _ = await Shell(world.home, "--config", str(empty))("restart", "a")
    assert code == 0 and "a is ready" in said


async def test_what_a_file_disables_is_enabled_there(tmp_path: Path) -> None:
    async with in_(tmp_path, entry("b") + entry("a", more="enabled = false")) as world:
        code, _, err = await world.shell("enable", "a")
        assert code == 2
        assert f"a is disabled in {tmp_path}/config.toml:8" in err


async def test_a_restart_that_fails_says_why_and_can_be_repeated(tmp_path: Path) -> None:
    program = tmp_path / "server.sh"
    server = scripted()
    program.write_text(f"#!/bin/sh\nexec {server['command']} {' '.join(server['args'])}\n")
    program.chmod(0o755)
    async with in_(tmp_path, f'[servers.a]\ncommand = "{program}"\n') as world:
        line = await world.broker()
        await line.text("a__echo", {"text": "hi"})
        good = program.read_text()
        program.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
        code, _, err = await world.shell("restart", "a")
        assert code == 1 and "no such luck" in err and "fix: " in err
        program.write_text(good)
        assert (await world.shell("restart", "a"))[0] == 0
        assert await line.text("a__echo", {"text": "back"}) == "back"


async def test_a_broker_that_was_killed_is_forgotten(world: World) -> None:
    line = await world.broker()
    line.process.kill()
    await line.process.wait()
    assert (world.run / f"{line.process.pid}.sock").exists()
    assert (await world.shell("restart", "a"))[0::2] == (1, "No broker is running now.\n")
    assert list(world.run.iterdir()) == []


async def test_a_broker_that_is_frozen_does_not_hold_up_the_others(world: World, monkeypatch: Any) -> None:
    frozen, alive = await world.broker(), await world.broker()
    await alive.text("a__echo", {"text": "hi"})
    os.kill(frozen.process.pid, signal.SIGSTOP)
    try:
        code, said, _ = await world.shell("doctor", "--json")
        report = json.loads(said)
        assert code == 1 and report["silent"] == [str(frozen.process.pid)]
        assert [here["pid"] for here in report["brokers"]] == [alive.process.pid]
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)


async def test_a_broker_that_ends_takes_its_socket_along(world: World) -> None:
    line = await world.broker()
    assert await line.leave() == 0
    assert list(world.run.iterdir()) == []


async def test_a_run_folder_open_to_others_costs_control_and_nothing_else(world: World) -> None:
    world.run.mkdir(parents=True)
    world.run.chmod(0o777)
    async with opened(world.home) as line:
        assert await line.text("a__echo", {"text": "hi"}) == "hi"
        await until(lambda: "will not reach this broker" in line.stderr)
        assert (await world.shell("restart", "a"))[0] == 1
        code, said, _ = await world.shell("doctor", "--json")
        (run,) = [each for each in json.loads(said)["folders"] if each["what"] == "run"]
        assert code == 1 and "open to other users" in run["trouble"]


async def test_a_call_is_in_the_audit_and_its_arguments_are_not(world: World) -> None:
    one, other = await world.broker(), await world.broker()
    for line in (one, other):
        await line.text("a__echo", {"text": "hunter2"})
        await line.error("tools/call", {"name": "nobody__echo", "arguments": {}})
        await line.call("b__die", {"code": 3})
    await until(lambda: len(world.calls()) == 6)
    assert {(call["client"], call["plugin"], call["name"], call["outcome"]) for call in world.calls()} == {
        ("line", "a", "echo", "ok"),
        ("line", "", "nobody__echo", "not-found"),
        ("line", "b", "die", "plugin-crashed"),
    }
    assert {call["pid"] for call in world.calls()} == {one.process.pid, other.process.pid}
    assert "hunter2" not in (world.logs / "audit.jsonl").read_text()
    code, said, _ = await world.shell("log", "-n", "2")
    assert code == 0 and len(said.splitlines()) == 2 and "line ->  b  tools/call  die" in said
    code, said, _ = await world.shell("log", "--json")
    assert [json.loads(line) for line in said.splitlines()] == world.calls()


async def test_a_broker_that_ends_writes_what_waits(world: World) -> None:
    line = await world.broker()
    await line.text("a__echo", {"text": "hi"})
    assert await line.leave() == 0
    assert [call["outcome"] for call in world.calls()] == ["ok"]


async def test_audit_false_switches_it_off(tmp_path: Path) -> None:
    async with in_(tmp_path, "audit = false\n" + entry("a")) as world:
        line = await world.broker()
        await line.text("a__echo", {"text": "hi"})
        assert await line.leave() == 0
        assert world.calls() == []


async def test_the_log_of_a_plugin_is_shown_and_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    async with in_(tmp_path, entry("a", "--stderr", "\x1b]0;owned\x07hello")) as world:
        line = await world.broker()
        await line.text("a__echo", {"text": "hi"})
        code, said, _ = await world.shell("log", "a")
        assert (code, said.splitlines()[-1]) == (0, "\\x1b]0;owned\\x07hello")


async def test_following_a_log_survives_its_rotation_and_ends_on_ctrl_c(world: World) -> None:
    file = world.logs / "plugins" / "a.log"
    file.parent.mkdir(parents=True)
    file.write_text("one\n")
    follower = await asyncio.create_subprocess_exec(
        *(world.home.command, "log", *world.home.flags, "-f", "a"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=world.home.env,
    )
    assert follower.stdout is not None

    async def said() -> bytes:
        assert follower.stdout is not None
        return await asyncio.wait_for(follower.stdout.readline(), BOUND)

    try:
        assert await said() == b"one\n"
        file.rename(file.with_name("a.log.1"))
        file.write_text("two\n")
        assert await said() == b"two\n"
        with file.open("a") as more:
            more.write("three\n")
        assert await said() == b"three\n"
        follower.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(follower.wait(), BOUND) == 130
        assert follower.stderr is not None and b"Traceback" not in await follower.stderr.read()
    finally:
        if follower.returncode is None:
            follower.kill()


async def test_doctor_finds_all_fine_and_shows_what_runs(world: World) -> None:
    line = await world.broker()
    await line.text("a__echo", {"text": "hi"})
    code, said, _ = await world.shell("doctor", "--json")
    report = json.loads(said)
    assert (code, report["fine"]) == (0, True), said
    assert [(each["name"], each["state"], each["tools"]) for each in report["plugins"]] == [
        ("a", "ok", 25),
        ("b", "ok", 25),
    ]
    assert all(each["seconds"] > 0 and each["mcp"] == "2025-11-25" for each in report["plugins"])
    assert [(here["pid"], here["client"]) for here in report["brokers"]] == [(line.process.pid, "line")]
    assert report["brokers"][0]["plugins"][0]["state"] == "ready"
    code, said, _ = await world.shell("doctor")
    assert code == 0 and "All is fine." in said and "a: ready" in said


async def test_doctor_says_what_fails_and_how_to_mend_it(tmp_path: Path) -> None:
    text = (
        entry("good")
        + '[servers.dies]\ncommand = "sh"\nargs = ["-c", "echo my last words >&2; exit 3"]\n'
        + '[servers.gone]\ncommand = "no-such-program"\n'
        + '[servers.js]\ncommand = "bun"\nenv = { PATH = "/nowhere" }\n'
        + '[servers.off]\ncommand = "sh"\nenabled = false\n'
    )
    async with in_(tmp_path, text) as world:
        code, said, _ = await world.shell("doctor", "--json")
        report = json.loads(said)
        states = {each["name"]: each for each in report["plugins"]}
        assert code == 1 and not report["fine"]
        assert {name: each["state"] for name, each in states.items()} == {
            "good": "ok",
            "dies": "failed",
            "gone": "failed",
            "js": "failed",
            "off": "disabled",
        }
        assert "my last words" in states["dies"]["message"] and "exit code 3" in states["dies"]["message"]
        assert all(states[name]["error"] == "plugin-unavailable" and states[name]["hint"] for name in ("dies", "gone"))
        (bun,) = [each for each in report["programs"] if each["name"] == "bun"]
        assert (bun["needed_by"], bun["missing_for"]) == (["js"], ["js"])
        assert any("no-such-program" in problem["what"] for problem in report["problems"])
        code, said, _ = await world.shell("doctor")
        assert code == 1 and "dies failed" in said and "my last words" in said and "fix: " in said


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[int]:
    """A process as a broker that was killed would leave it: the scripted server, and nobody is its parent."""
    server = scripted("--stderr", str(tmp_path))
    left = subprocess.run(
        ["sh", "-c", '"$@" <"$0" >/dev/null 2>&1 & echo $!', "/dev/zero", server["command"], *server["args"]],
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    )
    yield int(left.stdout)
    psutil.Process(int(left.stdout)).kill()


async def test_doctor_finds_what_a_dead_broker_left(world: World, orphan: int) -> None:
    code, said, _ = await world.shell("doctor", "--json")
    assert code == 1 and orphan in [left["pid"] for left in json.loads(said)["leftovers"]]


async def test_a_torn_list_of_disabled_plugins_is_told_and_mended(world: World) -> None:
    file = world.home.folder / "home" / "state" / "disabled.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"disabled": ["a')
    line = await world.broker()
    assert "a__echo" in await line.names() and "nothing is switched off by it" in line.stderr
    assert (await world.shell("check"))[0] == 1
    assert (await world.shell("disable", "a"))[0] == 0
    assert json.loads(file.read_text()) == {"disabled": ["a"]}
    assert (await world.shell("check"))[0] == 0


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[None]:
    """The folder of logs is on a disk without a byte of room."""
    logs = tmp_path / "home" / "logs"
    logs.mkdir(parents=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk, on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(logs)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    (logs / "full").write_bytes(b"x" * (64 << 10))
    yield
    subprocess.run(["umount", str(logs)], check=True)


async def test_a_full_disk_costs_lines_and_never_a_call(world: World, full_disk: None) -> None:
    line = await world.broker()
    for _ in range(20):
        assert await line.text("a__echo", {"text": "hi"}) == "hi"
    await until(lambda: "audit.jsonl cannot be written: No space left on device" in line.stderr)
    code, said, _ = await world.shell("doctor", "--json")
    (logs,) = [each for each in json.loads(said)["folders"] if each["what"] == "logs"]
    assert code == 1 and logs["trouble"] == "No space left on device"
    assert await line.leave() == 0


@pytest.mark.parametrize("command", ["explain", "log"])
def test_the_quick_commands_import_nothing_heavy(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "broker", command],
        env={**os.environ, "BROKER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 0 and found.isdisjoint({"rich", "psutil"})
