"""`broker show` and `broker grants`: what a plugin is and asks for, and what it was granted. None of it is started."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.cli.screen import plain
from broker.core.shape import nearest
from broker.errors import BrokerError, LedgerBroken, NotFound, PluginUnavailable
from broker.model import About, Settings, Spec
from broker.permissions.approval import Program, examined
from broker.permissions.gate import Gate
from broker.permissions.grants import Entry, Grant
from broker.permissions.scopes import Permission, parse
from broker.runtimes.command import argv, program

if TYPE_CHECKING:
    from broker.confine.backends import Grade

_COLOURS = {"granted": "green", "missing": "yellow", "refused": "red"}
_GRADES = {"yes": "green", "partly": "yellow", "no": "red"}


class Asked(Struct, frozen=True, kw_only=True):
    """One permission that a plugin asks for; the keys are those of `--json`."""

    permission: str
    state: str  # granted, missing, refused
    at: str = ""  # when it was granted
    by: str = ""
    why: str = ""  # it is refused
    enforced: str = ""  # yes, partly or no, on this machine; empty: nobody is held to it
    how: str = ""  # by what it is enforced, or why it is not


class Now(Struct, frozen=True, kw_only=True):
    """What a plugin shows in one broker that runs."""

    broker: int  # pid
    client: str
    commands: Mapping[str, str]  # with their descriptions
    notes: Mapping[str, str]


class Shown(Struct, frozen=True, kw_only=True):
    """One plugin as `broker show --json` prints it."""

    name: str
    source: str
    version: str
    description: str
    enabled: bool
    confined: bool  # false: a plain server without a table of permissions
    argv: Sequence[str]
    cwd: str | None
    env: Sequence[str]  # names
    program: str | None  # without links; None: it is not there, or cannot be read
    sha256: str | None  # of the program
    missing_program: str = ""  # why it could not be started
    permissions: Sequence[Asked]
    stale: str
    hooks: Sequence[str] = ()  # at what it is asked about others, in the order of its manifest
    now: Sequence[Now] = ()
    about: About | None = None  # of a plugin that runs in broker: what it said of itself when it was last started


class Granted(Struct, frozen=True, kw_only=True):
    """What one plugin was granted, as `broker grants --json` prints it."""

    name: str
    source: str
    grants: Sequence[Grant]


def named(name: str, found: Settings) -> Spec:
    """The plugin of this name. Raises `NotFound`."""
    known = {spec.name: spec for spec in found.plugins}
    if name not in known:
        near = nearest(name, known)
        more = f"; did you mean {near}?" if near else f"; there are {', '.join(sorted(known)) or 'none'}"
        hint = "Run `broker list` to see them. One of another file needs that: --mcp-config FILE or --config FILE."
        raise NotFound(f"no plugin is called {name}{more}", hint=hint)
    return known[name]


def show(spec: Spec, gate: Gate, *, as_json: bool) -> int:
    """Print everything about one plugin; the exit code."""
    shown = replace(of(spec, gate), now=_now(spec.name), about=_about_itself(spec))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
    else:
        say(shown)
        if any(each.state == "missing" for each in shown.permissions):
            click.echo(f"\n`broker grant {spec.name}` grants what is missing.")
    return 0


def grants(gate: Gate, name: str | None, *, as_json: bool) -> int:
    """Print what the ledger has, for one plugin or for all; the exit code. Raises `LedgerBroken`."""
    entries = [each for each in gate.ledger.read().entries if name in (None, each.name)]
    if as_json:
        found = [Granted(name=each.name, source=each.source, grants=each.grants) for each in entries]
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return 0
    if not entries:
        click.echo(f"Nothing is granted{f' to {name}' if name else ''}.")
    for entry in entries:
        click.secho(plain(f"{entry.name}  ({entry.source})"), bold=True)
        for each in entry.grants:
            click.echo(plain(f"  {each.permission}  since {each.at}, by {each.by}"))
    return 0


def of(spec: Spec, gate: Gate) -> Shown:
    """What is to be known of one plugin."""
    verdict = gate.check(spec)
    words, trouble = _command(spec)
    found = _examined(program(spec, os.environ))
    dates, how = _dates(spec, gate), enforcement(spec)
    states = [
        *(_asked(one, "granted", dates, how, gate.is_own(spec)) for one in verdict.granted),
        *(_asked(one, "missing", dates, how) for one in verdict.missing),
    ]
    return Shown(
        name=spec.name,
        source=spec.source,
        version=spec.version,
        description=spec.description,
        enabled=spec.enabled,
        confined=_confined(spec),
        argv=words,
        cwd=spec.cwd,
        env=sorted(spec.env),
        program=found.path if found else None,
        sha256=found.sha256 if found else None,
        missing_program=trouble,
        permissions=[
            *sorted(states, key=lambda each: each.permission),
            *(Asked(permission=each.text, state="refused", why=each.why) for each in verdict.refused),
        ],
        stale=verdict.stale,
        hooks=[each.on for each in spec.hooks],
    )


def _about_itself(spec: Spec) -> About | None:
    from broker.app import Folders
    from broker.core.listings import Listings

    known = Listings(Folders.of(os.environ).cache / "lists").get(spec)
    return None if known is None else known.about


def _now(name: str) -> list[Now]:
    """What the plugin shows in every broker of this user that runs and answers."""
    from broker.cli.brokers import running

    with running(os.environ) as brokers:
        here = [broker.here for broker in brokers if broker.here is not None]
        seen = [(each, status) for each in here for status in each.plugins if status.name == name]
        return [
            Now(broker=each.pid, client=each.client, commands=status.commands, notes=status.notes)
            for each, status in seen
            if status.commands or status.notes
        ]


def say(shown: Shown) -> None:
    """Print it for a person; nothing is cut."""
    click.secho(plain(" ".join(filter(None, (shown.name, shown.version)))), bold=True, nl=False)
    click.echo(plain(f"  {shown.description}" if shown.description else "") + ("" if shown.enabled else "  (disabled)"))
    for label, value in _facts(shown):
        click.echo(f"  {label:<9}{plain(value)}")
    _say_permissions(shown)


def enforcement(spec: Spec) -> Mapping[str, Grade]:
    """How well each kind is enforced on this machine, which is found out by trying; empty for one that is not held."""
    if not _confined(spec):
        return {}
    import asyncio

    from broker.confine.backends import abilities, grades

    return grades(asyncio.run(abilities()))


def _facts(shown: Shown) -> Iterator[tuple[str, str]]:
    yield "named in", shown.source
    if shown.argv:
        yield "starts", shlex.join(shown.argv)
    if shown.cwd:
        yield "in", shown.cwd
    if shown.env:
        yield "with", f"the variables {', '.join(shown.env)}"
    if shown.program:
        yield "program", f"{shown.program}, sha256 {shown.sha256}"
    if shown.hooks:
        yield "hooks", f"{', '.join(shown.hooks)}: it sees what others are called with, and can refuse it"
    if shown.about is not None:
        yield from _said(shown.about)
    for each in shown.now:
        for command, about in each.commands.items():
            yield "offers", f"{command}  {about}".rstrip()
        for key, text in each.notes.items():
            yield "shows", f"{key}: {text}"
    if shown.missing_program:
        yield "trouble", shown.missing_program


def _said(about: About) -> Iterator[tuple[str, str]]:
    """Its own words, marked as such."""
    if words := " ".join(filter(None, (about.name, about.version, about.description))):
        yield "says", words
    if about.capabilities:
        yield "can", ", ".join(about.capabilities)
    if bytes(about.schema) != b"null":
        yield "config", bytes(about.schema).decode()


def _say_permissions(shown: Shown) -> None:
    if not shown.enabled:
        return
    if not shown.confined and not shown.permissions:
        click.echo("  It asks for nothing and runs unconfined: it may do whatever you may.")
        click.echo(f"  `broker learn {shown.name}` finds out what it needs, so that it can be held to that.")
        return
    click.echo("  asks for" if shown.permissions else "  asks for nothing, and may do nothing beside answering")
    for each in shown.permissions:
        click.secho(f"    {each.state:<8} ", fg=_COLOURS[each.state], nl=False)
        click.echo(plain(each.why or f"{each.permission}{_about(each)}"))
    _say_enforced(shown.permissions)
    if shown.stale:
        click.secho(plain(f"  An earlier grant does not count: {shown.stale}."), fg="yellow")


def _about(each: Asked) -> str:
    said = ", ".join(filter(None, [f"since {each.at}" if each.at else "", f"by {each.by}" if each.by else ""]))
    return f"  ({said})" if said else ""


def _say_enforced(permissions: Sequence[Asked]) -> None:
    ways = {parse(each.permission).kind: each for each in permissions if each.enforced}
    if ways:
        click.echo("  enforced here")
    for kind, each in ways.items():
        click.secho(f"    {each.enforced:<8} ", fg=_GRADES[each.enforced], nl=False)
        click.echo(plain(f"{kind}: {each.how}"))


def _asked(
    one: Permission, state: str, dates: Mapping[str, Grant], how: Mapping[str, Grade], own: bool = False
) -> Asked:
    grant = dates.get(str(one)) if state == "granted" else None
    grade = how.get("sockets" if one.socket else one.kind)
    return Asked(
        permission=str(one),
        state=state,
        at=grant.at if grant else "",
        by="your own configuration" if own else grant.by if grant else "",
        enforced=grade.grade if grade else "",
        how=grade.how if grade else "",
    )


def _confined(spec: Spec) -> bool:
    return spec.permissions is not None and not spec.unconfined


def _dates(spec: Spec, gate: Gate) -> dict[str, Grant]:
    try:
        entry: Entry | None = gate.entry(spec)
    except LedgerBroken:
        return {}
    return {each.permission: each for each in entry.grants} if entry is not None else {}


def _command(spec: Spec) -> tuple[Sequence[str], str]:
    """What is started, and why it cannot be."""
    try:
        return argv(spec, environ=os.environ), ""
    except PluginUnavailable as error:
        return spec.command or ((spec.entry,) if spec.entry else ()), f"{error}. {error.hint}"
    except BrokerError as error:
        return spec.command, str(error)


def _examined(path: str | None) -> Program | None:
    try:
        return examined(path) if path is not None else None
    except OSError:
        return None
