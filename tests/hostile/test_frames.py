"""Every bad frame, from a client and from a server, in both eras, against the real broker.

From a client: what is owed is answered, once, and the next call works. From a server: the call in flight has exactly
one outcome in time, and the server goes on. One broker serves all frames of an era; one that failed is replaced.
A family of frames is one test, which names the frames that failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import BOUND, ERAS, Home, Json
from tests.hostile.corpus import FRAMES
from tests.hostile.frames import DOUBTED, ERROR, IGNORED, META, RESULT, Frame

SERVER = Path(__file__).with_name("frame_server.py")
MAX_MEMORY = 256  # MiB; the largest frames have 40, of which 16 are kept, and 32 of results cut for one client
PATIENCE = 3  # seconds until a call that is never answered times out
ABSENT = "(no id)"
OUTCOMES = {  # of a call, when its true answer comes too, and when it does not
    IGNORED: ("true", "timeout"),
    DOUBTED: ("true", "error"),
    ERROR: ("error", "error"),
    RESULT: ("result", "result"),
}
FAMILIES = list(dict.fromkeys(frame.family for frame in FRAMES.values()))
ENOUGH = 3  # failures of a family: each may take its whole time
UNANSWERED = [frame for frame in FRAMES.values() if frame.server == IGNORED and frame.family != "size"]


class Client:
    """A broker and a client of it that writes bytes."""

    def __init__(self, folder: Path, era: str, *, handshake: bool = False) -> None:
        self.era, self._last = era, 100_000
        entry = {"command": sys.executable, "args": ["-S", "-E", str(SERVER), era], "concurrency": 4096}
        servers: dict[str, Json] = dict.fromkeys(("before", "inside", "two"), entry)
        servers["instead"], servers["hold"] = {**entry, "timeout": PATIENCE}, {**entry, "concurrency": 1}
        home = Home.of(folder, servers)
        pipe = subprocess.PIPE
        with (folder / "stderr.txt").open("ab") as errors:
            self.process = subprocess.Popen(
                [home.command, *home.args], stdin=pipe, stdout=pipe, stderr=errors, env=home.env, cwd=folder
            )
        self.errors = folder / "stderr.txt"
        self.said: list[tuple[str, int]] = []  # replies in order: id and code, 0 for a result
        self._replies: dict[str, list[Json]] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._open(handshake=handshake)

    def _open(self, *, handshake: bool) -> None:
        if self.era == "legacy" or handshake:
            who = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}}
            self.write(
                json.dumps({"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": who}).encode() + b"\n"
            )
            self.reply("open")
        for server in ("before", "inside", "instead", "two"):  # and so every list is learned
            assert outcome(self.reply(self.call(server, "echo"))) == "true"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._hear(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _hear(self, message: Json) -> None:
        if "method" not in message:
            id = key(message.get("id", ABSENT))
            self.said.append((id, message.get("error", {}).get("code", 0)))
            self._replies.setdefault(id, []).append(message)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def new_id(self) -> int:
        self._last += 1
        return self._last

    def call(self, server: str, tool: str, **arguments: Any) -> int:
        id, given = self.new_id(), json.dumps(arguments).encode()
        head = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b__%b","arguments":%b,%b}}\n'
        self.write(head % (id, server.encode(), tool.encode(), given, META[self.era]))
        return id

    def until(self, wanted: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + BOUND
        with self._news:
            while not wanted():
                left = deadline - time.monotonic()
                alive = self.process.poll() is None
                assert alive and left > 0, f"{what}: {'not in time' if alive else 'the broker ended'}\n{self.stderr}"
                self._news.wait(min(left, 0.5))

    def replies(self, id: Any) -> list[Json]:
        return self._replies.get(key(id), [])

    def reply(self, id: Any) -> Json:
        self.until(lambda: bool(self.replies(id)), f"no reply to {id!r}")
        return self.replies(id)[0]

    @property
    def stderr(self) -> str:
        return self.errors.read_text(errors="replace")[-3000:]

    def works(self) -> None:
        """A good call is answered as it should be, and memory is bounded."""
        assert outcome(self.reply(self.call("two", "echo"))) == "true"
        assert psutil.Process(self.process.pid).memory_info().rss >> 20 < MAX_MEMORY

    def end(self) -> None:
        below = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(BOUND)
        except (OSError, subprocess.TimeoutExpired):
            for process in (*below, self.process):
                process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()


def key(id: Any) -> str:
    """1, "1" and no id are three."""
    return ABSENT if id is ABSENT else json.dumps(id)


def outcome(reply: Json) -> str:
    """What came of a call to `frame_server`."""
    if "error" in reply:
        return "error"
    result = reply["result"]
    if result.get("isError"):
        return "timeout" if result["_meta"]["plugin-broker/error"]["name"] == "plugin-timeout" else "error"
    return "true" if result["content"] and result["content"][0]["text"].startswith("true ") else "result"


class Clients:
    """One client for each era and kind of connection, begun when it is first needed, and again when it failed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._begun = folder, 0
        self._alive: dict[tuple[str, bool], Client] = {}
        self._unanswered: dict[str, dict[str, str]] = {}

    def of(self, era: str, *, handshake: bool = False) -> Client:
        if (era, handshake) not in self._alive:
            self._begun += 1
            folder = self._folder / f"{self._begun}-{era}"
            folder.mkdir()
            self._alive[era, handshake] = Client(folder, era, handshake=handshake)
        return self._alive[era, handshake]

    def drop(self, client: Client) -> None:
        self._alive = {place: each for place, each in self._alive.items() if each is not client}
        client.end()

    def unanswered(self, era: str) -> dict[str, str]:
        """What came of calls that only got a frame which is no answer; all at once, for each takes its whole time."""
        if era not in self._unanswered:
            client = self.of(era)
            names = [frame.name for frame in UNANSWERED]
            ids = {name: client.call("instead", "play", frame=name, mode="instead") for name in names}
            self._unanswered[era] = {name: outcome(client.reply(id)) for name, id in ids.items()}
        return self._unanswered[era]

    def close(self) -> None:
        for client in self._alive.values():
            client.end()


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Generator[Clients]:
    clients = Clients(tmp_path_factory.mktemp("frames"))
    yield clients
    clients.close()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_is_answered_once_for_what_can_be_answered(clients: Clients, family: str, era: str) -> None:
    def judge(frame: Frame) -> None:
        opens = frame.family == "handshake" or frame.name.endswith("initialize")  # changes the rest of a connection
        with replaced_if_it_fails(clients, clients.of(era, handshake=opens)) as client:
            answered_as_owed(client, frame)

    assert failed(family, judge) == {}


