"""The world outside a confinement: what an escape would reach, and whether one did.

Everything here is made for one run: a home folder with a secret, another plugin, sockets that note who comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.hostile.escape.world import World, call

ATTEMPTS = Path(__file__).with_name("escape")
IPC_RMID = 0
SHMCTL = 31 if os.uname().machine == "x86_64" else 195
KEY = 0x70776E64  # of the SysV objects that attempts make

SIBLING = """
import signal, sys, time
def note(number, frame):
    open(sys.argv[1], "a").write(f"{number}\\n")
for number in (signal.SIGUSR1, signal.SIGIO, signal.SIGWINCH):
    signal.signal(number, note)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


class Outside:
    """What there is to be reached. `word` is in the secret file and in the environment of the other plugin."""

    def __init__(self, top: Path, word: str) -> None:
        self.top, self.word = top, word
        self.came: list[str] = []  # who was reached over a socket
        self._closing = contextlib.ExitStack()
        for name in ("home", "docs", "data", "other"):
            (top / name).mkdir(mode=0o755)
        self.code = top / "plugin" / "escape"
        shutil.copytree(ATTEMPTS, self.code, ignore=shutil.ignore_patterns("__pycache__"))
        (top / "home" / "secret").write_text(f"the secret is {word}\n")
        (top / "docs" / "note").write_text("a note\n")
        self._signals = top / "other" / "signals"
        self.world = World(
            home=str(top / "home"),
            secret=str(top / "home" / "secret"),
            word=word,
            docs=str(top / "docs"),
            note=str(top / "docs" / "note"),
            data=str(top / "data"),
            code=str(self.code),
            unix=str(top / "docs" / "socket"),
            abstract=f"abstract-{word}",
            tcp=0,
            tcp6=0,
            udp=0,
            sibling=self._sibling(),
            broker=os.getpid(),
            shm=call("shmget", 0, 4096, 0o1666),
        )
        self._closing.callback(call_shmctl_remove, self.world.shm)
        self._listen()
        self.before = self.state()

    def order(self, attempts: list[tuple[str, str]]) -> dict[str, Any]:
        """What the program inside is told."""
        return {"world": asdict(self.world), "attempts": attempts}

    def state(self) -> dict[str, object]:
        """Everything that no attempt may change."""
        return {
            **{str(path.relative_to(self.top)): _look(path) for path in self._guarded()},
            "signals": self._signals.read_text() if self._signals.exists() else "",
            "sibling": self._process.poll(),
            "priority": os.getpriority(os.PRIO_PROCESS, self.world.sibling),
            "affinity": os.sched_getaffinity(self.world.sibling),
            "scheduler": os.sched_getscheduler(self.world.sibling),
            "own priority": os.getpriority(os.PRIO_PROCESS, 0),
            "left": [path for path in self._leavings() if os.path.lexists(path)],
            "ipc": [name for name in ("shmget", "msgget") if _there(name)],
            "host": socket.gethostname(),
            "came": list(self.came),
            "set-id": [path.name for path in (self.top / "data").rglob("*") if path.lstat().st_mode & 0o6000],
            "devices": [path.name for path in (self.top / "data").rglob("*") if stat.S_ISCHR(path.lstat().st_mode)],
        }

    def close(self) -> None:
        """Take everything away."""
        self._closing.close()

    def _guarded(self) -> Iterator[Path]:
        for name in ("home", "docs", "plugin"):
            yield from sorted([self.top / name, *(self.top / name).rglob("*")])

    def _leavings(self) -> list[str]:
        return [f"{folder}/pwned-{self.word}" for folder in ("/dev/shm", "/tmp")] + ["/tmp/full", "/tmp/many"]

    def _sibling(self) -> int:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SIBLING, str(self._signals), self.word],
            env={"WORD": self.word},
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self._closing.callback(self._end_sibling)
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"
        return self._process.pid

    def _end_sibling(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        """Sockets of every kind, and a thread that notes who comes to which."""
        ways: dict[str, tuple[int, int, Any]] = {
            "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "unix": (socket.AF_UNIX, socket.SOCK_STREAM, self.world.unix),
            "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.world.abstract}"),
        }
        selector = self._closing.enter_context(selectors.DefaultSelector())
        for name, (family, kind, address) in ways.items():
            with contextlib.suppress(OSError):  # a machine without IPv6
                here = self._closing.enter_context(socket.socket(family, kind))
                here.bind(address)
                if kind == socket.SOCK_STREAM:
                    here.listen()
                selector.register(here, selectors.EVENT_READ, name)
                if name in ("tcp", "tcp6", "udp"):
                    setattr(self.world, name, here.getsockname()[1])
        ours, theirs = socket.socketpair()
        selector.register(ours, selectors.EVENT_READ, None)
        thread = threading.Thread(target=self._note, args=(selector,), daemon=True)
        thread.start()

        def stop() -> None:
            theirs.close()
            thread.join(5)
            ours.close()

        self._closing.callback(stop)

    def _note(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return
                self.came.append(key.data)
                here: Any = key.fileobj
                if here.type == socket.SOCK_DGRAM:
                    here.recv(100)
                else:
                    here.accept()[0].close()


def call_shmctl_remove(segment: int) -> None:
    ctypes.CDLL(None).syscall(SHMCTL, segment, IPC_RMID, None)


def _look(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) else None
    extra = os.listxattr(path) if stat.S_ISREG(found.st_mode) else None
    times = (found.st_mtime_ns,) if stat.S_ISREG(found.st_mode) else ()
    return path.name, found.st_mode, found.st_uid, found.st_nlink, *times, content, extra


def _there(name: str) -> bool:
    try:
        call(name, KEY, *((4096,) if name == "shmget" else ()), 0)
        return True
    except OSError:
        return False
