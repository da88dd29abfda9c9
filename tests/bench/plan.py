"""A run: which targets, how often, in what order, and the sessions with them."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from tests.bench.client import Session, Unanswered, tail
from tests.bench.figures import Figures
from tests.bench.targets import Place, Target

SEED = 20260728  # of the order of targets, so that two runs do the same


@dataclass
class Plan:
    """What every measurement works with."""

    place: Place
    targets: list[Target]
    rounds: int
    seconds: float
    """Spent on one figure of one target in one round."""
    quick: bool
    """Whether a glance is enough: only the numbers of servers that goals are about."""
    say: Callable[[str], None]
    figures: Figures = field(default_factory=Figures)
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))

    def turns(self) -> Iterator[tuple[int, Target]]:
        """Every target once a round, in another order each round."""
        for round in range(self.rounds):
            for target in self.shuffled():
                yield round, target

    def shuffled(self, *, many: bool = False) -> list[Target]:
        """The targets in a new order. `many`: only those that can have many servers behind them."""
        order = [target for target in self.targets if target.many or not many]
        self.dice.shuffle(order)
        return order

    @contextlib.contextmanager
    def session(self, target: Target, count: int = 1, *, busy: bool = False) -> Generator[Session]:
        """A session, yet to be opened, whose faults are kept; with its target, only figures still to come are lost."""
        session = Session(target, self.place, count, busy=busy)
        try:
            with session:
                yield session
        except Unanswered as error:
            self.figures.fault(target.name, f"{error}; the last on stderr: {tail(self.place.log)}")
        if session.audit.faults:
            self.figures.fault(target.name, str(session.audit.faults))

    def meet(self, count: int) -> None:
        """Let those who remember servers meet `count` of them, off the clock."""
        for target in self.targets:
            if target.remembers and count not in self.place.warm:
                with self.session(target, count) as session:
                    session.open()
                    session.tools()
        self.place.warm.add(count)


@contextlib.contextmanager
def one_cpu() -> Generator[None]:
    """This process and what it starts on one CPU, where the system can do that.

    One call after the other, client, target and server take turns anyway; on several CPUs the time it takes to
    wake a sleeping one is most of what would be measured.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
