"""A broker in this process over real plugins that talk with its host, and a client in memory that does what it says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker.core.audit import Audit
from broker.core.commands import METHOD
from broker.core.hostapi import HostApi
from broker.core.listings import Listings
from broker.core.manifest import read_manifest
from broker.core.ports import Call, Identity
from broker.core.router import Router
from broker.model import Command, Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.powers import powers
from broker.runtimes.process import ProcessRuntime
from tests.pretend import PretendFace, raw
from tests.servers import ROOT

DESK = ROOT / "tests" / "plugins" / "desk"
GRANTED = (
    "ui:ask", "ui:command", "ui:config", "ui:diagnostics", "ui:documents", "ui:edit", "ui:show", "ui:status",
    "ui:toast",
)  # fmt: skip
BOUND = 20.0  # seconds


def desk_spec(**more: Any) -> Spec:
    """The plugin `desk`, granted everything; not confined unless `more` says so."""
    made: dict[str, Any] = {
        "name": "desk",
        "source": "test",
        "entry": str(DESK / "plugin.py"),
        "cwd": str(DESK),
        "version": "0.1.0",
        "permissions": {},
        "granted": GRANTED,
        "config": {"greeting": "Good day"},
        "commands": tuple(
            Command(name, each.title, each.description)
            for name, each in read_manifest(DESK / "plugin.toml").commands.items()
        ),
        "unconfined": True,
    }
    return Spec(**{**made, **more})


class World:
    """Router, host and one client; `face.performs` says what the client does, `face.performed` what it did."""

    def __init__(self, folder: Path, specs: list[Spec], listings: Path | None = None) -> None:
        redactions, audit = Redactions(), Audit(folder / "logs")
        self.folder, self.audit = folder, audit
        self.processes = ProcessRuntime(folder / "logs", redactions=redactions, data=folder / "data")
        given = powers(
            logs=folder / "logs",
            data=folder / "data",
            workspace=None,
            environ={},
            redactions=redactions,
            kept=lambda: (),
        )
        self.host = HostApi(folder / "state", given, audit=audit, redactions=redactions)
        self.processes.operate = self.host.call
        self.router = Router(specs, self.processes, Listings(listings), audit=audit)
        self.host.serve(self.router)
        self.face = PretendFace("editor")
        self.router.join(self.face)

    async def run(self, command: str, *arguments: Any, identity: Identity | None = None) -> Any:
        """What a command gives back."""
        reply = await asyncio.wait_for(self.router.call(self.calling(command, *arguments, identity=identity)), BOUND)
        return json.loads(bytes(reply))

    def calling(self, command: str, *arguments: Any, identity: Identity | None = None) -> Call:
        params = {"name": raw(command), "arguments": raw(list(arguments))}
        return Call(self.face, identity or self.face.identity, METHOD, params, token=raw("t"), log_level="info")

    async def text(self, plugin: str) -> str:
        """What its tool `greet` says."""
        reply = await asyncio.wait_for(self.router.call(self.face.call(f"{plugin}__greet")), BOUND)
        return json.loads(bytes(reply))["content"][0]["text"]

    async def logged(self, plugin: str, words: str) -> str:
        """The plugin's log, once it has these words."""
        path, begun = self.folder / "logs" / f"{plugin}.log", time.monotonic()
        while not path.exists() or words not in path.read_text("utf-8", "replace"):
            assert time.monotonic() - begun < BOUND, path.read_text("utf-8", "replace")[-2000:]
            await self.text(plugin)
        return path.read_text("utf-8", "replace")

    def did(self, op: str) -> list[Any]:
        """The params of each time that the client was asked to do this."""
        return [params for done, _, params in self.face.performed if done == op]

    async def until(self, op: str, count: int = 1) -> list[Any]:
        """As `did`, once it was asked so often."""
        async with asyncio.timeout(BOUND):
            while len(found := self.did(op)) < count:
                self.face.news.clear()
                await self.face.news.wait()
        return found

    def lines(self) -> list[Any]:
        """The audit so far."""
        self.audit.flush()
        return [json.loads(line) for line in (self.folder / "logs" / "audit.jsonl").read_text().splitlines()]


@asynccontextmanager
async def opened(folder: Path, *specs: Spec, listings: Path | None = None) -> AsyncGenerator[World]:
    """A world, and at its end nothing left of it."""
    world = World(folder, list(specs) or [desk_spec()], listings)
    try:
        yield world
    finally:
        await world.router.stop(0.3)
