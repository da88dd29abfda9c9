"""Everything a person configured, from all files together; one bad entry costs only itself.

Rule 1: files are read in order: the user's config.toml, each --mcp-config file, the workspace's .broker.toml.
Rule 2: the first definition of a name stays; a later one is a Problem that names both places.
Rule 3: what cannot be used becomes a Problem and is skipped; `load` raises nothing because of a file.
Rule 4: a workspace's file comes with a stranger's repository (see `workspace`): it can only narrow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from broker.core.expand import Surroundings
from broker.core.manifest import (
    NAME,
    Bytes,
    Count,
    LimitsTable,
    Manifest,
    ResultSize,
    Seconds,
    Texts,
    Timeout,
    Unenforced,
    Warm,
    configured,
    examine,
)
from broker.core.mcpservers import Found, Server, environment, server_spec, servers_in, slug, tool_filters
from broker.core.shape import Wrong, dotted, shaped, table, unknown_key
from broker.core.source import Faulty, Toml, read_toml
from broker.core.workspace import NAME as WORKSPACE_FILE
from broker.core.workspace import held_back, narrow, tuned
from broker.model import UNBOUNDED, Command, Limits, Policy, Problem, Settings, Spec, Surface

_LEAST_FRAME = 64 << 10  # bytes; below it ordinary tool lists would not pass
_WASM_MEMORY, _WASM_TIMEOUT = 64 << 20, 30.0  # bytes of one instance, seconds of one call


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[plugins.NAME]` table: the folder, and what the user narrows or tunes."""

    path: str
    concurrency: Count | None = None
    instance: Literal["fresh", "shared"] | None = None  # of WASM
    warm: Warm | None = None  # of WASM
    wasm: Literal["plugin", "functions", "extism"] = "plugin"  # what its file is; a manifest cannot say it
    isolation: Literal["auto", "inprocess", "process"] = "auto"  # of Lua
    tools: Texts | None = None
    timeout: Timeout | None = None
    start: Seconds | None = None
    enabled: bool = True
    required: bool = False
    replay: Texts = ()
    max_result: ResultSize | None = None
    config: dict[str, object] = {}
    env: dict[str, str | int | float | None] = {}
    limits: LimitsTable = LimitsTable()
    unconfined: bool = False
    unenforced: Unenforced = ()
    strict: bool = False


class Top(Struct, frozen=True, kw_only=True):
    """The single values of config.toml."""

    max_frame: Bytes | None = None
    concurrency: Count | None = None
    audit: bool | None = None
    expose: Literal["all", "search"] | None = None
    always: Texts | None = None


_TOP_KEYS = ("max_frame", "concurrency", "audit", "expose", "always", "clients", "policy", "plugins", "servers")


def default_config_file(environ: Mapping[str, str]) -> Path:
    """The user's config.toml: what BROKER_CONFIG names, else the one in the platform's config directory."""
    if named := environ.get("BROKER_CONFIG"):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("broker") / "config.toml"


def load(
    *,
    config_file: Path | None = None,
    mcp_configs: Sequence[Path] = (),
    strict: bool = False,
    workspace: Path | None = None,
    trusted: bool = True,
    options: Mapping[str, object] | None = None,
    environ: Mapping[str, str],
) -> Settings:
    """All settings, in the order and by the rules above. `strict`: the `mcp_configs` and nothing else.

    A file that was named and is not there is a Problem; without a file nothing is configured, which is fine.
    `trusted`: whether the workspace's file may configure plugins. `options`: what an editor's settings say of some.
    """
    reading = _Reading(Surroundings(environ, workspace))
    own = None if strict else config_file or default_config_file(environ)
    if own is not None and (config_file or environ.get("BROKER_CONFIG") or os.path.lexists(own)):
        reading.config(own)
    for path in mcp_configs:
        reading.add(servers_in(path, reading.around))
    if own is not None and workspace is not None:
        reading.narrowed(workspace, own, trusted)
    if options and trusted:  # an editor takes its settings from the workspace, too
        reading.replace(tuned(options, reading.known))
    reading.settings.named = sorted(reading.around.named)
    return reading.settings


