"""`broker add`: a plugin's folder, or the file that `broker pack` made of one, put into config.toml.

Rule 1: nothing of it is run here. What is in a file is unpacked first into a folder that nothing names, and shown;
        only what its user agreed to is written, and without that the folder is gone again.
Rule 2: adding grants nothing. What a plugin asks for is shown, and the line that grants it.
Rule 3: a newer file of a plugin that was added as a file takes its place, with the options its user set.

Exit codes: 0 fine, 1 it could not be used or written, 2 the command was wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from broker.cli.arguments import array
from broker.cli.importing import exchanged
from broker.cli.screen import plain, say_problems, word
from broker.clients import tomltext
from broker.clients.known import Entry
from broker.clients.rewrite import Original, original
from broker.core.config import asked, default_config_file
from broker.core.manifest import Manifest, examine
from broker.core.shape import table
from broker.core.source import MAX_TOML, Faulty
from broker.errors import BrokerError, ConfigError
from broker.model import Problem

PLUGIN = "plugin.toml"
_OURS = "plugin-broker-sdk"  # is in the archive


def perform(path: Path, config_file: Path | None, *, write: bool, as_json: bool) -> int:
    """Show what would be added, and write it if that is wanted; the exit code."""
    config = (config_file or default_config_file(os.environ)).absolute()
    if path.is_file():
        from broker.cli import bundling

        return bundling.perform(path, config, {}, write=write, as_json=as_json)
    if not (path / PLUGIN).is_file():
        raise click.UsageError(f"{path} is neither a plugin's folder (there is no {PLUGIN} in it) nor a packed plugin.")
    try:
        old = opened(config)
        folder = path.absolute()
        return add(Found(folder, examine(folder / PLUGIN)), old, write=write, as_json=as_json)
    except Faulty as faulty:
        say_problems([faulty.problem], stderr=True)
    except BrokerError as error:
        say_problems([Problem(str(config), f"{error}.", error.hint)], stderr=True)
    return 1


class Found:
    """A plugin that lies in `folder`, and shall lie in `place` when it is added."""

    def __init__(self, folder: Path, manifest: Manifest, place: Path | None = None) -> None:
        self.folder, self.manifest, self.place = folder, manifest, place or folder
        self.moves = place is not None

    @property
    def name(self) -> str:
        return self.manifest.name

    def entry(self) -> Entry:
        """Its table in config.toml. A script of somebody else's does not run in broker's own process."""
        foreign = self.moves and (self.manifest.entry or "").endswith(".lua")
        return {"path": str(self.place), **({"isolation": "process"} if foreign else {})}

    def settle(self) -> None:
        """Put it where its entry says."""
        if self.moves:
            shutil.rmtree(self.place, ignore_errors=True)  # the same file, added before and taken out
            self.folder.rename(self.place)


def opened(config: Path) -> Original:
    """The user's config.toml, which must be TOML. Raises Faulty, `ConfigError`."""
    old = original(config, MAX_TOML)
    try:
        tomllib.loads((old.data or b"").decode())
    except ValueError as error:
        raise ConfigError(f"it is not TOML: {error}", hint="Run `broker check`, and correct it first.") from None
    return old


def add(found: Found, old: Original, *, write: bool, as_json: bool) -> int:
    """Show it, ask, and write it. Raises `ConfigError`."""
    before = _before(found, old)
    entry = {**before, **found.entry()}
    if not as_json:
        _show(found, entry)
    wanted = write or (not as_json and sys.stdin.isatty() and sys.stdout.isatty() and _agreed(old.path))
    if wanted:
        _write(found, entry, old, replaces=bool(before))
    if as_json:
        _print_json(found, entry, written=wanted)
    else:
        _conclude(found, old.path, written=wanted)
    return 0


def asked_for(manifest: Manifest) -> list[str]:
    """The lines that tell a person what a plugin asks for."""
    kinds = asked(manifest)
    if not kinds:
        return ["  asks for nothing: it can answer, and that is all"]
    return ["  asks for:", *(f"    {kind}{_targets(targets)}" for kind, targets in kinds.items())]


def _targets(targets: tuple[str, ...] | bool) -> str:
    return f": {', '.join(targets)}" if isinstance(targets, tuple) else ""


def _before(found: Found, old: Original) -> Mapping[str, object]:
    """The entry whose place it takes: empty if there is none. Raises `ConfigError` for one that is not its own."""
    held = tomllib.loads((old.data or b"").decode())
    plugins = table(held.get("plugins")) or {}
    if found.name not in {**plugins, **(table(held.get("servers")) or {})}:
        return {}
    entry = table(plugins.get(found.name)) or {}
    updates = found.moves and Path(str(entry.get("path", ""))).parent == found.place.parent
    if updates and "isolation" in entry and "isolation" not in found.entry():
        return {key: value for key, value in entry.items() if key != "isolation"}
    if updates:
        return entry
    section = "plugins" if found.name in plugins else "servers"
    hint = f"Take [{section}.{found.name}] out first, if this replaces it."
    raise ConfigError(f"there is a {found.name} already", hint=hint)


def _write(found: Found, entry: Mapping[str, object], old: Original, *, replaces: bool) -> None:
    text = (old.data or b"").decode()
    if text and not text.endswith("\n"):
        text += "\n"
    try:
        change = tomltext.swap if replaces else tomltext.put
        new = change(text, "plugins", found.name, entry) if text else tomltext.put(None, "plugins", found.name, entry)
    except ValueError as error:
        raise ConfigError(f"nothing was written: {error}") from None
    try:
        found.settle()
        old.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{found.place} cannot be written: {error.strerror}", hint="Check its rights.") from None
    try:
        exchanged(old, new)
    except ConfigError:
        if found.moves:
            shutil.rmtree(found.place, ignore_errors=True)
        raise


def _agreed(path: Path) -> bool:
    click.echo(plain(f"\nWrite this to {path}? [y/N] "), nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(found: Found, entry: Mapping[str, object]) -> None:
    about = f"  {word(found.manifest.description)}" if found.manifest.description else ""
    click.secho(f"{found.name} {found.manifest.version}", bold=True, nl=False)
    click.echo(about)
    for line in asked_for(found.manifest):
        click.echo(word(line))
    click.echo("\n" + plain(tomltext.put(None, "plugins", found.name, entry)).rstrip("\n"))


def _conclude(found: Found, path: Path, *, written: bool) -> None:
    if not written:
        click.echo(plain(f"\nIt would be written to {path}. Nothing was; `--write` does it."))
        return
    click.secho(plain(f"\n{found.name} written to {path}."), fg="green")
    if asked(found.manifest):
        click.echo(f"`broker grant {found.name}` grants what it asks for.")
    if packages := _packages(found.place):
        venv = found.place / ".venv"
        words = " ".join(f"'{word(each)}'" for each in (*packages, _OURS))
        click.echo(plain(f"It needs packages: python3 -m venv {venv} && {venv}/bin/pip install {words}"))


def _packages(folder: Path) -> list[str]:
    """What a plugin in Python needs beside our SDK, as its pyproject.toml says."""
    try:
        held = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    listed = (table(held.get("project")) or {}).get("dependencies")
    return [each for each in array(listed) if isinstance(each, str) and "'" not in each and not each.startswith(_OURS)]


def _print_json(found: Found, entry: Mapping[str, object], *, written: bool) -> None:
    report = {
        "name": found.name,
        "version": found.manifest.version,
        "entry": entry,
        "permissions": asked(found.manifest),
        "written": written,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
