"""The only file that knows every room: reads the configuration, builds plugins, router and a face, runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from broker.core.audit import Audit
from broker.core.config import files, load
from broker.core.listings import Listings
from broker.core.pinning import Pinning
from broker.core.router import Router
from broker.errors import ConfigError
from broker.model import Problem, Settings, Spec
from broker.permissions import DATA
from broker.permissions.redaction import Redactions
from broker.runtimes.guests import Guests
from broker.runtimes.kinds import Kinds
from broker.runtimes.process import ProcessRuntime

if TYPE_CHECKING:
    from broker.faces.lsp import Opening
    from broker.faces.lsp import Session as EditorSession
    from broker.faces.mcp import Session
    from broker.faces.search import Search
    from broker.permissions.gate import Gate

log = logging.getLogger("broker")

CONTROL_AFTER = 0.25  # seconds; a client asks for the lists in the first few hundredths
GRANTS_LOG = 1 << 20  # bytes; about 4,000 decisions, and as many again in grants.jsonl.1
FOLLOW_AFTER = 1.0  # seconds; then changed files are looked for
LAST_GRACE = 0.8  # seconds per step when the broker itself ends; its client kills it after 4 s (the official SDKs)


class Options(Struct, kw_only=True):
    """What the command line says beside the files."""

    config_file: Path | None = None
    mcp_configs: Sequence[Path] = ()
    strict: bool = False
    passthrough: str | None = None
    concurrency: int | None = None
    max_frame: int | None = None
    trusted: bool = True  # whether the workspace may configure plugins
    plugins: Mapping[str, object] = {}  # options of some, by name, from an editor's settings
    gate: Gate | None = None  # once it was needed


class Folders(Struct, frozen=True):
    """Where the broker keeps what it knows; `BROKER_HOME` puts everything in one folder."""

    cache: Path
    logs: Path
    state: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Folders:
        home = environ.get("BROKER_HOME")
        if home:
            return cls(*(Path(home) / each for each in ("cache", "logs", "state")))
        import platformdirs

        return cls(
            platformdirs.user_cache_path("broker"),
            platformdirs.user_log_path("broker"),
            platformdirs.user_state_path("broker"),
        )


def settings(options: Options) -> Settings:
    """The configuration the options name. Its problems are in it; raises `ConfigError` for a bad option."""
    found = _configured(options)
    found.plugins = _but_disabled(found.plugins)
    return found


def _configured(options: Options) -> Settings:
    """As `settings`, with what `broker disable` took away: a running broker looks at that when it takes up the rest."""
    found = load(
        config_file=options.config_file,
        mcp_configs=options.mcp_configs,
        strict=options.strict,
        workspace=_workspace(),
        trusted=options.trusted,
        options=options.plugins,
        environ=os.environ,
    )
    if options.max_frame is not None:
        found.max_frame = options.max_frame
    at_once = options.concurrency or found.concurrency
    found.plugins = [
        spec if spec.concurrency is not None else replace(spec, concurrency=at_once) for spec in found.plugins
    ]
    _check_passthrough(options, found)
    found.problems += _disabled()[1]
    if any(spec.permissions for spec in found.plugins):
        found.plugins, refused = gate(options).judge(found.plugins)
        found.problems += refused
    return found


def _but_disabled(specs: Sequence[Spec]) -> list[Spec]:
    """The plugins, those that a person disabled by `broker disable` not enabled."""
    names, _ = _disabled()
    return [replace(spec, enabled=spec.enabled and spec.name not in names) for spec in specs]


def _disabled() -> tuple[frozenset[str], list[Problem]]:
    state = Folders.of(os.environ).state
    if not os.path.lexists(state / "disabled.json"):  # before the import, which every start would pay
        return frozenset(), []
    from broker.core.disabled import switched_off

    return switched_off(state)


def gate(options: Options) -> Gate:
    """What judges the permissions of the plugins that the options name; kept with them, for what is granted once."""
    if options.gate is not None:
        return options.gate
    from broker.core.config import default_config_file
    from broker.core.meeting import folders as meeting_folders
    from broker.core.rotated import Rotated
    from broker.permissions.gate import Gate, Grounds
    from broker.runtimes.command import program

    folders, workspace = Folders.of(os.environ), _workspace()
    own = None if options.strict else options.config_file or default_config_file(os.environ)
    usual = default_config_file({})  # its folder is broker's; another file may lie anywhere
    guarded = (folders.cache, folders.logs, folders.state, *meeting_folders(os.environ), usual.parent, own)
    grounds = Grounds(
        state=folders.state,
        home=os.path.expanduser("~"),
        workspace=None if workspace is None else str(workspace),
        own=own,
        guarded=tuple(os.path.abspath(path) for path in guarded if path is not None),
        program=lambda spec: program(spec, os.environ),
    )
    record = Rotated(folders.logs / "grants.jsonl", GRANTS_LOG)

    def note(line: bytes) -> None:
        record.append(line)
        record.close()

    options.gate = Gate(grounds, note)
    return options.gate


def _files(options: Options) -> list[Path]:
    found = files(
        config_file=options.config_file,
        mcp_configs=options.mcp_configs,
        strict=options.strict,
        workspace=_workspace(),
        environ=os.environ,
    )
    state = Folders.of(os.environ).state
    # The one is replaced after each `broker grant` or `revoke`, the other after each `broker approve`.
    return [*found, state / "grants.json", state / "pins" / "changed"]


def _workspace() -> Path | None:
    """The folder we were started in; None if it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def router(
    found: Settings,
    *,
    alone: str | None = None,
    ledger: Callable[[], Gate] | None = None,
    sources: Sequence[Path] = (),
) -> Router:
    """The core over these settings, with everything it plugs in; what users grant in between goes to `ledger`.

    `sources` are the files that the settings come from.
    """
    folders = Folders.of(os.environ)
    redactions = Redactions()
    processes = ProcessRuntime(folders.logs / "plugins", redactions=redactions, data=folders.state / DATA)
    if ledger is not None:
        processes.still = lambda spec: ledger().still(spec)
    audit = Audit(folders.logs, redactions) if found.audit else None
    around = guests(processes, redactions, audit, lambda: core)
    processes.operate = around.ask
    runtime = Kinds(processes, around.makers)
    pinning = Pinning(folders.state / "pins", found.policy)
    listings = Listings(folders.cache / "lists")
    core = Router(found.plugins, runtime, listings, alone=alone, audit=audit, pinning=pinning, ledger=ledger)
    processes.kept = lambda: _kept(core, found, sources)
    return core


