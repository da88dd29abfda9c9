"""How the plugins are, for a status bar: `broker/status`, to clients that asked for it.

Rule 1: it is said when it changed, and not more often than a person looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from broker.core.router import Router
from broker.core.status import State, Status
from broker.faces.lsp_editor import Editor, one_line

LOOK = 1.0  # seconds between two looks
SOON = 0.2  # seconds after something that is known to change it

Json = dict[str, Any]
_FAILING = {State.BACKOFF, State.OPEN, State.HALF_OPEN, State.UNRESPONSIVE}


class StatusBar:
    """The status bar of one editor."""

    def __init__(self, editor: Editor, router: Router) -> None:
        self._editor, self._router = editor, router
        self._said: Json = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer is over

    def begin(self) -> None:
        """Say how it is, and from now on what changes."""
        if self._editor.wishes.status:
            self._look()

    def changed(self) -> None:
        """Look soon."""
        if self._timer is not None and self._due > self._loop_time() + SOON:
            self._wait(SOON)

    def close(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._wait(LOOK)
        now = summary(self._router.generations.statuses())
        if now != self._said:
            self._said = now
            self._editor.tell("broker/status", now)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        self._timer = loop.call_later(seconds, self._look)

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()


def summary(statuses: Sequence[Status]) -> Json:
    """All plugins in one word and one line."""
    plugins = [_plugin(each) for each in statuses]
    return {"plugins": plugins, "state": _state(statuses), "text": one_line(_text(statuses))}


def _state(statuses: Sequence[Status]) -> str:
    states = {each.state for each in statuses if each.state is not State.DISABLED}
    if not states:
        return "empty"
    if states & _FAILING or any(each.failure for each in statuses):
        return "failing"
    return "starting" if State.STARTING in states else "ready"


def _text(statuses: Sequence[Status]) -> str:
    notes = [f"{each.name}: {' '.join(each.notes.values())}" for each in statuses if each.notes]
    failing = [f"{each.name} fails" for each in statuses if each.failure]
    return ", ".join([*failing, *notes])


def _plugin(status: Status) -> Json:
    found: Json = {"name": status.name, "state": str(status.state)}
    if status.failure:
        found["failure"] = status.failure
    if status.hint:
        found["hint"] = status.hint
    if status.notes:
        found["notes"] = status.notes
    return found