def failed(family: str, judge: Callable[[Frame], None]) -> dict[str, str]:
    """The frames of a family that did not do what they should, and what they did."""
    failures: dict[str, str] = {}
    for frame in FRAMES.values():
        if frame.family == family and len(failures) < ENOUGH:
            try:
                judge(frame)
            except (AssertionError, OSError, LookupError) as error:
                failures[frame.name] = f"{type(error).__name__}: {error}"
    return failures


@contextmanager
def replaced_if_it_fails(clients: Clients, client: Client) -> Generator[Client]:
    try:
        yield client
    except BaseException:
        clients.drop(client)
        raise


def answered_as_owed(client: Client, frame: Frame) -> None:
    id, since = client.new_id(), len(client.said)
    data = frame.bytes(str(id), client.era)
    client.write(data)
    owed = frame.client[client.era]
    expected: Counter[tuple[str, int]] = Counter()
    for said, code in owed or ():
        own = ABSENT if said is None else json.loads(said.replace("@ID@", str(id)))
        expected[key(own), code] += 1
    client.until(lambda: len(client.said) - since >= expected.total(), f"{frame.name}: {expected} not answered")
    client.works()
    replies = Counter(client.said[since:])
    replies.pop((key(client._last), 0))
    if owed is None:
        about = {said: count for said, count in replies.items() if said[0] in (ABSENT, key(id))}
        assert sum(about.values()) <= data.count(b"\n")
    else:
        assert replies == expected


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_server_that_says_it_costs_at_most_the_call_it_answers(clients: Clients, family: str, era: str) -> None:
    def judge(frame: Frame) -> None:
        with replaced_if_it_fails(clients, clients.of(era)) as client:
            costs_its_call(clients, client, frame)

    assert failed(family, judge) == {}


def costs_its_call(clients: Clients, client: Client, frame: Frame) -> None:
    before, instead = OUTCOMES[frame.server]
    assert played(client, frame, "before") == before
    if frame.family != "size":  # these take long
        assert played(client, frame, "inside") == "error"
    if frame in UNANSWERED:
        assert clients.unanswered(client.era)[frame.name] == instead
    elif frame.server != IGNORED:
        assert played(client, frame, "instead") == instead
    client.works()


def played(client: Client, frame: Frame, mode: str) -> str:
    """What came of a call to a server that wrote the frame; it still runs, and serves the next call."""
    server = mode
    before = client.reply(client.call(server, "echo"))
    id = client.call(server, "play", frame=frame.name, mode=mode)
    came = outcome(client.reply(id))
    after = client.reply(client.call(server, "echo"))
    assert outcome(after) == "true" and after["result"] == before["result"], "it was started again"
    assert len(client.replies(id)) == 1
    return came
