"""A machine that has no room left: no disk, no descriptors, no processes, no memory, no time.

The call that needs what is missing fails with a reason; everything else goes on, and so does that call once there
is room again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from broker.core.listings import Listings
from broker.model import Listing, Spec
from tests.e2e.harness import Home, Json, Line, opened, spoken
from tests.hostile.evil import evil, until
from tests.servers import scripted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are set and seen as Linux has them")

AROUND = 0.5  # seconds; longer than one turn of anything in the broker


class TestDisk:
    """BROKER_HOME is a disk of 1 MB, seen by the broker alone."""

    async def test_a_full_disk_costs_what_would_be_written_and_nothing_else(self, tmp_path: Path) -> None:
        servers = {name: evil(tmp_path / name) for name in ("one", "two")}
        noisy = evil(tmp_path / "noisy", 'sys.stderr.write("x" * 5000 + "\\n" * 50); sys.stderr.flush()')
        async with on_small_disk(Home.of(tmp_path, servers)) as (line, disk):
            await line.names()
            known = read_all(disk / "cache" / "lists")
            assert len(known) == 2
            fill(disk)
            assert await line.text("one__echo", {"a": 1}) == '{"a": 1}'
            write_servers(tmp_path, {**servers, "noisy": noisy})
            await line.notice("notifications/tools/list_changed")
            assert await line.text("noisy__echo") == "{}"
            await until(lambda: "the lists of noisy cannot be kept" in line.stderr)
            assert read_all(disk / "cache" / "lists") == known
            (disk / "filling").unlink()
            write_servers(tmp_path, {**servers, "late": evil(tmp_path / "late")})
            await until(lambda: len(read_all(disk / "cache" / "lists")) == 3)
            assert "Traceback" not in line.stderr

    async def test_a_disk_that_was_always_full_lets_the_broker_start(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": evil(tmp_path / "one")})
        async with on_small_disk(home, full=True) as (line, _):
            assert await line.names() == ["one__echo"]
            assert await line.text("one__echo") == "{}"
            assert "Traceback" not in line.stderr


class TestDescriptors:
    async def test_without_descriptors_a_start_fails_with_the_reason_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": scripted(), "two": scripted()})
        async with opened(home) as line:
            await line.names()
        async with opened(home) as line:
            assert await line.text("one__echo", {"text": "hi"}) == "hi"
            await asyncio.sleep(AROUND)  # what the broker opens for itself after its first answers
            pid = line.process.pid
            with limited(pid, resource.RLIMIT_NOFILE, descriptors(pid)):
                for _ in range(5):  # more often than a plugin that is broken would be tried
                    result = await line.call("two__echo", {"text": "hi"})
                    assert result["isError"]
                    error = result["_meta"]["plugin-broker/error"]
                    assert (error["code"], error["name"]) == (-31007, "overloaded")
                    assert "descriptors" in result["content"][0]["text"] and "ulimit -n" in error["hint"]
                    assert await line.text("one__echo", {"text": "still"}) == "still"
            assert await line.text("two__echo", {"text": "again"}) == "again"
            assert "Traceback" not in line.stderr

    async def test_a_start_never_leaks_what_it_could_not_use(self, tmp_path: Path) -> None:
        """Each number of descriptors left makes it fail at another place."""
        home = Home.of(tmp_path, {"one": scripted(), "two": scripted("--slow-start", "0")})
        async with opened(home) as line:
            await line.names()
        async with opened(home) as line:
            await line.text("one__echo", {"text": "hi"})
            await asyncio.sleep(1.5)  # it has begun to watch its files
            pid = line.process.pid
            before, failures = descriptors(pid), 0
            for more in range(20):
                with limited(pid, resource.RLIMIT_NOFILE, before + more):
                    result = await line.call("two__echo", {"text": "hi"})
                if not result.get("isError"):
                    break
                failures += 1
                assert "descriptors" in result["content"][0]["text"], (more, result)
                await until(lambda: descriptors(pid) <= before)
            assert 2 < failures < 20
            assert "Traceback" not in line.stderr

    async def test_a_broker_with_few_descriptors_from_the_start_serves_what_it_can(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {f"s{n}": scripted() for n in range(8)})
        args = ["--nofile=28:28", home.command, *home.args]
        async with spoken("prlimit", args, home.env, home.folder, "legacy", {}) as line:
            await line.initialize()
            names = await line.names()
            served = {name.partition("__")[0] for name in names}
            assert 0 < len(served) < 8
            for name in sorted(served)[:2]:
                assert await line.text(f"{name}__echo", {"text": "hi"}) == "hi"
            assert "descriptors" in line.stderr


class TestProcesses:
    async def test_without_processes_a_start_fails_with_the_reason_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {name: evil(tmp_path / name) for name in ("one", "two")})
        async with as_plain_user(home) as line:
            assert len(await line.names()) == 2
        async with as_plain_user(home) as line:
            assert await line.text("one__echo") == "{}"
            await asyncio.sleep(1.5)  # it has begun to watch its files
            with without_processes([line.process.pid, *(process.pid for process in line.processes())]):
                result = await line.call("two__echo")
                assert result["isError"] and "processes" in result["content"][0]["text"], result
                assert result["_meta"]["plugin-broker/error"]["name"] == "overloaded"
                assert await line.text("one__echo", {"n": 1}) == '{"n": 1}'
            assert await line.text("two__echo") == "{}"


class TestMemory:
    async def test_a_plugin_without_memory_dies_alone(self, tmp_path: Path) -> None:
        source = """
