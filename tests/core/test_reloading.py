"""A configuration that is taken up while the broker runs: what changes, what stays, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest

from broker.core.config import load
from broker.core.reloading import Reloading
from broker.errors import ConfigError
from broker.model import Settings, Spec

BOUND = 20.0  # seconds
ONE = '[servers.one]\ncommand = "one"\n'
TWO = '[servers.two]\ncommand = "two"\n'


class Core:
    """Records what is applied; `held` keeps it busy with it."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.workspace = config.parent / "workspace"
        self.workspace.mkdir()
        self.applied: list[tuple[list[str], set[str]]] = []
        self.specs: dict[str, Spec] = {}
        self.exposed: list[Settings] = []
        self.held = asyncio.Event()
        self.held.set()
        self.busy = 0
        self.error: Exception | None = None

    def read(self) -> Settings:
        if self.error is not None:
            raise self.error
        return load(config_file=self.config, workspace=self.workspace, environ={})

    async def apply(self, specs: Sequence[Spec], changed: set[str]) -> None:
        assert self.busy == 0
        self.busy += 1
        self.applied.append(([spec.name for spec in specs], changed))
        self.specs = {spec.name: spec for spec in specs}
        await self.held.wait()
        self.busy -= 1

    async def has_applied(self, count: int) -> None:
        async with asyncio.timeout(BOUND):
            while len(self.applied) < count:
                await asyncio.sleep(0.005)


