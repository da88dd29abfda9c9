"""`broker learn`: a plugin is run with what it was granted and nothing more, and what it was refused is proposed.

Rule 1: it is confined while it is watched, also if it never was before: it gets no more than it has, and a server
        without a table of permissions has nothing.
Rule 2: nothing is granted here. `--write` writes the proposal into the user's own config.toml, where it counts.
Rule 3: what it does only after it was let do something else shows the next time; that is said.

Exit codes: 0 it was refused nothing, 1 it was refused something or did not run, 2 the command was wrong.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from broker.app import Folders, run
from broker.cli.arguments import arguments
from broker.cli.granted import named
from broker.cli.learning import learn
from broker.cli.proposing import Found, say, write
from broker.cli.screen import first_line, plain
from broker.cli.terminal import Terminal
from broker.confine.tree import Child
from broker.confine.witness import Witness
from broker.core.listings import Listings
from broker.core.router import Router
from broker.core.shape import table
from broker.errors import BrokerError, ConfigError, NotEnforced
from broker.model import Settings, Spec
from broker.permissions import DATA
from broker.permissions.gate import Gate
from broker.permissions.proposal import proposal
from broker.permissions.scopes import Permission, parse
from broker.runtimes.confined import start
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.process import ProcessRuntime

START = 120.0  # seconds at least: each of its calls passes us
_encode = msgspec.json.Encoder().encode


class Wanted(Struct, frozen=True):
    """What the command line asks for."""

    name: str
    calls: tuple[tuple[str, ...], ...]  # tools, each with its `key=value` words
    seconds: float
    write: bool


def perform(wanted: Wanted, settings: Settings, gate: Gate) -> int:
    """Run it, and say what it was refused; the exit code."""
    spec = named(wanted.name, settings)
    if not spec.enabled:
        raise ConfigError(f"{spec.name} is disabled", hint=f"`broker enable {spec.name}` takes it back.")
    limits = replace(spec.limits, start=max(spec.limits.start, START))
    held = replace(
        spec, permissions=spec.permissions or {}, missing=(), refused=(), unconfined=False, strict=False, limits=limits
    )
    witness = Witness()
    click.echo(plain(f"{spec.name}, with {', '.join(spec.granted) or 'nothing granted'}:"))
    with tempfile.TemporaryDirectory(prefix="broker-learn-") as folder:

        def make(found: Settings) -> Router:
            runtime = _Watching(Path(folder), Folders.of(os.environ).state / DATA, witness)
            return Router(found.plugins, runtime, Listings(Path(folder)))

        alone = replace(settings, plugins=[held], problems=[])
        failed = run(lambda core: _drive(core, held, wanted), alone, make=make)
    found = _found(spec, gate, witness)
    say(found, failed=bool(failed))
    if found.proposal.wanted and wanted.write:
        write(found)
    return 1 if failed or found.proposal.wanted else 0


def split(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The calls that are named after `--`, with another one between two."""
    calls: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            calls.append([])
        else:
            calls[-1].append(word)
    return tuple(tuple(call) for call in calls if call)


class _Watching(ProcessRuntime):
    """Starts plugins that are watched."""

    def __init__(self, logs: Path, data: Path, witness: Witness) -> None:
        super().__init__(logs, data=data)
        self._own, self._witness = data, witness

    async def _started(self, spec: Spec, env: dict[str, str], log: PluginLog, channel: int | None) -> Child:
        words = await self._argv(spec)
        if isinstance(words, str):
            raise NotEnforced(f"{spec.name} was not started: nothing can confine a program on Windows yet")
        return await start(spec, words, env, self._own / spec.name, self._witness.refused, self._witness)


async def _drive(core: Router, spec: Spec, wanted: Wanted) -> int:
    """Have it do something; 1 if it did not run."""
    with Terminal(spec.name) as terminal:
        core.join(terminal)
        await learn(core, terminal, [spec.name])
        failure = core.plugins[spec.name].failure
        if failure is not None:
            click.secho(plain(f"  it did not start: {failure}"), fg="red")
            if failure.hint != type(failure).hint:  # the usual one speaks of logs, which are not kept here
                click.secho(plain(f"  fix: {failure.hint}"), fg="green")
            return 1
        click.echo(f"  it started, and has {len(list(core.catalog.entries('tools')))} tools")
        for words in wanted.calls:
            await _call(core, terminal, spec.name, words)
        if wanted.seconds:
            click.echo(f"  it is watched for {wanted.seconds:g} s more")
            await asyncio.sleep(wanted.seconds)
    return 0


async def _call(core: Router, terminal: Terminal, name: str, words: Sequence[str]) -> None:
    """Call one tool, by its own name or as clients see it; that it fails is no failure of ours."""
    tool = words[0] if words[0].startswith(f"{name}__") else f"{name}__{words[0]}"
    entry = core.catalog.tool(tool)
    definition: dict[str, Any] = msgspec.json.decode(entry.raw)
    values = arguments(table(definition.get("inputSchema")) or {}, words[1:], {})
    params = {"name": Raw(_encode(entry.name)), "arguments": Raw(_encode(values))}
    try:
        answer = await core.call(terminal.call("tools/call", params, core.catalog.listing(name)))
        result: dict[str, Any] = msgspec.json.decode(answer)
        said = "it answered with an error" if result.get("isError") else "it answered"
    except BrokerError as error:
        said = first_line(str(error))
    click.echo(plain(f"  {words[0]}: {said}"))


def _found(spec: Spec, gate: Gate, witness: Witness) -> Found:
    def judge(one: Permission) -> str:
        _, refused = gate.asked(replace(spec, permissions={one.kind: (one.target,)}))
        return refused[0].why if refused else ""

    tried = {(each.kind, each.target, each.call): count for each, count in witness.tried.items()}
    granted = [parse(text) for text in spec.granted]
    unused = [str(one) for one in granted if one.kind in ("read", "write") and one.target not in witness.used]
    return Found(
        spec=spec,
        proposal=proposal(tried, granted, judge, path=os.environ.get("PATH"), starts=witness.starts),
        asked=gate.asked(spec)[0],
        own=gate.is_own(spec),
        unused=tuple(unused),
    )
