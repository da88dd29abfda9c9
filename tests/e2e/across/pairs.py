"""Who speaks with whom in the cross-era suite, and what came of it.

Rule 1: each pair has one conversation through a broker and, where the two share an era, one without; whichever test
asks first holds it, and all others read what it wrote, in whatever process of the test run they are.
Rule 2: a broker has met its server before, so it knows what to offer; each conversation starts from the same knowledge.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from mcp import StdioServerParameters

from tests.e2e import harness
from tests.e2e.across import gaps, python_client
from tests.e2e.harness import LATEST_LEGACY, MODERN, Home, Json, opened
from tests.servers import LEGACY

HERE = Path(__file__).parent
BOUND = 120  # seconds for one conversation
PREFIX = "one__"


@dataclass(frozen=True)
class Client:
    sdk: str
    era: str

    def __str__(self) -> str:
        return f"{self.sdk} {self.era}"

    @property
    def version(self) -> str:
        return MODERN if self.era == "modern" else LATEST_LEGACY

    def report(self, command: list[str], env: dict[str, str], prefix: str, skipped: frozenset[str]) -> Json:
        """Its conversation with this server."""
        mode = MODERN if self.era == "modern" else "legacy"
        if self.sdk == "python2":
            server = StdioServerParameters(command=command[0], args=command[1:], env=env, cwd=str(HERE))
            return asyncio.run(python_client.report(server, mode, prefix, skipped))
        script = str(HERE / f"{self.sdk}_client.mjs")
        driver = ["node", script, mode, prefix, json.dumps(sorted(skipped)), *command]
        done = subprocess.run(driver, env=env, cwd=HERE, stdout=subprocess.PIPE, check=True, timeout=BOUND)
        return json.loads(done.stdout)


@dataclass(frozen=True)
class Server:
    sdk: str
    eras: str

    def __str__(self) -> str:
        return f"{self.sdk} {self.eras}"

    @property
    def command(self) -> list[str]:
        if self.sdk.startswith("typescript"):
            return ["node", str(HERE / f"{self.sdk}_server.mjs"), self.eras]
        python = LEGACY / "python" if self.sdk == "python1" else Path(sys.executable)
        return [str(python), str(HERE / f"{self.sdk}_server.py"), self.eras]


CLIENTS = [
    *(Client(sdk, era) for sdk in ("python2", "typescript2") for era in ("legacy", "modern")),
    Client("typescript1", "legacy"),
]
SERVERS = [
    *(Server(sdk, "legacy") for sdk in ("python1", "typescript1")),
    *(Server(sdk, eras) for sdk in ("python2", "typescript2") for eras in ("modern", "dual")),
]


@dataclass(frozen=True)
class Pair:
    client: Client
    server: Server

    def __str__(self) -> str:
        return f"{self.client} client, {self.server} server"

    @property
    def agree(self) -> bool:
        """Whether they can speak without a broker."""
        return self.server.eras in (self.client.era, "dual")

    @property
    def opened(self) -> str:
        """The era the server is spoken to in."""
        return self.client.era if self.server.eras == "dual" else self.server.eras

    @property
    def slug(self) -> str:
        return f"{self.client}-{self.server}".replace(" ", "-")


PAIRS = [Pair(client, server) for client in CLIENTS for server in SERVERS]
FEW = [Pair(CLIENTS[place % len(CLIENTS)], server) for place, server in enumerate(SERVERS)]
"""Each client and each server once: those of the default run."""


def marks(pair: Pair) -> list[pytest.MarkDecorator]:
    """What a test of this pair is marked with."""
    return [] if pair in FEW else [pytest.mark.long]


@dataclass(frozen=True)
class Talks:
    """All conversations of a test run, in a folder that its processes share."""

    folder: Path

    def brokered(self, pair: Pair) -> Json:
        def hold() -> Json:
            known = self.folder / f"known-{pair.server}".replace(" ", "-")
            self._once(known, lambda: asyncio.run(_met(pair.server, known)))
            folder = self.folder / f"home-{pair.slug}"
            shutil.copytree(known, folder)
            home = _home(pair.server, folder)
            frames = self.frames(pair)
            frames.mkdir()
            recorder = [sys.executable, "-S", "-E", str(HERE / "recorder.py"), str(frames)]
            return pair.client.report([*recorder, home.command, *home.args], home.env, PREFIX, gaps.skipped(pair))

        return self._once(self.folder / f"brokered-{pair.slug}", hold)

    def direct(self, pair: Pair) -> Json:
        def hold() -> Json:
            return pair.client.report(pair.server.command, dict(os.environ), "", gaps.skipped(pair))

        return self._once(self.folder / f"direct-{pair.slug}", hold)

    def frames(self, pair: Pair) -> Path:
        """Where what was said through the broker is written down."""
        return self.folder / f"frames-{pair.slug}"

    def _once(self, path: Path, make: Callable[[], Json]) -> Json:
        """What `make` gave, here or in another process."""
        kept = path.with_name(f"{path.name}.json")
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                try:
                    found = make()
                except Exception as error:
                    found = {"broke": f"{error!r} {getattr(error, 'exceptions', '')}"}
                kept.write_text(json.dumps(found))
        found = cast("Json", json.loads(kept.read_text()))
        assert "broke" not in found, found["broke"]
        return found


def _home(server: Server, folder: Path) -> Home:
    command, *args = server.command
    return Home.of(folder, {"one": {"command": command, "args": args}})


async def _met(server: Server, folder: Path) -> Json:
    """Let a broker meet the server, so that it knows all it offers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "BOUND", BOUND)  # an SDK's server is no scripted one, and may be started twice
        async with opened(_home(server, folder)) as line:
            if not await line.names():
                await line.notice("notifications/tools/list_changed")
                assert await line.names(), f"{server} was not met"
    return {}
