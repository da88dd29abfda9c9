"""The ledger among processes: several at once, and one that is killed in the middle of writing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from broker.permissions.grants import FILE, Ledger

BOUND = 60.0  # seconds for fifty grants that are each on the disk before the next
KILLS = 20

GRANTER = """
import sys
from pathlib import Path
from broker.permissions.approval import Approval
from broker.permissions.grants import Ledger
from broker.permissions.scopes import parse
ledger, name, count = Ledger(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
for number in range(count):
    ledger.grant(name, "/config.toml", Approval("m", "c", "f", "e", None), [parse(f"read:/x/{number}")], "a test")
    print(number, flush=True)
"""


@contextmanager
def granting(folder: Path, name: str, count: int) -> Generator[subprocess.Popen[str]]:
    """A process that grants `name` one thing after the other, once it is told to, and says so after each."""
    command = [sys.executable, "-c", GRANTER, str(folder), name, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def granted(folder: Path, name: str) -> set[int]:
    entry = Ledger(folder).read().entry(name, "/config.toml")
    return {int(grant.permission.rpartition("/")[2]) for grant in entry.grants} if entry is not None else set()


def test_two_that_grant_at_once_lose_nothing(tmp_path: Path) -> None:
    with granting(tmp_path, "a", 50) as one, granting(tmp_path, "b", 50) as other, granting(tmp_path, "a", 50) as third:
        assert [process.wait(BOUND) for process in (one, other, third)] == [0, 0, 0]
    assert granted(tmp_path, "a") == granted(tmp_path, "b") == set(range(50))


def test_one_that_is_killed_while_it_writes_loses_nothing_it_said_was_granted(tmp_path: Path) -> None:
    chance = random.Random(5)
    for attempt in range(KILLS):
        with granting(tmp_path, f"p{attempt}", 100_000) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(chance.randrange(1, 12))]
            os.kill(process.pid, signal.SIGKILL)
            process.wait(BOUND)
            said += map(int, process.stdout.read().split())
        assert set(said) <= granted(tmp_path, f"p{attempt}")
    json.loads((tmp_path / FILE).read_text())
    Ledger(tmp_path).revoke("p0", "/config.toml")  # and no lock of a dead process is in the way
    assert granted(tmp_path, "p0") == set() and granted(tmp_path, "p1") != set()


def test_what_a_killed_writer_left_behind_grants_nothing(tmp_path: Path) -> None:
    """A draft beside the ledger, whole or torn, is never read."""
    ledger = Ledger(tmp_path)
    for content in ('{"version": 1, "entries": []}', '{"versi'):
        (tmp_path / f"{FILE}.{os.getpid()}").write_text(content)
        assert ledger.read().entries == ()
    with granting(tmp_path, "a", 3) as process:
        assert process.wait(BOUND) == 0
    assert granted(tmp_path, "a") == {0, 1, 2}
