"""Holds every process of every plugin, so that none outlives its plugin or the broker. Standard library only.

    broker ─── fork server ─── keeper ─── plugin ─── whatever it starts, as deep as it likes
      └──── control socket ───────┘

The broker runs this file once, as `python -I -S keeper.py <descriptor>`: the fork server. For each plugin that forks
a keeper, and the keeper starts the plugin.

Rule 1: a keeper is the subreaper of its tree: whoever loses its parent becomes the keeper's own child, whatever it
        forked or called setsid. The tree is gone when the kernel says that the keeper has no child, and not before.
Rule 2: the end of the control socket is the end of the broker, however it ended: wait, SIGTERM, wait, SIGKILL.
Rule 3: the plugin's own exit is told before anything else is done; then the rest of its tree is killed.
Rule 4: a plugin gets three descriptors, or four (`CHANNEL`), and nothing else of ours: no signal is set aside.
Rule 5: the trees of a keeper that was killed become the fork server's children, and it kills them. It ends when the
        broker and the last keeper have.
Rule 6: what is imported here is paid at the first start, and what is written to later is paid by every keeper.

Rule 7: what confines a plugin (`jail.py`) is imported by the fork server at the first one that is to be confined.

To the fork server: `+` (`w` for a confined plugin) with the keeper's end of a control socket.
To a keeper: the plan with stdin, stdout and stderr, the wire of a confined plugin, and the plugin's channel to its
host if it gets one; then `t` (SIGTERM to the tree) or `k` (SIGKILL).
From a keeper, in lines: `pid 123` or `failed 2 program`, of a confined plugin also `failed 40 step why it failed`;
then `exit -9`; last `gone`.

Where there is no subreaper and no /proc (macOS), a tree is found in a `ps` snapshot by parents, and the plugin's
process group is killed with it. That misses a process that left the group and whose parent has ended, and
everything but the plugin's group when a keeper is killed.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable, Collection, Iterable, Iterator

    from broker.confine.jail import Jail
else:  # their Python halves import enum and selectors: 14 ms
    import _signal as signal
    import _socket as socket

LINUX = sys.platform == "linux"
STEP = 0.4  # seconds to the SIGTERM when the broker is gone, and again to the SIGKILL
AGAIN = 0.01  # seconds between two looks for processes that are being killed, at first
LAST = 1.5  # seconds a keeper may take when the broker is gone, before the fork server does it
CHASES = 50  # times that one look goes after those who were born meanwhile
GIVE_UP = 10.0  # seconds after which the fork server leaves what nobody can kill
CHANNEL = 3  # the plugin's descriptor on which it talks with its host; a keeper has nothing else there
MAX_FD = 4096  # descriptors are numbered from the lowest: a fork server holds one for each plugin

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

Row = tuple[int, int, int]  # a process: its id, its parent's and its group's


# what runs


def processes() -> Iterator[Row]:
    """Every process there is, each as it is when it is asked for."""
    return of_proc() if LINUX else iter(of_ps(_ps()))


def of_proc() -> Iterator[Row]:
    """From /proc. Also those that were born while the others were looked at: a storm forks faster than we list."""
    newest = _last_pid()
    yield from _rows(int(name) for name in os.listdir("/proc") if name.isdigit())
    for _ in range(CHASES):
        born = _last_pid()
        if born <= newest:
            return
        yield from _rows(range(newest + 1, born + 1))
        newest = born


def of_ps(text: str) -> list[Row]:
    """From what `ps -axo pid=,ppid=,pgid=` says; a line that is no row is skipped."""
    words = (line.split() for line in text.splitlines())
    return [(int(a), int(b), int(c)) for a, b, c in (row for row in words if len(row) == 3) if (a + b + c).isdigit()]


def below(root: int, rows: Iterable[Row]) -> Iterator[tuple[int, int]]:
    """The descendants of `root` as (process, group), each as soon as its row is seen."""
    family, rest = {root}, list[Row]()
    for row in rows:
        if row[1] in family:
            family.add(row[0])
            yield row[0], row[2]
        else:
            rest.append(row)
    while found := [row for row in rest if row[1] in family and row[0] not in family]:
        for pid, _, group in found:
            family.add(pid)
            yield pid, group


def signal_tree(number: int, spared: Collection[int] = ()) -> bool:
    """Signal everything below this process, but not `spared` and what is below those; whether there was anything.

    SIGKILL goes to each one's group too: where there is no subreaper that reaches members whose parent has ended. A
    group cannot reach beyond the tree: the plugin began a session, and groups do not cross sessions.
    """
    me, mine, found = os.getpid(), os.getpgrp(), False
    for pid, group in below(me, (row for row in processes() if row[0] not in spared)):
        found = True
        _send(os.kill, pid, number)
        if number == signal.SIGKILL and group != mine:
            _send(os.killpg, group, number)
    return found


def _rows(pids: Iterable[int]) -> Iterator[Row]:
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                words = file.read().rpartition(b")")[2].split(None, 3)
            yield pid, int(words[1]), int(words[2])
        except (OSError, IndexError):  # it is gone
            continue


def _last_pid() -> int:
    try:
        with open("/proc/loadavg", "rb", buffering=0) as file:
            return int(file.read().split()[4])
    except (OSError, IndexError):
        return 0


def _ps() -> str:
    import subprocess  # only where there is no /proc

    said = subprocess.run(["/bin/ps", "-axo", "pid=,ppid=,pgid="], stdin=subprocess.DEVNULL, capture_output=True)
    return said.stdout.decode("ascii", "replace")


def _send(how: Callable[[int, int], None], whom: int, number: int) -> None:
    try:
        how(whom, number)
    except OSError:  # it is gone, or is another user's by now (sudo)
        pass


# one plugin


class Keeper:
    """Starts one plugin and stays until its whole tree is gone. `control` is its descriptor to the broker."""

    def __init__(self, control: int) -> None:
        self.control = socket.socket(fileno=control)
        self.wake = wake_on_exits()
        self.heard: list[int] = [control, self.wake]
        self.main = 0
        self.failed = -1  # the pipe on which the plugin's process says that it cannot become the plugin
        self.jail: Jail | None = None
        self.steps: list[tuple[float, int]] = []  # when the broker is gone: when to send what
        self.killing = False
        self.pause = AGAIN

    def run(self) -> None:
        plan = receive(self.control)
        if plan is None:
            return
        self._start(*plan)
        while self._children():
            if self.killing:
                signal_tree(signal.SIGKILL)
                self._kill_group()
            for fd in select.select(self.heard, [], [], self._patience())[0]:
                if fd == self.wake:
                    os.read(fd, 4096)
                elif fd == self.failed:
                    self._started()
                else:
                    self._obey()
            self._climb()
        self._say("gone")

    def _start(
        self, cwd: bytes | None, argv: list[bytes], env: dict[bytes, bytes], fds: list[int], wall: bytes
    ) -> None:
        self.failed, told = os.pipe()
        keeper = os.getpid()
        try:
            self.jail = jailed(wall, fds[3]) if wall else None
            self.main = self.jail.bear() if self.jail else os.fork()
        except OSError as error:
            self._say(f"failed {error.errno} fork{' ' + _reason(error) if wall else ''}")
            return
        if self.main == 0:
            become(keeper, cwd, argv, env, fds[:3] + fds[3 + bool(wall) :], told, self.jail)
        for fd in (*fds, told):
            os.close(fd)
        self.heard.append(self.failed)

    def _started(self) -> None:
        """It is the plugin now, or said why it cannot be."""
        said = (self.jail.heard(self.failed) if self.jail else os.read(self.failed, 100)).decode("utf-8", "replace")
        self.heard.remove(self.failed)
        os.close(self.failed)
        self.failed = -1
        self._say(f"failed {said}" if said else f"pid {self.jail.plugin(self.main) if self.jail else self.main}")

    def _children(self) -> bool:
        """Bury the dead; whether anybody is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self.main:
                    self._ended(self.jail.code(status) if self.jail else os.waitstatus_to_exitcode(status))
        except ChildProcessError:
            return False

    def _ended(self, code: int) -> None:
        if self.failed != -1:
            self._started()
        self._say(f"exit {code}")
        if not LINUX:  # its group is not among our children
            self._kill_group()
        self.main, self.killing = 0, True

    def _obey(self) -> None:
        try:
            words = self.control.recv(100)
        except OSError:
            words = b""
        if not words:
            self.heard.remove(self.control.fileno())
            now = time.monotonic()
            self.steps = [(now + STEP, signal.SIGTERM), (now + 2 * STEP, signal.SIGKILL)]
        if b"t" in words:
            self._ask_to_end()
        self.killing |= b"k" in words

    def _climb(self) -> None:
        """Take the next step of the ladder when its time has come."""
        if self.steps and time.monotonic() >= self.steps[0][0]:
            number = self.steps.pop(0)[1]
            if number == signal.SIGKILL:
                self.killing = True
            elif not self.killing:
                self._ask_to_end()

    def _ask_to_end(self) -> None:
        signal_tree(signal.SIGTERM)
        if self.jail and self.main:
            self.jail.stop(self.main)

    def _patience(self) -> float | None:
        """Seconds until something is to be done though nothing is heard."""
        if self.killing:
            self.pause = min(2 * self.pause, 1.0)  # what cannot be killed, on a dead disk, costs little
            return self.pause
        return max(self.steps[0][0] - time.monotonic(), 0) if self.steps else None

    def _kill_group(self) -> None:
        if self.main:  # nobody else can have its number before we wait for it
            _send(os.killpg, self.main, signal.SIGKILL)

    def _say(self, line: str) -> None:
        try:
            self.control.send(line.encode() + b"\n")
        except OSError:  # the broker is gone
            pass


