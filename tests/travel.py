"""An event loop whose clock is ours: when nothing is left to do, it is at once as late as the next timer says."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Instant(selectors.DefaultSelector):
    """Does not wait: it moves the clock of its loop."""

    loop: Travelling

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits for something that will never come")
        self.loop.now += max(0.0, timeout)
        return super().select(0)


class Travelling(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = Instant()
        self.now = 1000.0
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def travel(story: Coroutine[Any, Any, T], *, bound: float = 100_000.0) -> T:
    """Run `story` in time that passes at once; `bound` seconds of it at most."""
    with asyncio.Runner(loop_factory=Travelling) as runner:
        return runner.run(_bounded(story, bound))


async def _bounded(story: Coroutine[Any, Any, T], bound: float) -> T:
    async with asyncio.timeout(bound):
        return await story
