"""Instances of a plugin that are ready before a call needs one, for what runs each call on an instance of its own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct


class Pool(Struct, frozen=True, kw_only=True):
    """How many there are; the keys are those of `--json`."""

    wanted: int
    ready: int
    bytes: int  # of memory that the ready ones hold


@runtime_checkable
class Pooled(Protocol):
    """What can have some."""

    @property
    def pool(self) -> Pool | None:
        """None: it has none after all."""
        ...

    async def warm(self, count: int) -> Pool:
        """Have `count` ready, now and after each call; fewer where they would hold too much memory.

        Raises `BadArguments`.
        """
        ...
