"""`broker export`: `broker mcp` written into the files of other clients, and taken out of them again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import click
from msgspec import Struct

from broker.cli.screen import plain, say_problems
from broker.clients import jsontext, tomltext
from broker.clients.foreign import json_object
from broker.clients.known import BY_KEY, NAME, PROGRAMS, Client, runs_broker, words
from broker.clients.rewrite import Original, original, replace
from broker.core.mcpservers import MAX_JSON
from broker.core.shape import table
from broker.core.source import Faulty, Toml
from broker.errors import ConfigError
from broker.model import Problem

_BOM = b"\xef\xbb\xbf"
_FORCE = "--force does it all the same."


class Wanted(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    clients: Sequence[str]
    command: str
    undo: bool = False
    force: bool = False
    dry: bool = False


class _Edit(Struct, frozen=True):
    """What becomes of one file: its new text (None: it goes), or None where nothing changes."""

    said: str
    data: bytes | None = None
    changes: bool = True


def perform(wanted: Wanted) -> int:
    """Register or unregister broker with each client; the exit code. Raises click.UsageError for an unknown one."""
    failed = False
    if unknown := [key for key in wanted.clients if key not in BY_KEY]:
        raise click.UsageError(f"{unknown[0]} is no client; they are {', '.join(BY_KEY)}.")
    for key in dict.fromkeys(wanted.clients):
        client = BY_KEY[key]
        try:
            _one(client, client.file(os.environ), wanted)
        except Faulty as faulty:
            failed = True
            say_problems([faulty.problem], stderr=True)
        except ConfigError as error:
            failed = True
            say_problems([Problem(client.title, f"{error}.", error.hint)], stderr=True)
    return 1 if failed else 0


def own_command(argv0: str = sys.argv[0], *, search: str | None = None) -> str:
    """How a client starts this broker: by its name if that is on the PATH, else by the path of its script.

    Raises ConfigError if it runs from no script.
    """
    if shutil.which(NAME, path=search):
        return NAME
    folders = [Path(argv0).absolute().parent] if Path(argv0).stem in PROGRAMS else []
    for folder in (*folders, Path(sys.executable).absolute().parent):
        for program in PROGRAMS:
            if found := shutil.which(program, path=str(folder)):
                return found
    raise ConfigError("broker is not on the PATH", hint="Say what starts it with --command PATH.")


def _one(client: Client, path: Path, wanted: Wanted) -> None:
    old = original(path, MAX_JSON)
    edit = (_undone if wanted.undo else _done)(client, old, wanted)
    backup = None
    if edit.changes and not wanted.dry:
        backup = replace(old, edit.data, now=datetime.now().astimezone())
    click.secho(client.title, bold=True, nl=False)
    click.echo(f"  {plain(edit.said)}")
    if edit.changes and wanted.dry:
        click.echo("  Nothing was written (--dry-run).")
    if backup is not None:
        click.echo(f"  What the file was is in {backup}.")


def _done(client: Client, old: Original, wanted: Wanted) -> _Edit:
    entry = client.shape(wanted.command)
    held = _entry(client, old)
    if held is None:
        return _Edit(
            f"`{NAME}` is registered in {old.path}.", _checked(client, old, _put(client, old.data, entry), entry)
        )
    if words(held) == words(entry) and not _off(held):
        return _Edit(f"`{NAME}` is registered already in {old.path}; nothing was changed.", changes=False)
    if not wanted.force:
        what = f"{old.path} has another entry `{NAME}`, {_described(held)}; nothing was changed"
        raise ConfigError(what, hint=_FORCE)
    return _Edit(f"`{NAME}` is replaced in {old.path}.", _checked(client, old, _swap(client, old.data, entry), entry))


def _undone(client: Client, old: Original, wanted: Wanted) -> _Edit:
    held = _entry(client, old)
    if held is None:
        return _Edit(f"`{NAME}` is not registered in {old.path}; nothing was changed.", changes=False)
    if not runs_broker(held) and not wanted.force:
        what = f"the entry `{NAME}` in {old.path} is not of this broker, {_described(held)}; nothing was changed"
        raise ConfigError(what, hint=_FORCE)
    rest = _checked(client, old, _take(client, old.data), None)
    gone = " The file was made for it, and is removed." if rest is None else ""
    return _Edit(f"`{NAME}` is taken out of {old.path}.{gone}", rest)


def _described(entry: Mapping[str, object]) -> str:
    line = words(entry)
    runs = f"which runs {Path(line[0]).name}" if line and line[0] else "which is no command"
    return f"{runs}, switched off" if _off(entry) else runs


def _off(entry: Mapping[str, object]) -> bool:
    return entry.get("disabled") is True or entry.get("enabled") is False


# the texts


def _entry(client: Client, old: Original) -> Mapping[str, object] | None:
    """The entry that is there. Faulty if the file cannot be edited."""
    held = _section(client, old.path, old.data or b"")
    if NAME not in held:
        return None
    return table(held[NAME]) or {}


def _section(client: Client, path: Path, data: bytes) -> Mapping[str, object]:
    if client.format == "toml":
        held = table(_toml(path, data).get(client.section, {}))
    else:
        held = table(json.loads(json_object(path, data).get(client.section, b"{}")))
    if held is None:
        line = _line_of(client, data)
        raise Faulty(
            Problem(f"{path}:{line}", f"`{client.section}` must hold a table of servers.", "Correct it there.")
        )
    return held


def _line_of(client: Client, data: bytes) -> int:
    if client.format == "toml":
        return 1
    at = next((span.start for span in jsontext.spans(data) if span.key == client.section), 0)
    return data.count(b"\n", 0, at) + 1


def _toml(path: Path, data: bytes) -> dict[str, object]:
    try:
        return Toml(path, data.removeprefix(_BOM).decode()).data
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Faulty(Problem(f"{path}:{line}", "it is not UTF-8 text.", "Save it as UTF-8.")) from None


def _put(client: Client, data: bytes | None, entry: Mapping[str, object]) -> bytes:
    if client.format == "json":
        return jsontext.put(data, client.section, NAME, entry)
    mark, text = _text(data)
    return mark + tomltext.put(text, client.section, NAME, entry).encode()


def _swap(client: Client, data: bytes | None, entry: Mapping[str, object]) -> bytes:
    if client.format == "json":
        return jsontext.swap(data or b"", client.section, NAME, entry)
    mark, text = _text(data)
    return mark + tomltext.swap(text or "", client.section, NAME, entry).encode()


def _take(client: Client, data: bytes | None) -> bytes | None:
    if client.format == "json":
        return jsontext.take(data or b"", client.section, NAME)
    mark, text = _text(data)
    rest = tomltext.take(text or "", client.section, NAME)
    return None if rest is None and not mark else mark + (rest or "").encode()


def _text(data: bytes | None) -> tuple[bytes, str | None]:
    """The byte order mark apart, which TOML does not know."""
    mark = _BOM if data is not None and data.startswith(_BOM) else b""
    return mark, None if data is None else data.removeprefix(mark).decode()


def _checked(client: Client, old: Original, data: bytes | None, entry: Mapping[str, object] | None) -> bytes | None:
    """`data`, if it says what the file said and nothing else but the entry. Raises ConfigError."""
    try:
        before, after = (_meaning(client, old.path, each or b"") for each in (old.data, data))
        kept = before == after and _section(client, old.path, data or b"").get(NAME) == entry
    except (Faulty, ValueError):
        kept = False
    if not kept:
        raise ConfigError(f"{old.path} cannot be edited safely; nothing was changed", hint="Edit it by hand.")
    return data


def _meaning(client: Client, path: Path, data: bytes) -> dict[str, object]:
    """Everything the file says but for broker's entry, and for a section that holds nothing else."""
    if client.format == "toml":
        held: dict[str, object] = dict(_toml(path, data))
        section: dict[str, object] = dict(table(held.pop(client.section, {})) or {})
    else:
        held = dict(json_object(path, data))
        section = dict(json_object(path, cast("bytes", held.pop(client.section, b"{}"))))
    section.pop(NAME, None)
    return {**held, client.section: section}
