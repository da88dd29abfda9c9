"""The filter of system calls, built as BPF in Python. Standard library only.

Order of the program: a foreign machine's call kills; what is newer than our table does not exist; then the calls that
are decided by an argument, each by a few instructions that end in a verdict; then those that are simply refused.
Everything else is allowed: the kernel keeps these in a bitmap, so that they cost nothing.

Rule 1: a pointer cannot be looked at, so no verdict depends on a path or an address. Where that is needed, the
        verdict is ASK: the broker does the call itself (`Shape.notify`).
Rule 2: ENOSYS where the C library has another way (clone3 becomes clone); EPERM or EACCES otherwise.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from broker.confine import kernel
from broker.confine.attempts import WAYS
from broker.confine.syscalls import AUDIT, LAST, MACHINE, NUMBERS

KILL, ALLOW, ASK = 0x80000000, 0x7FFF0000, 0x7FC00000

REFUSED = """
mount umount2 pivot_root move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr statmount
listmount unshare setns chroot ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise
process_mrelease keyctl add_key request_key bpf perf_event_open userfaultfd kexec_load kexec_file_load init_module
finit_module delete_module iopl ioperm swapon swapoff reboot acct quotactl quotactl_fd settimeofday clock_settime
adjtimex clock_adjtime sethostname setdomainname name_to_handle_at open_by_handle_at lookup_dcookie vhangup syslog
uselib ustat sysfs modify_ldt fanotify_init migrate_pages move_pages memfd_create memfd_secret file_setattr
""".split()  # memfd: its memory is counted by no limit
ABSENT = ("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "openat2")
SHARED = ("bind", "listen", "shmget", "shmat", "semget", "msgget", "mq_open")  # they reach others without namespaces
BY_PATH = """
chown lchown fchownat utime utimes futimesat setxattr lsetxattr removexattr lremovexattr setxattrat removexattrat
""".split()  # Landlock does not judge these

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, ANY_PROTOCOL, TCP, UDP = 1, 2, 0, 6, 17
NEW_NAMESPACE, THREAD = 0x7E020080, 0x00010000  # flags of clone(2)
SET_ID = 0o6000
CREATES = 0o20000100  # O_TMPFILE without O_DIRECTORY, O_CREAT
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # they type on a terminal
FAST_OPEN = 0x20000000  # MSG_FASTOPEN: connects without connect(2)
X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # where they lie in what a filter is given

Step = tuple[int, int, int, int]  # an instruction, how far to jump if true and if false, its operand


class Shape(NamedTuple):
    """What a filter depends on."""

    fork: bool  # may start processes; threads are always allowed
    unix: bool  # may make unix sockets; a socketpair is always allowed
    net: bool  # may make internet sockets
    shared: bool  # shares the namespaces of its user: no private network, processes or mounts
    notify: bool = False  # ASK for connect, and for modes and times by path
    watch: bool = False  # ASK, instead of ALLOW, for what names a file, a program or a host


@lru_cache(maxsize=32)
def program(shape: Shape) -> bytes:
    """The filter, as the kernel takes it. Raises `OSError` on a machine whose calls we do not know."""
    if not AUDIT:
        raise OSError(errno.ENOSYS, f"no table of system calls for {MACHINE}")
    watched = tuple(WAYS) if shape.watch else ()
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_when(_EQUAL, AUDIT, [], otherwise=[_end(KILL)]),
        (_LOAD, 0, 0, _NUMBER),
        *_when(_AT_LEAST, X32, [_end(_refusal(errno.ENOSYS))]),
        *_when(_ABOVE, LAST, [_end(_refusal(errno.ENOSYS))]),
    ]
    for name, verdict in _decided(shape):
        if name in NUMBERS:
            steps += _when(
                _EQUAL, NUMBERS[name], _watched(verdict) if watched and NUMBERS[name] in watched else verdict
            )
    steps += _refused(ABSENT, errno.ENOSYS)
    steps += _refused(_never(shape), errno.EPERM)
    steps += _chain(watched, ASK)
    steps.append(_end(ALLOW))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _never(shape: Shape) -> list[str]:
    names: list[str] = [*REFUSED]
    names += () if shape.fork else ("fork", "vfork")
    names += (*SHARED, *BY_PATH) if shape.shared else ()
    return names


def _decided(shape: Shape) -> Iterable[tuple[str, list[Step]]]:
    """Calls that are decided by an argument, with the steps to a verdict."""
    yield "socket", _socket(shape)
    yield "socketpair", _only(0, (UNIX,), errno.EACCES)
    yield "ioctl", _none_of(1, (TIOCSTI, TIOCLINUX))
    yield "clone", _clone(shape.fork)
    yield "personality", _only(0, (0, 0xFFFFFFFF), errno.EPERM)  # as it is, or only asked
    yield "prctl", _none_of(0, (kernel.PDEATHSIG,))  # it would outlive the broker
    yield from _modes(shape)
    if shape.shared:
        yield from _others()
    if shape.notify:
        yield "connect", [_end(ASK)]


def _socket(shape: Shape) -> list[Step]:
    """Streams and datagrams only: never raw, packet, vsock (no namespace holds it) or another kind of TCP."""
    kinds, protocols = ((STREAM,), (ANY_PROTOCOL, TCP)) if shape.shared else ((STREAM, DATAGRAM), (0, TCP, UDP))
    inet = [*_among(1, kinds, errno.EACCES, mask=0xF), *_only(2, protocols, errno.EPROTONOSUPPORT)]
    unix = [*_among(1, kinds, errno.EACCES, mask=0xF), _end(ALLOW)] if shape.shared else [_end(ALLOW)]
    steps: list[Step] = [_argument(0)]
    if shape.unix:
        steps += _when(_EQUAL, UNIX, unix)
    if shape.net:
        steps += _when(_EQUAL, INET, inet)
        steps += _when(_EQUAL, INET6, inet)
    if not shape.shared:
        steps += _when(_EQUAL, NETLINK, _only(2, (0,), errno.EACCES))  # 0: its own routes
    return [*steps, _end(_refusal(errno.EACCES))]


def _clone(fork: bool) -> list[Step]:
    steps = [_argument(0), *_when(_ANY_BIT, NEW_NAMESPACE, [_end(_refusal(errno.EPERM))])]
    if not fork:
        steps += _when(_ANY_BIT, THREAD, [], otherwise=[_end(_refusal(errno.EPERM))])
    return [*steps, _end(ALLOW)]


def _modes(shape: Shape) -> Iterable[tuple[str, list[Step]]]:
    """No file gets a set-id bit. Without a private root a mode by path is the broker's to change, or nobody's."""
    by_path = [_end(ASK if shape.notify else _refusal(errno.EPERM))]
    for name, at in (("chmod", 1), ("fchmodat", 2), ("fchmodat2", 2)):
        yield name, by_path if shape.shared else _without(at, SET_ID)
    for name, at in (("fchmod", 1), ("mknod", 1), ("mknodat", 2), ("creat", 1)):
        yield name, _without(at, SET_ID)
    for name, at in (("open", 1), ("openat", 2)):
        mode = _without(at + 1, SET_ID)
        yield name, [_argument(at), *_when(_ANY_BIT, CREATES, mode), _end(ALLOW)]
    if shape.shared:
        named = [_argument(1), *_when(_EQUAL, 0, [], otherwise=by_path)]
        yield "utimensat", [*named, _argument(1, high=True), *_when(_EQUAL, 0, [_end(ALLOW)]), *by_path]


def _others() -> Iterable[tuple[str, list[Step]]]:
    """What reaches other processes of the same user: allowed on the process itself."""
    for name, at in (("prlimit64", 0), ("setpriority", 1), ("ioprio_set", 1)):
        yield name, _only(at, (0,), errno.EPERM)
    for name in ("sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity"):
        yield name, _only(0, (0,), errno.EPERM)
    for name, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield name, _without(at, FAST_OPEN)


# instructions


def _end(verdict: int) -> Step:
    return _RETURN, 0, 0, verdict


def _refusal(number: int) -> int:
    return 0x00050000 | number


def _argument(at: int, *, high: bool = False) -> Step:
    return _LOAD, 0, 0, 16 + 8 * at + (4 if high else 0)


def _when(test: int, value: int, steps: Sequence[Step], *, otherwise: Sequence[Step] = ()) -> list[Step]:
    """Do `steps` if the test holds, or `otherwise` if it does not; one of the two must be empty."""
    return [(test, len(otherwise), len(steps), value), *steps, *otherwise]


def _among(at: int, values: Sequence[int], number: int, *, mask: int = 0) -> list[Step]:
    """Go on if the argument is one of these, else refuse."""
    masked: list[Step] = [(_AND, 0, 0, mask)] if mask else []
    tests = [(_EQUAL, len(values) - nth, 0, value) for nth, value in enumerate(values)]
    return [_argument(at), *masked, *tests, _end(_refusal(number))]


def _only(at: int, values: Sequence[int], number: int) -> list[Step]:
    return [*_among(at, values, number), _end(ALLOW)]


def _none_of(at: int, values: Sequence[int]) -> list[Step]:
    refuse = [_end(_refusal(errno.EPERM))]
    return [_argument(at), *(step for value in values for step in _when(_EQUAL, value, refuse)), _end(ALLOW)]


def _without(at: int, bits: int) -> list[Step]:
    return [_argument(at), *_when(_ANY_BIT, bits, [_end(_refusal(errno.EPERM))]), _end(ALLOW)]


def _refused(names: Sequence[str], number: int) -> list[Step]:
    """Refuse all of these."""
    return _chain([NUMBERS[name] for name in names if name in NUMBERS], _refusal(number))


def _chain(numbers: Sequence[int], verdict: int) -> list[Step]:
    """A row of tests that jump to one verdict, which others jump over."""
    tests = [(_EQUAL, len(numbers) - nth, 0, value) for nth, value in enumerate(numbers)]
    return [*tests, (_EQUAL, 1, 1, 0), _end(verdict)] if tests else []


def _watched(steps: Sequence[Step]) -> list[Step]:
    """The same, but what they allow is asked."""
    return [_end(ASK) if step == _end(ALLOW) else step for step in steps]
