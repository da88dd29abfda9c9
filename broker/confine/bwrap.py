"""The confinement where bubblewrap makes the namespaces and mounts: ours are refused there, and it is trusted.

    keeper ── bwrap ── bwrap, the first process of the namespace ── stage2.py, which becomes the plugin

What bubblewrap does not do the second stage does inside (`stage2.py`): bounds, capabilities, Landlock, the filter of
system calls, and sockets for the broker. Between the two lie descriptors with fixed numbers, from `HANDED` on.

Rule 1: bubblewrap itself runs with an empty environment: it is not confined, and the plugin's variables may be read
        by its loader.
Rule 2: what was granted is opened by us without following a link and handed over open: bubblewrap follows links.
Rule 3: run by root it leaves /proc/sys writable (0.8 to 0.11: it asks `access`, which a folder without w refuses), so
        that is always covered.
"""

from __future__ import annotations

import functools
import marshal
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from broker.confine import elf, plan
from broker.confine.jail import HANDED
from broker.confine.plan import Confinement
from broker.confine.root import DEVICE_LINKS, DEVICES, HIDDEN_FILES, HIDDEN_FOLDERS, HOME_SIZE, OLD_FOLDERS, SHARED_SIZE
from broker.confine.trail import Trail

TOLD, WIRE, DESCRIPTION = HANDED, HANDED + 1, HANDED + 2
INSIDE = "/.broker"  # where our own code is seen: below nothing that a plugin may read
_SIZES = {"k": 1 << 10, "m": 1 << 20}
_PYTHON = os.path.realpath(sys.executable)
_OURS = Path(__file__).parent.parent  # the package: the second stage imports the jail from it


def program() -> str | None:
    """Where bubblewrap is, in the folders of the system: a PATH may begin in somebody else's."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:/run/current-system/sw/bin")


def wrapped(
    wall: Confinement, argv: Sequence[str], env: Mapping[str, str], cwd: str | None, given: int = 3
) -> tuple[list[str], bytes]:
    """What the keeper executes in the place of `argv`, and what its jail is told. Raises `OSError`.

    `given`: how many descriptors the plugin gets.
    """
    found = program()
    if found is None:
        raise OSError(2, "bubblewrap is not installed")
    inside = marshal.loads(plan.described(wall, argv))
    inside |= {
        "argv": [os.fsencode(word) for word in argv],
        "env": {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
        "cwd": os.fsencode(cwd or "/"),
        "given": given,
    }
    files: dict[str, str] = inside["files"]
    write: list[str] = inside["write"]
    granted = [*inside["read"], *wall.sockets, *write]
    words = [found, *_namespaces(wall), *_folders(inside["tmp"], wall.proc)]
    handed = DESCRIPTION + 1
    for path in files:
        words += ["--ro-bind-data", str(handed), path]
        handed += 1
    mounts = _code(wall)
    for path in granted:
        mounts[path] = ["--bind" if path in write else "--ro-bind", f"/proc/self/fd/{handed}", path]
        handed += 1
    for path in sorted(mounts, key=lambda path: path.count("/")):  # the deeper one counts
        words += mounts[path]
    words += _own_code(wall)
    outer = inside | {"mode": "bwrap", "inside": marshal.dumps(inside | {"mode": "stage2"}), "granted": granted}
    stage = [_PYTHON, "-I", "-S", "-B", f"{INSIDE}/broker/confine/stage2.py", str(TOLD), str(WIRE), str(DESCRIPTION)]
    return [*words, "--remount-ro", "/", "--chdir", "/", "--", *stage], marshal.dumps(outer)


def _namespaces(wall: Confinement) -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup")
    yield from ("--unshare-net", "--die-with-parent", "--hostname", "plugin", "--cap-drop", "ALL")
    if wall.net:  # to give the loopback device addresses, and for ports below 1024; some systems keep them back
        yield from ("--cap-add", "CAP_NET_ADMIN", "--cap-add", "CAP_NET_BIND_SERVICE")


def _folders(tmp: int, proc: bool) -> Iterator[str]:
    """Everything but what was granted. `--dev` is not used: it would take the capabilities away."""
    for path, size in (("/tmp", tmp), (plan.HOME, _bytes(HOME_SIZE)), ("/dev/shm", _bytes(SHARED_SIZE))):
        yield from ("--perms", "1777" if path == "/dev/shm" else "0700", "--size", str(size), "--tmpfs", path)
    for name in DEVICES:
        yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
    for name, says in DEVICE_LINKS.items():
        yield from ("--symlink", says, f"/dev/{name}")
    if not proc:
        return
    yield from ("--proc", "/proc")
    for name in HIDDEN_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            yield from ("--size", "4096", "--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}")
    for name in HIDDEN_FILES:
        if os.path.exists(f"/proc/{name}"):
            yield from ("--ro-bind", "/dev/null", f"/proc/{name}")


def _code(wall: Confinement) -> dict[str, list[str]]:
    """What is executed: the plugin's, and what ours needs until Landlock takes it away."""
    own, _ = _stage()
    return {path: ["--ro-bind", path, path] for path in (*wall.roots, *own)}


def _own_code(wall: Confinement) -> Iterator[str]:
    _, links = _stage()
    for name in ("__init__.py", "confine"):
        yield from ("--ro-bind", str(_OURS / name), f"{INSIDE}/broker/{name}")
    old = {path: os.readlink(path) for path in OLD_FOLDERS if os.path.islink(path)}
    for where, says in {**old, **dict(links), **dict(wall.links)}.items():
        yield from ("--symlink", says, where)


@functools.cache
def _stage() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What the second stage needs beside our code, and links on the way: Python and its library, no packages."""
    trail = Trail("/")
    for path in (_PYTHON, os.path.dirname(os.__file__), "/usr/lib", "/lib", "/lib64", *elf.libraries(_PYTHON)):
        trail.see(path)
    return trail.outcome()


def _bytes(size: str) -> int:
    return int(size[:-1]) * _SIZES[size[-1]]
