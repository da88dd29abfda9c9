"""A plugin's Windows job object: its tree ends with it, and its memory, processes and CPU are bounded.

A job holds no file, no host and no program back: for those Windows has AppContainers, which Python and Node do not
start in without changes to their own folders. So a plugin that is to be held from them is refused (`backends.py`).
Tested as bytes; nobody has run it on Windows yet.
"""

from __future__ import annotations

import struct

from msgspec import Struct

# JOB_OBJECT_LIMIT_*, of winnt.h
PROCESSES, JOB_MEMORY, DIE_ON_UNHANDLED, KILL_ON_CLOSE = 0x8, 0x200, 0x400, 0x2000
EXTENDED_LIMITS, CPU_RATE, UI_RESTRICTIONS = 9, 15, 4  # JOBOBJECTINFOCLASS
_RATE_ENABLED, _RATE_HARD_CAP = 0x1, 0x4
_ALL_UI = 0xFF  # no desktop, clipboard, handles or settings of others
_FORMAT = "<qqIxxxxQQIxxxxQIIQQQQQQQQQQ"  # JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 64 bits


class Bounds(Struct, frozen=True, kw_only=True):
    """Of one job; None: none of ours."""

    memory: int | None = None  # bytes, of all its processes together
    pids: int | None = None  # processes; Windows counts no threads
    cpu: float | None = None  # share of the machine, above 0 to 1


def limits(bounds: Bounds) -> bytes:
    """What SetInformationJobObject takes for `EXTENDED_LIMITS`."""
    flags = KILL_ON_CLOSE | DIE_ON_UNHANDLED
    flags |= PROCESSES if bounds.pids is not None else 0
    flags |= JOB_MEMORY if bounds.memory is not None else 0
    basic = (0, 0, flags, 0, 0, bounds.pids or 0, 0, 0, 0)
    return struct.pack(_FORMAT, *basic, *(0,) * 6, 0, bounds.memory or 0, 0, 0)


def cpu_rate(bounds: Bounds) -> bytes | None:
    """What it takes for `CPU_RATE`: in hundredths of a percent."""
    if bounds.cpu is None:
        return None
    return struct.pack("<II", _RATE_ENABLED | _RATE_HARD_CAP, max(1, min(10_000, round(bounds.cpu * 10_000))))


def settings(bounds: Bounds) -> dict[int, bytes]:
    """Everything to set on a new job, before a process is put in it."""
    rate = cpu_rate(bounds)
    found = {EXTENDED_LIMITS: limits(bounds), UI_RESTRICTIONS: struct.pack("<I", _ALL_UI)}
    return found | ({CPU_RATE: rate} if rate is not None else {})
