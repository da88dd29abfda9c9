"""`broker dev`: one plugin that is taken up anew whenever its files change, and stays as it was while it is broken.

Rule 1: the old instance serves until the new one is ready; what is in work finishes where it began (`Generations`).
Rule 2: a mistake never ends the session. What is wrong is told with its place, and the next save tries again.
Rule 3: one change at a time, and each is believed once its files stand still (`Watching`).
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

from msgspec import Struct

from broker.authoring.client import LEGACY, Client, Stage, decoded
from broker.authoring.house import House
from broker.authoring.refusals import Refusals
from broker.authoring.trial import Trial, read, watched_files
from broker.core.watching import Watching
from broker.errors import BrokerError, ConfigError
from broker.model import KINDS, Listing, Problem, Settings, Spec
from broker.permissions.gate import Gate

STILL = 0.03  # seconds without a change before a save is believed; an editor's several writes take a few milliseconds
# file:line as Python, Node and Lua write it.
_PLACES = (
    re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)'),
    re.compile(r"(?:file://)?(?P<file>/[^\s:()'\"]+):(?P<line>\d+)"),
    re.compile(r"(?<![\w./-])(?P<file>[\w./-]+?)(?:\.lua)?:(?P<line>\d+)"),
)


class Ready(Struct, frozen=True, kw_only=True):
    """An instance serves."""

    spec: Spec
    listing: Listing
    seconds: float  # since a change of its files was seen; of the first one, since the session began
    generation: int  # 0: the first


class Watcher(Stage, Protocol):
    """The stage of a session, which also hears of the plugin's life."""

    def served(self, ready: Ready) -> None: ...
    def failed(self, error: BrokerError, place: str, *, goes_on: bool) -> None: ...
    def wrong(self, problem: Problem) -> None: ...
    def blind(self, why: str) -> None:
        """Nobody can see here what the kernel refuses it."""
        ...


