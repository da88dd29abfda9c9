"""What the app itself decides, beside putting the rooms together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from broker import app
from broker.core.disabled import switch
from broker.core.router import Router
from broker.model import Spec


class Generations:
    """Remembers what it was to take up."""

    def __init__(self) -> None:
        self.enabled: dict[str, bool] = {}

    async def apply(self, specs: Iterable[Spec], touched: Collection[str]) -> None:
        self.enabled = {spec.name: spec.enabled for spec in specs}


class Core:
    def __init__(self) -> None:
        self.generations = Generations()


async def test_a_plugin_that_was_disabled_while_files_were_read_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    core: Any = Core()
    read = [Spec(name="a", source="t"), Spec(name="b", source="t")]
    switch(tmp_path / "state", "a", off=True)
    await app._applying(cast(Router, core))(read, set())  # pyright: ignore[reportPrivateUsage]
    assert core.generations.enabled == {"a": False, "b": True}


async def test_a_plugin_that_was_enabled_while_files_were_read_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    config = tmp_path / "mcp.json"
    config.write_text('{"mcpServers": {"a": {"command": "true"}, "b": {"command": "true", "disabled": true}}}')
    options, core = app.Options(mcp_configs=[config], strict=True), cast(Any, Core())
    switch(tmp_path / "state", "a", off=True)
    read = app._configured(options).plugins  # pyright: ignore[reportPrivateUsage]
    assert [spec.enabled for spec in app.settings(options).plugins] == [False, False]
    switch(tmp_path / "state", "a", off=False)
    await app._applying(cast(Router, core))(read, set())  # pyright: ignore[reportPrivateUsage]
    assert core.generations.enabled == {"a": True, "b": False}