def _reason(error: OSError) -> str:
    return f"the kernel makes no process for it: {error.strerror}"


Plan = tuple[bytes | None, list[bytes], dict[bytes, bytes], list[int], bytes]


def receive(control: socket.socket) -> Plan | None:
    """What to start, its descriptors and its wall; None if the broker is gone before it said so.

    Twice four bytes of length, of the fields and of the wall. Fields end with NUL: folder, number of words, words,
    variables. The wall is what `Jail` takes, and empty for a plugin that is not confined.
    """
    data, fds = received(control, 1 << 16, 5)
    if len(fds) < 3:
        return None
    while len(data) < 8 or len(data) < 8 + sum(lengths(data)):
        more = control.recv(1 << 20)
        if not more:
            return None
        data += more
    end = 8 + lengths(data)[0]
    cwd, count, *rest = data[8:end].split(b"\0")[:-1]
    argv, variables = rest[: int(count)], rest[int(count) :]
    env = dict(variable.split(b"=", 1) for variable in variables)
    return cwd or None, argv, env, fds, data[end:]


def lengths(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")


def received(control: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Bytes, and the descriptors that came with them; no bytes at the end."""
    flags = socket.MSG_CMSG_CLOEXEC if LINUX else 0
    try:
        data, notes, _, _ = control.recvmsg(size, socket.CMSG_SPACE(4 * most), flags)
    except OSError:
        return b"", []
    joined = b"".join(note[2] for note in notes)
    return data, [int.from_bytes(joined[at : at + 4], sys.byteorder) for at in range(0, len(joined), 4)]


def become(
    keeper: int,
    cwd: bytes | None,
    argv: list[bytes],
    env: dict[bytes, bytes],
    fds: list[int],
    told: int,
    jail: Jail | None,
) -> None:
    """Turn this process, which `keeper` forked, into the plugin; or say why not on `told` and exit."""
    what = "setup"
    try:
        if jail is not None:
            jail.enter(cwd, fds, told)
        else:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)
            clear_signals()
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            close_all_but(told, *range(CHANNEL, len(fds)))
            if cwd is not None:
                what = "folder"
                os.chdir(cwd)
        what = "program"
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(told, b"%d %s" % (error.errno or 0, getattr(error, "told", what.encode())))
    finally:
        os._exit(127)


def jailed(wall: bytes, wire: int) -> Jail:
    """A plugin's confinement."""
    from broker.confine.jail import Jail

    return Jail(wall, wire)


def learn_to_confine() -> None:
    """Import what a jail needs, once for all keepers. It lies beside us: this interpreter knows no other place."""
    if "broker.confine.jail" not in sys.modules:
        sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        import broker.confine.jail  # noqa: F401  # pyright: ignore[reportUnusedImport]

        gc.freeze()


def clear_signals() -> None:
    """As in a program that was just started: nothing is handled, ignored or blocked."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def close_all_but(*kept: int) -> None:
    """Close every descriptor but 0, 1, 2 and `kept`."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, MAX_FD)


# the fork server


class ForkServer:
    """Forks keepers as long as there is a broker, and ends what a keeper that was killed left."""

    def __init__(self, control: int) -> None:
        self.control = socket.socket(fileno=control)
        self.wake = wake_on_exits()
        self.heard: list[int] = [control, self.wake]
        self.keepers: dict[int, int] = {}  # the process -> its control socket: open until its tree is gone
        self.bereft: list[int] = []  # the sockets of keepers that were killed
        self.orphans = False
        self.alone_since = float("inf")

    def run(self) -> None:
        while self._children() or self.control.fileno() in self.heard:
            if self.orphans:
                self._end_orphans()
            for fd in select.select(self.heard, [], [], self._patience())[0]:
                if fd == self.wake:
                    os.read(fd, 4096)
                else:
                    self._next()
            alone = time.monotonic() - self.alone_since
            if alone > GIVE_UP:
                return
            if alone > LAST:
                signal_tree(signal.SIGKILL)

    def _next(self) -> None:
        """Fork a keeper for the next plugin."""
        data, fds = received(self.control, 1, 1)
        if not data:
            self.heard.remove(self.control.fileno())
            self.alone_since = time.monotonic()
        if not fds:  # also when no descriptor was free for it; the broker sees its end
            return
        if data == b"w":
            learn_to_confine()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(fds[0], b"failed %d fork\n" % (error.errno or 0))
            os.close(fds[0])
            return
        if pid == 0:
            keep(fds[0])
        self.keepers[pid] = fds[0]

    def _children(self) -> bool:
        """Bury the dead; whether anybody is left. A child that is no keeper, or a keeper that failed, left orphans."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                control = self.keepers.pop(pid, -1)
                if control != -1 and status == 0:
                    os.close(control)
                    continue
                self.orphans = True
                if control != -1:
                    self.bereft.append(control)
        except ChildProcessError:
            return False

    def _end_orphans(self) -> None:
        if not signal_tree(signal.SIGKILL, spared=self.keepers):
            self.orphans = False
            while self.bereft:  # the broker hears that these trees are gone
                os.close(self.bereft.pop())

    def _patience(self) -> float | None:
        return AGAIN if self.orphans or self.control.fileno() not in self.heard else None


def keep(control: int) -> None:
    """Turn this process, which the fork server forked, into the keeper of one plugin."""
    code = 1
    try:
        os.setsid()
        adopt_orphans()
        Keeper(alone_with(control)).run()
        code = 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(code)


def alone_with(control: int) -> int:
    """Close every other descriptor, and keep the number that is the plugin's; the number of `control` then."""
    if control == CHANNEL:
        control = os.dup(control)
    close_all_but(control)
    nothing = os.open("/dev/null", os.O_RDONLY)
    if nothing != CHANNEL:
        os.dup2(nothing, CHANNEL)
        os.close(nothing)
    return control


def wake_on_exits() -> int:
    """A descriptor to read from whenever a child has exited."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    signal.set_wakeup_fd(theirs)
    signal.signal(signal.SIGCHLD, _noted)
    return ours


def _noted(number: int, frame: object) -> None:
    """A handler must be there for the byte to be written."""


def adopt_orphans() -> None:
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, argument: int) -> None:
    if LINUX and _libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    os.get_exec_path({})  # it imports
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # what ends a session is the broker's to hear
        signal.signal(number, signal.SIG_IGN)
    adopt_orphans()
    gc.collect()
    gc.disable()
    gc.freeze()  # so that a keeper shares what it never writes to
    ForkServer(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
