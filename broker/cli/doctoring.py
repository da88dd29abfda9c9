"""`broker doctor`: everything that can be known of this machine, the configuration, every plugin and what runs now.

Rule 1: every plugin is really started once, all at once as far as a broker would, each within its own `start`.
Rule 2: what is known from before is not looked at: a plugin may have changed since.
Exit codes: 0 all is fine, 1 something fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click
import msgspec
from msgspec import Struct

from broker.app import Folders, guests
from broker.cli.brokers import running
from broker.cli.checking import cannot_start
from broker.cli.learning import learn
from broker.cli.screen import first_line, plain, say_failure, say_problems
from broker.cli.surroundings import (
    Enforcement,
    Leftover,
    Place,
    Program,
    enforcement,
    leftovers,
    places,
    programs,
    versions,
)
from broker.cli.terminal import Terminal
from broker.cli.withheld import count_withheld, withheld_line
from broker.core.listings import Listings
from broker.core.pinning import Pinning
from broker.core.ports import Host, Identity, Instance, Runtime
from broker.core.router import Router
from broker.core.status import Here, State, Status
from broker.model import Listing, Problem, Settings, Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.kinds import Kinds
from broker.runtimes.process import ProcessRuntime
from broker.runtimes.wasm import WasmRuntime
from broker.runtimes.wasm_cache import Statistics

_FAILING = (State.OPEN, State.UNRESPONSIVE)


class Health(Struct, frozen=True, kw_only=True):
    """One plugin, after it was started or could not be."""

    name: str
    state: str  # ok, failed, disabled
    mcp: str = ""  # the version it was opened in
    version: str = ""
    tools: int | None = None
    seconds: float | None = None  # from nothing to being ready
    withheld: str = ""  # what is kept from clients, as a sentence
    error: str | None = None  # the stable name, as in `broker explain`
    message: str | None = None
    hint: str | None = None


class Report(Struct, kw_only=True):
    """All of it; the keys are those of `--json`."""

    fine: bool = True
    versions: dict[str, str]
    folders: list[Place]
    programs: list[Program]
    enforcement: Enforcement
    plugins: list[Health]
    problems: list[Problem]
    brokers: list[Here]
    silent: list[str]  # pids of brokers that do not answer
    leftovers: list[Leftover]
    wasm_cache: Statistics | None = None  # of compiled modules, after every plugin was started once; None: no WASM


class Stopwatch:
    """A runtime that knows how long its last start of each plugin took."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.took: dict[str, float] = {}

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Instance:
        import time

        began = time.monotonic()
        try:
            return await self._runtime.start(spec, identity, known, host)
        finally:
            self.took[spec.name] = round(time.monotonic() - began, 3)

    async def close(self, grace: float) -> None:
        await self._runtime.close(grace)


def show(found: Settings, *, as_json: bool) -> int:
    """Examine everything and print it; the exit code."""
    from broker.app import run

    kept = Folders.of(os.environ)
    processes, cores = ProcessRuntime(kept.logs / "plugins"), list[Router]()
    runtime = Kinds(processes, guests(processes, Redactions(), None, lambda: cores[0]).makers)
    watch = Stopwatch(runtime)
    healths: list[Health] = []

    async def examine(core: Router) -> int:
        cores.append(core)
        await learn(core, Terminal(), core.plugins)
        healths.extend(_health(core, spec, watch.took.get(spec.name)) for spec in found.plugins)
        found.problems += core.catalog.problems()
        return 0

    # Before the plugins are started: what they leave is not a dead broker's, and these two need no time.
    report = _report(found, kept, healths)
    code = run(examine, found, make=lambda found: _router(found, watch, kept))
    report.wasm_cache = _wasm_cache(runtime, found)
    report.fine = _is_fine(report)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _say(report)
    return code or (0 if report.fine else 1)


def _wasm_cache(runtime: Kinds, found: Settings) -> Statistics | None:
    used = (runtime.of(spec) for spec in found.plugins if spec.enabled and (spec.entry or "").endswith(".wasm"))
    return next((each.statistics for each in used if isinstance(each, WasmRuntime)), None)


def _router(found: Settings, runtime: Runtime, kept: Folders) -> Router:
    return Router(found.plugins, runtime, Listings(None), pinning=Pinning(kept.state / "pins", found.policy))


def _report(found: Settings, kept: Folders, healths: list[Health]) -> Report:
    found.problems += cannot_start(found.plugins)
    with running(os.environ) as brokers:
        return Report(
            versions=versions(),
            folders=places(kept.cache, kept.logs, kept.state, os.environ),
            programs=programs(found.plugins, os.environ),
            enforcement=enforcement(),
            plugins=healths,
            problems=found.problems,
            brokers=[broker.here for broker in brokers if broker.here is not None],
            silent=[broker.pid for broker in brokers if broker.here is None],
            leftovers=leftovers(found.plugins, os.environ),
        )