def on_call(m):
    hoard = b"x" * (1 << 30)
    send(id=m["id"], result=text(str(len(hoard))))
"""
        hungry = evil(tmp_path / "hungry", source)
        hungry = {"command": "prlimit", "args": [f"--as={256 << 20}", hungry["command"], *hungry["args"]]}
        async with opened(Home.of(tmp_path, {"hungry": hungry, "one": scripted()})) as line:
            await line.names()
            result = await line.call("hungry__echo")
            assert result["isError"] and "MemoryError" in result["content"][0]["text"]
            assert await line.text("one__echo", {"text": "still"}) == "still"


class TestTime:
    async def test_a_plugin_that_is_stopped_is_no_concern_of_the_others(self, tmp_path: Path) -> None:
        async with opened(Home.of(tmp_path, {"one": scripted(), "two": scripted()})) as line:
            stopped = int(await line.text("one__whoami"))
            await line.text("two__echo", {"text": "hi"})
            os.kill(stopped, signal.SIGSTOP)
            try:
                waiting = line.send("tools/call", {"name": "one__echo", "arguments": {"text": "late"}})
                for n in range(50):
                    assert await line.text("two__echo", {"text": str(n)}) == str(n)
            finally:
                os.kill(stopped, signal.SIGCONT)
            reply = await line.reply(waiting)
            assert reply["result"]["content"][0]["text"] == "late"

    async def test_a_broker_that_was_stopped_goes_on_as_if_nothing_had_been(self, tmp_path: Path) -> None:
        """A laptop that was closed: no server is started again, and what was answered meanwhile is an answer."""
        servers = {name: {**scripted(), "timeout": "1s"} for name in ("one", "two")}
        async with opened(Home.of(tmp_path, servers)) as line:
            await line.names()
            before = {process.pid for process in line.processes()}
            waiting = [line.send("tools/call", {"name": f"{n}__sleep", "arguments": {"ms": 300}}) for n in servers]
            await line.settled()
            os.kill(line.process.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(3)  # longer than the calls may take
            finally:
                os.kill(line.process.pid, signal.SIGCONT)
            for id in waiting:
                reply = await line.reply(id)
                assert not reply["result"].get("isError"), reply
            assert {process.pid for process in line.processes()} == before
            for name in servers:
                assert await line.text(f"{name}__echo", {"text": "on"}) == "on"


class TestTorn:
    """What is on disk is old or new, whoever was killed when."""

    def test_a_writer_that_is_killed_leaves_the_old_lists_or_the_new(self, tmp_path: Path) -> None:
        spec = Spec(name="one", source="", command=(sys.executable,))
        listings = Listings(tmp_path, {})
        for seed in range(25):
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
            assert writer.stdout is not None and writer.stdout.readline()  # it has written one
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(random.Random(seed).uniform(0, 0.03))
            writer.kill()
            writer.communicate()
            found = listings.get(spec)
            assert found is not None and found.instructions is not None
            assert set(found.instructions) in ({"a"}, {"b"}) and len(found.instructions) == 1 << 20
        assert len(list(tmp_path.iterdir())) < 25, "drafts of the dead pile up"

    async def test_a_broker_that_is_killed_leaves_lists_the_next_one_can_use(self, tmp_path: Path) -> None:
        folder = tmp_path / "home" / "cache" / "lists"
        servers: dict[str, Json] = {}
        for turn in range(6):
            for name in "abcd":
                servers[name] = evil(tmp_path / name, f"TOOLS[0]['description'] = 'x' * 200000 + '{turn}'")
            before = written(folder)
            async with opened(Home.of(tmp_path, servers)) as line:
                line.send("tools/list")
                await until(lambda wanted=before + 1 + turn % 4: written(folder) >= wanted)
                line.process.kill()
                await line.process.wait()
            for path in folder.glob("*.json"):
                msgspec.json.decode(path.read_bytes(), type=Listing)
        async with opened(Home.of(tmp_path, servers)) as line:
            assert len(await line.names()) == 4

    async def test_lists_that_nobody_can_read_are_learned_anew(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": evil(tmp_path / "one")})
        async with opened(home) as line:
            names = await line.names()
        (path,) = (tmp_path / "home" / "cache" / "lists").glob("*.json")
        whole = path.read_bytes()
        for broken in (b"", whole[: len(whole) // 2], b"\0" * len(whole), b'{"tools": 3}', b"[" * 100_000):
            path.write_bytes(broken)
            async with opened(home) as line:
                assert await line.names() == names
            assert path.read_bytes() == whole


WRITER = """
import sys
from pathlib import Path
from broker.core.listings import Listings
from broker.model import Listing, Spec

