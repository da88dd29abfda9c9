"""What a plugin tries that it may not do, seen on the way into the kernel, for whoever writes its permissions.

Rule 1: it decides nothing. Each call goes on as it came, and the kernel judges it as if nobody had looked: what a
        plugin writes over after we read it changes what is proposed, never what it is allowed.
Rule 2: what it says is a stranger's word. It is bounded, and proposes; a person reads it before it counts.
Rule 3: a path that is not there for its user either is no refusal: programs look for files everywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from broker.confine import attempts
from broker.confine.attempts import WAYS, Kind, Way
from broker.confine.egress.allow import LOCALHOST, LOOPBACK
from broker.confine.egress.denied import Denied
from broker.confine.egress.doors import proxy_port
from broker.confine.egress.notify import Call
from broker.confine.plan import HOME, Confinement

MOST = 2048  # different things that one plugin is seen trying; it could invent them without end

_HERE = -100  # AT_FDCWD
_LONGEST = 128  # bytes of an address
DNS_PORT = 53
_LISTENS = "0A"  # TCP_LISTEN
# In a private root these are the plugin's own, or belong to the system.
_OWN = (HOME, "/proc", "/dev", "/sys")

Wanted = Literal["look", "read", "write", "run", "net"]


class Attempt(Struct, frozen=True, order=True):
    """Something that was refused."""

    kind: Wanted  # `look`: whether it is there, and what it is
    target: str  # an absolute path; or what of the network, without a port where none was said
    call: str  # by which it was tried


class Witness:
    """Sees the calls of one plugin, in all its processes. `tried` counts each different one."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        self.tried: Counter[Attempt] = Counter()
        self.used: set[str] = set()  # the folders and files it was granted that it came to
        self.starts = False  # whether it tried to start anything, there or not
        self._path = (environ or dict(os.environ)).get("PATH", "")
        self._own_programs = ""
        self._shown: tuple[str, ...] = ()
        self._wall = Confinement(name="")
        self._own_start = False
        self.names: Callable[[str], str | None] = lambda address: None

    def begin(self, wall: Confinement, names: Callable[[str], str | None], programs: str = "") -> None:
        """It is started now, held to `wall`; `names` says which name an address was made up for.

        `programs`: the one folder it looks for programs in, if it has one of its own.
        """
        self._wall, self.names, self._own_programs = wall, names, programs
        self._shown = (*wall.read, *wall.write, *wall.roots, *(path for path, _ in wall.links))
        self._own_start = True

    def look(self, call: Call) -> bool:
        """See a call; whether the kernel goes on with it, which it does with all that nobody does in its stead."""
        way = WAYS.get(call.number)
        if way is None:
            return False
        try:
            if way.kind == "connect":
                self._connects(call)
            elif not (way.kind == "run" and self._starts()):
                for path in way.paths:
                    self._sees(way, way.kind_of(call.arguments), self._meant(_resolved(call, path)))
        except (OSError, ValueError):  # it ended meanwhile, or gave no path at all
            pass
        return not (self._wall.notify and way.kind == "connect")

    def refused(self, denied: Denied) -> None:
        """A host it was refused, as the broker's own doors tell it."""
        if denied.permission:
            self._note("net", denied.permission.removeprefix("net:"), denied.via)

    def _starts(self) -> bool:
        """Whether this is its own start."""
        own, self._own_start = self._own_start, False
        return own

    def _sees(self, way: Way, kind: Kind, path: str) -> None:
        if kind == "run":
            self._runs(way, path)
        elif kind == "write":
            self._writes(way, path)
        elif self._covered(path, self._shown) or _is_in(path, _OWN) or not os.path.lexists(path):
            return
        elif kind == "look" and self._is_program(path):
            self._note("run", path, way.name)
        elif kind == "read" or not self._on_the_way(path):
            self._note("read" if kind == "read" else "look", path, way.name)

    def _meant(self, path: str) -> str:
        """The path; of a program that is not where it looks, the one its user has."""
        if os.path.dirname(path) != self._own_programs or os.path.lexists(path):
            return path
        return shutil.which(os.path.basename(path), path=self._path) or path

    def _runs(self, way: Way, path: str) -> None:
        run = self._wall.run
        allowed = run is None or path in self._shown or os.path.realpath(path) in run
        self.starts = True
        if not (allowed and run != ()) and os.path.isfile(path) and os.access(path, os.X_OK):
            self._note("run", path, way.name)

    def _writes(self, way: Way, path: str) -> None:
        if self._covered(path, self._wall.write) or _is_in(path, _OWN):
            return
        folder = os.path.dirname(path)
        if folder in ("/", "/tmp") or not os.path.isdir(folder):  # a /tmp of its own it has
            return
        self._note("write", path, way.name)

    def _connects(self, call: Call) -> None:
        data = call.memory(call.arguments[1], min(call.arguments[2] & 0xFFFFFFFF, _LONGEST))
        family = struct.unpack_from("@H", data)[0]
        if family not in (socket.AF_INET, socket.AF_INET6) or len(data) < 8 or self._wall.notify:
            return
        port = struct.unpack_from("!H", data, 2)[0]
        host = socket.inet_ntop(family, data[4:8] if family == socket.AF_INET else data[8:24])
        if host in LOOPBACK:
            ours = (DNS_PORT, proxy_port(self._wall.network))
            host = LOCALHOST if port not in ours and port in _listening() else ""
        else:
            host = self.names(host) or host
        if host and port and not host.startswith("127."):
            self._note("net", f"{_bracketed(host)}:{port}", "connect")

    def _covered(self, path: str, places: Iterable[str]) -> bool:
        real = os.path.realpath(path)
        for place in places:
            if _below(path, place) or _below(real, place):
                self.used.add(place)
                return True
        return False

    def _on_the_way(self, path: str) -> bool:
        """Whether it lies above something that is shown: a private root has these folders, empty."""
        return any(place.startswith(f"{path.rstrip('/')}/") for place in self._shown)

    def _is_program(self, path: str) -> bool:
        there = os.path.dirname(path) in self._path.split(os.pathsep)
        return there and os.path.isfile(path) and os.access(path, os.X_OK) and path not in self._shown

    def _note(self, kind: Wanted, target: str, call: str) -> None:
        attempt = Attempt(kind, target, call)
        if attempt in self.tried or len(self.tried) < MOST:
            self.tried[attempt] += 1


def _resolved(call: Call, path: attempts.Path) -> str:
    """The path that is meant, from the root. Raises `OSError`, ValueError."""
    text = call.text(call.arguments[path.text])
    if not text.startswith("/"):
        number = _HERE if path.folder is None else _signed(call.arguments[path.folder])
        folder = call.link("cwd" if number == _HERE else f"fd/{number}")
        if not folder.startswith("/"):
            raise ValueError("it has no place in a file system")
        text = os.path.join(folder, text)
    return os.path.normpath(text)


def _listening() -> set[int]:
    """The ports that programs of this machine listen on: what a plugin meets there is not its own."""
    found: set[int] = set()
    for file in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{file}").read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        found |= {int(row.split()[1].rpartition(":")[2], 16) for row in rows if row.split()[3] == _LISTENS}
    return found


def _signed(number: int) -> int:
    return (number & 0xFFFFFFFF) - ((number & 0x80000000) << 1)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _is_in(path: str, places: Iterable[str]) -> bool:
    return any(_below(path, place) for place in places)
