"""Files that change under a broker that watches them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from broker.core.config import load
from broker.core.watched import Files, Watched, files_of, watched
from broker.core.watching import Watching
from broker.model import Problem, Settings, Spec

BOUND = 20.0  # seconds; what is right is over in one
NOTHING = Watched()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.watching.STILL", 0.1)
    monkeypatch.setattr("broker.core.watching.GONE", 0.6)


class Told:
    """What was told, and a file that is written to see that nothing else was."""

    def __init__(self, folder: Path) -> None:
        self.changes: list[tuple[bool, set[str]]] = []
        self.marker = folder / "marker" / "marker.py"
        self.marker.parent.mkdir()
        self.marker.write_text("0")
        self._count = 0
        self._news = asyncio.Event()

    def __call__(self, config: bool, plugins: set[str]) -> None:
        self.changes.append((config, plugins))
        self._news.set()

    async def one(self) -> tuple[bool, set[str]]:
        """The next change, and only one."""
        async with asyncio.timeout(BOUND):
            while not self.changes:
                self._news.clear()
                await self._news.wait()
        return self.changes.pop(0)

    async def nothing(self) -> None:
        """Whatever happened until now told nothing: a change made after it is told first, and alone."""
        self._count += 1
        self.marker.write_text(str(self._count))
        assert await self.one() == (False, {"marker"})


class Place:
    """A folder with a configuration, a plugin and a plain server, and somebody who watches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = Told(folder)
        self.config = folder / "config" / "config.toml"
        self.plugin = folder / "plugins" / "todos"
        self.script = folder / "servers" / "git.py"
        self.data = folder / "servers" / "notes.db"
        for path, text in (
            (self.config, "[servers.git]"),
            (self.plugin / "plugin.toml", "name = 'todos'"),
            (self.plugin / "plugin.py", "one"),
            (self.plugin / "inner" / "part.py", "one"),
            (self.plugin / "node_modules" / "x" / "index.js", "one"),
            (self.script, "one"),
            (self.data, "one"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.watching = Watching(self.told)

    def watched(self, **plugins: Files) -> Watched:
        known = {
            "todos": Files(str(self.plugin), (str(self.plugin / "plugin.py"),)),
            "git": files_of(Spec(name="git", source="", command=("python", str(self.script), str(self.data)))),
            "marker": Files("", (str(self.told.marker),)),
        }
        return Watched((str(self.config),), {**known, **plugins})


@asynccontextmanager
async def place(folder: Path) -> AsyncGenerator[Place]:
    here = Place(folder)
    here.watching.start(here.watched())
    try:
        assert await here.told.one() == (True, set())  # it began
        yield here
    finally:
        async with asyncio.timeout(BOUND):
            await here.watching.stop()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncGenerator[Place]:
    async with place(tmp_path) as found:
        yield found


class TestConfiguration:
    async def test_a_write_is_told_once(self, here: Place) -> None:
        here.config.write_text("[servers.other]")
        assert await here.told.one() == (True, set())
        await here.told.nothing()

    async def test_a_touch_is_no_change(self, here: Place) -> None:
        os.utime(here.config)
        here.config.write_text(here.config.read_text())
        await here.told.nothing()

    async def test_a_save_by_rename_is_told_once(self, here: Place) -> None:
        for number in range(3):
            draft = here.config.with_name(f".config.toml.{number}.swp")
            draft.write_text(f"[servers.n{number}]")
            draft.replace(here.config)
            assert await here.told.one() == (True, set())
        await here.told.nothing()

    async def test_a_moment_of_emptiness_is_not_told(self, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("broker.core.watching.GONE", 3.0)
        here.config.write_text("")
        await asyncio.sleep(0.8)  # longer than it takes to notice, and to stand still
        here.config.write_text("[servers.git]")
        await here.told.nothing()

    async def test_a_file_that_stays_empty_is_told(self, here: Place) -> None:
        here.config.write_text("")
        assert await here.told.one() == (True, set())

    async def test_a_save_by_deleting_and_creating_is_told_once(
        self, here: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("broker.core.watching.GONE", 3.0)
        here.config.unlink()
        await asyncio.sleep(0.8)  # longer than it takes to notice, and to stand still
        here.config.write_text("[servers.other]")
        assert await here.told.one() == (True, set())
        await here.told.nothing()

    async def test_a_folder_that_was_moved_away_and_back_is_still_watched(self, here: Place) -> None:
        away = here.folder / "away"
        here.config.parent.rename(away)
        assert await here.told.one() == (True, set())
        away.rename(here.config.parent)
        assert await here.told.one() == (True, set())
        here.config.write_text("[servers.other]")
        assert await here.told.one() == (True, set())
        await here.told.nothing()

    async def test_a_file_behind_a_link_is_watched_and_so_is_the_link(self, here: Place) -> None:
        one, other = here.folder / "dotfiles" / "one.toml", here.folder / "elsewhere" / "other.toml"
        for path in (one, other):
            path.parent.mkdir()
            path.write_text(path.name)
        here.config.unlink()
        here.config.symlink_to(one)
        assert await here.told.one() == (True, set())
        one.write_text("new")
        assert await here.told.one() == (True, set())
        here.config.unlink()
        here.config.symlink_to(other)
        assert await here.told.one() == (True, set())
        one.write_text("nobody reads this now")
        await here.told.nothing()
        other.write_text("new")
        assert await here.told.one() == (True, set())

    async def test_a_file_that_is_not_there_yet_is_told_when_it_is(self, here: Place) -> None:
        late = here.folder / "not" / "yet" / "config.toml"
        await here.watching.retarget(Watched((*here.watched().config, str(late)), here.watched().plugins))
        late.parent.mkdir(parents=True)
        late.write_text("[servers.git]")
        assert await here.told.one() == (True, set())
        late.write_text("[servers.other]")
        assert await here.told.one() == (True, set())

    async def test_neighbours_are_none_of_our_business(self, here: Place) -> None:
        for number in range(2000):
            here.config.with_name(f"other{number}.toml").write_text("x")
        await here.told.nothing()


class TestPlugins:
    @pytest.mark.parametrize("part", ["plugin.toml", "plugin.py", "inner/part.py", "inner/new.mjs", "package.json"])
    async def test_its_code_and_manifests_are_what_it_is(self, here: Place, part: str) -> None:
        (here.plugin / part).write_text("two")
        assert await here.told.one() == (False, {"todos"})

    @pytest.mark.parametrize("part", ["state.json", "data/todos.db", "plugin.pyc", "notes.md", ".cache/x.py"])
    async def test_what_it_writes_is_not(self, here: Place, part: str) -> None:
        (here.plugin / part).parent.mkdir(exist_ok=True)
        (here.plugin / part).write_text("two")
        await here.told.nothing()

    async def test_what_others_wrote_for_it_is_not(self, here: Place) -> None:
        (here.plugin / "node_modules" / "x" / "index.js").write_text("two")
        (here.plugin / "node_modules" / "y").mkdir()
        await here.told.nothing()

    async def test_code_in_a_folder_made_later_is_watched(self, here: Place) -> None:
        deep = here.plugin / "a" / "b"
        deep.mkdir(parents=True)
        (deep / "part.py").write_text("one")
        assert await here.told.one() == (False, {"todos"})
        (deep / "part.py").write_text("two")
        assert await here.told.one() == (False, {"todos"})
        await here.told.nothing()

    async def test_a_part_that_is_taken_out_is_told(self, here: Place) -> None:
        (here.plugin / "inner" / "part.py").unlink()
        assert await here.told.one() == (False, {"todos"})

    async def test_a_folder_that_is_gone_is_told_only_if_another_comes_back(self, here: Place) -> None:
        away = here.folder / "away"
        here.plugin.rename(away)
        await here.told.nothing()
        away.rename(here.plugin)
        await here.told.nothing()
        shutil.rmtree(here.plugin)
        await here.told.nothing()
        here.plugin.mkdir()
        (here.plugin / "plugin.toml").write_text("name = 'todos'")
        (here.plugin / "plugin.py").write_text("another")
        assert await here.told.one() == (False, {"todos"})

    async def test_a_server_is_its_script_and_not_its_data(self, here: Place) -> None:
        here.data.write_text("two")
        here.script.with_name("other.py").write_text("two")
        await here.told.nothing()
        here.script.write_text("two")
        assert await here.told.one() == (False, {"git"})

    async def test_two_edits_of_two_plugins_in_one_moment_are_told_together(self, here: Place) -> None:
        here.script.write_text("two")
        (here.plugin / "plugin.py").write_text("two")
        here.config.write_text("two")
        assert await here.told.one() == (True, {"git", "todos"})

    async def test_two_writes_in_one_tick_of_the_clock_of_the_disk_are_not_mixed_up(
        self, here: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stamp(path: str) -> tuple[int, int, int, int] | None:
            return (3, 0, 0, 0) if os.path.isfile(path) else None

        monkeypatch.setattr("broker.core.watched._stamp", stamp)
        for text in ("two", "six", "ten"):
            here.script.write_text(text)
            assert await here.told.one() == (False, {"git"})


class TestTargets:
    async def test_what_is_watched_anew_is_as_it_is_now(self, here: Place) -> None:
        other = here.folder / "other.py"
        other.write_text("one")
        await here.watching.retarget(here.watched(other=Files("", (str(other),))))
        await here.told.nothing()
        other.write_text("two")
        assert await here.told.one() == (False, {"other"})

    async def test_what_is_no_longer_watched_is_not_told(self, here: Place) -> None:
        plugins = {"marker": here.watched().plugins["marker"]}
        await here.watching.retarget(Watched((str(here.config),), plugins))
        here.script.write_text("two")
        await here.told.nothing()

    async def test_a_change_at_the_moment_of_the_exchange_is_not_lost(self, here: Place) -> None:
        for number in range(5):
            here.script.write_text(f"number {number}")
            await here.watching.retarget(here.watched())
            here.script.write_text(f"again {number}")
            assert await here.told.one() == (False, {"git"})


class TestTrouble:
    async def test_without_events_it_looks_from_time_to_time_and_says_so_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> Iterator[Any]:
            raise OSError("OS file watch limit reached.")
            yield

        monkeypatch.setattr(watchfiles, "watch", refuse)
        here = Place(tmp_path)
        here.watching = Watching(here.told, slow=0.1)
        here.watching.start(here.watched())
        try:
            assert await here.told.one() == (True, set())
            for number in range(3):
                here.script.write_text(f"number {number}")
                assert await here.told.one() == (False, {"git"})
                await here.watching.retarget(here.watched())
        finally:
            await here.watching.stop()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1 and "fs.inotify.max_user_watches" in said[0]

    @pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
    async def test_the_real_limit_of_descriptors_is_such_a_case(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        import resource

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        here = Place(tmp_path)
        here.watching = Watching(here.told, slow=0.1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free(), limits[1]))
        try:
            here.watching.start(here.watched())
            await _until(lambda: "does not tell" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        try:
            assert await here.told.one() == (True, set())
        finally:
            await here.watching.stop()

    async def test_without_threads_the_library_is_not_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It would end the whole process."""

        def refuse() -> None:
            raise RuntimeError("can't start new thread")

        def ask(*_: Any, **__: Any) -> Iterator[Any]:
            raise AssertionError("it was asked")
            yield

        monkeypatch.setattr("broker.core.watching._check_threads", refuse)
        monkeypatch.setattr(watchfiles, "watch", ask)
        here = Place(tmp_path)
        here.watching = Watching(here.told, slow=0.1)
        here.watching.start(here.watched())
        try:
            assert await here.told.one() == (True, set())
            here.script.write_text("two")
            assert await here.told.one() == (False, {"git"})
        finally:
            await here.watching.stop()
        assert "can't start new thread" in caplog.text and "not watched any more" not in caplog.text

    async def test_events_of_other_files_make_nobody_look(self, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A database beside the script is written all the time."""
        looks: list[object] = []
        monkeypatch.setattr(here.watching, "_look", looks.append)
        journal = here.script.with_name("notes.db-journal")
        until = time.monotonic() + 1
        while time.monotonic() < until:
            with here.data.open("a") as file:
                file.write("x")
            journal.write_text("x")
            journal.unlink()
            await asyncio.sleep(0)
        assert looks == []
        here.script.write_text("two")
        await _until(lambda: looks != [])

    async def test_files_that_never_stand_still_are_taken_as_they_are(
        self, here: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("broker.core.watching.RESTLESS", 0.5)
        async with asyncio.timeout(BOUND):
            number = 0
            while not here.told.changes:
                here.script.write_text(f"number {(number := number + 1)}")
                await asyncio.sleep(0.02)
        assert here.told.changes[0] == (False, {"git"})

    async def test_it_ends_at_once_and_tells_nothing_more(self, tmp_path: Path) -> None:
        async with place(tmp_path) as here:
            here.script.write_text("two")
        assert here.told.changes == []


class TestWhatBelongs:
    def test_a_server_is_the_code_among_its_words(self, tmp_path: Path) -> None:
        for name in ("server.py", "data.sqlite", "config.json", "index.mjs"):
            (tmp_path / name).write_text("")
        (tmp_path / "folder.py").mkdir()
        words = ("node", "index.mjs", "server.py", "data.sqlite", "config.json", "folder.py", "absent.py")
        spec = Spec(name="one", source="", command=words, cwd=str(tmp_path))
        assert files_of(spec) == Files("", (str(tmp_path / "index.mjs"), str(tmp_path / "server.py")))

    def test_a_file_that_could_not_be_used_is_watched_until_it_can(self, tmp_path: Path) -> None:
        broken = tmp_path / "plugin.toml"
        found = Settings(problems=[Problem(f"{broken}:12", "it is wrong")])
        assert watched([tmp_path / "config.toml"], found).config == (str(tmp_path / "config.toml"), str(broken))

    def test_a_file_of_variables_is_watched_whether_it_is_there_or_not(self, tmp_path: Path) -> None:
        servers = tmp_path / "servers.json"
        (tmp_path / "there.env").write_text("A=1")
        entries = {name: {"command": "x", "envFile": f"{name}.env"} for name in ("there", "absent")}
        servers.write_text(json.dumps({"mcpServers": entries}))
        found = load(mcp_configs=[servers], strict=True, environ={})
        assert [spec.name for spec in found.plugins] == ["there"]
        files = {str(tmp_path / name) for name in ("servers.json", "there.env", "absent.env")}
        assert set(watched([servers], found).config) == files

    def test_a_disabled_plugin_is_not_watched(self) -> None:
        found = Settings(plugins=[Spec(name="one", source="", command=("python",), enabled=False)])
        assert watched([], found) == NOTHING


def _lowest_free() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.01)