def guests(
    processes: ProcessRuntime, redactions: Redactions, audit: Audit | None, router: Callable[[], Router]
) -> Guests:
    """What runs plugins in the broker's own process."""
    folders = Folders.of(os.environ)
    return Guests(
        logs=folders.logs / "plugins",
        state=folders.state,
        cache=folders.cache,
        data=folders.state / DATA,
        workspace=_workspace(),
        redactions=redactions,
        audit=audit,
        processes=processes,
        router=router,
    )


def _kept(core: Router, found: Settings, sources: Sequence[Path]) -> tuple[str, ...]:
    """What decides what is started, now: the configuration, and the code of every plugin."""
    from broker.core.watched import watched

    specs = [*found.plugins, *(plugin.spec for plugin in core.plugins.values())]
    named = [*sources, *(Path(spec.source) for spec in specs)]
    programs = [path for spec in specs for path in _program_of(spec)]
    return (*watched(named, Settings(plugins=specs, named=found.named)).everything, *programs)


def _program_of(spec: Spec) -> tuple[str, ...]:
    """What it is started with, if that is named by a path, and the virtual environment it lies in."""
    if not spec.command or os.path.basename(spec.command[0]) == spec.command[0]:
        return ()
    path = os.path.abspath(os.path.join(spec.cwd or "", spec.command[0]))
    around = os.path.dirname(os.path.dirname(path))
    return (path, around) if os.path.isfile(os.path.join(around, "pyvenv.cfg")) else (path,)


def run_mcp(options: Options) -> int:
    """Serve one MCP client on standard input and output until it leaves; the exit code."""
    found = settings(options)
    from broker.faces.stdio import is_open

    if not is_open():
        raise ConfigError("standard input and output must be open", hint="`broker mcp` is started by a client.")
    for problem in found.problems:
        log.warning("%s: %s %s", problem.where, problem.what, problem.fix)
    return asyncio.run(_serve_mcp(found, options))


def run_lsp(options: Options) -> int:
    """Serve one editor on standard input and output until it leaves; the exit code."""
    from broker.faces.stdio import is_open

    if not is_open():
        raise ConfigError("standard input and output must be open", hint="`broker lsp` is started by an editor.")
    return asyncio.run(_serve_lsp(options))


def run(
    work: Callable[[Router], Coroutine[Any, Any, int]], found: Settings, *, make: Callable[[Settings], Router] = router
) -> int:
    """Do `work` with a router over these settings, for a command of a person; the exit code.

    `make`: another way to make the router.
    """
    return asyncio.run(_with_router(work, found, make))


async def _serve_mcp(found: Settings, options: Options) -> int:
    from broker.faces.mcp import Session
    from broker.faces.stdio import claim, watch_parent
    from broker.stream import FdStream

    core = router(found, alone=options.passthrough, ledger=lambda: gate(options), sources=_files(options))
    ended = asyncio.Event()
    _on_signals(ended.set)
    watch_parent(ended.set)
    session = Session(
        core,
        FdStream(*claim()),
        key="stdio",
        max_frame=found.max_frame,
        on_end=ended.set,
        search=_search(core, found),
    )
    session.start()
    control = asyncio.ensure_future(_let_people_in(core, session, lambda: gate(options)))
    following = asyncio.ensure_future(_follow_files(core, found, options, session))
    await ended.wait()
    control.cancel()
    following.cancel()
    session.close()
    await core.stop(LAST_GRACE)
    await asyncio.wait([following])  # its thread must not be inside the library when the interpreter goes
    return 0


