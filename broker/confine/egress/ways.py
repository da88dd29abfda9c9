"""The ways by which a plugin's connection says where it leads, and how each asks for the far end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from broker.confine.egress.ends import End


class Connect(Protocol):
    """Connects to what a plugin named: a host, or an address that stands for one. `via` says by which way it came.

    Raises `Refused`, `OSError`.
    """

    def __call__(self, host: str, port: int, via: str) -> Awaitable[End]: ...


# The far end of what `end` asks for; None if it was told that there is none. Raises `EOFError`.
Way = Callable[[End, Connect], Awaitable[End | None]]
