"""What a plugin was granted, as what its process is held to.

Rule 1: a plugin with a table of permissions is held to what was granted of it, whatever else happens; only its user
        can lift that, by name. A plain server without a table runs as in every other client.
Rule 2: it sees its own code and its interpreter, because it could not run otherwise, and its working folder only if
        that is among what it may see.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from broker.confine.egress.denied import Denied
from broker.confine.kept import repositories
from broker.confine.plan import HOME, Confinement
from broker.confine.roots import find, program
from broker.confine.start import start as enclosed
from broker.confine.tree import Child
from broker.model import Spec
from broker.permissions.scopes import Permission, parse

if TYPE_CHECKING:
    from broker.confine.witness import Witness

PIDS = 256  # processes and threads of a plugin that sets no limit; node alone has 11
# Folders of the user's own that a confined process has none of.
_FOLDERS = ("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "SHELL")


async def start(
    spec: Spec,
    argv: Sequence[str],
    env: Mapping[str, str],
    own: Path | None,
    told: Callable[[Denied], None],
    witness: Witness | None = None,
    kept: Sequence[str] = (),
    channel: int | None = None,
) -> Child:
    """Start `argv` held to what `spec` was granted. `own`: its data folder; `told` hears what it was refused.

    `channel` is its descriptor 3, if it gets one.
    `witness` sees what it tries; `kept` are files and folders that it may not change wherever it may write.

    Raises `NotEnforced`, `PluginUnavailable` with the remedy, `OSError`, `ValueError`.
    """
    words, wall, notes = await asyncio.to_thread(confinement, spec, argv, env, own, kept)
    child = await enclosed(
        words,
        env={**environment(env), **spec.env},
        cwd=folder(spec, wall),
        wall=wall,
        told=told,
        own=None if own is None else str(own),
        witness=witness,
        channel=channel,
    )
    child.warnings += notes
    return child


def confinement(
    spec: Spec, argv: Sequence[str], environ: Mapping[str, str], own: Path | None, kept: Sequence[str] = ()
) -> tuple[tuple[str, ...], Confinement, tuple[str, ...]]:
    """What to start for `argv`, what it is held to, and notes for a person. `own`: its data folder, made if granted.

    Reads files, and blocks for some milliseconds. Raises `PluginUnavailable` with the remedy, `OSError`.
    """
    granted = [parse(text) for text in spec.granted]
    run = _programs(granted, environ)
    write = _targets(granted, "write")
    own_folder = spec.cwd if spec.version else None  # of a manifest; a plain server's is anybody's
    found = find(argv, environ=environ, cwd=spec.cwd, run=run, own=own_folder, written=write)
    if own is not None:
        _make(own, granted)
    wall = Confinement(
        name=spec.name,
        read=_targets(granted, "read"),
        write=write,
        kept=(*kept, *repositories(write)),
        roots=found.roots,
        links=found.links,
        net=tuple(one.target for one in granted if one.kind == "net" and not one.socket),
        sockets=tuple(one.socket for one in granted if one.socket),
        run=None if run is None else tuple(map(os.path.realpath, run)),  # no link is followed to what is shown
        memory=spec.limits.memory,
        pids=spec.limits.pids or PIDS,
        disk=spec.limits.disk,
        unenforced=spec.unenforced,
        strict=spec.strict,
    )
    return found.argv, wall, found.notes


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with the folders of a private root in the place of its user's."""
    return {**{name: value for name, value in env.items() if name not in _FOLDERS}, "HOME": HOME}


def folder(spec: Spec, wall: Confinement) -> str | None:
    """Where it is started: its folder, or ours, if it can see that; None: where nothing is."""
    wanted = os.path.realpath(spec.cwd or os.getcwd())
    seen = (*wall.read, *wall.write, *wall.roots)
    return wanted if any(wanted == path or wanted.startswith(f"{path}/") for path in seen) else None


def _programs(granted: Iterable[Permission], environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The programs it may start, by path; None: any that it can see."""
    names = _targets(granted, "run")
    if "*" in names:
        return None
    return tuple(path for name in names if (path := program(name, environ)) is not None)


def _targets(granted: Iterable[Permission], kind: str) -> tuple[str, ...]:
    return tuple(one.target for one in granted if one.kind == kind)


def _make(own: Path, granted: Iterable[Permission]) -> None:
    """Its own folder, and those below it that it was granted."""
    real = os.path.realpath(own)
    for one in granted:
        if one.kind in ("read", "write") and (one.target == real or one.target.startswith(f"{real}/")):
            Path(one.target).mkdir(mode=0o700, parents=True, exist_ok=True)
