"""`broker tools`: what clients can call, as they see it. What is known is not started."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import click
import msgspec

from broker.cli.arguments import Schema, array, types
from broker.cli.learning import chosen, learn
from broker.cli.screen import first_line, plain, say_failure, say_problems
from broker.cli.terminal import Terminal
from broker.core.catalog import Entry
from broker.core.router import Router
from broker.core.shape import table
from broker.model import Settings


async def show(core: Router, found: Settings, names: Sequence[str], *, as_json: bool) -> int:
    """Print the tools that `names` mean; the exit code."""
    wanted = chosen(core, names)
    await learn(core, Terminal(), wanted)
    entries = _matching(core, names, wanted)
    if as_json:
        click.echo(b"[" + b",".join(bytes(entry.raw) for entry in entries) + b"]")
    else:
        say_tools(entries, names)
    _say_failures(core, wanted)
    say_problems([*found.problems, *core.catalog.problems()], stderr=True)
    return 0


def _matching(core: Router, names: Sequence[str], plugins: Iterable[str]) -> list[Entry]:
    """The tools that `names` mean. Raises `NotFound` for a name that means nothing."""
    entries = list(core.catalog.entries("tools"))
    for name in names:
        if name not in core.plugins and not any(fnmatchcase(entry.name, name) for entry in entries):
            failed = next((core.plugins[each].failure for each in plugins if name.startswith(f"{each}__")), None)
            if failed is not None:
                raise failed
            core.catalog.tool(name)  # raises, with the nearest name
    return [entry for entry in entries if not names or any(_means(name, entry) for name in names)]


def _means(name: str, entry: Entry) -> bool:
    return name == entry.plugin or fnmatchcase(entry.name, name)


def say_tools(entries: list[Entry], names: Sequence[str]) -> None:
    """Print these tools, a line each; one that is named exactly with all its arguments."""
    width = max((len(entry.name) for entry in entries), default=0)
    plugin = ""
    for entry in entries:
        definition = msgspec.json.decode(entry.raw, type=dict[str, Any])
        if entry.name in names:
            _say_whole(entry.name, definition)
            continue
        if entry.plugin != plugin:
            click.secho(("\n" if plugin else "") + entry.plugin, bold=True)
            plugin = entry.plugin
        click.echo(_fitted(f"  {entry.name:{width}}  {_hint(definition):11}  {_about(definition)}".rstrip()))


def _say_whole(name: str, definition: dict[str, Any]) -> None:
    click.secho(name, bold=True, nl=False)
    click.echo(f"  {_hint(definition)}".rstrip())
    click.echo(f"  {plain(str(definition.get('description', ''))).strip()}".replace("\n", "\n  "))
    schema = table(definition.get("inputSchema")) or {}
    for key, value in (table(schema.get("properties")) or {}).items():
        click.echo(_argument(key, value, schema))
    click.echo()


def _argument(key: str, value: object, schema: Schema) -> str:
    kinds = " or ".join(sorted(types(value, schema))) or "anything"
    needed = "" if key in array(schema.get("required")) else ", optional"
    about = first_line(str((table(value) or {}).get("description", "")))
    return f"    {plain(key)}={kinds}{needed}" + (f"  {about}" if about else "")


def _hint(definition: dict[str, Any]) -> str:
    """What the tool says of itself; nobody has verified it."""
    hints = table(definition.get("annotations")) or {}
    if hints.get("readOnlyHint") is True:
        return "read-only"
    return "destructive" if hints.get("destructiveHint") is True else ""


def _about(definition: dict[str, Any]) -> str:
    return first_line(str(definition.get("description") or definition.get("title") or ""))


def _fitted(line: str) -> str:
    width = shutil.get_terminal_size().columns
    return line if len(line) <= width or not sys.stdout.isatty() else line[: width - 1] + "…"


def _say_failures(core: Router, names: Iterable[str]) -> None:
    for name in names:
        failure = core.plugins[name].failure
        if failure is not None:
            say_failure(name, str(failure), failure.hint, stderr=True)
