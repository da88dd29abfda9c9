"""`broker list`: every plugin, what is known of it, what it does in brokers that run, and what is wrong.

What is known is not started.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from broker.cli.brokers import running
from broker.cli.learning import learn
from broker.cli.screen import first_line, plain, say_failure, say_problems
from broker.cli.terminal import Terminal
from broker.cli.withheld import count_withheld, withheld_line
from broker.core.router import Router
from broker.core.status import State, Status
from broker.model import Era, Problem, Settings, Spec


class Failure(Struct, frozen=True):
    """Why a plugin could not be started."""

    error: str
    message: str
    hint: str


class Running(Struct, frozen=True, kw_only=True):
    """What a plugin does in one broker that runs."""

    broker: int  # pid
    client: str
    state: State
    pids: tuple[int, ...]  # of the plugin's instances
    uptime: float | None  # seconds
    restarts: int


class Row(Struct, frozen=True, kw_only=True):
    """One plugin in the list; the keys are those of `--json`."""

    name: str
    state: str  # known, started (it was met by this command), failed, disabled
    mcp: dict[Era, str | None]  # the versions it speaks, as far as anyone asked; null: it does not speak the era
    version: str
    tools: int | None  # as clients see them
    hidden: int  # tools that a filter or a clash of names hides
    confined: bool
    granted: Sequence[str] = ()  # of what it asks for, its places filled in
    missing: Sequence[str] = ()
    refused: Sequence[str] = ()  # those of `missing` that nobody can grant
    stale: str = ""  # why an earlier grant does not count
    source: str
    running: Sequence[Running] = ()
    withheld: int = 0  # definitions that are not what was approved
    quarantined: bool = False  # everything of it is withheld
    failure: Failure | None = None


Seen = Mapping[str, Sequence[Running]]  # by the name of the plugin


async def show(core: Router, found: Settings, *, as_json: bool) -> int:
    """Print the list; the exit code."""
    started = await learn(core, Terminal(), core.plugins)
    seen = await asyncio.to_thread(_seen, os.environ)
    rows = [_row(core, spec, started, seen) for spec in found.plugins]
    problems = [*found.problems, *core.catalog.problems()]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"plugins": rows, "problems": problems}), indent=2))
    else:
        _say_rows(rows, problems)
    return 0


def _seen(environ: Mapping[str, str]) -> Seen:
    """The plugins of every broker of this user that runs and answers."""
    found: dict[str, list[Running]] = {}
    with running(environ) as brokers:
        for here in (broker.here for broker in brokers if broker.here is not None):
            for status in here.plugins:
                found.setdefault(status.name, []).append(_running(here.pid, here.client, status))
    return found


def _running(pid: int, client: str, status: Status) -> Running:
    return Running(
        broker=pid,
        client=client,
        state=status.state,
        pids=status.pids,
        uptime=status.uptime,
        restarts=status.restarts,
    )


def _row(core: Router, spec: Spec, started: Sequence[str], seen: Seen) -> Row:
    plugin = core.plugins.get(spec.name)
    listing = plugin.listing if plugin else None
    failure = plugin.failure if plugin else None
    shown = sum(entry.plugin == spec.name for entry in core.catalog.entries("tools"))
    return Row(
        name=spec.name,
        state=_state(plugin is not None, listing is not None, spec.name in started),
        mcp=dict(listing.versions) if listing else {},
        version=_version(spec, listing.info if listing else None),
        tools=shown if listing else None,
        hidden=len(listing.tools) - shown if listing else 0,
        confined=spec.permissions is not None and not spec.unconfined,
        granted=spec.granted,
        missing=spec.missing,
        refused=spec.refused,
        stale=spec.stale,
        source=spec.source,
        running=seen.get(spec.name, ()),
        withheld=count_withheld(core, spec.name) or 0,
        quarantined=bool(core.catalog.withheld(spec.name).reason),
        failure=Failure(failure.name, str(failure), failure.hint) if failure else None,
    )


def _state(enabled: bool, known: bool, started: bool) -> str:
    if not enabled:
        return "disabled"
    if not known:
        return "failed"
    return "started" if started else "known"


def _version(spec: Spec, info: Any) -> str:
    """The server's own word, else its manifest's."""
    try:
        return str(msgspec.json.decode(info, type=dict[str, Any])["version"]) if info else spec.version
    except (msgspec.MsgspecError, KeyError):
        return spec.version


def _say_rows(rows: list[Row], problems: list[Problem]) -> None:
    if rows:
        _say_table(rows)
    else:
        from broker.core.config import default_config_file

        click.echo(
            f"Nothing is configured. Name servers in {default_config_file(os.environ)}, or give --mcp-config FILE."
        )
    for row in rows:
        if wanted := [each for each in row.missing if each not in row.refused]:
            why = f" ({row.stale})" if row.stale else ""
            click.echo(plain(f"\n{row.name} asks for {', '.join(wanted)}, which is not granted{why}."))
            click.secho(f"  fix: broker grant {row.name}", fg="green")
        if said := withheld_line(row.name, None if row.quarantined else row.withheld):
            click.secho(f"\n{said}", fg="yellow")
        if row.failure is not None:
            click.echo()
            say_failure(row.name, row.failure.message, row.failure.hint)
    if problems:
        click.secho(
            f"\n{len(problems)} problem{'s' * (len(problems) > 1)} in the configuration",
            fg="yellow",
            bold=True,
        )
        say_problems(problems)


def _say_table(rows: list[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from broker.cli.screen import console

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    live = any(row.running for row in rows)
    for heading in ("name", "state", *(("now",) if live else ()), "MCP", "version"):
        table.add_column(heading, overflow="fold")
    table.add_column("tools", justify="right")
    table.add_column("confined")
    table.add_column("source", overflow="fold")
    for row in rows:
        style = {"failed": "red", "disabled": "dim", "started": "green"}.get(row.state)
        name, state, *rest = _cells(row)
        table.add_row(name, state, *((_now(row.running),) if live else ()), *rest, style=style)
    console().print(table)


def _cells(row: Row) -> tuple[str, ...]:
    spoken = ", ".join(sorted(version for version in row.mcp.values() if version))
    tools = "" if row.tools is None else str(row.tools)
    if row.hidden:
        tools += f" of {(row.tools or 0) + row.hidden}"
    confined = "yes" if row.confined else "no"
    if row.missing:
        confined += f", lacks {len(row.missing)}"
    return row.name, row.state, spoken, first_line(row.version), tools, confined, _short(row.source)


def _now(seen: Sequence[Running]) -> str:
    """Its state in each broker; whose broker that is, if there are several."""
    if len({each.broker for each in seen}) == 1:
        return ", ".join(each.state.value for each in seen)
    return ", ".join(f"{each.state.value} ({first_line(each.client)})" for each in seen)


def _short(path: str) -> str:
    home = str(Path.home())
    return plain("~" + path[len(home) :] if path.startswith(home + "/") else path)
