"""What the system says a process is doing, where it can be asked."""

from __future__ import annotations

from pathlib import Path

_STATES = {
    "T": "was stopped by a signal (SIGSTOP) and cannot answer",
    "t": "was stopped by a debugger and cannot answer",
    "Z": "has ended and nobody took note",
    "D": "waits for a disk or the network in the kernel and cannot answer",
}


def suspended(pid: int) -> str | None:
    """Why a process cannot run, in words that follow its name; None if it can, or nobody knows (not Linux)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return _STATES.get(stat.rpartition(")")[2].split()[0])  # the name before it may contain anything
