"""What a person may know of a plugin while the broker runs, as one value; the keys are those of `--json`."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from broker.core.pool import Pool
from broker.model import About


class State(StrEnum):
    """Where a plugin is in its life."""

    OFF = "off"  # no instance; the next call starts one
    STARTING = "starting"
    READY = "ready"
    UNRESPONSIVE = "unresponsive"  # it owes answers and answers no probe
    DRAINING = "draining"  # it gets nothing new, and finishes what it has
    BACKOFF = "backoff"  # it ended, and is started again in a moment
    OPEN = "open"  # it keeps failing: calls are refused until `retry_in` has passed
    HALF_OPEN = "half-open"  # one start decides whether it is called again
    DISABLED = "disabled"


class Surface(Struct):
    """What a plugin shows beside its tools, as long as it runs."""

    commands: dict[str, str] = {}  # name -> description
    notes: dict[str, str] = {}  # key -> a short text


class Status(Struct, frozen=True, kw_only=True):
    """One plugin; times in seconds."""

    name: str
    state: State
    generation: int = 0  # counts replacements, by reload or by `broker restart`
    pids: tuple[int, ...] = ()  # one per era that clients speak
    uptime: float | None = None  # of the oldest instance
    restarts: int = 0  # since the broker began
    running: int = 0  # calls in flight
    waiting: int = 0  # calls in line
    retry_in: float | None = None  # until the next start, while it is refused
    failure: str | None = None  # why it last ended or could not start, None once it serves again
    failure_name: str | None = None  # the stable name of that error, as in `broker explain`
    hint: str | None = None
    commands: dict[str, str] = {}  # it offers, with their descriptions
    notes: dict[str, str] = {}  # short texts it shows
    about: About | None = None  # what it says of itself, of one that runs in broker
    pool: Pool | None = None  # its instances that wait for calls, if it can have some and runs


class Here(Struct, frozen=True):
    """One broker that runs."""

    pid: int
    version: str
    client: str  # the name its client gave
    uptime: float  # seconds
    plugins: list[Status]
