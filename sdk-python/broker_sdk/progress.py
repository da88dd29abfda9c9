"""How far a call is, or work beside any call."""

from __future__ import annotations

import itertools
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_sdk.ctx import Ctx

PACE = 0.02  # seconds between two reports; those between are left out, unless they are the last
_numbers = itertools.count(1)


class Progress:
    """Reports of a call go under the token that its client gave, and nowhere if it gave none. Those of a command or an
    event are broker's to show.

    Use it by `with` or `async with`, which say when it is over.
    """

    def __init__(self, ctx: Ctx, title: str, total: float | None) -> None:
        self._ctx, self._title, self._total = ctx, title, total
        self._work = f"work-{next(_numbers)}" if ctx.in_flight is None else ""
        self._done, self._at = 0.0, 0.0
        self._stopped = False
        if self._work:
            begin = {"id": self._work, "title": title or "Working", "cancellable": True}
            ctx.host.tell("progress.begin", begin)
        else:
            self._send("")

    @property
    def cancelled(self) -> bool:
        """Whether its person wants it to end."""
        return self._stopped or self._ctx.cancelled

    def step(self, steps: float = 1, message: str = "") -> None:
        """So much more is done."""
        self.at(self._done + steps, message)

    def at(self, done: float, message: str = "") -> None:
        """So much is done. It never goes back: a smaller number changes nothing."""
        if done <= self._done:
            return
        self._done = done
        last = self._total is not None and done >= self._total
        if last or time.monotonic() - self._at >= PACE:
            self._send(message)

    def _send(self, message: str) -> None:
        self._at = time.monotonic()
        if self._work:
            self._report(message)
            return
        call = self._ctx.in_flight
        if call is None or call.meta.progress_token is None:
            return
        params: dict[str, Any] = {"progressToken": call.meta.progress_token, "progress": self._done}
        params.update({"total": self._total} if self._total is not None else {})
        params.update({"message": message or self._title} if message or self._title else {})
        self._ctx.server.call_soon(lambda: call.tell("notifications/progress", params))

    def _report(self, message: str) -> None:
        params: dict[str, Any] = {"id": self._work, "message": message or None}
        if self._total:
            params["percentage"] = min(100.0, 100 * self._done / self._total)
        self._ctx.host.tell("progress.report", params, self._heard)

    def _heard(self, result: Any) -> None:
        self._stopped = self._stopped or bool(result["cancelled"])

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._work:
            self._ctx.host.tell("progress.end", {"id": self._work})
        elif kind is None and self._total is not None:
            self.at(self._total)

    async def __aenter__(self) -> Progress:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)
