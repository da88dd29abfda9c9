"""Takes up a changed configuration while the broker runs, and never drops anything because of a slip of the pen.

Rule 1: one reload at a time; whatever changes meanwhile causes one more after it.
Rule 2: an entry that was fine and now is wrong stays as it was, until it is right or gone.
Rule 3: a file that was fine and now cannot be used, or is not there, leaves the whole configuration as it was.
Rule 4: each problem is said once.
Rule 5: a plugin that may write around a configuration file is started anew when one changed: what kept it from the
        file went away with it, if the file was replaced (see `confine.kept`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from broker.core.watched import watched
from broker.core.watching import Watching
from broker.errors import BrokerError
from broker.model import Settings, Spec

log = logging.getLogger("broker.reloading")

AGAIN = 5.0  # seconds until what the system had no room for is tried again
FIXED = ("max_frame", "policy")  # settings a running broker keeps


class Reloading:
    """Watches the configuration and the plugins' files, and has changes applied.

    `found` was read from `files`; `read` reads them again (it is called in a thread). `apply` is given the plugins
    there are from now on, and the names of those whose own files changed; `expose` what tools are to be shown like.
    """

    def __init__(
        self,
        found: Settings,
        files: Sequence[Path],
        read: Callable[[], Settings],
        apply: Callable[[Sequence[Spec], set[str]], Awaitable[None]],
        expose: Callable[[Settings], object],
    ) -> None:
        self._found, self._files, self._read, self._apply = found, files, read, apply
        self._expose = expose
        self._watching = Watching(self.changed)
        self._said = set(found.problems)
        self._reason = ""  # why the configuration stays as it was
        self._due = asyncio.Event()
        self._plugins: set[str] = set()

    async def run(self) -> None:
        """Do it until cancelled. What changed since `found` was read is taken up first."""
        self._watching.start(watched(self._files, self._found))
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                plugins, self._plugins = self._plugins, set()
                await self._reload(plugins)
        finally:
            await self._watching.stop()

    def changed(self, config: bool, plugins: set[str]) -> None:
        """A configuration file, or the own files of these plugins, have new content: reload soon."""
        self._plugins |= plugins | (around(self._found, self._files) if config else set())
        self._due.set()

    async def _reload(self, plugins: set[str]) -> None:
        try:
            self._take(await asyncio.to_thread(self._read))
        except BrokerError as error:
            self._say_unusable(f"{error}. {error.hint}")
        except (OSError, RuntimeError) as error:  # no descriptor or no thread is free
            self._say_unusable(f"it cannot be read now: {error}")
            asyncio.get_running_loop().call_later(AGAIN, self.changed, True, plugins)
            return
        try:
            await self._watching.retarget(watched(self._files, self._found))  # before plugins start from these files
            await self._apply(self._found.plugins, plugins)
        except Exception:
            log.exception("the configuration could not be reloaded")

    def _take(self, new: Settings) -> None:
        said, self._said = self._said, set(new.problems)
        for problem in new.problems:
            if problem not in said:
                log.warning("%s: %s %s", problem.where, problem.what, problem.fix)
        self._say_unusable(reason := unusable(self._found, new))
        if reason:
            return
        for name in FIXED:
            if getattr(new, name) != getattr(self._found, name):
                log.warning("the new `%s` holds from the next start of broker", name)
        old, self._found = self._found, kept(self._found, new)
        if (old.surface, old.clients) != (new.surface, new.clients):
            self._expose(self._found)

    def _say_unusable(self, reason: str) -> None:
        if reason and reason != self._reason:
            log.warning("the configuration stays as it was: %s", reason)
        self._reason = reason


def around(found: Settings, files: Sequence[Path]) -> set[str]:
    """The plugins that may write to a folder with a configuration file in it."""
    paths = [os.path.realpath(path) for path in watched(files, found).config]
    return {
        spec.name
        for spec in found.plugins
        for granted in spec.granted
        if granted.startswith("write:") and any(path.startswith(f"{granted[6:]}/") for path in paths)
    }


def kept(old: Settings, new: Settings) -> Settings:
    """`new`, with those plugins of `old` whose entries are wrong now."""
    wrong = {problem.plugin for problem in new.problems}
    there = {spec.name for spec in new.plugins}
    stay = [spec for spec in old.plugins if spec.name in wrong - there]
    return replace(new, plugins=[*new.plugins, *stay])


def unusable(old: Settings, new: Settings) -> str:
    """Why `new` may lack what nobody took out of it; empty if it does not."""
    known = {problem.what for problem in old.problems}  # without the line, which other edits move
    for problem in new.problems:
        if not problem.plugin and problem.what not in known:
            return f"there is a mistake in {problem.where}"
    gone = {spec.source for spec in old.plugins if not os.path.lexists(spec.source)}
    return f"{min(gone)} is gone; start broker anew if that is meant" if gone else ""
