"""What a process does between its birth and becoming a confined plugin. Standard library only, Linux only.

The keeper makes a `Jail` of what `plan.described` says, lets that give birth to a process, and the process enters it:
a list of steps, each done whole or not at all.

Rule 1: a step that fails ends the process. It tells its name and why; nothing is ever executed half confined.
Rule 2: what needs a capability is done first; then these are gone, and nothing can be regained (no_new_privs); then
        Landlock, then the filter: each would forbid what the ones before it do.
Rule 3: a plugin that may start nothing is alone in its process namespace, as its first process. One that may has a
        reaper there, which ends everything with it. A first process is spared the signals it leaves at their default:
        SIGTERM is made good for by `stop`; its abort() ends it by SIGSEGV instead of SIGABRT.
Rule 4: as root a plugin is somebody else, whom nothing belongs to. What it was granted looks as if it did.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import resource
import struct
import sys

from broker.confine import kernel, landlock, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable, Iterator
else:  # as in the keeper: their Python halves are slow to import
    import _signal as signal
    import _socket as socket

NOBODY = 1_900_000_000  # of a plugin of root: this and its keeper's process id; nothing hands out these ids
HOST = b"plugin"  # the name of its machine
LOOPBACK_UP = struct.pack("16sH14x", b"lo", 0x49)  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING
SET_FLAGS, SET_ADDRESS, SET_MASK = 0x8914, 0x8916, 0x891C  # ioctls of a network interface
BACKLOG = 128
HANDED = 64  # the lowest descriptor that bubblewrap is handed; a keeper has none of its own so far up


class Refused(OSError):
    """A step of the jail failed. `step` is its name."""

    def __init__(self, step: str, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
        super().__init__(number, str((error.strerror if isinstance(error, OSError) else None) or error))
        self.step = step

    @property
    def told(self) -> bytes:
        """In one line: the step, then why."""
        return " ".join([self.step, *(self.strerror or "").split()]).encode("utf-8", "replace")


class Jail:
    """One plugin's confinement. `wire` is a socket to the broker, for what only the plugin's namespace can make."""

    def __init__(self, description: bytes, wire: int) -> None:
        wall = marshal.loads(description)
        self.mode: str = wall["mode"]
        self.read: list[str] = wall["read"]
        self.write: list[str] = wall["write"]
        self.execute: list[str] = wall["execute"]
        self.sockets: list[str] = wall["sockets"]
        self.links: dict[str, str] = dict(wall["links"])
        self.files: dict[str, str] = wall["files"]
        self.doors: list[str] = wall["doors"]
        self.addresses: list[str] = wall["addresses"]
        self.groups: list[str] = wall["groups"]
        self.fork: bool = wall["fork"]
        self.tmp: int = wall["tmp"]
        self.home: str = wall["home"]
        self.proc: bool = wall["proc"]
        self.limits: dict[str, int] = wall["limits"]
        self.landlock: bool = wall["landlock"]
        self.filter: bytes = wall["filter"]
        self.notify: bool = wall["notify"]
        self.inside: bytes = wall.get("inside", b"")  # what the second stage inside bubblewrap is told
        self.granted: list[str] = wall.get("granted", [])  # paths that bubblewrap is handed open
        self.wire = wire
        self.keeper, self.uid, self.gid = os.getpid(), os.geteuid(), os.getegid()
        self.private = self.mode == "native"  # we make its namespaces
        self.shifted = self.private and self.uid == 0 and _knows_everybody()
        self.cwd: bytes | None = None
        self.fds: list[int] = []
        self.told = -1
        self._groups: list[int] = []
        self._sync: socket.socket | None = None
        self._status, self._reports = -1, -1  # where the reaper tells how the plugin ended
        self._stopped = False  # by SIGKILL, in the place of a signal that a namespace's first process is spared

    # in the keeper

    def bear(self) -> int:
        """Fork, into new namespaces where the mode says so: 0 in the child. Raises `OSError`."""
        self._groups = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in self.groups]
        try:
            return self._bear()
        finally:
            if os.getpid() == self.keeper:
                for fd in self._groups:
                    os.close(fd)

    def _bear(self) -> int:
        if not self.private:
            return os.fork()
        if self.fork:
            self._status, self._reports = os.pipe()
        pid = self._bear_somebody() if self.shifted else kernel.clone(kernel.NAMESPACES)
        if pid and self.fork:
            os.close(self._reports)
        return pid

    def _bear_somebody(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = kernel.clone(kernel.NAMESPACES)
        if pid == 0:
            ours.close()
            self._sync = theirs
            return 0
        theirs.close()
        try:
            self._provide(pid, ours)
        except OSError as error:
            _try_to_send(ours, marshal.dumps((error.errno or errno.EINVAL, error.strerror or "")))
        finally:
            ours.close()
        return pid

    def _provide(self, pid: int, sync: socket.socket) -> None:
        """Give the child its user, and everything granted as that user sees it: both are root's to make."""
        for kind in ("uid", "gid"):
            _tell(f"/proc/{pid}/{kind}_map", f"0 {NOBODY + self.keeper} 1")
        ids = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _send(sync, marshal.dumps(None))
            for path, tree, folder in self._trees(ids):
                _send(sync, marshal.dumps((path, folder)), tree)
                os.close(tree)
        finally:
            os.close(ids)

    def _trees(self, ids: int) -> Iterator[root.Tree]:
        return root.trees([*self.read, *self.sockets], self.write, self.execute, ids)

    def stop(self, pid: int) -> None:
        """Have SIGTERM end a plugin that leaves it at its default, which the kernel spares a first process."""
        if not self.private or self.fork:
            return
        try:
            with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
                rows = dict(line.split(b":\t", 1) for line in file.read(8192).splitlines() if b":\t" in line)
            if not (int(rows[b"SigCgt"], 16) | int(rows[b"SigIgn"], 16)) >> (signal.SIGTERM - 1) & 1:
                self._stopped = True
                os.kill(pid, signal.SIGKILL)
        except (OSError, KeyError):  # it is gone
            pass

    def plugin(self, pid: int) -> int:
        """The plugin's own process, of our child that was confined."""
        for _ in range(2 if self.mode == "bwrap" else self.private and self.fork):
            try:
                with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
                    pid = int(file.read(4096).split()[0])
            except (OSError, IndexError):  # it is gone, or this kernel does not say
                break
        return pid

    def heard(self, failed: int) -> bytes:
        """What the child told before it became the plugin: nothing, or why it cannot."""
        said = os.read(failed, 4096)
        if self.mode != "bwrap":
            return said
        while more := os.read(failed, 4096):
            said += more
        return said.removeprefix(b"+") if said else b"%d bubblewrap it ended early" % errno.EPERM

    def code(self, status: int) -> int:
        """How the plugin ended, of how our child did: an exit code, negative for a signal."""
        if self._status != -1:
            said = os.read(self._status, 4)
            status = int.from_bytes(said, "little") if said else status
        code = os.waitstatus_to_exitcode(status)
        if self.mode == "bwrap" and code > 128:  # so it tells of a signal
            code = 128 - code
        return -signal.SIGTERM if self._stopped and code == -signal.SIGKILL else code

    # in the child

    def enter(self, cwd: bytes | None, fds: list[int], told: int) -> None:
        """Become what may be executed. `told` stays open; `fds` become 0, 1, 2 and so on. Raises `Refused`."""
        self.cwd, self.fds, self.told = cwd, fds, told
        for name, step in STEPS[self.mode]:
            try:
                step(self)
            except Exception as error:
                raise Refused(name, error) from None

    def hand_in(self) -> None:
        """Leave to bubblewrap what `bwrap.wrapped` counted on, open and in that order."""
        given = [self.told, self.wire, *map(_kept, [self.inside, *(text.encode() for text in self.files.values())])]
        given += map(kernel.pinned, self.granted)
        for number, fd in enumerate(given, HANDED):
            os.dup2(fd, number)
        for number, fd in enumerate(self.fds):
            os.dup2(fd, number)
        kernel.close_all_but(self.told, *range(3, len(self.fds)), *range(HANDED, HANDED + len(given)))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is the plugin's to obey: without bubblewrap it would die

    def session(self) -> None:
        os.setsid()
        kernel.prctl(kernel.PDEATHSIG, signal.SIGKILL)
        if not self.private and os.getppid() != self.keeper:
            os._exit(1)
        for group in self._groups:
            os.write(group, b"0")
        clear_signals()

    def identity(self) -> None:
        """Who it is in its own eyes: the one who started the broker, and there is nobody else."""
        if self._sync is None:
            _tell("/proc/self/setgroups", "deny")
            _tell("/proc/self/uid_map", f"{self.uid} {self.uid} 1")
            _tell("/proc/self/gid_map", f"{self.gid} {self.gid} 1")
            return
        self._received()
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)  # 0 is a name here: outside it is somebody whom nothing belongs to
        kernel.prctl(kernel.PDEATHSIG, signal.SIGKILL)  # another user clears it

    def network(self) -> None:
        """A network of its own; if it may reach hosts, with sockets for the broker to accept their traffic on."""
        loopback = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fcntl.ioctl(loopback.fileno(), SET_FLAGS, LOOPBACK_UP)
        for nth, address in enumerate(self.addresses):
            _add_address(loopback.fileno(), b"lo:%d" % nth, *address.split("/"))
        for door in self.doors:
            self._open(door, *door.split(":"))

    def network_inside(self) -> None:
        """In the network that bubblewrap made: where it keeps the capabilities for that back, only the proxy's door."""
        try:
            self.network()
        except PermissionError:
            for door in self.doors:
                if door.startswith("tcp:127.0.0.1:"):
                    self._open(door, *door.split(":"))

    def _open(self, door: str, kind: str, host: str, port: str) -> None:
        """Bind a socket and send it out: whoever accepts on it stands at the other end of this network."""
        stream = kind == "tcp"
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
        if stream:
            made.listen(BACKLOG)
        self._hand_out(door, made.fileno())
        made.close()

    def _hand_out(self, tag: str, fd: int) -> None:
        wire = socket.socket(fileno=os.dup(self.wire))
        _send(wire, tag.encode(), fd)
        wire.close()

    def name(self) -> None:
        kernel.call("sethostname", HOST, len(HOST))

    def nesting(self) -> None:
        """No namespaces inside: the kernel's largest attack surface. The filter refuses them too."""
        try:
            _tell("/proc/sys/user/max_user_namespaces", "0")
        except OSError:
            if not self.filter:
                raise

    def root(self) -> None:
        root.build(
            self._granted() if self._sync else list(self._trees(0)),
            tmp=self.tmp,
            home=self.home,
            proc=self.proc,
            files=self.files,
            links=self.links,
        )

    def _granted(self) -> list[root.Tree]:
        found: list[root.Tree] = []
        while (tree := self._received()) is not None:
            found.append(tree)
        return found

    def _received(self) -> root.Tree | None:
        """The next tree from the keeper; None at the end, and when there is a user."""
        assert self._sync is not None
        data, notes, _, _ = self._sync.recvmsg(1 << 16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        said = marshal.loads(data) if data else None
        if said is None:
            return None
        if not notes:
            raise OSError(*said)
        return said[0], int.from_bytes(notes[0][2][:4], sys.byteorder), said[1]

    def descriptors(self) -> None:
        for number, fd in enumerate(self.fds):
            os.dup2(fd, number)
        last = len(self.fds)
        kernel.close_all_but(*range(3, last), *(fd for fd in (self.told, self.wire, self._reports) if fd >= last))

    def bounds(self) -> None:
        for name, value in self.limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            if name == "NPROC":
                value += self.private and self.fork  # the reaper
            most = resource.getrlimit(kind)[1]
            bound = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (bound, bound))

    def capabilities(self) -> None:
        kernel.drop_capabilities()
        kernel.prctl(kernel.NO_NEW_PRIVS, 1)

    def folder(self) -> None:
        os.umask(0o077)
        start = os.fsdecode(self.cwd or b"/")
        try:
            os.chdir(start)
        except OSError as error:
            raise OSError(error.errno, f"it is to start in {start}, which it cannot see: {error.strerror}") from None

    def files_and_ports(self) -> None:
        if self.landlock:
            landlock.hold(self._rules(), tcp=self._tcp())

    def _rules(self) -> Iterator[landlock.Rule]:
        yield from ((path, landlock.READ) for path in self.read)
        yield from ((path, landlock.WRITE) for path in self.write)
        yield from ((path, landlock.RUN) for path in self.execute)
        yield from ((path, landlock.CONNECT) for path in self.sockets)
        if self.mode == "landlock":
            yield from ((f"/dev/{name}", landlock.DEVICE) for name in root.DEVICES)
            return
        yield from ((path, landlock.WRITE) for path in ("/tmp", self.home, "/dev/shm"))
        yield from (("/dev", landlock.DEVICE | landlock.READ), ("/etc", landlock.READ), ("/", landlock.READ_DIR))
        if self.proc:
            yield "/proc", landlock.READ

    def _tcp(self) -> list[int] | None:
        """Ports; None where its own network or the broker decides."""
        return None if self.doors else []

    def calls(self) -> None:
        if self.filter:
            asks = kernel.filter_calls(self.filter, listen=self.notify)
            if self.notify:
                self._hand_out("notify", asks)
                os.close(asks)

    def reaper(self) -> None:
        """Fork, where it may start processes: the first one buries whoever is left, and ends when the plugin does."""
        if not self.fork:
            return
        kernel.prctl(kernel.DUMPABLE, 0)  # nobody reads or traces it
        plugin = os.fork()
        if plugin:
            _reap(plugin, self._reports)
        kernel.prctl(kernel.DUMPABLE, 1)
        os.close(self._reports)
        os.setsid()


