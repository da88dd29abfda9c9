"""`broker check`: whether the configuration can be used, without starting any of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from broker.cli.screen import plain, say_problems
from broker.core.config import load
from broker.core.manifest import examine
from broker.core.shape import table
from broker.core.source import Faulty, read_toml
from broker.errors import NotEnforced, PluginUnavailable
from broker.model import Problem, Settings, Spec
from broker.permissions.lack import lack
from broker.runtimes.command import argv, in_broker


def show(found: Settings, *, as_json: bool) -> int:
    """Print what is wrong with the configuration and with the programs it names; the exit code."""
    from broker.app import router

    core = router(found)  # with what is known of each plugin
    problems = [*found.problems, *cannot_start(found.plugins), *cannot_be_held(found.plugins)]
    problems += core.catalog.problems()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(problems), indent=2))
    else:
        _say(problems, found)
        _say_missing(found)
    return 1 if problems else 0


def examined(path: Path) -> Settings:
    """The settings of one file or plugin folder alone."""
    path = path.absolute()
    if path.is_dir():
        path = path / "plugin.toml"
    if path.name == "plugin.toml":
        return _manifest(path)
    if path.name == ".broker.toml":
        return load(workspace=path.parent, environ=os.environ)
    if path.suffix == ".toml":
        return load(config_file=path, environ=os.environ)
    return load(mcp_configs=[path], strict=True, environ=os.environ)


def _say(problems: list[Problem], found: Settings) -> None:
    say_problems(problems)
    count = len(problems)
    checked = f"{len(found.plugins)} plugin{'s' * (len(found.plugins) != 1)}"
    if problems:
        click.secho(
            f"\n{count} problem{'s' * (count > 1)}; {checked} checked, nothing was started.",
            fg="red",
            bold=True,
        )
    else:
        click.secho(f"No problems: {checked} checked, nothing was started.", fg="green")


def _say_missing(found: Settings) -> None:
    """What plugins lack; that is no mistake in the configuration."""
    for spec in found.plugins:
        if spec.missing:
            click.echo(plain(f"{lack(spec)}."))
            if spec.missing != spec.refused:  # what is refused is among the problems, with its remedy
                click.secho(f"  fix: broker grant {spec.name}", fg="green")


def _manifest(path: Path) -> Settings:
    try:
        manifest = examine(path)
    except Faulty as faulty:
        return Settings(problems=[faulty.problem])
    folder = path.parent
    entry = None if manifest.entry is None else str(folder / manifest.entry)
    spec = Spec(name=manifest.name, source=str(path), command=manifest.command or (), entry=entry, cwd=str(folder))
    return Settings(plugins=[spec])


def cannot_start(specs: Iterable[Spec]) -> Iterator[Problem]:
    """Those whose program or folder is not there."""
    for spec in specs:
        try:
            if spec.enabled:
                argv(spec, environ=os.environ)
        except PluginUnavailable as error:
            yield Problem(_place(spec), f"{error}.", error.hint)


def cannot_be_held(specs: Iterable[Spec]) -> Iterator[Problem]:
    """Those whose permissions nothing on this machine enforces, or whose program cannot be run confined."""
    confined = [
        spec
        for spec in specs
        if spec.enabled and spec.permissions is not None and not spec.unconfined and not in_broker(spec)
    ]
    if not confined:
        return
    import asyncio

    from broker.confine import backends
    from broker.runtimes.confined import confinement

    found = asyncio.run(backends.examine())
    for spec in confined:
        try:
            words = argv(spec, environ=os.environ)
        except PluginUnavailable:  # that was said already
            continue
        try:
            _, wall, _ = confinement(spec, words, os.environ, None)
            backends.check(wall, found)
        except (PluginUnavailable, NotEnforced, OSError) as error:
            yield Problem(_place(spec), f"{error}.", getattr(error, "hint", ""), spec.name)


def disabling(spec: Spec, workspace: Path) -> str:
    """The line that disables a plugin: of its own entry, or of the workspace's file."""
    for path in (Path(spec.source), workspace / ".broker.toml"):
        try:
            file = read_toml(path)
        except Faulty:
            continue
        for kind in ("plugins", "servers"):
            entry = table((table(file.data.get(kind)) or {}).get(spec.name)) or {}
            if entry.get("enabled") is False or entry.get("disabled") is True:
                return file.where([kind, spec.name, "enabled" if "enabled" in entry else "disabled"])
    return _place(spec)


def _place(spec: Spec) -> str:
    """The line that names the plugin, as well as it can be found."""
    path = Path(spec.source)
    try:
        if path.suffix != ".toml":
            return f"{path}:{_json_line(path.read_text('utf-8'), spec.name)}"
        file = read_toml(path)
    except (OSError, ValueError, Faulty):
        return spec.source
    kind = next((kind for kind in ("plugins", "servers") if spec.name in (table(file.data.get(kind)) or {})), None)
    if kind is None:  # a manifest
        return file.where(["entry" if spec.entry else "command"])
    return file.where([kind, spec.name, "command" if kind == "servers" else "path"])


def _json_line(text: str, name: str) -> int:
    """Where an object of this name begins; in a name, which is a slug, a dash may stand for anything."""
    pattern = re.escape(name).replace(r"\-", r"[^\"]+")
    found = re.search(rf'"[^\w"]*{pattern}[^\w"]*"\s*:\s*\{{', text, re.IGNORECASE)
    return text.count("\n", 0, found.start()) + 1 if found else 1
