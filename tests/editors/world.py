"""What the tests of all editors share: a home whose plugins do one of each thing, and where the editors are.

`make test-editors` puts the editors into `.editors/`. Where one is missing its tests are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.marked import MARK, all_gone, marked
from tests.servers import ROOT, VENV

EDITORS = ROOT / "editors"  # our clients
INSTALLED = ROOT / ".editors" / "bin"
PLUGINS = Path(__file__).parent / "plugins"
GONE = 5.0  # seconds that everything has to end when its editor did
NOTE = "one\ntwo\nthree TODO\n"


def program(name: str) -> Path:
    """An editor: what `make test-editors` installed, or what this machine has."""
    own, found = INSTALLED / name, shutil.which(name)
    if own.exists():
        return own
    if found is None:
        pytest.skip(f"{name} is not here: `make test-editors` installs it")
    return Path(found)


@dataclass(frozen=True)
class World:
    """A home of a broker, and a workspace. Plugin `demo` was granted all it asks for, its twin `shy` nothing."""

    folder: Path
    mark: str  # what this broker and its plugins have in their environment

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def note(self) -> Path:
        """A file in the workspace."""
        return self.workspace / "note.txt"

    @property
    def command(self) -> list[str]:
        """Starts the broker for an editor."""
        return [str(VENV / "broker"), "lsp", "--config", str(self.config)]

    @property
    def env(self) -> dict[str, str]:
        """The whole environment of the editor, whose own files are in the folder, too."""
        own = {"BROKER_HOME": str(self.folder / "home"), MARK: self.mark, "HOME": str(self.folder)}
        xdg = {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        return {**os.environ, **own, **xdg, "TERM": "xterm-256color"}

    def on_path(self) -> dict[str, str]:
        """`env`, in which the program `broker` is one that uses this home."""
        script = self.folder / "bin" / "broker"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec "{VENV / "broker"}" "$@" --config "{self.config}"\n')
        script.chmod(0o755)
        return {**self.env, "PATH": f"{script.parent}:{self.env['PATH']}"}

    async def ended(self) -> None:
        """An error if anything that an editor started here runs on."""
        await all_gone(self.mark, GONE)

    def brokers(self) -> list[int]:
        """The processes that are `broker lsp` itself."""
        return [pid for pid in marked(self.mark) if b"lsp" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]

    def shell(self, *words: str) -> str:
        """What `broker WORDS` prints."""
        command = [str(VENV / "broker"), words[0], "--config", str(self.config), *words[1:]]
        done = subprocess.run(command, env=self.env, cwd=self.workspace, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        return done.stdout


def furnish(folder: Path) -> World:
    """A world in an empty folder. Takes seconds: a plugin is started once, to learn its lists."""
    world = World(folder, uuid.uuid4().hex)
    (world.workspace / ".git").mkdir(parents=True)
    world.note.write_text(NOTE)
    shutil.copytree(PLUGINS / "demo", folder / "demo")
    shutil.copytree(PLUGINS / "demo", folder / "shy")
    manifest = folder / "shy" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('name = "demo"', 'name = "shy"'))
    world.config.write_text("".join(f'[plugins.{name}]\npath = "{folder / name}"\n' for name in ("demo", "shy")))
    world.shell("grant", "demo", "--yes")
    world.shell("list")
    return world
