"""`broker import`: the servers of other clients, put into broker's own config.toml.

A plan is made first and shown; only then, and only if its result can be read back, is anything written.
Rule: the values of `env`, and what looks like a secret in a command, are written and never shown.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from broker.cli.screen import plain, say_problems
from broker.clients import tomltext
from broker.clients.adopt import unset
from broker.clients.intake import Plan, Row, Source, here, planned
from broker.clients.known import BY_KEY, CLIENTS, Entry
from broker.clients.rewrite import Original, original, replace
from broker.core.config import default_config_file, load
from broker.core.shape import table
from broker.core.source import MAX_TOML, Faulty
from broker.errors import ConfigError
from broker.model import Problem

_SECRET = r"token|secret|passw|api.?key|\bkey\b|auth|credential|bearer"
_HIDDEN = "…"
_BUNDLES = (".mcpb", ".dxt")


def perform(
    names: Sequence[str], config_file: Path | None, *, write: bool, as_json: bool, given: Sequence[str] = ()
) -> int:
    """Show what would be imported, and write it if that is wanted; the exit code.

    Raises click.UsageError for a name that is neither a client nor a file.
    """
    path = (config_file or default_config_file(os.environ)).absolute()
    if given or any(name.endswith(_BUNDLES) for name in names):
        return _bundle(names, path, given, write=write, as_json=as_json)
    sources = _sources(names)
    try:
        return _perform(sources, path, write=write, as_json=as_json)
    except ConfigError as error:
        say_problems([Problem(str(path), f"{error}.", error.hint)], stderr=True)
        return 1


def _bundle(names: Sequence[str], path: Path, given: Sequence[str], *, write: bool, as_json: bool) -> int:
    from broker.cli import bundling

    if len(names) != 1 or not names[0].endswith(_BUNDLES) or not os.path.isfile(names[0]):
        raise click.UsageError("one bundle is imported at a time: a file that ends in .mcpb or .dxt.")
    return bundling.perform(Path(names[0]), path, bundling.settings(given), write=write, as_json=as_json)


def _perform(sources: Sequence[Source], path: Path, *, write: bool, as_json: bool) -> int:
    old = _opened(path)
    plan = planned(sources, path, old.data, os.environ)
    if not as_json:
        _show(plan)
    backup = None
    wanted = bool(plan.added) and (write or (not as_json and _agreed(path)))
    if wanted:
        text = _imported(old.data, plan.added)
        _check(path, text, plan.added)
        backup = exchanged(old, text)
    if as_json:
        _print_json(plan, written=wanted, backup=backup)
    else:
        _conclude(plan, written=wanted, backup=backup)
    return 1 if plan.problems or any(row.action == "unusable" for row in plan.rows) else 0


def _sources(names: Sequence[str]) -> list[Source]:
    if not names:
        files = [(client, client.file(os.environ)) for client in CLIENTS]
        return [(client, file) for client, file in files if os.path.lexists(file)]
    return [_source(name) for name in dict.fromkeys(names)]


def _source(name: str) -> Source:
    if client := BY_KEY.get(name):
        return client, client.file(os.environ)
    if not os.path.lexists(name):
        raise click.UsageError(f"{name} is neither a client ({', '.join(BY_KEY)}) nor a file.")
    return None, Path(name).absolute()


# writing


def _opened(path: Path) -> Original:
    try:
        old = original(path, MAX_TOML)
        if old.data is not None:
            tomllib.loads(old.data.decode())
    except Faulty as faulty:
        raise _unreadable(faulty.problem.where, faulty.problem.what) from None
    except ValueError as error:
        raise _unreadable(str(path), f"it is not TOML: {error}") from None
    return old


def _unreadable(where: str, what: str) -> ConfigError:
    return ConfigError(f"{where}: {what}; nothing was imported", hint="Run `broker check`, and correct it first.")


def _imported(data: bytes | None, rows: Sequence[Row]) -> str:
    text = data.decode() if data else None
    try:
        for row in rows:
            if text and not text.endswith("\n"):
                text += "\n"
            text = tomltext.put(text, "servers", row.name, row.entry)
    except ValueError as error:
        raise ConfigError(f"nothing was written: {error}") from None
    return text or ""


def _check(path: Path, text: str, rows: Sequence[Row]) -> None:
    """Read the text back as every command would, from a file beside the real one. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".config.", suffix=".toml")
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written: {error.strerror}", hint="Check its rights.") from None
    draft = Path(name)
    try:
        with open(number, "wb") as file:
            file.write(text.encode())
        # A variable without a value here may have one where a client starts broker.
        environ = {**os.environ, **dict.fromkeys(unset(text, os.environ), "set")}
        found = load(config_file=draft, workspace=here(path.parent), environ=environ)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="Check the space on its disk.") from None
    finally:
        draft.unlink(missing_ok=True)
    for problem in found.problems:
        if problem.where.startswith(name):
            where = problem.where.replace(name, str(path))
            raise ConfigError(f"nothing was written, for {where} would be wrong: {problem.what}", hint=problem.fix)
    missing = {row.name for row in rows} - {spec.name for spec in found.plugins}
    if missing:
        raise ConfigError(f"nothing was written: {', '.join(sorted(missing))} could not be read back")