def of_folder(
    folder: Path, *, tuned: Mapping[str, object], workspace: Path | None, environ: Mapping[str, str]
) -> Settings:
    """The settings of one plugin's folder alone, as if a config.toml named it, with the keys `tuned` beside `path`."""
    reading, path = _Reading(Surroundings(environ, workspace)), folder / "plugin.toml"
    try:
        name = examine(path).name
        spec, manifest = _plugin(name, {**tuned, "path": "."}, path, reading.around)
        reading.add([Found(str(path), f"plugins.{name}", spec, manifest)])
    except Faulty as faulty:
        reading.settings.problems.append(faulty.problem)
    except Wrong as wrong:
        reading.settings.problems.append(Problem(str(path), wrong.what, wrong.fix))
    return reading.settings


def files(
    *,
    config_file: Path | None = None,
    mcp_configs: Sequence[Path] = (),
    strict: bool = False,
    workspace: Path | None = None,
    environ: Mapping[str, str],
) -> list[Path]:
    """The files that `load` reads for the same arguments, whether they are there or not."""
    if strict:
        return list(mcp_configs)
    here = [workspace / WORKSPACE_FILE] if workspace is not None else []
    return [config_file or default_config_file(environ), *mcp_configs, *here]


class _Reading:
    """The settings as far as they are read."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.settings = Settings()
        self._known: dict[str, Found] = {}

    def add(self, found: Iterable[Found | Problem]) -> None:
        for one in found:
            if isinstance(one, Problem):
                self.settings.problems.append(one)
            elif earlier := self._known.get(one.spec.name):
                self.settings.problems.append(_twice(one, earlier))
            else:
                self._known[one.spec.name] = one
                self.settings.plugins.append(one.spec)

    def config(self, path: Path) -> None:
        try:
            file = read_toml(path)
        except Faulty as faulty:
            self.settings.problems.append(faulty.problem)
        else:
            self._top(file)
            self._clients(file)
            self._policy(file)
            self.add(_entries(file, "plugins", self.around, _plugin))
            self.add(_entries(file, "servers", self.around, _server))

    def narrowed(self, workspace: Path, own: Path, trusted: bool) -> None:
        found = narrow(workspace, self._known, own=own, concurrency=self.settings.concurrency)
        self.replace(found if trusted else held_back(found, self._known, workspace))

    @property
    def known(self) -> Mapping[str, Found]:
        return dict(self._known)

    def replace(self, found: Iterable[Found | Problem]) -> None:
        """Put these in the place of those of the same names."""
        for one in found:
            if isinstance(one, Problem):
                self.settings.problems.append(one)
            else:
                self._known[one.spec.name] = one
        self.settings.plugins = [found.spec for found in self._known.values()]

    def _top(self, file: Toml) -> None:
        for key, value in file.data.items():
            try:
                top = shaped({key: value}, Top)  # each key alone: one that is wrong leaves the others be
                if key not in _TOP_KEYS:
                    raise unknown_key([key], _TOP_KEYS)
                self._take(top)
            except Wrong as wrong:
                self.settings.problems.append(file.blame(wrong))

    def _take(self, top: Top) -> None:
        if top.max_frame is not None:
            if top.max_frame < _LEAST_FRAME:
                raise Wrong(f"`max_frame` must be at least {_LEAST_FRAME >> 10}KiB.", keys=["max_frame"])
            self.settings.max_frame = int(top.max_frame)
        if top.concurrency is not None:
            self.settings.concurrency = top.concurrency
        if top.audit is not None:
            self.settings.audit = top.audit
        if top.expose is not None:
            self.settings.surface = replace(self.settings.surface, expose=top.expose)
        if top.always is not None:
            self.settings.surface = replace(self.settings.surface, always=top.always)

    def _clients(self, file: Toml) -> None:
        entries = table(file.data.get("clients", {}))
        if entries is None:
            wrong = Wrong("`clients` must be a table of tables: [clients.NAME].", keys=["clients"])
            self.settings.problems.append(file.blame(wrong))
        for name, entry in (entries or {}).items():
            try:
                self.settings.clients[name] = shaped(entry, Surface)
            except Wrong as wrong:
                about = f"{dotted(['clients', name])}: "
                self.settings.problems.append(file.blame(wrong, "clients", name, about=about))

    def _policy(self, file: Toml) -> None:
        """Who writes one wants it strict: one that is wrong is taken at its strictest, and not left out."""
        try:
            self.settings.policy = shaped(file.data.get("policy", {}), Policy)
        except Wrong as wrong:
            self.settings.policy = Policy(pins="first", quarantine=True)
            self.settings.problems.append(file.blame(wrong, "policy", about="`policy`, taken at its strictest: "))


_Read = Callable[[str, object, Path, Surroundings], tuple[Spec, Manifest | None]]


def _entries(file: Toml, kind: str, around: Surroundings, read: _Read) -> Iterator[Found | Problem]:
    entries = table(file.data.get(kind, {}))
    if entries is None:
        yield file.blame(Wrong(f"`{kind}` must be a table of tables: [{kind}.NAME].", keys=[kind]))
        return
    for name, entry in entries.items():
        try:
            _check_name(kind, name)
            spec, manifest = read(name, entry, file.path, around)
            yield Found(file.where([kind, name]), f"{kind}.{name}", spec, manifest)
        except Wrong as wrong:
            yield replace(file.blame(wrong, kind, name, about=f"{dotted([kind, name])}: "), plugin=name)
        except Faulty as faulty:
            there = faulty.problem
            yield Problem(there.where, f"{dotted([kind, name])}: {there.what}", there.fix, name)


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        what = "a name must be 1 to 32 of the characters a-z, 0-9 and -."
        raise Wrong(what, fix=f"Call it [{kind}.{slug(name)}].")


def _server(name: str, entry: object, path: Path, around: Surroundings) -> tuple[Spec, None]:
    server = shaped(entry, Server)
    return server_spec(name, server, source=str(path), around=around, anchor=path.parent), None


def _plugin(name: str, held: object, path: Path, around: Surroundings) -> tuple[Spec, Manifest | None]:
    entry = shaped(held, Entry)
    if not entry.enabled:  # not looked into, so that a broken plugin can be switched off
        return Spec(name=name, source=str(path), enabled=False), None
    folder = _folder(entry, path, around)
    manifest = examine(folder / "plugin.toml")
    _check_manifest(name, manifest, folder)
    spec = Spec(
        name=name,
        source=str(path),
        command=manifest.command or (),
        entry=None if manifest.entry is None else str(folder / manifest.entry),
        cwd=str(folder),
        env=environment(entry.env, around),
        concurrency=entry.concurrency or manifest.concurrency,
        instance=entry.instance or manifest.instance,
        wasm=entry.wasm,
        warm=manifest.warm if entry.warm is None else entry.warm,
        limits=_limits(entry, manifest),
        isolation=entry.isolation,
        tools=tool_filters(entry.tools),
        required=entry.required,
        replay=entry.replay,
        max_result=None if entry.max_result is None else int(entry.max_result),
        version=manifest.version,
        description=manifest.description,
        permissions=asked(manifest),
        unconfined=entry.unconfined,
        unenforced=entry.unenforced,
        strict=entry.strict,
        config=_options(manifest, entry.config),
        restart=manifest.restart.policy,
        hooks=manifest.hooks,
        commands=tuple(Command(name, each.title, each.description) for name, each in manifest.commands.items()),
    )
    return spec, manifest


def _folder(entry: Entry, path: Path, around: Surroundings) -> Path:
    try:
        folder = Path(around.path(entry.path, path.parent))
    except Wrong as wrong:
        raise Wrong(f"`path`: {wrong.what}", keys=["path"], fix=wrong.fix) from None
    if not os.path.lexists(folder / "plugin.toml"):
        what = f"there is no plugin.toml in the folder {folder}."
        raise Wrong(what, keys=["path"], fix="Correct `path`; it is relative to this file.")
    return folder


def _check_manifest(name: str, manifest: Manifest, folder: Path) -> None:
    if manifest.name != name:
        what = f"the plugin in {folder} is named `{manifest.name}`."
        raise Wrong(what, fix=f"Call the table [plugins.{manifest.name}].")


def asked(manifest: Manifest) -> dict[str, tuple[str, ...] | bool]:
    """What it asks for: its table, to be asked about what others do, and to show its commands."""
    kinds = manifest.permissions.asked()
    hooks = tuple(dict.fromkeys(hook.on for hook in manifest.hooks))
    if manifest.commands:
        kinds["ui"] = tuple(dict.fromkeys((*manifest.permissions.ui, "command")))
    return {**kinds, **({"hooks": hooks} if hooks else {})}


def _options(manifest: Manifest, given: Mapping[str, object]) -> dict[str, object]:
    try:
        return configured(manifest, given)
    except Wrong as wrong:
        raise Wrong(f"in `config`, {wrong.what}", keys=("config", *wrong.keys), fix=wrong.fix) from None


def _limits(entry: Entry, manifest: Manifest) -> Limits:
    if (manifest.entry or "").endswith(".lua"):
        return _of_lua(entry, manifest)
    if entry.timeout == 0:
        raise Wrong("`timeout` must be a time of more than 0 seconds, and not endless.", keys=["timeout"])
    asked = manifest.limits.over(Limits())
    if (manifest.entry or "").endswith(".wasm"):
        asked = _of_wasm(manifest)
    timeout = None if entry.timeout is None else Seconds(entry.timeout)
    tuned = LimitsTable(timeout=timeout, start=entry.start).over(entry.limits.over(asked))
    unbounded = entry.limits.memory == UNBOUNDED and (manifest.entry or "").endswith(".wasm")
    return replace(tuned, memory=UNBOUNDED) if unbounded else tuned


def _of_lua(entry: Entry, manifest: Manifest) -> Limits:
    """A script's own work is bounded by its user alone; what it waits for has the time that every call has."""
    if entry.limits.memory == UNBOUNDED:
        raise Wrong('`limits.memory` of a Lua plugin must be a size such as "64MiB".', keys=["limits", "memory"])
    asked = replace(manifest.limits, timeout=None, memory=None).over(Limits())
    tuned = LimitsTable(start=entry.start).over(replace(entry.limits, timeout=None).over(asked))
    given = entry.limits.timeout if entry.timeout is None else entry.timeout
    if given is None:
        return tuned
    whole = max(tuned.timeout, 2 * given) if given else tuned.cap
    return replace(tuned, script=float(given), timeout=whole, cap=max(tuned.cap, whole))


def _of_wasm(manifest: Manifest) -> Limits:
    """What runs in the broker itself has less by default, and gets more time only from its user."""
    asked = manifest.limits.over(Limits(timeout=_WASM_TIMEOUT, memory=_WASM_MEMORY))
    return replace(asked, timeout=min(asked.timeout, _WASM_TIMEOUT))


def _twice(later: Found, earlier: Found) -> Problem:
    name = later.spec.name
    as_name = "" if later.label.endswith(name) else f" (as `{name}`)"
    label = dotted([later.label])
    what = f"{label}{as_name} is already named in {earlier.where}; this second one is left out."
    return Problem(later.where, what, "Rename one of them, or remove it.", name)
