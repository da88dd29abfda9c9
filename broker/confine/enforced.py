"""What the kernel holds a plugin to, asked of the kernel after the start: what was wished for is no evidence."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from msgspec import Struct

from broker.confine.plan import Confinement

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class Enforced(Struct, frozen=True, kw_only=True):
    """One process as `/proc` shows it."""

    no_new_privileges: bool
    filtered: bool  # its system calls, by seccomp
    capabilities: int  # the effective ones, in its own user namespace or in ours
    namespaces: frozenset[str]  # those that are not ours

    def lacks(self, wall: Confinement) -> list[str]:
        """What of `wall` does not show, each in a few words."""
        missing: list[str] = []
        if not self.no_new_privileges:
            missing.append("it could gain privileges")
        if not self.filtered and "seccomp" not in wall.without:
            missing.append("its system calls are not filtered")
        if self.capabilities:
            missing.append("it has capabilities")
        if wall.mode != "landlock":
            missing += (f"it shares our {name} namespace" for name in NAMESPACES if name not in self.namespaces)
        return missing


def enforced_on(pid: int) -> Enforced | None:
    """What a process is held to; None if it is gone. Raises `OSError` where we may not look."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        rows = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if rows["State"][0] in "ZX":
            return None
        ours = _ours()
        others = frozenset(name for name in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{name}") != ours[name])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Enforced(
        no_new_privileges=rows["NoNewPrivs"] == "1",
        filtered=rows["Seccomp"] == "2",
        capabilities=int(rows["CapEff"], 16),
        namespaces=others,
    )


@functools.cache
def _ours() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}
