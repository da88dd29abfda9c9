"""The private root of a plugin: what is not mounted here does not exist for it. Standard library only.

Rule 1: what is granted is opened without following a symbolic link, and gets its attributes while it is mounted
        nowhere: there is no moment in which more could be done with it.
Rule 2: what can be written cannot be executed, and what can be executed cannot be written.
Rule 3: a path that is missing, or became a symbolic link since it was granted, refuses the start.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from broker.confine import kernel
from broker.confine.kernel import ATTR_IDMAP, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_READ_ONLY

DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
OLD_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # links into /usr on most systems
HIDDEN_FOLDERS = ("sys", "irq", "bus", "acpi", "scsi", "fs", "driver", "tty")  # of /proc: knobs and devices
HIDDEN_FILES = """
kcore keys key-users timer_list sysrq-trigger kmsg kallsyms modules kpagecount kpageflags kpagecgroup sched_debug
config.gz slabinfo vmallocinfo iomem ioports mtrr latency_stats
""".split()

ROOT_SIZE, SHARED_SIZE, HOME_SIZE = "1m", "16m", "16m"
INODES = 65536  # in /tmp and the home, each

_WAITS = "/tmp"  # where the new root is mounted until it is the root

Tree = tuple[str, int, bool]  # where it goes, what is mounted there (detached), whether it is a folder


def trees(read: Sequence[str], write: Sequence[str], execute: Sequence[str], ids: int = 0) -> Iterator[Tree]:
    """Everything granted, mounted nowhere yet. `ids`: a user namespace in whose eyes the owners are seen.

    Raises `OSError` that names the path.
    """
    quiet = ATTR_NOSUID | ATTR_NODEV
    attributes = dict.fromkeys(read, quiet | ATTR_READ_ONLY | ATTR_NOEXEC)
    attributes |= dict.fromkeys(execute, quiet | ATTR_READ_ONLY)
    attributes |= dict.fromkeys(write, quiet | ATTR_NOEXEC)
    for path, wanted in attributes.items():
        yield _tree(path, wanted, ids)
    for name in DEVICES:
        yield _tree(f"/dev/{name}", ATTR_NOSUID | ATTR_NOEXEC, 0)


def build(
    granted: Sequence[Tree], *, tmp: int, home: str, proc: bool, files: Mapping[str, str], links: Mapping[str, str]
) -> None:
    """Make the private root and enter it. The working folder is its root afterwards."""
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.SLAVE)
    kernel.mount("tmpfs", _WAITS, "tmpfs", kernel.NOSUID | kernel.NODEV, f"size={ROOT_SIZE},mode=755,nr_inodes=4096")
    os.chdir(_WAITS)
    _folders(tmp, home)
    for path, tree, folder in sorted(granted, key=lambda each: each[0].count("/")):
        _attach(path, tree, folder)
    for path, text in files.items():
        _write(path, text)
    for path, says in {**_old_folders(), **links}.items():
        _link(path, says)
    if proc:
        _proc()
    kernel.enter_root(".")
    for path in ("/dev", "/"):
        kernel.read_only(path)


def _tree(path: str, attributes: int, ids: int) -> Tree:
    fd = kernel.pinned(path)
    try:
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        tree = kernel.detached(fd)
    finally:
        os.close(fd)
    _attribute(path, tree, attributes, ids)
    return path, tree, folder


def _attribute(path: str, tree: int, attributes: int, ids: int) -> None:
    try:
        kernel.restrict(tree, attributes | (ATTR_IDMAP if ids else 0), ids)
    except OSError as error:
        if not ids or error.errno != errno.EINVAL:
            raise
        if not attributes & ATTR_READ_ONLY:
            why = "is on a file system that cannot be written to by a plugin of root; start the broker as a plain user"
            raise OSError(errno.EINVAL, f"{path} {why}") from None
        kernel.restrict(tree, attributes)  # readable if all may read it


def _folders(tmp: int, home: str) -> None:
    quiet = kernel.NOSUID | kernel.NODEV | kernel.NOEXEC
    for path, size in (("/tmp", str(tmp)), (home, HOME_SIZE)):
        _point(path, folder=True)
        kernel.mount("tmpfs", path[1:], "tmpfs", quiet, f"size={size},mode=700,nr_inodes={INODES}")
    _point("/dev", folder=True)
    kernel.mount("tmpfs", "dev", "tmpfs", kernel.NOSUID | kernel.NOEXEC, "size=64k,mode=755,nr_inodes=64")
    for name, says in DEVICE_LINKS.items():
        os.symlink(says, f"dev/{name}")
    _point("/dev/shm", folder=True)
    kernel.mount("tmpfs", "dev/shm", "tmpfs", quiet, f"size={SHARED_SIZE},mode=1777,nr_inodes=4096")


def _attach(path: str, tree: int, folder: bool) -> None:
    _point(path, folder=folder)
    place = kernel.pinned(path[1:])
    try:
        kernel.attach(tree, place)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from None
    finally:
        os.close(place)
        os.close(tree)


def _point(path: str, *, folder: bool) -> None:
    """Something in the new root that can be mounted on."""
    here = path[1:]
    if os.path.lexists(here):
        return
    os.makedirs(here if folder else os.path.dirname(here), 0o755, exist_ok=True)
    if not folder:
        os.close(os.open(here, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _write(path: str, text: str) -> None:
    if os.path.lexists(path[1:]):  # it was granted
        return
    os.makedirs(os.path.dirname(path[1:]), 0o755, exist_ok=True)
    with open(path[1:], "wb", buffering=0) as file:
        file.write(text.encode())


def _old_folders() -> dict[str, str]:
    return {path: os.readlink(path) for path in OLD_FOLDERS if os.path.islink(path)}


def _link(path: str, says: str) -> None:
    if not os.path.lexists(path[1:]):
        os.makedirs(os.path.dirname(path[1:]) or ".", 0o755, exist_ok=True)
        os.symlink(says, path[1:])


def _proc() -> None:
    """A `/proc` of its own processes, without what would change the kernel or tell its secrets."""
    quiet = kernel.NOSUID | kernel.NODEV | kernel.NOEXEC
    _point("/proc", folder=True)
    kernel.mount("proc", "proc", "proc", quiet)
    there = set(os.listdir("proc"))
    first, *others = (f"proc/{name}" for name in HIDDEN_FOLDERS if name in there)
    kernel.mount("tmpfs", first, "tmpfs", quiet | kernel.READ_ONLY, "size=4k,nr_inodes=1,mode=555")
    for folder in others:
        kernel.mount(first, folder, None, kernel.BIND)
    for name in there.intersection(HIDDEN_FILES):
        kernel.mount("dev/null", f"proc/{name}", None, kernel.BIND)