spec = Spec(name="one", source="", command=(sys.executable,))
kept = Listings(Path(sys.argv[1]), {})
while True:
    for letter in "ab":
        kept.put(spec, Listing(instructions=letter * (1 << 20)))
        print("written", flush=True)
"""


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def written(folder: Path) -> int:
    return len(list(folder.glob("*.json")))


@contextlib.contextmanager
def limited(pid: int, what: int, soft: int) -> Generator[None]:
    """Another limit for a running process."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@contextlib.contextmanager
def without_processes(pids: list[int]) -> Generator[None]:
    """No new process for any of these, which are a plain user's."""

    def limit(soft: str) -> None:
        for pid in pids:
            words = ["prlimit", "--pid", str(pid), f"--nproc={soft}:"]
            subprocess.run([*PLAIN, *words] if os.getuid() == 0 else words, capture_output=True)  # some may be gone

    limit("1")
    try:
        yield
    finally:
        limit(str(resource.getrlimit(resource.RLIMIT_NPROC)[0]).replace("-1", "unlimited"))


@asynccontextmanager
async def as_plain_user(home: Home) -> AsyncGenerator[Line]:
    """A broker that the kernel counts the processes of: those of root are not counted."""
    command, args = home.command, home.args
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("there is no setpriv to become a plain user with")
        # It keeps the right to read what is root's: the interpreter may be there.
        keeps = ["--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override"]
        command, *args = [*PLAIN, *keeps, command, *args]
    async with spoken(command, args, home.env, home.folder, "legacy", {}) as line:
        await line.initialize()
        yield line


PLAIN = ("setpriv", "--reuid=54321", "--clear-groups", "--securebits=+no_setuid_fixup")
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$BROKER_HOME" || exit 77'


def small_disk(home: Home) -> Path:
    """Where a disk of 1 MB is to be; skips where nobody can mount one."""
    place = Path(home.env["BROKER_HOME"])
    place.mkdir()
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", MOUNT], env=home.env, capture_output=True)
    if probe.returncode:
        pytest.skip(f"no disk can be mounted here: {probe.stderr.decode().strip()}")
    return place


@asynccontextmanager
async def on_small_disk(home: Home, *, full: bool = False) -> AsyncGenerator[tuple[Line, Path]]:
    """A broker whose home is a disk of 1 MB in a mount namespace of its own; the disk as it is seen from here."""
    place = small_disk(home)
    fills = "dd if=/dev/zero of=$BROKER_HOME/filling bs=1k 2>/dev/null" if full else ":"
    args = ["-rm", "sh", "-c", f'{MOUNT}; {fills}; exec "$@"', "sh", home.command, *home.args]
    async with spoken("unshare", args, home.env, home.folder, "legacy", {}) as line:
        await line.initialize()
        yield line, Path(f"/proc/{line.process.pid}/root{place}")


def fill(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of lists, each of them whole."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    for data in found.values():
        msgspec.json.decode(data, type=Listing)
    return found


def write_servers(folder: Path, servers: dict[str, Json]) -> None:
    (folder / "servers.json").write_text(json.dumps({"mcpServers": servers}))
