"""A plugin of each language from its template to a stranger's broker: made, packed, added and called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from broker.authoring.creating import create
from broker.authoring.packing import pack
from broker.cli.adding import perform
from tests.confine.jailed import native
from tests.e2e.harness import Home, opened
from tests.npm_installed import NODE, installed
from tests.servers import PLUGINS

pytestmark = [native, pytest.mark.timeout(180)]
LANGUAGES = ("python", "typescript", "lua")


def wasm(folder: Path) -> Path:
    """The smallest plugin in WebAssembly, built."""
    shutil.copytree(PLUGINS / "greet-wasm", folder)
    (folder / "plugin.wasm").write_bytes(wat2wasm((folder / "plugin.wat").read_text()))
    return folder


async def test_a_plugin_of_each_kind_is_made_packed_added_and_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)  # interpreters that start on a busy machine
    home = Home.of_toml(tmp_path / "home", "")
    monkeypatch.setenv("BROKER_HOME", home.env["BROKER_HOME"])
    monkeypatch.setenv("PATH", f"{NODE}{os.pathsep}{os.environ['PATH']}")
    for language in LANGUAGES:
        create(f"my-{language}", language, "tool", tmp_path / language)
    installed(tmp_path / "typescript")
    for folder in (*(tmp_path / language for language in LANGUAGES), wasm(tmp_path / "wasm")):
        file = pack(folder, folder.with_suffix(".zip")).file
        shutil.rmtree(folder)
        assert perform(file, home.folder / "config.toml", write=True, as_json=False) == 0
    async with opened(home) as line:
        for language in LANGUAGES:
            assert await line.text(f"my-{language}__greet", {"name": "Ada"}) == "Hello, Ada!"
        assert "Ada" in await line.text("greet-wasm__greet", {"name": "Ada"})
