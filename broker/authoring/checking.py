"""`broker test`: one plugin is started as at its users, and everything that can be checked of any plugin is.

Rule 1: whatever the plugin does, there is a report, within `LONGEST` seconds: what hangs, floods or dies is a failed
        check, and the rest goes on where it can.
Rule 2: it is held to what its manifest asks for, which is granted for this run. What it was refused is a failure, with
        the line to add. Nothing it keeps is left when the run is over.
Rule 3: what the broker itself runs (Lua, WASM) has no conversation of its own: those checks are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from msgspec.structs import replace

from broker.app import LAST_GRACE, Folders
from broker.authoring import authortests, conversation, definitions
from broker.authoring.authortests import AuthorTest, Stage
from broker.authoring.client import LEGACY, MODERN, Client
from broker.authoring.house import House
from broker.authoring.rawserver import ANSWER, RawServer
from broker.authoring.refusals import Refusals
from broker.authoring.report import Check, Report, judged, skipped
from broker.authoring.trial import Trial, gate_of, read
from broker.core.plugins import Plugin
from broker.core.router import Router
from broker.core.source import Faulty
from broker.errors import BrokerError
from broker.model import Era, Problem, Settings, Spec
from broker.permissions import DATA
from broker.runtimes.command import in_broker

LONGEST = 180.0  # seconds of a whole run
REGISTERS = 2.0  # seconds in which a plugin that has just started registers its commands

_NOTE = "broker: "  # before what the broker writes into the plugin's log

Tell = Callable[[Check], None]
Served = tuple[Router, Client, Stage]


async def run(trial: Trial, home: Path, tell: Tell, *, longest: float = LONGEST) -> Report:
    """Check a plugin, whose things are kept in the fresh folder `home`; `tell` hears of each check as it is made.

    Raises `ConfigError`, `BadArguments` for a trial that makes no sense.
    """
    began, report = monotonic(), Report(plugin=trial.folder.name, checks=[])
    course = _Course(trial, home, report)
    checks = course.checks()
    try:
        async with asyncio.timeout(longest):
            async for check in checks:
                report.checks.append(check)
                tell(check)
    except TimeoutError:
        late = judged("the whole run", [f"it took longer than {longest:g} s"], "See what it does: `broker dev`.")
        report.checks.append(late)
        tell(late)
    report.seconds = monotonic() - began
    return report


class _Course:
    """One run, from the manifest to the permissions."""

    def __init__(self, trial: Trial, home: Path, report: Report) -> None:
        self._trial, self._home, self._report = trial, home, report
        self._folders = Folders(home / "cache", home / "logs", home / "state")
        self._gate = gate_of(self._folders)
        self._house = House(self._folders, home / "lists")
        self._refusals = Refusals(self._gate, self._house.witnesses)
        self._house.hear = self._refusals.hear

    async def checks(self) -> AsyncIterator[Check]:
        found = await asyncio.to_thread(read, self._trial, self._gate)
        yield _manifest(found.problems, plain=self._trial.manifest is None)
        if not found.plugins:
            return
        spec = found.plugins[0]
        self._report.plugin, self._report.version = spec.name, spec.version
        tests, wrong = self._tests()
        if wrong is not None:
            yield wrong
        if why := await self._house.examine(spec):
            yield skipped("what it is refused", f"nobody can see that here: {why}")
        async with self._served(self._house, spec) as served:
            async for check in self._under_broker(served, spec, tests):
                yield check
            async for check in self._alone(spec, served[0].plugins[spec.name]):
                yield check
        yield self._permissions(spec)

    async def _under_broker(self, served: Served, spec: Spec, tests: list[AuthorTest]) -> AsyncIterator[Check]:
        core, client, stage = served
        plugin = core.plugins[spec.name]
        yield await _starts(plugin, client)
        if plugin.listing is None:
            return
        yield await _modern(plugin, client)
        for check in definitions.checked(plugin.listing, self._trial.folder):
            yield check
        if spec.commands:
            yield await _commands(plugin, core)
        if not tests:
            yield skipped("tests of its author", f"there is no {authortests.FILE}")
        for test in tests:
            if test.grant is None:
                yield await authortests.performed(test, core, client, stage, spec.name)
            else:
                yield await self._narrowed(test)

    async def _narrowed(self, test: AuthorTest) -> Check:
        """A test with fewer permissions, on an instance of its own; what it is refused there is meant."""
        trial = replace(self._trial, only=test.grant)
        found = await asyncio.to_thread(read, trial, self._gate)
        house, spec = House(self._folders, self._home / "narrowed", watch=False), found.plugins[0]
        async with self._served(house, spec) as (core, client, stage):
            learning = core.plugins[spec.name].learn(LEGACY, client)
            if learning is not None:
                await learning
            return await authortests.performed(test, core, client, stage, spec.name)

    @asynccontextmanager
    async def _served(self, house: House, spec: Spec) -> AsyncGenerator[Served]:
        stage = Stage()
        client = Client(stage)
        core = house.router(Settings(plugins=[spec]))
        core.join(client)
        core.client = LEGACY, client
        try:
            yield core, client, stage
        finally:
            await core.stop(LAST_GRACE)

    def _tests(self) -> tuple[list[AuthorTest], Check | None]:
        try:
            return authortests.read(self._trial.folder / authortests.FILE), None
        except Faulty as faulty:
            problem = faulty.problem
            return [], judged("tests of its author", [f"{problem.where}: {problem.what}"], problem.fix)

    async def _alone(self, spec: Spec, plugin: Plugin) -> AsyncIterator[Check]:
        """The checks straight at its process."""
        if in_broker(spec) or plugin.listing is None:
            why = "broker runs it itself and speaks for it" if plugin.listing is not None else "it does not start"
            yield skipped("the conversation on stdio", why)
            return
        within, own = max(ANSWER, spec.limits.start), self._folders.state / DATA / spec.name

        async def start() -> RawServer:
            assert self._house.operate is not None
            return await RawServer.start(spec, own, self._house.witness(spec), self._house.operate)

        for checks in (conversation.manners, conversation.odd):
            async for check in checks(start, within):
                yield check

    def _permissions(self, spec: Spec) -> Check:
        """What it was refused, and what it did not use."""
        if spec.permissions is None:
            return skipped("permissions", "it has no plugin.toml, so nothing confines it")
        refused = self._refusals.all(spec)
        wrong = [f"it was refused {each.permission} ({each.by})" for each in refused]
        lines = "; ".join(dict.fromkeys(each.line for each in refused if each.line))
        fix = f"If it needs that, write under [permissions]: {lines}" if lines else ""
        unused = self._refusals.unused(spec)
        return judged("permissions", wrong, fix, f"not used here: {', '.join(unused)}" if unused else "")


def _manifest(problems: list[Problem], *, plain: bool) -> Check:
    if plain:
        return skipped("plugin.toml", "there is none: it is a plain MCP server")
    fix = next((each.fix for each in problems if each.fix), "")
    return judged("plugin.toml", [f"{each.where}: {each.what}" for each in problems], fix)


async def _starts(plugin: Plugin, client: Client) -> Check:
    """Whether it comes to serving within the time its manifest gives it."""
    began, name = monotonic(), "it starts under broker"
    learning = plugin.learn(LEGACY, client)
    if learning is not None:
        await learning
    if plugin.failure is not None:
        lines = str(plugin.failure).splitlines()
        said = "\n".join(line for line in lines if not line.startswith(_NOTE))
        return judged(name, [said], "`broker dev` shows all it prints, and tries again when it is saved.")
    return Check(name=name, why=f"after {monotonic() - began:.2f} s")


async def _modern(plugin: Plugin, client: Client) -> Check:
    """Whether a client of the modern era is served, too; what the plugin does not speak is translated."""
    name = "clients of both eras are served"
    try:
        await plugin.lane(MODERN).ready(MODERN, client)
    except BrokerError as error:
        return judged(name, [f"a modern client is not: {error}"])
    spoken = {lane.instance.era for lane in plugin.lanes if lane.instance is not None}
    return Check(name=name, why="" if len(spoken) == len(Era) else f"it speaks {min(spoken)}, the rest is translated")


async def _commands(plugin: Plugin, core: Router) -> Check:
    """Whether what the manifest declares has somebody who handles it."""
    end, listing = monotonic() + REGISTERS, plugin.listing
    assert listing is not None
    while True:
        registered = [each.name for each in core.generations.commands.registered(plugin.spec.name)]
        check = definitions.commands(plugin.spec, registered, listing)
        if check.outcome == "ok" or monotonic() > end:
            return check
        await asyncio.sleep(0.02)