Step = tuple[str, "Callable[[Jail], None]"]

_LAST: tuple[Step, ...] = (
    ("descriptors", Jail.descriptors),
    ("limits", Jail.bounds),
    ("capabilities", Jail.capabilities),
    ("folder", Jail.folder),
    ("landlock", Jail.files_and_ports),
    ("seccomp", Jail.calls),
)
STEPS: dict[str, tuple[Step, ...]] = {
    "native": (
        ("session", Jail.session),
        ("identity", Jail.identity),
        ("network", Jail.network),
        ("name", Jail.name),
        ("nesting", Jail.nesting),
        ("root", Jail.root),
        *_LAST,
        ("reaper", Jail.reaper),
    ),
    "landlock": (("session", Jail.session), *_LAST),
    "bwrap": (("session", Jail.session), ("bubblewrap", Jail.hand_in)),
    "stage2": (("network", Jail.network_inside), *_LAST),
}


def clear_signals() -> None:
    """As in a program that was just started: nothing is handled, ignored or blocked."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _reap(plugin: int, reports: int) -> None:
    """Be the first process of the namespace until the plugin ends, and say how it did."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    kernel.close_all_but(reports)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == plugin:
            os.write(reports, status.to_bytes(4, "little"))
            os._exit(0)


def _add_address(loopback: int, name: bytes, host: str, bits: str) -> None:
    """Make a range of addresses this machine's own: on a loopback device that is every one of them."""
    mask = (0xFFFFFFFF << 32 - int(bits) & 0xFFFFFFFF).to_bytes(4, "big")
    for request, value in ((SET_ADDRESS, socket.inet_aton(host)), (SET_MASK, mask)):
        told = struct.pack("HH4s8x", socket.AF_INET, 0, value)
        fcntl.ioctl(loopback, request, struct.pack("16s16s", name, told))


def _kept(data: bytes) -> int:
    """A descriptor to read `data` from."""
    fd = os.memfd_create("broker")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _knows_everybody() -> bool:
    """Whether every user id exists here: root of a container that has few of them is a plain user outside."""
    with open("/proc/self/uid_map", "rb", buffering=0) as file:
        return file.read(100).split()[2] == b"4294967295"


def _tell(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def _try_to_send(to: socket.socket, data: bytes) -> None:
    try:
        _send(to, data)
    except OSError:  # the other end failed before us, and tells that itself
        pass


def _send(to: socket.socket, data: bytes, *fds: int) -> None:
    packed = struct.pack(f"{len(fds)}i", *fds)
    to.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if fds else [])
