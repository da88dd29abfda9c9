"""An MCP client that costs next to nothing: blocking reads and writes on two pipes.

Rule 1: what is on the clock is one write and the reads until the reply is whole. Requests are made before, and
replies are judged after.
Rule 2: nothing waits for ever: a watchdog kills a target that keeps silent, which ends the read.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.bench.audit import Audit, text_for
from tests.bench.targets import Place, Target, own_processes, server_name

READ = 64 << 10
PATIENCE = 60.0  # seconds for anything; 30 slow servers take ten on a busy machine
GOODBYE = 5.0  # seconds from the end of stdin to the end of the target
VERSION = "2025-06-18"


class Unanswered(Exception):
    """The target ended, or was ended by the watchdog, while something was owed."""


class Session:
    """One conversation with one target."""

    def __init__(self, target: Target, place: Place, count: int = 1, *, busy: bool = False) -> None:
        argv = [*target.argv(place.servers(count)), *(target.busy if busy else ())]
        self.target, self.audit = target, Audit()
        self._last_id = 0
        self._heard = b""
        self._log = place.log.open("ab")
        self.spawned = time.perf_counter()
        self._process = _spawn(argv, place, self._log.fileno())
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdout.fileno(), self._process.stdin.fileno()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    # a conversation

    def open(self) -> None:
        """The handshake."""
        info = {"name": "bench", "version": "1"}
        self.request("initialize", {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": info})
        self._write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def cpu(self) -> float:
        """Seconds of processor time the target took so far, without the servers behind it."""
        return sum(_processor_time(each) for each in own_processes(self.process))

    def tools(self) -> list[str]:
        """The names of all tools."""
        return [tool["name"] for tool in self.request("tools/list", {})["tools"]]

    def tool_of(self, index: int) -> str:
        """What this target calls the tool of one server."""
        names = self.tools()
        return next((name for name in names if server_name(index) in name), names[0])

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of any request but a call."""
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        with self._watched():
            self._write(json.dumps(message).encode() + b"\n")
            while True:
                found = json.loads(self._line())
                if found.get("id") == self._last_id and "method" not in found:
                    break
        if "result" not in found:
            raise Unanswered(f"{self.target.name} refused {method}: {found}")
        return found["result"]

    # calls

    def sequential(self, tool: str, size: int, seconds: float, least: int = 5) -> list[float]:
        """Call, wait, call again, for some seconds; how long each call took."""
        took: list[float] = []
        until = time.perf_counter() + seconds
        with self._watched(PATIENCE + seconds):
            while len(took) < least or time.perf_counter() < until:
                request = self._call(tool, size)
                began = time.perf_counter()
                self._write(request)
                reply = self._until_heard()
                took.append(time.perf_counter() - began)
                self.audit.hear(reply)
                self._settle()
        return took

    def pipelined(self, tool: str, size: int, seconds: float, at_once: int) -> float:
        """Keep `at_once` calls in flight for some seconds; replies a second."""
        heard: list[bytes] = []
        replies = 0
        with self._watched(PATIENCE + seconds):
            began = time.perf_counter()
            self._write(self._calls(tool, size, at_once))
            while (now := time.perf_counter()) < began + seconds:
                data = self._read()
                heard.append(data)
                ended = data.count(b"\n")
                replies += ended
                self._write(self._calls(tool, size, ended))
            self._judge(b"".join(heard))
            self._settle()
        return replies / (now - began)

    def close(self) -> None:
        """End it as a client does; what is left of it after that is killed. Counts what was never answered."""
        family = _family(self.process)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired), self._watched(GOODBYE):
            while data := os.read(self._in, READ):
                self._judge(data)
            self._process.wait(GOODBYE)
        self.audit.lose()
        _end(family)
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    # bytes

    def _call(self, tool: str, size: int) -> bytes:
        self._last_id = id = self._last_id + 1
        self.audit.asked(id, size)
        head = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"text":"%b"}}}\n'
        return head % (id, tool.encode(), text_for(id, size).encode())

    def _calls(self, tool: str, size: int, count: int) -> bytes:
        return b"".join([self._call(tool, size) for _ in range(count)])

    def _settle(self) -> None:
        """Wait until nothing is owed."""
        while self.audit.open:
            self.audit.hear(self._until_heard())

    def _judge(self, data: bytes) -> None:
        """Give the whole lines among what was heard to the audit; keep the rest."""
        lines, newline, self._heard = (self._heard + data).rpartition(b"\n")
        if newline:
            self.audit.hear(lines)

    def _until_heard(self) -> bytes:
        """At least one whole line, and nothing but whole lines."""
        parts = [self._heard, self._read()]
        self._heard = b""
        while not parts[-1].endswith(b"\n"):
            parts.append(self._read())
        return b"".join(parts)

    def _line(self) -> bytes:
        while b"\n" not in self._heard:
            self._heard += self._read()
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _read(self) -> bytes:
        data = os.read(self._in, READ)
        if not data:
            self.audit.lose()
            raise Unanswered(f"{self.target.name} ended")
        return data

    def _write(self, data: bytes) -> None:
        try:
            while (sent := os.write(self._out, data)) < len(data):
                data = data[sent:]
        except BrokenPipeError:
            self.audit.lose()
            raise Unanswered(f"{self.target.name} does not read") from None

    @contextlib.contextmanager
    def _watched(self, seconds: float = PATIENCE) -> Generator[None]:
        watchdog = threading.Timer(seconds, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()


def _spawn(argv: Sequence[str], place: Place, log: int) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=log, bufsize=0, env=place.env, cwd=place.folder)


def _family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _end(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=GOODBYE)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _processor_time(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def tail(log: Path, size: int = 600) -> str:
    """The last of what the targets wrote on stderr."""
    return log.read_bytes()[-size:].decode(errors="replace") if log.exists() else ""
