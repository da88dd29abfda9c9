"""The only file that knows every room: reads the configuration, builds plugins, router and a face, runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.core.config import load
from broker.core.listings import Listings
from broker.core.router import Router
from broker.errors import ConfigError
from broker.model import Settings
from broker.runtimes.process import ProcessRuntime

log = logging.getLogger("broker")

LAST_GRACE = 0.8  # seconds per step when the broker itself ends; its client kills it after 4 s (the official SDKs)


class Options(Struct, kw_only=True):
    """What the command line says beside the files."""

    config_file: Path | None = None
    mcp_configs: Sequence[Path] = ()
    strict: bool = False
    passthrough: str | None = None
    concurrency: int | None = None
    max_frame: int | None = None


class Folders(Struct, frozen=True):
    """Where the broker keeps what it knows; `BROKER_HOME` puts everything in one folder."""

    cache: Path
    logs: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Folders:
        home = environ.get("BROKER_HOME")
        if home:
            return cls(Path(home) / "cache", Path(home) / "logs")
        import platformdirs

        return cls(platformdirs.user_cache_path("broker"), platformdirs.user_log_path("broker"))


def settings(options: Options) -> Settings:
    """The configuration the options name. Its problems are in it; raises `ConfigError` for a bad option."""
    found = load(
        config_file=options.config_file,
        mcp_configs=options.mcp_configs,
        strict=options.strict,
        workspace=_workspace(),
        environ=os.environ,
    )
    if options.max_frame is not None:
        found.max_frame = options.max_frame
    at_once = options.concurrency or found.concurrency
    found.plugins = [
        spec if spec.concurrency is not None else replace(spec, concurrency=at_once) for spec in found.plugins
    ]
    _check_passthrough(options, found)
    return found


def _workspace() -> Path | None:
    """The folder we were started in; None if it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def router(found: Settings, *, alone: str | None = None) -> Router:
    """The core over these settings, with everything it plugs in."""
    folders = Folders.of(os.environ)
    runtime = ProcessRuntime(folders.logs / "plugins")
    return Router(found.plugins, runtime, Listings(folders.cache / "lists"), alone=alone)


def run_mcp(options: Options) -> int:
    """Serve one MCP client on standard input and output until it leaves; the exit code."""
    found = settings(options)
    from broker.faces.stdio import is_open

    if not is_open():
        raise ConfigError("standard input and output must be open", hint="`broker mcp` is started by a client.")
    for problem in found.problems:
        log.warning("%s: %s %s", problem.where, problem.what, problem.fix)
    return asyncio.run(_serve_mcp(found, options.passthrough))


def run(work: Callable[[Router], Coroutine[Any, Any, int]], found: Settings) -> int:
    """Do `work` with a router over these settings, for a command of a person; the exit code."""
    return asyncio.run(_with_router(work, found))


async def _serve_mcp(found: Settings, alone: str | None) -> int:
    from broker.faces.mcp import Session
    from broker.faces.stdio import claim
    from broker.stream import FdStream

    core = router(found, alone=alone)
    ended = asyncio.Event()
    _on_signals(ended.set)
    session = Session(core, FdStream(*claim()), key="stdio", max_frame=found.max_frame, on_end=ended.set)
    session.start()
    await ended.wait()
    session.close()
    await core.stop(LAST_GRACE)
    return 0


async def _with_router(work: Callable[[Router], Coroutine[Any, Any, int]], found: Settings) -> int:
    core = router(found)
    task = asyncio.ensure_future(work(core))
    _on_signals(task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 130
    finally:
        await core.stop(LAST_GRACE)


def _on_signals(act: Callable[[], object]) -> None:
    """The first signal ends things in order, a second one at once."""
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()

    def first(number: int) -> None:
        for each in _ENDINGS:
            loop.remove_signal_handler(each)
        log.info("ending on %s", signal.Signals(number).name)
        act()

    for number in _ENDINGS:
        loop.add_signal_handler(number, first, number)


_ENDINGS = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if sys.platform != "win32" else ()))


def _check_passthrough(options: Options, found: Settings) -> None:
    names = [spec.name for spec in found.plugins]
    if options.passthrough is not None and options.passthrough not in names:
        raise ConfigError(
            f"--passthrough {options.passthrough}: no such server; configured are {', '.join(names) or 'none'}",
            hint="Run `broker list` to see them.",
        )
