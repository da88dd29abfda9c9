"""Starts and ends every process, with everything it started itself.

Rule 1: argv only, never a shell; the environment is exactly what the caller gives.
Rule 2: an end has steps with bounds: close stdin, wait, SIGTERM the tree, wait, SIGKILL the tree.
Rule 3: an exit is seen on the process, never on its pipes: a grandchild may hold those open for ever.
Rule 4: a keeper stands between us and each process (`keeper.py`). It ends the tree also when we cannot any more, and
        the end of its socket is the end of the tree. Windows has none: there a process is our own child.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from broker.errors import NotEnforced

if TYPE_CHECKING:
    from broker.confine.enforced import Enforced
    from broker.confine.plan import Confinement

GRACE = 2.0  # seconds a process has after its stdin closed, and again after SIGTERM (the official SDKs' number)
GONE = 2.0  # seconds from SIGKILL until we no longer wait for the kernel
TRIES = 3  # to hand a plugin over: the fork server may have been killed, and that shows only in the trying
NOTIFY = "notify"  # what a confined plugin sent: where the broker hears of calls it makes in the plugin's stead
KEEPER = Path(__file__).with_name("keeper.py")
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # where a Python may find its own library


class Child:
    """One process with everything it starts. `stdin`, `stdout`, `stderr` are descriptors its owner closes."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.started = loop.time()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()  # its tree
        self._ending: asyncio.Task[None] | None = None
        self.overstepped = ""  # what it used more of than it may, as a sentence's end; it was ended for that
        self.leaving: asyncio.Task[None] | None = None  # what stood around it is put away, since its exit
        self.warnings: list[str] = []  # what it is held to only partly, a sentence each
        self.enforced: Enforced | None = None  # of a confined one: what the kernel said after its start
        self.sent: dict[str, int] = {}  # descriptors a confined one sent out before it began; its owner closes them

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.exited.result() if self.exited.done() else None

    def listeners(self) -> dict[str, socket.socket]:
        """The listening sockets among what it sent out, by door (`tcp:127.0.0.1:3128`); the caller has them now."""
        doors = [name for name in self.sent if name != NOTIFY]
        return {name: socket.socket(fileno=self.sent.pop(name)) for name in doors}

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        return asyncio.get_running_loop().time() - self.started

    async def end(self, *, grace: float = GRACE) -> None:
        """End it and its tree, its stdin being closed; returns when all is gone. Safe to call twice.

        At the latest that is after two graces and `GONE` seconds: nobody can kill what waits for a dead disk.
        A caller that is cancelled leaves nothing behind: the ending goes on.
        """
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(grace))
        await asyncio.shield(self._ending)

    async def _end(self, grace: float) -> None:
        if not await _within(grace, self.exited):
            self._signal_tree(signal.SIGTERM)
            if not await _within(grace, self.exited):
                self._signal_tree(_KILL)
        await _within(GONE, self._gone)
        if self.leaving is not None:
            await asyncio.wait([self.leaving], timeout=GONE)

    def _signal_tree(self, number: int) -> None:
        raise NotImplementedError

    def _exit(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


class _Kept(Child):
    """A child with a keeper; `control` is our end of the socket to that."""

    def __init__(self, control: int, stdin: int, stdout: int, stderr: int, wire: int) -> None:
        super().__init__(0, stdin, stdout, stderr)
        self._control = control
        self._wire = wire
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[_Refusal | None] = self._loop.create_future()
        self._loop.add_reader(control, self._hear)

    def abandon(self) -> None:
        """Nobody will have it: kill what there is of it, and close everything."""
        self._signal_tree(_KILL)
        self._silence()
        self.take_sent()
        for fd in (self.stdin, self.stdout, self.stderr, *self.sent.values()):
            os.close(fd)

    def hear_asks(self, asks: Callable[[int], None]) -> None:
        """Take what it sends out as it comes, until it is the descriptor that `asks` is for."""

        def hear() -> None:
            with socket.socket(fileno=os.dup(self._wire)) as wire:
                message = socket.recv_fds(wire, 1000, 1)
            if not message[1] or message[0] == NOTIFY.encode():
                self._loop.remove_reader(self._wire)
            if message[1] and message[0] == NOTIFY.encode():
                asks(message[1][0])
            elif message[1]:
                self.sent[message[0].decode()] = message[1][0]

        self._loop.add_reader(self._wire, hear)

    def take_sent(self) -> None:
        """What a confined plugin sent out; it did that before it began, so that all of it is there."""
        if self._wire < 0:
            return
        self._loop.remove_reader(self._wire)
        with socket.socket(fileno=self._wire) as wire, contextlib.suppress(BlockingIOError):
            self._wire = -1
            wire.setblocking(False)
            while (message := socket.recv_fds(wire, 1000, 1))[1]:
                self.sent[message[0].decode()] = message[1][0]

    def _signal_tree(self, number: int) -> None:
        if self._control >= 0:
            with contextlib.suppress(OSError):
                os.write(self._control, b"k" if number == _KILL else b"t")

    def _hear(self) -> None:
        try:
            data = os.read(self._control, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._told(*line.decode().split())
        if not data:
            self._silence()

    def _told(self, what: str, *details: str) -> None:
        if what == "pid":
            self.pid = int(details[0])
            self._open(None)
        elif what == "failed":
            self._open((int(details[0]), details[1], " ".join(details[2:])))
        elif what == "exit":
            self._exit(int(details[0]))
        elif what == "gone":
            self._silence()

    def _open(self, refusal: _Refusal | None) -> None:
        if not self.opened.done():
            self.opened.set_result(refusal)

    def _silence(self) -> None:
        """The keeper ended, and so did its tree: at its hands, or because it was killed itself."""
        if self._control < 0:
            return
        self._loop.remove_reader(self._control)
        os.close(self._control)
        self._control = -1
        if self.pid and not self.exited.done() and sys.platform != "linux":  # where nobody dies with a parent
            with contextlib.suppress(OSError):
                os.killpg(self.pid, _KILL)
        self._exit(-_KILL)
        self._gone.set_result(None)
        self._open((errno.ECHILD, "keeper", ""))


class _Plain(Child):
    """A child without a keeper, on Windows."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        super().__init__(process.pid, _own(process.stdin), _own(process.stdout), _own(process.stderr))
        self._process = process
        self._family: list[Any] = []
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()

    async def _end(self, grace: float) -> None:
        self._note_family()
        await super()._end(grace)
        for process in self._family:
            with contextlib.suppress(Exception):  # psutil's errors: it is gone already
                process.kill()

    def _signal_tree(self, number: int) -> None:
        self._note_family()
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def _note_family(self) -> None:
        import psutil  # only where something ends: 15 ms of import

        with contextlib.suppress(psutil.Error):
            family: list[Any] = psutil.Process(self.pid).children(recursive=True)
            self._family += [process for process in family if process not in self._family]

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._exit, code)

    def _exit(self, code: int) -> None:
        super()._exit(code)
        if not self._gone.done():
            self._gone.set_result(None)


class _ForkServer:
    """Our end of the one that forks keepers; started when it is needed, and again if it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Have it running. Raises `OSError`."""
        if self._process is not None and self._process.poll() is None:
            return
        self._drop()
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.enter_context(ours)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # What others may read in its /proc entry holds none of our variables; these it needs to start.
                env={name: os.environ[name] for name in _LIBRARIES if name in os.environ},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            undo.pop_all()
        ours.setblocking(False)
        self._control = ours

    def fork(self, control: int, *, confine: bool) -> None:
        """Have a keeper forked that listens at `control`. Raises `OSError`."""
        self.begin()
        try:
            socket.send_fds(self._control, [b"w" if confine else b"+"], [control])
        except ConnectionError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None


_Refusal = tuple[int, str, str]  # errno, what it is about; of a jail: the step that failed, and why
_KILL = signal.SIGKILL if os.name == "posix" else signal.SIGTERM
_server = _ForkServer()


def prepare() -> None:
    """Start what the first `spawn` waits for, while its caller does something else."""
    if os.name == "posix":
        with contextlib.suppress(OSError):  # `spawn` will say it
            _server.begin()


async def spawn(
    argv: Sequence[str] | str,
    *,
    env: Mapping[str, str],
    cwd: str | None,
    wall: Confinement | None = None,
    asks: Callable[[int], None] | None = None,
    channel: int | None = None,
) -> Child:
    """Start `argv` (on Windows a command line) in a session of its own, held to `wall` by the kernel.

    It has `channel` as its descriptor 3; ours stays open, and there is none on Windows.
    `asks` is given the descriptor on which a watched one is seen, before it begins: it waits for that at each call.
    Raises `OSError`, `ValueError`, and `NotEnforced` when it cannot be held: then nothing was executed.
    """
    if os.name != "posix":
        if wall is not None:
            raise NotEnforced(f"{wall.name} was not started: nothing can confine a program on Windows yet")
        return _Plain(_popen(argv, env, cwd))
    assert not isinstance(argv, str)
    plan = _plan(argv, env, cwd, wall, 3 if channel is None else 4)
    for _ in range(TRIES):
        with contextlib.suppress(ConnectionError):
            child = await _handed_over(plan, wall, channel)
            if asks is not None:
                child.hear_asks(asks)
            refusal = await _opened(child)
            if refusal is None:
                return child if wall is None else _held(child, wall)
            number, what, why = refusal
            why = _last_words(child) or why if what == "bubblewrap" else why
            child.abandon()
            if wall is not None and why:
                raise NotEnforced(f"{wall.name} was not started, because it cannot be confined: {why} (step {what})")
            if what != "keeper":
                raise OSError(number, os.strerror(number), {"program": argv[0], "folder": cwd}.get(what))
    raise OSError("the process that starts it was killed each time")


def _held(child: _Kept, wall: Confinement) -> Child:
    """The child, once the kernel said that it is confined. Raises `NotEnforced`."""
    from broker.confine.enforced import enforced_on

    child.take_sent()
    try:
        child.enforced = enforced_on(child.pid)
        missing = child.enforced.lacks(wall) if child.enforced else []
    except OSError as error:
        missing = [f"nobody may look at what it is held to ({error})"]
    if missing:
        child.abandon()
        raise NotEnforced(f"{wall.name} was ended at its start, because it is not confined: {', '.join(missing)}")
    return child


def _last_words(child: Child) -> str:
    """What a program that ended wrote on its stderr, in one line."""
    os.set_blocking(child.stderr, False)
    try:
        return " ".join(os.read(child.stderr, 1000).decode("utf-8", "replace").split())
    except BlockingIOError:
        return ""


async def _opened(child: _Kept) -> _Refusal | None:
    try:
        return await child.opened
    except asyncio.CancelledError:
        child.abandon()
        raise


async def _handed_over(plan: bytes, wall: Confinement | None, channel: int | None) -> _Kept:
    """A child whose keeper has what to start. Raises `OSError`."""
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        stdin, to_stdin = _pipe(theirs, ours)
        from_stdout, stdout = _pipe(ours, theirs)
        from_stderr, stderr = _pipe(ours, theirs)
        control, keepers = socket.socketpair()
        ours.enter_context(control).setblocking(False)
        given, wire = [stdin, stdout, stderr], -1
        if wall is not None:
            wire, fourth = _wire(ours, theirs)
            given.append(fourth)
        if channel is not None:
            given.append(channel)
        _server.fork(theirs.enter_context(keepers).fileno(), confine=wall is not None)
        with contextlib.suppress(ConnectionError):  # there is no keeper; what is in the socket says why
            sent = socket.send_fds(control, [plan], given)
            theirs.close()  # from here on the keeper's end of the socket is the keeper's alone
            await asyncio.get_running_loop().sock_sendall(control, plan[sent:])
        ours.pop_all()
        return _Kept(control.detach(), to_stdin, from_stdout, from_stderr, wire)


def _wire(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    """The two ends of a socket on which a confined plugin sends descriptors out."""
    here, there = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    ours.callback(os.close, here)
    theirs.callback(os.close, there)
    return here, there


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _plan(
    argv: Sequence[str], env: Mapping[str, str], cwd: str | None, wall: Confinement | None, given: int = 3
) -> bytes:
    """What `keeper.receive` reads. Raises `ValueError`."""
    described = b""
    if wall is not None and wall.mode == "stage2":
        from broker.confine import bwrap

        argv, described = bwrap.wrapped(wall, argv, env, cwd, given)
        env, cwd = {}, None
    elif wall is not None:
        described = _described(wall, argv)
    fields = [cwd or "", str(len(argv)), *argv, *(f"{name}={value}" for name, value in env.items())]
    if any("\0" in field for field in fields) or any("=" in name for name in env):
        raise ValueError("a word or a variable holds a character that no program can be given")
    body = b"".join(os.fsencode(field) + b"\0" for field in fields)
    return len(body).to_bytes(4, "big") + len(described).to_bytes(4, "big") + body + described


def _described(wall: Confinement, argv: Sequence[str]) -> bytes:
    from broker.confine.plan import described  # with ctypes: only where something is confined

    try:
        return described(wall, argv)
    except OSError as error:
        raise NotEnforced(f"{wall.name} was not started, because it cannot be confined: {error.strerror}") from None


def _popen(argv: Sequence[str] | str, env: Mapping[str, str], cwd: str | None) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=dict(env), cwd=cwd)


def output_of(argv: Sequence[str], *, timeout: float) -> bytes:
    """What a short program of ours writes on stdout. Blocks; raises `OSError`, also when it takes too long."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout).stdout
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from None


def in_front(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a program for the person at our terminal, with our own stdin, stdout and stderr; its exit code.

    Blocks; Ctrl-C is the program's to end by. Raises `OSError`.
    """
    with subprocess.Popen(argv, env=dict(env)) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def describe_exit(code: int) -> str:
    """`exit code 3` or `signal SIGKILL`, for a person."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


async def _within(seconds: float, future: asyncio.Future[Any]) -> bool:
    done, _ = await asyncio.wait([future], timeout=seconds)
    return bool(done)


def _own(pipe: IO[bytes]) -> int:
    """The pipe's descriptor, kept when the file object goes away."""
    fd = os.dup(pipe.fileno())
    pipe.close()
    return fd
