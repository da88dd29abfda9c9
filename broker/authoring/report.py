"""What `broker test` found: checks with a name, each ok, failed or skipped, with why and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Outcome = Literal["ok", "failed", "skipped"]
FEW = 5  # complaints of one check that are told


class Check(Struct, frozen=True, kw_only=True):
    """One check. `why` of one that is ok is worth knowing, and no fault."""

    name: str
    outcome: Outcome = "ok"
    why: str = ""
    fix: str = ""


class Report(Struct, kw_only=True):
    """All checks of one plugin, in the order in which they were made."""

    plugin: str
    version: str = ""
    checks: list[Check] = []
    seconds: float = 0.0

    @property
    def failed(self) -> list[Check]:
        return [each for each in self.checks if each.outcome == "failed"]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed


def judged(name: str, complaints: Sequence[str], fix: str = "", why: str = "") -> Check:
    """Failed if there is a complaint; else ok, with `why`."""
    if not complaints:
        return Check(name=name, why=why)
    more = f"; and {len(complaints) - FEW} more" if len(complaints) > FEW else ""
    return Check(name=name, outcome="failed", why="; ".join(complaints[:FEW]) + more, fix=fix)


def skipped(name: str, why: str) -> Check:
    return Check(name=name, outcome="skipped", why=why)
