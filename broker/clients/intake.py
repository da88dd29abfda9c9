"""What becomes of each server in the files of other clients: new, there already, broker itself, or not for us.

A server that is there already, under whatever name, is not taken twice; a name that is taken gets a number.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from broker.clients.adopt import adopted
from broker.clients.foreign import Foreign, address, entries
from broker.clients.known import Client, Entry, runs_broker
from broker.core.mcpservers import slug
from broker.core.shape import Wrong, table
from broker.model import Problem

Source = tuple[Client | None, Path]  # without a client, a file that somebody named
Action = Literal["add", "same", "broker", "remote", "unusable"]

_LONGEST_NAME = 32


class Row(Struct, kw_only=True):
    """One server of a client and what becomes of it."""

    client: str
    where: str
    label: str
    action: Action
    why: str = ""
    fix: str = ""
    name: str = ""  # in config.toml
    entry: Entry = {}
    notes: Sequence[str] = ()


class Plan(Struct, kw_only=True):
    """What an import would do."""

    file: Path
    rows: list[Row] = field(default_factory=list[Row])
    problems: list[Problem] = field(default_factory=list[Problem])
    read: list[str] = field(default_factory=list[str])  # the clients that were found

    @property
    def added(self) -> list[Row]:
        return [row for row in self.rows if row.action == "add"]


def planned(sources: Sequence[Source], path: Path, data: bytes | None, environ: Mapping[str, str]) -> Plan:
    """What becomes of every server in these files, for the config.toml at `path` that holds `data`."""
    plan = Plan(file=path)
    known = _Known(data)
    for client, file in sources:
        if client is not None and not os.path.lexists(file):
            fix = "Is it installed? Name its file instead, if it is elsewhere."
            plan.problems.append(Problem(str(file), f"there is no such file of {client.title}.", fix))
            continue
        plan.read.append(client.title if client else str(file))
        for found in entries(file, client):
            if isinstance(found, Problem):
                plan.problems.append(found)
            else:
                plan.rows.append(_row(found, known, path.parent, environ))
    return plan


class _Known:
    """What config.toml has, and what is added to it."""

    def __init__(self, data: bytes | None) -> None:
        held = tomllib.loads(data.decode()) if data else {}
        self.entries: dict[str, Entry] = {}
        self.taken = set(table(held.get("plugins")) or {})
        for name, value in (table(held.get("servers")) or {}).items():
            self.add(name, dict(table(value) or {}))

    def add(self, name: str, entry: Entry) -> None:
        self.entries[name] = entry
        self.taken.add(name)

    def same(self, entry: Entry) -> str | None:
        """The server that is this one, whatever it is called."""
        return next((name for name, other in self.entries.items() if _identity(other) == _identity(entry)), None)

    def free(self, name: str) -> str:
        """`name`, or the first `name-2`, `name-3`, … that nobody has."""
        number, free = 1, name
        while free in self.taken:
            number += 1
            free = f"{name[: _LONGEST_NAME - len(str(number)) - 1]}-{number}"
        return free


def _identity(entry: Entry) -> tuple[object, ...]:
    env = table(entry.get("env")) or {}
    return (*_program(entry), sorted((name, str(value)) for name, value in env.items()), entry.get("envFile"))


def _program(entry: Entry) -> tuple[object, ...]:
    return entry.get("command"), entry.get("args") or [], entry.get("cwd")


def _row(found: Foreign, known: _Known, folder: Path, environ: Mapping[str, str]) -> Row:
    row = Row(client=found.client.title, where=found.where, label=found.label, action="add")
    if runs_broker(found.entry):
        row.action, row.why = "broker", "it is broker itself"
    elif where := address(found.entry):
        row.action, row.why = "remote", f"it is not started but called, at {where}"
        row.fix = 'Bridge it: command = "npx", args = ["-y", "mcp-remote", URL].'
    else:
        try:
            made = adopted(found, environ, anchor=folder, workspace=here(folder))
            row.entry, row.notes = made.entry, made.notes
            _name(row, found, known)
        except Wrong as wrong:
            row.action, row.why, row.fix = "unusable", wrong.what, wrong.fix
    return row


def _name(row: Row, found: Foreign, known: _Known) -> None:
    name = slug(found.label)
    other = known.entries.get(name)
    if same := known.same(row.entry):
        row.action, row.name, row.why = "same", same, f"it is there already, as `{same}`"
    elif other is not None and _program(other) == _program(row.entry):
        row.action, row.name = "same", name
        row.why = f"`{name}` is there already and runs the same, with other values in `env`"
    else:
        row.name = known.free(name)
        if row.name != name:
            row.why = f"`{name}` is the name of another one"
        known.add(row.name, row.entry)


def here(folder: Path) -> Path:
    """The folder we were started in, `folder` if it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return folder
