"""The calls into Linux that Python has no words for. Standard library only; each raises `OSError` with what it did.

Every wrapper names what it was done to, because its error is what a person reads when a plugin cannot be confined.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from broker.confine.syscalls import NUMBERS

NEW_USER, NEW_MOUNT, NEW_PID, NEW_NET = 0x10000000, 0x00020000, 0x20000000, 0x40000000
NEW_IPC, NEW_UTS, NEW_CGROUP = 0x08000000, 0x04000000, 0x02000000
NAMESPACES = NEW_USER | NEW_MOUNT | NEW_PID | NEW_NET | NEW_IPC | NEW_UTS | NEW_CGROUP
SIGCHLD = 17

NOSUID, NODEV, NOEXEC, READ_ONLY = 2, 4, 8, 1  # flags of mount(2)
BIND, RECURSIVE, PRIVATE, SLAVE = 4096, 16384, 1 << 18, 1 << 19
ATTR_READ_ONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x100000  # of mount_setattr(2)
DETACH = 2

PDEATHSIG, DUMPABLE, NO_NEW_PRIVS, BOUNDING_DROP, SECUREBITS, AMBIENT = 1, 4, 38, 24, 28, 47
AMBIENT_CLEAR = 4
NO_WAY_BACK = 0x2F | 0xC0  # NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each locked

_HERE = -100  # AT_FDCWD
_EMPTY_PATH, _TREE = 0x1000, 0x8000  # AT_EMPTY_PATH, AT_RECURSIVE
_NO_LINKS = 0x04 | 0x02  # RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_TROUBLES = {
    errno.ELOOP: "is, or lies behind, a symbolic link now; it was none when it was granted",
    errno.ENOENT: "does not exist",
    errno.EACCES: "cannot be reached by the one who runs the broker",
}
_NEW_LISTENER = 8
_CAPABILITIES_V3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: int | bytes | str | None) -> int:
    """One system call. Numbers are passed as 64 bits, bytes and paths by their address."""
    if name not in NUMBERS:
        raise OSError(38, f"this machine has no {name}")
    said = _libc.syscall(ctypes.c_long(NUMBERS[name]), *map(_word, arguments))
    if said == -1:
        raise _error(name)
    return said


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the child. No handler of Python runs: the child must do little, then exec."""
    return call("clone", flags | SIGCHLD, 0, 0, 0, 0)


def prctl(option: int, value: int = 0) -> None:
    if _libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))) < 0:
        raise _error(f"prctl {option}")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    said = _libc.mount(_text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(options))
    if said != 0:
        raise _error(f"mount {kind or source or 'again'} on {target}")


def pinned(path: str) -> int:
    """A descriptor of `path` that was found without following any symbolic link, also on the way.

    The error is one for a person: of what was granted, paths are all that changes after the grant.
    """
    how = struct.pack("<QQQ", os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS)
    try:
        return call("openat2", _HERE, path, how, len(how))
    except OSError as error:
        raise OSError(error.errno, f"{path} {_TROUBLES.get(error.errno or 0) or error.strerror}") from None


def detached(fd: int) -> int:
    """A copy of everything mounted at and below `fd`, mounted nowhere yet."""
    return call("open_tree", fd, b"", 1 | os.O_CLOEXEC | _EMPTY_PATH | _TREE)  # 1: OPEN_TREE_CLONE


def restrict(tree: int, attributes: int, ids: int = 0) -> None:
    """Set the attributes of a detached tree, all of it; with ATTR_IDMAP `ids` is a user namespace.

    It becomes private too: what is mounted later where it comes from would appear in it without these attributes.
    """
    how = struct.pack("<QQQQ", attributes, 0, PRIVATE, ids)
    call("mount_setattr", tree, b"", _EMPTY_PATH | _TREE, how, len(how))


def read_only(path: str) -> None:
    """Nothing can be written any more on what is mounted at `path`; what is mounted below is not touched."""
    how = struct.pack("<QQQQ", ATTR_READ_ONLY, 0, 0, 0)
    call("mount_setattr", _HERE, path, 0, how, len(how))


def attach(tree: int, place: int) -> None:
    """Mount a detached tree at the file or folder that `place` is a descriptor of."""
    call("move_mount", tree, b"", place, b"", 0x44)  # both named by their descriptors


def enter_root(path: str) -> None:
    """Make `path` the root; what was the root before is out of reach."""
    os.chdir(path)
    call("pivot_root", ".", ".")
    if _libc.umount2(b".", DETACH) != 0:
        raise _error("leave the old root")
    os.chdir("/")


def drop_capabilities() -> None:
    """Every set empty, the bounding set too where that is allowed, and no way to get one back."""
    _where_allowed(AMBIENT, AMBIENT_CLEAR)
    for number in range(64):
        if not _where_allowed(BOUNDING_DROP, number):
            break
    _where_allowed(SECUREBITS, NO_WAY_BACK)
    call("capset", struct.pack("<Ii", _CAPABILITIES_V3, 0), bytes(24))


def filter_calls(program: bytes, *, listen: bool = False) -> int:
    """Hold this process to a filter of system calls, for good; with `listen` the descriptor on which it asks."""
    held = ctypes.create_string_buffer(program, len(program))
    handed = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))  # struct sock_fprog
    return call("seccomp", 1, _NEW_LISTENER if listen else 0, handed)  # 1: SECCOMP_SET_MODE_FILTER


def close_all_but(*kept: int) -> None:
    """Close every descriptor but 0, 1, 2 and `kept`."""
    low = 3
    for fd in sorted(kept):
        if fd > low:
            call("close_range", low, fd - 1, 0)
        low = max(low, fd + 1)
    call("close_range", low, 0x7FFFFFFF, 0)


def _where_allowed(option: int, value: int) -> bool:
    """Whether it was done: without CAP_SETPCAP there is nothing in these sets that could be used."""
    try:
        prctl(option, value)
    except OSError:
        return False
    return True


def _word(value: int | bytes | str | None) -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    return ctypes.c_char_p(_text(value) if isinstance(value, str) else value)


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