def _health(core: Router, spec: Spec, seconds: float | None) -> Health:
    plugin = core.plugins.get(spec.name)
    if plugin is None:
        return Health(name=spec.name, state="disabled")
    failure, listing = plugin.failure, plugin.listing
    if failure is not None or listing is None:
        message = str(failure) if failure is not None else f"{spec.name} did not say what it offers"
        name, hint = (failure.name, failure.hint) if failure is not None else (None, None)
        return Health(name=spec.name, state="failed", seconds=seconds, error=name, message=message, hint=hint)
    info = msgspec.json.decode(listing.info, type=dict[str, Any])
    return Health(
        name=spec.name,
        state="ok",
        mcp=", ".join(sorted(version for version in listing.versions.values() if version)),
        version=str(info.get("version") or spec.version),
        tools=len(listing.tools),
        seconds=seconds,
        withheld=withheld_line(spec.name, count_withheld(core, spec.name)),
    )


def _is_fine(report: Report) -> bool:
    bad = [place for place in report.folders if place.trouble]
    bad += [program for program in report.programs if program.missing_for]
    bad += [health for health in report.plugins if health.state == "failed"]
    bad += [status for here in report.brokers for status in here.plugins if status.state in _FAILING]
    return not (bad or report.problems or report.silent or report.leftovers)


def _say(report: Report) -> None:
    for what, version in report.versions.items():
        click.echo(f"{what:9} {plain(version)}")
    _heading("folders")
    for place in report.folders:
        _line(place.trouble is None, f"{place.what:9} {place.path}", place.trouble or "can be written")
    _heading("programs")
    for program in report.programs:
        _say_program(program)
    _say_enforcement(report.enforcement)
    _heading("plugins, each started once")
    for health in report.plugins:
        _say_health(health)
    if not report.plugins:
        click.echo("  none is configured")
    if report.wasm_cache is not None:
        _say_wasm_cache(report.wasm_cache)
    _say_running(report)
    _say_leftovers(report.leftovers)
    if report.problems:
        _heading("problems in the configuration")
        say_problems(report.problems)
    verdict, colour = ("All is fine.", "green") if report.fine else ("Not all is fine.", "red")
    click.secho(f"\n{verdict}", fg=colour, bold=True)


def _say_program(program: Program) -> None:
    needed = f"needed by {', '.join(program.needed_by)}" if program.needed_by else ""
    where = f"{program.path} {program.version or ''}".rstrip() if program.path else "not found"
    _line(None if not needed else not program.missing_for, f"{program.name:9} {where}", needed)


def _say_enforcement(found: Enforcement) -> None:
    what = found.backend or "nothing: plugins with permissions are refused"
    _heading(f"what a plugin can be held to, by {what} (found out in {found.seconds * 1000:.0f} ms)")
    verdicts = {"yes": True, "partly": None, "no": False}
    for kind, grade in found.grades.items():
        _line(verdicts[grade.grade], f"{kind:9} {grade.grade:6}", grade.how)
    for name, why in found.failed.items():
        _line(None, f"not here: {name}:", first_line(why))
    if found.root:
        _line(None, "broker runs as root:", "run it as a plain user, so that what escapes a plugin is no root either")
    for advice in found.advice:
        _line(None, "would help:", advice)


def _say_health(health: Health) -> None:
    if health.state == "failed":
        say_failure(health.name, health.message or "", health.hint or "")
    elif health.state == "disabled":
        _line(None, health.name, "disabled")
    else:
        tools = f"{health.tools} tool{'s' * (health.tools != 1)}"
        facts = [first_line(health.version), f"MCP {health.mcp}", tools, f"ready in {health.seconds} s"]
        _line(True, health.name, ", ".join(filter(None, facts)))
        if health.withheld:
            _line(None, "", health.withheld)


def _say_wasm_cache(found: Statistics) -> None:
    _heading("compiled WASM modules")
    said = f"{found.entries} in memory with {found.bytes >> 10} KiB; {found.misses} compiled in"
    _line(None, f"{said} {found.compile_seconds:.1f} s,", f"{found.disk_hits} found on disk, {found.refused} refused")


def _say_running(report: Report) -> None:
    _heading("brokers that run now")
    for here in report.brokers:
        click.echo(f"  {plain(here.client)} (pid {here.pid}, version {here.version}, up {_ago(here.uptime)})")
        for status in here.plugins:
            _line(status.state not in _FAILING, f"  {status.name}: {status.state.value}", _facts(status))
    for pid in report.silent:
        _line(False, f"pid {pid}", "does not answer: it is stopped, or very busy")
    if not (report.brokers or report.silent):
        click.echo("  none")


def _say_leftovers(found: Iterable[Leftover]) -> None:
    for number, leftover in enumerate(found):
        if not number:
            _heading("left behind by programs that are gone, by their command lines")
        _line(False, f"pid {leftover.pid}", f"{leftover.command}; end it with `kill {leftover.pid}`")


def _facts(status: Status) -> str:
    facts = [f"pid {', '.join(map(str, status.pids))}"] if status.pids else []
    if status.uptime is not None:
        facts.append(f"up {_ago(status.uptime)}")
    if status.restarts:
        facts.append(f"restarted {status.restarts} times")
    if status.failure is not None:
        facts.append(first_line(status.failure))
    return ", ".join(facts)


def _heading(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _line(good: bool | None, what: str, more: str) -> None:
    """One line with its verdict; None: no verdict."""
    mark, colour = {True: ("ok", "green"), False: ("!!", "red"), None: ("--", None)}[good]
    click.secho(f"  {mark} ", fg=colour, nl=False)
    click.echo(plain(f"{what}  {more}".rstrip()))


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
