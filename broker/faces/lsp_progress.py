"""Work in progress, as an editor shows it.

Rule 1: a token is used once. One of ours is first announced, and nothing is sent with it unless the editor agreed.
Rule 2: work that is over in a moment shows nothing; reports that come faster than a person reads are left out.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from broker.errors import BrokerError
from broker.faces.lsp_editor import Editor, one_line

SOON = 0.6  # seconds after which work that told nothing of itself is shown
PACE = 0.1  # seconds between two reports

Json = dict[str, Any]
_numbers = itertools.count(1)


def fresh_token() -> str:
    """A token nobody used."""
    return f"broker/{next(_numbers)}"


class WorkDone:
    """One piece of work. `given`: the editor made the token itself, and waits for a beginning and an end."""

    def __init__(
        self, editor: Editor, token: int | str, title: str, *, given: bool = False, cancellable: bool = True
    ) -> None:
        self._editor, self.token, self._title = editor, token, one_line(title)
        self._cancellable = cancellable
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self._creating: asyncio.Task[None] | None = None
        self._latest: Json | None = None
        self._begun = self._over = self._logged = False
        if given:
            self._begin()
        elif editor.can.progress:
            self._waiting = self._loop.call_later(SOON, self._create)

    def report(self, message: str | None, percentage: float | None) -> None:
        """How far it is; a percentage of 0 to 100."""
        if self._over:
            return
        said = {"message": one_line(message)} if message else {}
        self._latest = {**said, **({} if percentage is None else {"percentage": max(0, min(100, int(percentage)))})}
        if self._begun:
            if self._waiting is None:
                self._waiting = self._loop.call_later(PACE, self._report)
        elif self._editor.can.progress:
            self._create()
        elif not self._logged:
            self._logged = True
            self._editor.log("info", f"{self._title} {message or ''}".strip())

    def end(self, message: str = "") -> None:
        """It is over. Safe to call twice."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._begun and not self._over:
            self._say({"kind": "end", **({"message": one_line(message)} if message else {})})
        self._over = True

    def _create(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._creating is None and not self._over:
            self._creating = self._loop.create_task(self._agreed())

    async def _agreed(self) -> None:
        try:
            await self._editor.request("window/workDoneProgress/create", {"token": self.token})
        except BrokerError:
            self._over = True
        else:
            if not self._over:
                self._begin()

    def _begin(self) -> None:
        self._begun = True
        self._say({"kind": "begin", "title": self._title, "cancellable": self._cancellable, **(self._latest or {})})

    def _report(self) -> None:
        self._waiting = None
        self._say({"kind": "report", "cancellable": self._cancellable, **(self._latest or {})})

    def _say(self, value: Json) -> None:
        self._editor.tell("$/progress", {"token": self.token, "value": value})
