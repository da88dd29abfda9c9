"""A workspace's `.broker.toml`: names and configures plugins the user already has, and can only narrow them.

The file arrives with a stranger's repository, so it is read as an attacker's:
Rule 1: only `tools`, `enabled`, `concurrency`, `timeout`, `config` mean something, and only for known names.
Rule 2: nothing starts or widens: `enabled` only switches off, numbers only go down, a filter comes on top.
Rule 3: an entry that breaks a rule has no effect at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from broker.core.manifest import Count, Seconds, Texts, configured
from broker.core.mcpservers import CallTimeout, Found, tool_filters
from broker.core.shape import Wrong, dotted, shaped, table
from broker.core.source import Faulty, Toml, read_toml
from broker.model import Limits, Problem, Spec

NAME = ".broker.toml"
SETTINGS = "the editor's settings"  # where its Problems are
MAX_BYTES = 64 << 10  # a few lines for each plugin; a stranger wrote it

_KINDS = ("plugins", "servers")
_REFUSED = "a workspace file cannot start or widen anything"


class Overlay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a workspace may say about one plugin."""

    tools: Texts | None = None
    enabled: bool | None = None
    concurrency: Count | None = None
    timeout: object = None  # read as `_TIMEOUTS` says, like in the table of the same kind in config.toml
    config: dict[str, object] | None = None


class _PluginTimeout(Struct, frozen=True):
    timeout: Seconds | None = None


class _ServerTimeout(Struct, frozen=True):
    timeout: CallTimeout | None = None


_TIMEOUTS: dict[str, type[_PluginTimeout | _ServerTimeout]] = {
    "plugins": _PluginTimeout,
    "servers": _ServerTimeout,
}


def narrow(workspace: Path, known: Mapping[str, Found], *, own: Path, concurrency: int) -> Iterator[Found | Problem]:
    """The plugins the workspace's file changes, as they are then, and the Problems of its other entries.

    `own` is the file of the user's that Problems point to; `concurrency` holds where a plugin says none.
    """
    path = workspace / NAME
    if not os.path.lexists(path):
        return
    try:
        file = _opened(path, workspace)
    except Faulty as faulty:
        yield faulty.problem
        return
    for key in file.data:
        if key not in _KINDS:
            yield file.blame(_refusal([key], own))
    for kind in _KINDS:
        yield from _entries(file, kind, dict(known), own, concurrency)


def held_back(
    found: Iterable[Found | Problem], known: Mapping[str, Found], workspace: Path
) -> Iterator[Found | Problem]:
    """Of what `narrow` found, every plugin off: nothing that an untrusted workspace speaks of runs."""
    for one in found:
        if isinstance(one, Problem):
            yield one
            continue
        spec = known[one.spec.name].spec
        yield msgspec.structs.replace(one, spec=msgspec.structs.replace(spec, enabled=False))
        what = f"{spec.name} is held back: this workspace configures it, and is not trusted."
        yield Problem(str(workspace / NAME), what, "Trust the workspace in your editor.", spec.name)


def tuned(options: Mapping[str, object], known: Mapping[str, Found]) -> Iterator[Found | Problem]:
    """The plugins that an editor's settings give `options`, by name, as they are then, and the Problems of others."""
    for name, given in options.items():
        try:
            found, values = known.get(name), table(given)
            if found is None:
                raise Wrong("it is not a plugin of the user's.", fix="Run `broker list` to see them.")
            if values is None:
                raise Wrong("its options must be an object.")
            spec = msgspec.structs.replace(found.spec, config=_options(found, values))
            yield msgspec.structs.replace(found, spec=spec)
        except Wrong as wrong:
            yield Problem(SETTINGS, f"{dotted(['plugins', name])}: {wrong.what}", wrong.fix, name)


def _opened(path: Path, workspace: Path) -> Toml:
    # A link could make a Problem quote lines of any file of the user's.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(workspace)):
        raise Faulty(Problem(str(path), "it is a link that leads out of the workspace; it is not read."))
    return read_toml(path, MAX_BYTES)


def _entries(file: Toml, kind: str, known: dict[str, Found], own: Path, concurrency: int) -> Iterator[Found | Problem]:
    entries = table(file.data.get(kind, {}))
    if entries is None:
        yield file.blame(Wrong(f"`{kind}` must be a table of tables: [{kind}.NAME].", keys=[kind]))
        return
    for name, entry in entries.items():
        try:
            if name not in known:
                raise _refusal([], own, f"{dotted([name])} is not a plugin of the user's; ")
            overlay = _overlay(entry, kind, own)
            yield _applied(known[name], overlay, own, concurrency)
        except Wrong as wrong:
            yield file.blame(wrong, kind, name, about=f"{dotted([kind, name])}: ")


def _overlay(entry: object, kind: str, own: Path) -> Overlay:
    for key in table(entry) or ():
        if key not in Overlay.__struct_fields__:
            raise _refusal([key], own)
    overlay = shaped(entry, Overlay)
    timeout = shaped({"timeout": overlay.timeout}, _TIMEOUTS[kind]).timeout
    return msgspec.structs.replace(overlay, timeout=None if timeout is None else float(timeout))


def _applied(found: Found, overlay: Overlay, own: Path, concurrency: int) -> Found:
    spec = found.spec
    if overlay.enabled and not spec.enabled:
        raise _refusal(["enabled"], own)
    spec = msgspec.structs.replace(
        spec,
        enabled=spec.enabled and overlay.enabled is not False,
        tools=spec.tools + tool_filters(overlay.tools),
        concurrency=_lowered(spec.concurrency, overlay.concurrency, concurrency, own),
        limits=_shortened(spec.limits, overlay.timeout, own),
        config=_options(found, overlay.config),
    )
    return msgspec.structs.replace(found, spec=spec)


def _lowered(now: int | None, wanted: int | None, default: int, own: Path) -> int | None:
    if wanted is None:
        return now
    if wanted > (now or default):
        raise _refusal(["concurrency"], own)
    return wanted


def _shortened(limits: Limits, wanted: object, own: Path) -> Limits:
    if not isinstance(wanted, float):
        return limits
    if wanted > limits.timeout:
        raise _refusal(["timeout"], own)
    return msgspec.structs.replace(limits, timeout=wanted)


def _options(found: Found, given: Mapping[str, object] | None) -> Mapping[str, object]:
    spec: Spec = found.spec
    if not given or not spec.enabled:
        return spec.config
    if found.manifest is None:
        raise Wrong("a plain server has no `config`.", keys=["config"])
    try:
        configured(found.manifest, given)
    except Wrong as wrong:
        raise Wrong(f"in `config`, {wrong.what}", keys=("config", *wrong.keys), fix=wrong.fix) from None
    return {**spec.config, **given}


def _refusal(keys: list[str], own: Path, about: str = "") -> Wrong:
    subject = about or f"{dotted(keys)} has no effect here: "
    return Wrong(f"{subject}{_REFUSED}; put it in {own}.", keys=keys, fix=f"Move it to {own}.")