class Desk:
    """A core, and its reloading."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(ONE)
        self.core = Core(self.config)
        self.reloading = Reloading(self.core.read(), [], self.core.read, self.core.apply, self.core.exposed.append)

    async def names(self, text: str | None = None) -> list[str]:
        """The plugins there are after a reload, of this text if one is given."""
        if text is not None:
            self.config.write_text(text)
        count = len(self.core.applied)
        self.reloading.changed(True, set())
        await self.core.has_applied(count + 1)
        return self.core.applied[-1][0]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    desk = Desk(tmp_path)
    running = asyncio.ensure_future(desk.reloading.run())
    yield desk
    running.cancel()
    await asyncio.wait([running], timeout=BOUND)
    assert running.cancelled()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


class TestWhen:
    async def test_changes_during_a_reload_cause_one_more_after_it(self, desk: Desk) -> None:
        desk.core.held.clear()
        desk.reloading.changed(False, {"a"})
        await desk.core.has_applied(1)
        for name in ("b", "c", "d"):
            desk.reloading.changed(False, {name})
        desk.core.held.set()
        await desk.core.has_applied(2)
        assert [changed for _, changed in desk.core.applied] == [{"a"}, {"b", "c", "d"}]
        await desk.names()
        assert len(desk.core.applied) == 3

    async def test_who_may_write_around_a_changed_configuration_is_started_anew(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        specs = {
            name: Spec(name=name, source=str(desk.config), granted=(f"write:{folder}",))
            for name, folder in (("around", tmp_path), ("beside", tmp_path / "workspace"))
        }
        desk.reloading._found = Settings(plugins=list(specs.values()))
        desk.reloading._files = [desk.config]
        await desk.names()
        assert desk.core.applied[-1][1] == {"around"}

    async def test_an_apply_that_fails_does_not_end_reloading(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail(specs: Sequence[Spec], changed: set[str]) -> None:
            desk.reloading._apply = desk.core.apply
            raise RuntimeError("a bug")

        desk.reloading._apply = fail
        desk.reloading.changed(True, set())
        await _until(lambda: "could not be reloaded" in caplog.text)
        assert await desk.names(ONE + TWO) == ["one", "two"]


class TestWhat:
    async def test_an_entry_that_is_added_or_taken_out_is_taken_up(self, desk: Desk) -> None:
        assert await desk.names(ONE + TWO) == ["one", "two"]
        assert await desk.names(TWO) == ["two"]
        assert await desk.names("") == []

    async def test_a_file_that_is_no_toml_any_more_leaves_everything_as_it_was(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await desk.names(ONE + "[servers.tw") == ["one"]
        assert await desk.names(ONE + "[servers.two") == ["one"]
        assert await desk.names() == ["one"]
        assert sum("stays as it was" in line for line in said(caplog)) == 1
        assert any("this is not TOML" in line for line in said(caplog))
        assert await desk.names(ONE + TWO) == ["one", "two"]

    async def test_an_entry_with_a_mistake_goes_on_as_it_was_and_the_others_change(self, desk: Desk) -> None:
        await desk.names(ONE + TWO)
        wrong = ONE.replace("command", "comand")
        for _ in range(2):
            assert await desk.names(wrong + TWO.replace('"two"', '"other"')) == ["two", "one"]
            assert desk.core.specs["one"].command == ("one",)
            assert desk.core.specs["two"].command == ("other",)
        assert await desk.names(TWO) == ["two"]

    async def test_a_header_with_a_mistake_leaves_everything_as_it_was(self, desk: Desk) -> None:
        assert await desk.names(ONE.replace("servers", "server")) == ["one"]

    async def test_a_mistake_that_was_there_from_the_start_keeps_nothing_back(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("unknown = 1\n")
        core = Core(tmp_path / "config.toml")
        reloading = Reloading(core.read(), [], core.read, core.apply, core.exposed.append)
        core.config.write_text("\n\nunknown = 1\n" + ONE)
        await reloading._reload(set())
        assert core.applied == [(["one"], set())]

    async def test_a_file_that_is_gone_leaves_everything_as_it_was(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.config.unlink()
        assert await desk.names() == ["one"]
        assert await desk.names() == ["one"]
        assert [line for line in said(caplog) if "stays as it was" in line]
        assert await desk.names(TWO) == ["two"]

    async def test_a_mistake_in_the_file_of_a_workspace_widens_nothing(self, desk: Desk) -> None:
        overlay = desk.core.workspace / ".broker.toml"
        overlay.write_text('[servers.one]\ntools = ["read_*"]')
        await desk.names()
        assert desk.core.specs["one"].tools == (("read_*",),)
        for text in ("[servers.one", '[servers.one]\ntools = "read_*"'):
            overlay.write_text(text)
            await desk.names()
            assert desk.core.specs["one"].tools == (("read_*",),)
        overlay.unlink()
        await desk.names()
        assert desk.core.specs["one"].tools == ()

    async def test_code_is_taken_up_while_the_configuration_cannot_be_used(self, desk: Desk) -> None:
        desk.config.write_text("[servers.tw")
        desk.reloading.changed(True, {"one"})
        await desk.core.has_applied(1)
        assert desk.core.applied == [(["one"], {"one"})]

    async def test_an_option_of_the_command_line_that_does_not_fit_any_more_is_no_end(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.core.error = ConfigError("--passthrough two: no such server")
        assert await desk.names() == ["one"]
        assert "no such server" in caplog.text
        desk.core.error = None
        assert await desk.names(ONE + TWO) == ["one", "two"]

    async def test_a_problem_is_said_once(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            await desk.names(ONE + "[servers.two]\n")
        assert sum("there is no `command`" in line for line in said(caplog)) == 1

    async def test_what_needs_another_session_is_said(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        await desk.names('max_frame = "1MiB"\n' + ONE)
        assert "`max_frame` holds from the next start" in caplog.text
        await desk.names()
        assert caplog.text.count("max_frame") == 1

    async def test_another_way_to_show_tools_is_taken_up_once(self, desk: Desk) -> None:
        await desk.names()
        assert desk.core.exposed == []
        for _ in range(2):
            await desk.names('expose = "search"\n[clients.x]\nalways = ["*"]\n' + ONE)
        (found,) = desk.core.exposed
        assert found.surface.expose == "search" and found.clients["x"].always == ("*",)
        await desk.names(ONE + "[servers.tw")
        assert len(desk.core.exposed) == 1, "a file that cannot be used leaves this as it was, too"

    async def test_settings_that_are_the_same_are_applied_as_the_same(self, desk: Desk) -> None:
        before = desk.core.read().plugins
        await desk.names()
        assert list(desk.core.specs.values()) == before


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.005)