async def _serve_lsp(options: Options) -> int:
    from broker.faces.lsp import Session
    from broker.faces.stdio import claim, watch_parent
    from broker.stream import FdStream

    ended = asyncio.Event()
    _on_signals(ended.set)
    watch_parent(ended.set)
    house = _EditorHouse(options, ended.set)
    house.session = session = Session(
        house, FdStream(*claim()), key="stdio", max_frame=options.max_frame or Settings().max_frame, on_end=ended.set
    )
    session.start()
    await ended.wait()
    session.close()
    await house.close()
    if session.said_goodbye:
        return 0
    log.warning("the editor left without `shutdown` and `exit`; `broker lsp` is for editors to start, see the README")
    return 1


class _EditorHouse:
    """What runs behind a session of `broker lsp`, from its `initialize` on."""

    def __init__(self, options: Options, end: Callable[[], None]) -> None:
        self._options, self._end = options, end
        self._found = Settings()
        self._core: Router | None = None
        self._beside: list[asyncio.Future[None]] = []
        self._due = asyncio.Event()
        self._reload: Callable[[], object] = self._due.set  # until files are followed
        self.session: EditorSession

    def open(self, opening: Opening) -> Router:
        """The workspace is to us what the folder is that an AI client starts us in."""
        from broker.faces.stdio import watch_process

        options = self._options
        options.config_file = options.config_file and options.config_file.absolute()
        options.mcp_configs = [path.absolute() for path in options.mcp_configs]
        if opening.folders and opening.folders[0].is_dir():
            os.chdir(opening.folders[0])
        options.trusted = opening.trusted
        self._found = settings(options)
        for problem in self._found.problems:
            log.warning("%s: %s %s", problem.where, problem.what, problem.fix)
        self._core = core = router(self._found, ledger=lambda: gate(options), sources=_files(options))
        if opening.process is not None:
            watch_process(opening.process, self._end)
        people = _let_people_in(core, self.session, lambda: gate(options))
        self._beside = [asyncio.ensure_future(people), asyncio.ensure_future(self._follow(core))]
        return core

    def problems(self) -> list[Problem]:
        return self._found.problems

    def configure(self, plugins: Mapping[str, object]) -> None:
        if plugins != self._options.plugins:
            self._options.plugins = plugins
            self._reload()

    def trust(self, trusted: bool) -> None:
        if trusted != self._options.trusted:
            self._options.trusted = trusted
            self._reload()

    async def close(self) -> None:
        """End every plugin."""
        for task in self._beside:
            task.cancel()
        if self._core is not None:
            await self._core.stop(LAST_GRACE)
        if self._beside:
            await asyncio.wait(self._beside)

    async def _follow(self, core: Router) -> None:
        """Take up changed files, and what the editor's settings change."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), FOLLOW_AFTER)
        from broker.core.reloading import Reloading

        read = partial(_configured, self._options)
        reloading = Reloading(self._found, _files(self._options), read, _applying(core), lambda new: None)
        self._reload = lambda: reloading.changed(False, set())
        if self._due.is_set():
            self._reload()
        await reloading.run()


def _search(core: Router, found: Settings) -> Search | None:
    """What shows tools behind three others, if any client wants that; a plugin passed through is shown as it is."""
    wanted = "search" in {each.expose for each in (found.surface, *found.clients.values())}
    if not wanted or core.alone is not None:
        return None
    from broker.faces.search import Search, ToolIndex

    return Search(ToolIndex(core.catalog), found)


async def _let_people_in(core: Router, session: Session | EditorSession, ledger: Callable[[], Gate]) -> None:
    """Serve `broker restart` and its like, once the client has had its first answers."""
    await asyncio.sleep(CONTROL_AFTER)
    from broker.faces.control import serve

    await serve(core.generations, lambda: session.title, os.environ, ledger)


async def _follow_files(core: Router, found: Settings, options: Options, session: Session) -> None:
    """Take up changed configuration and changed plugins, once the client has what it asked for."""
    await asyncio.sleep(FOLLOW_AFTER)
    from broker.core.reloading import Reloading

    def expose(new: Settings) -> None:
        session.expose(_search(core, new))

    await Reloading(found, _files(options), partial(_configured, options), _applying(core), expose).run()


def _applying(core: Router) -> Callable[[Sequence[Spec], set[str]], Coroutine[Any, Any, None]]:
    """What takes up plugins that were read a moment ago; those that are disabled now stay away."""

    async def apply(specs: Sequence[Spec], touched: set[str]) -> None:
        await core.generations.apply(_but_disabled(specs), touched)

    return apply


async def _with_router(
    work: Callable[[Router], Coroutine[Any, Any, int]], found: Settings, make: Callable[[Settings], Router]
) -> int:
    core = make(found)
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
