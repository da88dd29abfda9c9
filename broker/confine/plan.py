"""What one plugin may do, as its confinement needs it: resolved paths, hosts, bounds; and how the jail is told."""

from __future__ import annotations

import marshal
import os
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from broker.confine.kept import apart
from broker.confine.limits import rlimits

Mode = Literal["native", "landlock", "stage2"]

HOME = "/home/plugin"  # in a private root: empty, writable, gone with the plugin
MIB = 1 << 20
SCRATCH = 64 * MIB  # of /tmp, if no `disk` says otherwise
_NOBODY = ("192.0.2.1:443",)  # an address for documentation (RFC 5737)


class Confinement(Struct, frozen=True, kw_only=True):
    """What a plugin is held to. Whatever is not named here, it cannot do.

    Paths are absolute and resolved; a folder stands for everything below it.
    """

    name: str  # of the plugin, for logs and errors
    read: tuple[str, ...] = ()  # files and folders of its user's
    write: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # in what it may write to, what it may only read, beside what is always kept so
    roots: tuple[str, ...] = ()  # read and executed: what its interpreter, its own code and `run` need
    links: tuple[tuple[str, str], ...] = ()  # symbolic links of a private root: where, and what they say
    net: tuple[str, ...] = ()  # `host:port` as `egress.allow` reads them; empty: no network at all
    sockets: tuple[str, ...] = ()  # paths of unix sockets it may connect to
    run: tuple[str, ...] | None = ()  # programs it may start; empty: none; None: any it can see
    memory: int | None = None  # bytes
    pids: int | None = None  # processes and threads
    disk: int | None = None  # bytes in the folders it may write to
    unenforced: tuple[str, ...] = ()  # kinds whose lack of enforcement its user accepts
    strict: bool = False  # what is enforced only partly is refused too
    mode: Mode = "native"  # all layers; Landlock and seccomp; or all in namespaces that somebody else made
    proc: bool = True  # whether a private root has a /proc: some containers forbid to mount one
    groups: tuple[str, ...] = ()  # `cgroup.procs` files of the groups that count it
    notify: bool = False  # whether the broker connects, and changes modes and times, in its stead
    watch: bool = False  # what it tries is looked at; it may fork then, so that the program it wants is seen
    without: tuple[str, ...] = ()  # layers left out (`landlock`, `seccomp`), to show that each one is needed

    @property
    def network(self) -> tuple[str, ...]:
        """What its network is made for: one that is watched is asked what it wants even if it may reach nothing."""
        return self.net or (_NOBODY if self.watch else ())


def described(wall: Confinement, argv: Sequence[str]) -> bytes:
    """What the jail is told, as `marshal` writes it: plain values only. Raises `OSError` on an unknown machine."""
    from broker.confine import seccomp  # with ctypes: only where something is confined

    alone = wall.mode != "landlock"
    doors, addresses = _network(wall.network) if alone and wall.network else ((), ())
    shape = seccomp.Shape(
        fork=wall.watch or wall.run is None or bool(wall.run),
        unix=bool(wall.sockets),
        net=bool(wall.network),
        shared=not alone,
        notify=wall.notify,
        watch=wall.watch,
    )
    closed, ways = apart(wall.write, wall.roots, wall.kept) if alone else ([], [])
    return marshal.dumps(
        {
            "mode": wall.mode,
            "read": [*wall.read, *closed],
            "write": [*wall.write, *ways],
            "execute": list(wall.roots),
            "sockets": list(wall.sockets),
            "links": [list(link) for link in wall.links],
            "files": etc_files(os.getuid(), os.getgid()),
            "doors": list(doors),
            "addresses": list(addresses),
            "groups": list(wall.groups),
            "fork": shape.fork,
            "tmp": SCRATCH if wall.disk is None else wall.disk,
            "home": HOME,
            "proc": wall.proc,
            "limits": rlimits(argv[0], memory=wall.memory, pids=wall.pids, disk=wall.disk, alone=alone),
            "landlock": "landlock" not in wall.without,
            "filter": b"" if "seccomp" in wall.without else seccomp.program(shape),
            "notify": wall.notify or wall.watch,
        }
    )


def _network(net: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sockets its namespace sends out, and its own addresses."""
    from broker.confine.egress.doors import addresses, doors

    return doors(net), addresses(net)


def etc_files(uid: int, gid: int) -> dict[str, str]:
    """The files of a private `/etc`: one user, and every name is asked of the broker."""
    return {
        "/etc/passwd": f"plugin:x:{uid}:{gid}::{HOME}:/usr/sbin/nologin\n",
        "/etc/group": f"plugin:x:{gid}:\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
