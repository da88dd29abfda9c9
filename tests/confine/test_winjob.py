"""Windows' job object, as bytes."""

from __future__ import annotations

import struct

from broker.confine import winjob
from broker.confine.winjob import Bounds


def field(data: bytes, at: int, kind: str) -> int:
    return struct.unpack_from(f"<{kind}", data, at)[0]


def test_a_job_ends_with_its_last_handle() -> None:
    data = winjob.limits(Bounds())
    assert len(data) == 144  # sizeof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION) on 64 bits
    assert field(data, 16, "I") == winjob.KILL_ON_CLOSE | winjob.DIE_ON_UNHANDLED


def test_memory_and_processes_are_bounded_for_the_job_as_a_whole() -> None:
    data = winjob.limits(Bounds(memory=256 << 20, pids=64))
    flags = field(data, 16, "I")
    assert flags & winjob.JOB_MEMORY and flags & winjob.PROCESSES
    assert field(data, 40, "I") == 64  # ActiveProcessLimit
    assert field(data, 120, "Q") == 256 << 20  # JobMemoryLimit
    assert field(data, 112, "Q") == 0  # ProcessMemoryLimit


def test_cpu_is_a_share_of_the_machine() -> None:
    assert winjob.cpu_rate(Bounds()) is None
    assert winjob.cpu_rate(Bounds(cpu=0.25)) == struct.pack("<II", 5, 2500)


def test_a_job_never_reaches_the_desktop() -> None:
    found = winjob.settings(Bounds(cpu=1.0))
    assert found[winjob.UI_RESTRICTIONS] == struct.pack("<I", 0xFF)
    assert set(found) == {winjob.EXTENDED_LIMITS, winjob.UI_RESTRICTIONS, winjob.CPU_RATE}
