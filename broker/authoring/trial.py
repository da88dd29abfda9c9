"""A plugin as its author tries it: one folder, and all it asks for, granted as long as the session lasts.

Rule 1: it runs as it would for a user who said yes to everything: confined, by the same machinery, with its own data
        folder. Nothing of it reaches what the user's own brokers know, and nothing is written into the ledger.
Rule 2: `grant` and `deny` change what it asks for, as if plugin.toml said so: to try a line before it is written, or
        to see what happens without one.
Rule 3: a folder without a plugin.toml is a plain MCP server, which runs unconfined as in every other client.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.app import Folders
from broker.core.config import default_config_file, of_folder
from broker.core.mcpservers import slug
from broker.core.meeting import folders as meeting_folders
from broker.core.shape import nearest, table
from broker.core.watched import CODE, MANIFEST, Files, Watched, watched
from broker.errors import BadArguments, ConfigError
from broker.model import Problem, Settings, Spec
from broker.permissions.gate import Gate, Grounds
from broker.permissions.scopes import KINDS, parse, texts
from broker.runtimes.command import program

# What a server's folder starts with, the first that is there; package.json is asked before.
_ENTRIES = (
    *("server.py", "main.py", "app.py", "__main__.py", "plugin.py"),
    *("index.mjs", "index.js", "server.mjs", "server.js", "index.ts", "server.ts", "main.ts"),
    *("dist/index.js", "build/index.js", "src/index.ts", "src/server.py", "src/main.py"),
)
_NEEDS_MANIFEST = (".lua", ".wasm")
_HINT = "Name its folder, or the file that starts it; `broker new` makes a plugin."


class Trial(Struct, frozen=True, kw_only=True):
    """What is tried, and how."""

    path: Path
    grant: tuple[str, ...] = ()  # permissions beside those it asks for
    deny: tuple[str, ...] = ()  # permissions, or whole kinds, out of those
    only: tuple[str, ...] | None = None  # of what it asks for, permissions or kinds; None: all of it
    env: Mapping[str, str] = {}
    config: Mapping[str, object] = {}

    @property
    def folder(self) -> Path:
        """Where its files are."""
        path = self.path.absolute()
        return path if path.is_dir() else path.parent

    @property
    def manifest(self) -> Path | None:
        """Its plugin.toml; None of a plain server."""
        named = self.path.is_file() and self.path.name != MANIFEST
        found = self.folder / MANIFEST
        return found if found.is_file() and not named else None


def read(trial: Trial, gate: Gate) -> Settings:
    """The one plugin as it runs in this session, and what is wrong with it. Raises `ConfigError`, `BadArguments`."""
    if trial.manifest is None:
        found = Settings(plugins=[_plain(trial)])
    else:
        tuned = {"env": trial.env, "config": trial.config}
        found = of_folder(trial.folder, tuned=tuned, workspace=Path.cwd(), environ=os.environ)
    for at, spec in enumerate(found.plugins):
        found.plugins[at], problems = _granted(_asking(spec, trial), gate)
        found.problems += problems
    return found


def gate_of(folders: Folders) -> Gate:
    """What judges the permissions of a session that keeps its things in `folders`."""
    real = Folders.of(os.environ)
    own = default_config_file(os.environ)
    guarded = (*msgspec.structs.astuple(real), *msgspec.structs.astuple(folders), *meeting_folders(os.environ), own)
    grounds = Grounds(
        state=folders.state,
        home=os.path.expanduser("~"),
        workspace=os.getcwd(),
        own=None,
        guarded=tuple(os.path.abspath(path) for path in guarded),
        program=lambda spec: program(spec, os.environ),
    )
    return Gate(grounds)


def watched_files(trial: Trial, found: Settings) -> Watched:
    """What the session looks at for changes: a plain server's folder has no manifest that says it is all of it."""
    if trial.manifest is not None:
        return watched([trial.manifest], found)
    single = tuple(str(path) for path in sorted(trial.folder.rglob("*")) if _is_own_code(path, trial.folder))
    return Watched((), {spec.name: Files("", single) for spec in found.plugins})


def _is_own_code(path: Path, folder: Path) -> bool:
    inner = path.relative_to(folder).parts[:-1]
    hidden = any(part.startswith(".") or part in ("node_modules", "venv", "__pycache__") for part in inner)
    return path.suffix in CODE and not hidden and path.is_file()


def _plain(trial: Trial) -> Spec:
    entry = trial.path.absolute() if trial.path.is_file() else _entry(trial.folder)
    if entry.suffix in _NEEDS_MANIFEST:
        raise ConfigError(
            f"{entry.name} has no plugin.toml beside it, which a Lua or WASM plugin needs",
            hint=f'Write name, version, api = 1 and entry = "{entry.name}" into {entry.parent / MANIFEST}.',
        )
    name = slug(entry.stem if trial.path.is_file() else trial.folder.name)
    folder = str(trial.folder)
    return Spec(name=name, source=str(entry), entry=str(entry), cwd=folder, env=trial.env, config=trial.config)


def _entry(folder: Path) -> Path:
    """What starts the server in a folder. Raises `ConfigError`."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not there", hint=_HINT)
    names = (*_of_package(folder / "package.json"), *_ENTRIES)
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ConfigError(f"there is no plugin.toml in {folder}, and no file that looks like an MCP server", hint=_HINT)
    return found


def _of_package(path: Path) -> Sequence[str]:
    """What package.json names as its program, then as its module."""
    try:
        data: Mapping[str, object] = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return ()
    bins = table(data.get("bin"))
    named = (*(bins.values() if bins is not None else (data.get("bin"),)), data.get("main"))
    return [each for each in named if isinstance(each, str)]


def _asking(spec: Spec, trial: Trial) -> Spec:
    """`spec` with another table of permissions, where the session has one."""
    if not (trial.grant or trial.deny) and trial.only is None:
        return spec
    asked = list(texts(spec.permissions or {}))
    if trial.only is not None:
        asked = [text for text in asked if text in trial.only or text.partition(":")[0] in trial.only]
    for word in trial.deny:
        asked = _without(asked, word)
    wanted = [*asked, *trial.grant]
    made: dict[str, tuple[str, ...] | bool] = {}
    for text in wanted:
        _check(text)
        kind, _, target = text.partition(":")
        held = made.get(kind, ())
        made[kind] = (*held, target) if target and isinstance(held, tuple) else True
    return replace(spec, permissions=made)


def _without(asked: list[str], word: str) -> list[str]:
    left = [text for text in asked if word not in (text, text.partition(":")[0])]
    if len(left) == len(asked) and word not in KINDS:
        near = nearest(word, asked)
        raise BadArguments(
            f"--deny {word}: it does not ask for that",
            hint=f"Did you mean `{near}`?" if near else f"It asks for {', '.join(asked) or 'nothing'}.",
        )
    return left


def _check(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        hint = "Write it as kind:target, for example net:api.acme.dev:443."
        raise BadArguments(str(error).removesuffix("."), hint=hint) from None


def _granted(spec: Spec, gate: Gate) -> tuple[Spec, list[Problem]]:
    if not spec.permissions:
        return spec, []
    asked, refused = gate.asked(spec)
    where = os.path.join(spec.cwd or "", MANIFEST) if spec.version else spec.source
    problems = [Problem(where, f"{spec.name}: {each.why}", each.fix, spec.name) for each in refused]
    return replace(spec, granted=tuple(map(str, asked))), problems