class Session:
    """One plugin under a whole broker of its own. `begin` first, then `follow` beside `open` and all else."""

    def __init__(self, trial: Trial, house: House, gate: Gate, stage: Watcher) -> None:
        self._trial, self._house, self._gate, self._stage = trial, house, gate, stage
        self._found = self._first()
        self.spec: Spec = self._found.plugins[0]
        self.client = Client(stage)
        self.refusals = Refusals(gate, house.witnesses)
        house.hear = self.refusals.hear
        self.core = house.router(self._found)
        self._watching = Watching(self._changed, still=STILL)
        self._due = asyncio.Event()
        self._touched, self._seen = False, 0.0
        self._said: list[Problem] = []

    async def begin(self) -> None:
        """All that comes before its first start."""
        if why := await self._house.examine(self.spec):
            self._stage.blind(why)
        files = watched_files(self._trial, self._found)
        self._watching.start(files)
        await self._watching.retarget(files)  # seen as they are before anything starts: no change after that is lost
        self.core.join(self.client)
        self.core.client = LEGACY, self.client
        self.core.set_level(self.client, "debug")
        self._say(self._found.problems)

    async def open(self) -> None:
        """Start it, and tell how that went, unless a change came meanwhile: then that is told."""
        began, plugin = monotonic(), self.core.plugins[self.spec.name]
        learning = plugin.learn(LEGACY, self.client)
        if learning is not None:
            await learning
        if self.core.plugins[self.spec.name] is plugin:
            self._tell(monotonic() - began, before=-1)

    async def follow(self) -> None:
        """Take up each change, until cancelled."""
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                touched, self._touched = self._touched, False
                with suppress(OSError):  # a file that went while it was read: another change follows
                    await self._take(touched)
        finally:
            await self._watching.stop()

    async def restart(self) -> None:
        """Start it anew, as if a file had changed."""
        self._changed(False, {self.spec.name})

    def _first(self) -> Settings:
        """What there is to begin with. Raises `ConfigError`, `BadArguments`."""
        found = read(self._trial, self._gate)
        if not found.plugins:
            problem = found.problems[0]
            raise ConfigError(f"{problem.where}: {problem.what}", hint=problem.fix or None)
        return found

    def _changed(self, config: bool, plugins: set[str]) -> None:
        self._touched, self._seen = self._touched or bool(plugins), monotonic()
        self._due.set()

    async def _take(self, touched: bool) -> None:
        try:
            found = await asyncio.to_thread(read, self._trial, self._gate)
        except BrokerError as error:
            self._say([Problem(str(self._trial.path), f"{error}.", error.hint)])
            return
        self._say(found.problems)
        if not found.plugins:
            return
        spec = found.plugins[0]
        if spec.name != self.spec.name:
            what = f"the plugin is called {spec.name} now, and was {self.spec.name}."
            self._say([Problem(spec.source, what, "Start `broker dev` anew.")])
            return
        self._found, self.spec = found, spec
        await self._watching.retarget(watched_files(self._trial, found))
        await self._apply(spec, touched)

    async def _apply(self, spec: Spec, touched: bool) -> None:
        generations = self.core.generations
        old = generations.plugins[spec.name]
        old.failure = None
        await generations.apply([spec], {spec.name} if touched else ())
        new = generations.plugins[spec.name]
        learning = new.learn(LEGACY, self.client)
        if learning is not None:
            await learning
        if new is not old or old.failure is not None:
            self._tell(monotonic() - self._seen, before=old.generation)

    def _tell(self, seconds: float, before: int) -> None:
        """How the newest start went; `before` is the generation there was."""
        plugin = self.core.plugins[self.spec.name]
        if plugin.failure is not None or plugin.listing is None:
            error = plugin.failure or BrokerError(f"{self.spec.name} did not start")
            self._stage.failed(error, place(str(error), self._trial), goes_on=plugin.listing is not None)
        elif plugin.generation != before:
            ready = Ready(spec=plugin.spec, listing=plugin.listing, seconds=seconds, generation=plugin.generation)
            self._stage.served(ready)

    def _say(self, problems: list[Problem]) -> None:
        """Each problem once, until it was away."""
        said, self._said = self._said, problems
        for problem in problems:
            if problem not in said:
                self._stage.wrong(problem)


def place(text: str, trial: Trial) -> str:
    """The place in the plugin's own files that `text`, what it printed as it failed, speaks of; empty if of none.

    Of several the last of a Python traceback, which is the innermost, and the first of the others.
    """
    for number, pattern in enumerate(_PLACES):
        found = [
            f"{path}:{each['line']}" for each in pattern.finditer(text) if (path := _own(each["file"], trial.folder))
        ]
        if found:
            return found[-1] if number == 0 else found[0]
    return ""


def _own(name: str, folder: Path) -> str:
    """The file of the plugin's that is meant, a script of Lua also without its suffix; empty if it is none of them."""
    for path in (folder / name, folder / f"{name}.lua"):
        if path.is_file() and _within(str(path), str(folder)):
            return str(path)
    return ""


def _within(path: str, folder: str) -> bool:
    inner = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    return not inner.startswith("..") and "node_modules" not in inner and "site-packages" not in inner


def changes(before: Listing, after: Listing) -> list[str]:
    """What a list has that the other has not, in words: `tool greet is new`."""
    said: list[str] = []
    for kind in KINDS:
        old, new = ({_name(bytes(each)): bytes(each) for each in getattr(one, kind)} for one in (before, after))
        said += [f"{kind[:-1]} {name} is new" for name in new if name not in old]
        said += [f"{kind[:-1]} {name} is gone" for name in old if name not in new]
        said += [f"{kind[:-1]} {name} changed" for name in new if name in old and new[name] != old[name]]
    return said


def _name(raw: bytes) -> str:
    held = decoded(raw)
    return str(held.get("name") or held.get("uri") or held.get("uriTemplate") or "")
