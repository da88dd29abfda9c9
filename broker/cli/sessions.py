"""The sessions of `broker dev`: with its author at the console, or with an MCP client in front."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.app import LAST_GRACE, Folders
from broker.authoring.house import House
from broker.authoring.session import Session
from broker.authoring.trial import Trial, gate_of
from broker.cli.console import Console, Lines
from broker.cli.livelog import LiveLog
from broker.cli.logs import Tail, printed

LOOK = 0.05  # seconds between two looks at what it printed and what it was refused


def run_console(trial: Trial, *, watch: bool) -> int:
    """Serve its author until they leave; the exit code."""
    quieten()
    with tempfile.TemporaryDirectory(prefix="broker-dev-") as lists:
        return asyncio.run(_console(trial, Path(lists), watch=watch))


async def _console(trial: Trial, lists: Path, *, watch: bool) -> int:
    folders = folders_of_sessions()
    console = Console(Lines(0))
    house = House(folders, lists, watch=watch)
    session = Session(trial, house, gate_of(folders), console)
    _on_signals(console)
    tail = Tail(house.log_of(session.spec))
    tail.last(0)
    console.catch_up = lambda: _look_once(session, tail, console)
    await session.begin()
    beside = [asyncio.ensure_future(each) for each in (session.follow(), _look(session, tail, console))]
    try:
        await _opened(session, console)
        await console.serve(session)
    finally:
        await _end(beside, session)
        _look_once(session, tail, console)
    return 0


def quieten() -> None:
    """Failures are shown by the session, not logged beside it; without --verbose."""
    if logging.getLogger().level > logging.INFO:
        logging.getLogger("broker").setLevel(logging.CRITICAL)


async def _opened(session: Session, console: Console) -> None:
    """Wait until it serves or does not, or its author leaves."""
    opening, leaving = asyncio.ensure_future(session.open()), asyncio.ensure_future(console.over.wait())
    await asyncio.wait([opening, leaving], return_when=asyncio.FIRST_COMPLETED)
    for task in (opening, leaving):
        task.cancel()
    await asyncio.wait([opening])
    if not opening.cancelled():
        opening.result()


def folders_of_sessions() -> Folders:
    """Where sessions keep their things, apart from those of brokers that are in use."""
    real = Folders.of(os.environ)
    return Folders(real.cache / "dev", real.logs / "dev", real.state / "dev")


def run_mcp(trial: Trial, *, watch: bool) -> int:
    """Serve an MCP client on standard input and output until it leaves; the exit code. The author reads stderr."""
    quieten()
    from broker.authoring.serving import serve

    async def served(lists: Path) -> int:
        folders, live = folders_of_sessions(), LiveLog()
        house = House(folders, lists, watch=watch)
        session = Session(trial, house, gate_of(folders), live)
        tail = Tail(house.log_of(session.spec))
        tail.last(0)
        live.catch_up = lambda: _look_once(session, tail, live)
        await serve(session, lambda: _look(session, tail, live))
        return 0

    with tempfile.TemporaryDirectory(prefix="broker-dev-") as folder:
        return asyncio.run(served(Path(folder)))


async def _look(session: Session, tail: Tail, live: LiveLog) -> None:
    while True:
        _look_once(session, tail, live)
        await asyncio.sleep(LOOK)


def _look_once(session: Session, tail: Tail, live: LiveLog) -> None:
    for line in tail.more():
        live.printed(printed(line))
    for refusal in session.refusals.fresh(session.spec):
        live.refused(refusal)


async def _end(beside: Sequence[asyncio.Future[None]], session: Session) -> None:
    for task in beside:
        task.cancel()
    await session.core.stop(LAST_GRACE)
    await asyncio.wait(beside)


def _on_signals(console: Console) -> None:
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, console.interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, console.over.set)
