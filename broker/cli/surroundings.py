"""What a machine offers broker and its plugins: versions, folders, programs, and what dead brokers left running."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from broker import __version__
from broker.confine.backends import Grade
from broker.core.meeting import Folder, folders
from broker.errors import PluginUnavailable
from broker.model import Spec
from broker.runtimes.command import argv, child_env, node_version

PROGRAMS = ("python3", "node", "npx", "uvx", "uv", "bun", "deno")
ENDING = 4.0  # seconds; a keeper needs 3 to kill what ignores everything else
_BY_NODE = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
_INIT = ("systemd", "init", "launchd")


class Place(Struct, frozen=True):
    """One folder of broker's own."""

    what: str
    path: str
    trouble: str | None  # why it cannot be written


class Program(Struct, frozen=True):
    """One interpreter or runner."""

    name: str
    path: str | None
    version: str | None
    needed_by: list[str]  # the plugins that name it
    missing_for: list[str]  # those of them that do not find it


class Enforcement(Struct, frozen=True, kw_only=True):
    """What this machine can hold a plugin to."""

    backend: str | None  # the mechanism; None: nothing, and plugins with permissions are refused
    grades: dict[str, Grade]  # of each kind of permission and of limit
    failed: dict[str, str]  # what does not work here, with why
    advice: list[str]  # what would help
    root: bool  # it runs as root
    seconds: float  # that it took to find out


class Leftover(Struct, frozen=True):
    """A process that a dead broker started."""

    pid: int
    plugin: str  # empty: one of broker's own
    command: str


def versions() -> dict[str, str]:
    """Of broker, what it runs on, and the machine."""
    return {
        "broker": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "msgspec": msgspec.__version__,
        "os": _os(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def places(cache: Path, logs: Path, state: Path, environ: Mapping[str, str]) -> list[Place]:
    """The folders, each tried by writing into it; what is not there yet is made, as a broker would."""
    found = [Place(what, str(path), _trouble(path)) for what, path in (("cache", cache), ("logs", logs))]
    found.append(Place("state", str(state), _trouble(state)))
    run = folders(environ)[0]
    return [*found, Place("run", str(run), _socket_trouble(run))]


def programs(specs: Iterable[Spec], environ: Mapping[str, str]) -> list[Program]:
    """Where each is, on the PATH of the plugin that needs it."""
    enabled = [spec for spec in specs if spec.enabled]
    return [_program(name, [spec for spec in enabled if _needs(spec, name)], environ) for name in PROGRAMS]


def enforcement() -> Enforcement:
    """What plugins can be held to, found out by holding throw-away processes to it: some tenths of a second."""
    import asyncio

    from broker.confine import backends, remedies

    found = asyncio.run(backends.examine())
    advice = remedies.advice(found.failed)
    if found.groups.remedy and not found.groups.kinds:
        advice.append(f"{found.groups.remedy} Then memory and processes are counted for each plugin as a whole.")
    return Enforcement(
        backend=found.backend,
        grades=backends.grades(found),
        failed=dict(found.failed),
        advice=advice,
        root=found.root,
        seconds=round(found.seconds, 3),
    )


def leftovers(specs: Iterable[Spec], environ: Mapping[str, str]) -> list[Leftover]:
    """Processes of ours that nobody is the parent of and that only a broker starts, as far as that can be told.

    Blocks up to `ENDING` seconds if there are any: what a broker leaves that just died ends by itself.
    """
    import psutil

    commands = [(spec.name, words) for spec in specs if (words := _words(spec, environ))]
    found: dict[psutil.Process, Leftover] = {}
    for process in psutil.process_iter(["ppid", "uids", "cmdline"]):
        line: list[str] = process.info["cmdline"] or []
        uids = process.info["uids"]
        if line and uids is not None and uids.real == os.getuid() and _orphaned(process.info["ppid"]):
            whose = _whose(line, commands)
            if whose is not None:
                found[process] = Leftover(process.pid, whose, " ".join(line))
    _, alive = psutil.wait_procs(list(found), timeout=ENDING)
    return [found[process] for process in alive]


def _os() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _trouble(path: Path) -> str | None:
    import tempfile

    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path, buffering=0) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _socket_trouble(path: Path) -> str | None:
    try:
        Folder(path, make=True).close()
    except OSError as error:
        return error.strerror or str(error)
    return _trouble(path)


def _program(name: str, needing: list[Spec], environ: Mapping[str, str]) -> Program:
    paths = {spec.name: shutil.which(name, path=child_env(spec, environ).get("PATH")) for spec in needing}
    path = next((path for path in paths.values() if path), None) or shutil.which(name, path=environ.get("PATH"))
    missing = [plugin for plugin, found in paths.items() if found is None]
    return Program(name, path, _version(name, path), list(paths), missing)


def _version(name: str, path: str | None) -> str | None:
    if name != "node" or path is None:
        return None
    found = node_version(path)
    return ".".join(map(str, found)) if found else None


def _needs(spec: Spec, name: str) -> bool:
    if spec.entry is not None:
        return name == "node" and spec.entry.endswith(_BY_NODE)
    return bool(spec.command) and spec.command[0].lower() in (name, f"{name}.exe", f"{name}.cmd")


def _words(spec: Spec, environ: Mapping[str, str]) -> list[str]:
    try:
        return argv(spec, environ=environ) if spec.enabled else []
    except PluginUnavailable:
        return []


def _orphaned(parent: int) -> bool:
    """Whether the parent is whoever takes in orphans."""
    import psutil

    try:
        return parent <= 1 or psutil.Process(parent).name() in _INIT
    except psutil.Error:
        return True


def _whose(line: list[str], commands: Iterable[tuple[str, list[str]]]) -> str | None:
    """The plugin a command line is of; empty for broker's own, None if it is nobody's."""
    if any(word.endswith(os.path.join("confine", "keeper.py")) for word in line[1:]):
        return ""
    # A script is run by an interpreter, whose words come first.
    return next((name for name, words in commands if line[-len(words) :] == words), None)
