"""What a plugin may do as a profile of macOS's `sandbox-exec`: everything is denied that no line allows.

Written from Apple's published profiles and tested as text; nobody has run it on a Mac yet, so nothing is promised
there (`backends.py`). Its network is one port of ours: macOS has no loopback of one's own, so a plugin reaches the
broker's proxy at a port that is the plugin's alone, with a password, and names are looked up by the proxy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from broker.confine.plan import Confinement
from broker.errors import DangerousGrant

PROGRAM = "/usr/bin/sandbox-exec"
# What every program of the system reads while it is loaded.
_LOADING = ("/usr/lib", "/System/Library", "/Library/Apple", "/private/var/db/dyld", "/private/var/db/timezone")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SERVICES = ("com.apple.system.opendirectoryd.libinfo", "com.apple.trustd.agent", "com.apple.logd")


def argv(wall: Confinement, argv: list[str], port: int | None) -> list[str]:
    """The words that start `argv` confined. `port`: of this machine, where the plugin's own proxy listens."""
    return [PROGRAM, "-p", profile(wall, argv[0], port), *argv]


def profile(wall: Confinement, program: str, port: int | None = None) -> str:
    """The profile's text. Raises `DangerousGrant` for a path that cannot be written down safely."""
    return "\n".join(_lines(wall, program, port)) + "\n"


def quoted(path: str) -> str:
    """A path as a string of the profile's language."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise DangerousGrant(f"{path!r} holds a control character, which no profile can name")
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def real(path: str) -> str:
    """As the kernel of macOS sees a path: three folders of the root are links into /private."""
    return f"/private{path}" if path.split("/")[1] in ("tmp", "var", "etc") else path


def _lines(wall: Confinement, program: str, port: int | None) -> Iterator[str]:
    yield "(version 1)"
    yield "(deny default)"
    yield from _processes(wall, program)
    yield "(allow sysctl-read)"
    yield f"(allow mach-lookup {' '.join(f'(global-name {quoted(name)})' for name in _SERVICES)})"
    yield from _files(wall)
    if wall.net:
        assert port is not None
        yield f'(allow network-outbound (remote ip "localhost:{port}"))'
    for path in wall.sockets:
        yield f"(allow network-outbound (literal {quoted(real(path))}))"


def _processes(wall: Confinement, program: str) -> Iterator[str]:
    yield "(allow signal (target same-sandbox))"
    yield "(allow process-info* (target same-sandbox))"
    if wall.run is None:
        yield "(allow process-fork)"
        yield "(allow process-exec)"
        return
    if wall.run:
        yield "(allow process-fork)"
    for path in (program, *wall.run):
        yield f"(allow process-exec (literal {quoted(real(path))}))"


def _files(wall: Confinement) -> Iterator[str]:
    yield "(allow file-read-metadata (vnode-type DIRECTORY))"
    yield f"(allow file-read* {' '.join(f'(literal {quoted(path)})' for path in ('/', *_DEVICES))})"
    yield '(allow file-write-data (literal "/dev/null"))'
    for path in (*_LOADING, *wall.roots, *wall.read):
        yield f"(allow file-read* ({_extent(path)} {quoted(real(path))}))"
    for path in wall.write:
        place = f"({_extent(path)} {quoted(real(path))})"
        yield f"(allow file-read* file-write* {place})"
        yield f"(deny file-write-setugid {place})"
        yield f"(deny process-exec {place})"


def _extent(path: str) -> str:
    return "literal" if os.path.isfile(path) else "subpath"
