"""Says that a configuration file or a plugin's own file has new content, while the broker runs.

Rule 1: an event of the file system only makes us look. What is told comes from comparing contents: an event too
        many costs a look, and one that is lost is made up for by the slow look.
Rule 2: nothing is told before it stands still: editors save by emptying, renaming, deleting and creating.
Rule 3: all of it happens in one thread of its own; the event loop never waits for a disk.
Rule 4: where the system cannot tell of events, the slow look alone goes on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from time import monotonic, sleep

from msgspec import Struct

from broker.core.watched import EMPTY, Contents, Digests, Files, Places, Watched

log = logging.getLogger("broker.watching")

STILL = 0.2  # seconds without a change before a change is believed
GONE = 1.0  # the same when a file has become empty or is not there: some editors write that way
RESTLESS = 5.0  # seconds after which files that never stand still are taken as they are
SLOW = 30.0  # seconds between looks that no event asked for

OnChange = Callable[[bool, set[str]], None]
Batch = AbstractSet[tuple[int, str]]  # what the library says: kind of event, path


class Look(Struct):
    """What was in everything that is watched, at one time. A plugin that could not be read yet is None."""

    config: Digests
    plugins: dict[str, Digests | None]


class Watching:
    """Watches files in a thread, and calls `on_change(config, plugins)` on the event loop.

    `config`: a configuration file changed; `plugins`: the names of those whose own files changed.
    """

    def __init__(self, on_change: OnChange, *, slow: float = SLOW, still: float = STILL) -> None:
        self._on_change, self._slow, self._still = on_change, slow, still
        self._loop = asyncio.get_running_loop()
        self._wanted = Watched()
        self._again = threading.Event()  # the thread shall come back and see what is wanted
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._taken: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        # the thread's own
        self._contents = Contents()
        self._config: tuple[str, ...] = ()
        self._plugins: dict[str, Files] = {}
        self._seen = Look({}, {})
        self._told_slow = False

    def start(self, watched: Watched) -> None:
        """Begin. The first thing told is that the configuration changed: nobody knows what it was when it was read."""
        self._wanted = watched
        thread = threading.Thread(target=self._run, name="watching", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            log.warning("files are not watched: %s", error)
        else:
            self._thread = thread

    async def retarget(self, watched: Watched) -> None:
        """Watch this from now on. What is watched already loses no change; what is new is seen as it is now."""
        self._wanted, self._taken = watched, self._loop.create_future()
        self._again.set()
        if self._thread is not None:
            await asyncio.wait([self._taken, self._over], timeout=2.0, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """End the thread; waits for it, at the most a second."""
        self._stopping = True
        self._again.set()
        if self._thread is not None:
            await asyncio.wait([self._over], timeout=1.0)

    # in the thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._again.clear()
                taken = self._taken
                self._take_over(self._wanted)
                self._on_loop(lambda done=taken: _finish(done))
                self._watch()
        except Exception:
            log.exception("files are not watched any more")
        finally:
            self._on_loop(lambda: _finish(self._over))

    def _take_over(self, wanted: Watched) -> None:
        """A plugin that is new is seen as it is now; what was watched before stays as it was seen."""
        plugins = self._seen.plugins
        for name, files in wanted.plugins.items():
            if self._plugins.get(name) != files:
                plugins[name] = self._contents.of_plugin(files)
        self._config, self._plugins = wanted.config, dict(wanted.plugins)
        self._seen.config = {path: digest for path, digest in self._seen.config.items() if path in self._config}
        self._seen.plugins = {name: plugins[name] for name in self._plugins}

    def _watch(self) -> None:
        """Look when there is reason to, until other folders are to be watched or somebody wants something."""
        places = Places(self._config, self._plugins.values())
        looked = float("-inf")
        for batch in self._batches(places.folders):
            paths = {path for _, path in batch}
            if places.concern(paths) or monotonic() - looked > self._slow:
                self._look(paths)
                looked = monotonic()
                if paths & places.folders or Places(self._config, self._plugins.values()).folders != places.folders:
                    return

    def _batches(self, folders: Collection[str]) -> Iterator[Batch]:
        """Events in batches, and an empty batch every moment without."""
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        still = int(self._still * 1000)
        try:
            from watchfiles import watch  # 10 ms and a megabyte that the start does not pay

            _check_threads()
            yield from watch(
                *sorted(folders),
                watch_filter=None,
                step=still,
                debounce=4 * still,
                rust_timeout=2 * still,
                yield_on_timeout=True,
                stop_event=self._again,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            )
        except FileNotFoundError:
            sleep(self._still)  # a folder went away while it was taken up: then those that are there now
        except (OSError, RuntimeError, ImportError) as error:  # what the system refuses comes as each of them
            self._say_slow(error)
            while not self._again.wait(self._slow):
                yield set()

    def _say_slow(self, error: Exception) -> None:
        if not self._told_slow:
            self._told_slow = True
            log.warning(
                "the system does not tell of changed files (%s): they are looked at every %g s instead. "
                "Raise fs.inotify.max_user_instances, fs.inotify.max_user_watches or `ulimit -n`.",
                error,
                self._slow,
            )

    def _look(self, fresh: Collection[str]) -> None:
        """Tell what differs from what was seen last, once it stands still."""
        now = self._current(fresh)
        if now == self._seen:
            return
        now = self._settled(now, fresh)
        before, self._seen = self._seen, now
        config = now.config != before.config
        plugins = {name for name, found in now.plugins.items() if before.plugins[name] not in (None, found)}
        if config or plugins:
            self._on_loop(lambda: self._stopping or self._on_change(config, plugins))

    def _settled(self, now: Look, fresh: Collection[str]) -> Look:
        began = changed = monotonic()
        while monotonic() - began < RESTLESS and not self._stopping:
            sleep(self._still)
            if (later := self._current(fresh)) != now:
                now, changed = later, monotonic()
            elif monotonic() - changed >= (GONE if self._vanishing(now) else self._still):
                break
        return now

    def _vanishing(self, now: Look) -> bool:
        """Whether a file that had content has none."""
        pairs = [(self._seen.config, now.config)]
        pairs += [(self._seen.plugins[name] or {}, found or {}) for name, found in now.plugins.items()]
        return any(
            digest != EMPTY and found.get(path, EMPTY) == EMPTY
            for seen, found in pairs
            if seen is not found
            for path, digest in seen.items()
        )

    def _current(self, fresh: Collection[str]) -> Look:
        plugins = {name: self._contents.of_plugin(files, fresh) for name, files in self._plugins.items()}
        there = {name: self._seen.plugins[name] if found is None else found for name, found in plugins.items()}
        return Look(self._contents.of(self._config, fresh), there)

    def _on_loop(self, act: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:  # the loop is closed: the broker has ended
            self._stopping = True


def _check_threads() -> None:
    """Raise the `RuntimeError` of a system that gives no more threads.

    The library starts one; when that is refused, it ends the whole process (notify 8.0, `INotifyWatcher::watch`).
    """
    thread = threading.Thread(target=int, daemon=True)
    thread.start()
    thread.join()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