def exchanged(old: Original, text: str) -> Path | None:
    """Put `text` in the place of a file; the path of the copy of the old one. Raises `ConfigError`."""
    return replace(old, text.encode(), now=datetime.now().astimezone())


def _agreed(path: Path) -> bool:
    """A yes of somebody at a terminal, who has seen what it would be."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    click.echo(f"\nWrite this to {path}? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# showing


def _show(plan: Plan) -> None:
    for row in plan.rows:
        click.secho(f"{plain(row.client)}: {plain(row.label)}", bold=True, nl=False)
        click.echo(f"  {_said(row)}")
        for note in row.notes if row.action == "add" else ():
            click.secho(f"  note: {plain(note)}", fg="yellow")
        if row.fix:
            click.secho(f"  fix: {plain(row.fix)}", fg="green")
    say_problems(plan.problems)
    for row in plan.added:
        click.echo("\n" + plain(tomltext.put(None, "servers", row.name, shown(row.entry))).rstrip("\n"))


def _said(row: Row) -> str:
    if row.action == "add":
        return f"new, as `{row.name}`" + (f": {plain(row.why)}" if row.why else "")
    verb = "skipped" if row.action in ("same", "broker") else "left out"
    where = f" ({plain(row.where)})" if row.action == "unusable" else ""
    return f"{verb}: {plain(row.why).removesuffix('.')}{where}."


def shown(entry: Entry) -> Entry:
    """The entry for a screen: without the values of `env` and what looks like a secret."""
    env = dict.fromkeys(table(entry.get("env")) or {}, _HIDDEN)
    hidden = {**entry, "args": list(_hidden(entry.get("args") or []))}
    return {key: env if key == "env" else hidden[key] for key in entry}


def _hidden(args: Any) -> Iterator[str]:
    next_one = False
    for word in args:
        flag, equals, _ = word.partition("=")
        name, colon, _ = word.partition(":")
        secret = re.search(_SECRET, word, re.IGNORECASE)
        if next_one and not word.startswith("-"):
            yield _HIDDEN
        elif secret and (equals or colon):
            yield f"{flag if equals else name}{equals or colon}{_HIDDEN}"
        else:
            yield re.sub(r"(://)[^/@\s]+@", rf"\1{_HIDDEN}@", word)
        next_one = bool(secret) and word.startswith("-") and not equals


def _conclude(plan: Plan, *, written: bool, backup: Path | None) -> None:
    count = len(plan.added)
    servers = f"{count} server{'s' * (count != 1)}"
    if not plan.read:
        click.echo("No client was found. `broker import FILE` reads a file.")
    elif not count:
        click.echo("Nothing new to import.")
    elif written:
        kept = f"; what it was is in {backup.name}" if backup else ""
        click.secho(f"\n{servers} written to {plan.file}{kept}.", fg="green")
        click.echo("Run `broker list` once: it starts each and learns its tools.")
    else:
        click.echo(f"\n{servers} would be written to {plan.file}. Nothing was; `--write` does it.")


def _print_json(plan: Plan, *, written: bool, backup: Path | None) -> None:
    rows = [{**msgspec.structs.asdict(row), "entry": shown(row.entry), "notes": list(row.notes)} for row in plan.rows]
    report = {
        "file": str(plan.file),
        "written": written,
        "backup": str(backup) if backup else None,
        "servers": rows,
        "problems": plan.problems,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
