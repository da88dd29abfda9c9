"""What was measured, and the medians and ratios of it.

Rule 1: a ratio is taken between two figures of the same round, and then the median over the rounds; the machine
is never the same twice.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """One thing that is measured of every target."""

    group: str
    case: str
    what: str
    unit: str

    def __str__(self) -> str:
        return f"{self.case}, {self.what}"


class Figures:
    """Every figure of a run, and every fault."""

    def __init__(self) -> None:
        self._found: dict[tuple[Measure, str], dict[int, float]] = defaultdict(dict)
        self.faults: list[tuple[str, str]] = []  # target, what was wrong

    def add(self, measure: Measure, target: str, round: int, value: float) -> None:
        self._found[measure, target][round] = value

    def fault(self, target: str, what: str) -> None:
        self.faults.append((target, what))

    def measures(self, group: str) -> list[Measure]:
        """Those of a group, in the order they first came."""
        return list(dict.fromkeys(measure for measure, _ in self._found if measure.group == group))

    def median(self, measure: Measure, target: str) -> float | None:
        """The median over the rounds; None if it was not measured."""
        return _middle(list(self._found.get((measure, target), {}).values()))

    def ratio(self, measure: Measure, target: str, base: str) -> float | None:
        """How many times the figure of `base` this is; None if either was not measured."""
        return _middle([mine / theirs for mine, theirs in self._pairs(measure, target, base) if theirs])

    def added(self, measure: Measure, target: str, base: str) -> float | None:
        """How much more than the figure of `base` this is."""
        return _middle([mine - theirs for mine, theirs in self._pairs(measure, target, base)])

    def _pairs(self, measure: Measure, target: str, base: str) -> list[tuple[float, float]]:
        """The figures of two in the rounds that have both."""
        mine, theirs = self._found.get((measure, target), {}), self._found.get((measure, base), {})
        return [(mine[round], theirs[round]) for round in mine if round in theirs]

    def rows(self) -> list[dict[str, Any]]:
        """Everything as plain values, for JSON."""
        return [self._row(measure, target, values) for (measure, target), values in self._found.items()]

    def _row(self, measure: Measure, target: str, values: dict[int, float]) -> dict[str, Any]:
        ratios = {base: self.ratio(measure, target, base) for base in ("direct", "relay", "unit")}
        return {
            **measure._asdict(),
            "target": target,
            "median": self.median(measure, target),
            "rounds": values,
            "ratios": {base: ratio for base, ratio in ratios.items() if ratio is not None and base != target},
        }


def _middle(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
