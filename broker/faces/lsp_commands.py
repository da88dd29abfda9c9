"""Which commands an editor knows by name.

Rule 1: those there are at `initialize` are in its answer, for every editor: most show nothing else, ever.
Rule 2: those that come later are registered where the editor honours that, and taken back when they go. No name is
        given twice, which VS Code would refuse.
Rule 3: one change at a time. An editor that does not answer is not asked again for the same.
"""

from __future__ import annotations

import asyncio
import logging

from broker.core.commands import Offered
from broker.core.router import Router
from broker.errors import BrokerError
from broker.faces.lsp_editor import Editor
from broker.faces.lsp_runs import CALL, RUN

log = logging.getLogger("broker.lsp")

SETTLE = 0.1  # seconds in which changes become one
METHOD = "workspace/executeCommand"


class Names:
    """The commands of `router` as the editor knows them."""

    def __init__(self, editor: Editor, router: Router) -> None:
        self._editor, self._router = editor, router
        self._static: set[str] = set()
        self._registered: set[str] = set()
        self._told: list[Offered] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None

    def static(self) -> list[str]:
        """Those that `initialize` is answered with."""
        names = [RUN, CALL, *(each.shown for each in self._router.commands())]
        self._static = set(names)
        return names

    def changed(self) -> None:
        """There are others now: tell the editor, soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE, self._settle)

    def close(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._work is not None:
            self._work.cancel()

    def _settle(self) -> None:
        self._timer = None
        offered = self._router.commands()
        if self._editor.wishes.commands and offered != self._told:
            self._told = offered
            self._editor.tell("broker/commands", {"commands": [described(each) for each in offered]})
        if self._editor.can.registers_commands and (self._work is None or self._work.done()):
            self._work = asyncio.get_running_loop().create_task(self._register())

    async def _register(self) -> None:
        while True:
            wanted = {each.shown for each in self._router.commands()} - self._static
            gone, new = self._registered - wanted, wanted - self._registered
            if not gone and not new:
                return
            self._registered = wanted
            try:
                if gone:
                    # LSP's own spelling
                    await self._editor.request("client/unregisterCapability", {"unregisterations": _all(gone)})
                if new:
                    options = [{**each, "registerOptions": {"commands": [each["id"]]}} for each in _all(new)]
                    await self._editor.request("client/registerCapability", {"registrations": options})
            except BrokerError as error:
                log.info("%s took no change of commands: %s", self._editor.name, error)


def _all(names: set[str]) -> list[dict[str, object]]:
    return [{"id": name, "method": METHOD} for name in sorted(names)]


def described(offered: Offered) -> dict[str, str]:
    """A command for a client of broker's own."""
    found = {"plugin": offered.plugin, "name": offered.shown, "title": offered.title}
    return {**found, "description": offered.description}
