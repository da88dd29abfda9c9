"""What a plugin was refused, shown as the table of permissions that would allow it, and written where it counts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from broker.cli.importing import exchanged
from broker.cli.screen import plain
from broker.clients.permissiontext import with_permissions
from broker.clients.rewrite import original
from broker.core.source import MAX_TOML, Faulty
from broker.errors import ConfigError
from broker.model import Spec
from broker.permissions.proposal import Proposal, Proposed
from broker.permissions.scopes import KINDS, SOCKET, Permission, allowed, permission

Table = Mapping[str, tuple[str, ...] | bool]


class Found(Struct, frozen=True, kw_only=True):
    """What came of watching a plugin."""

    spec: Spec
    proposal: Proposal
    asked: tuple[Permission, ...]  # what it asks for already
    own: bool  # its table in the user's own config.toml is the grant
    unused: tuple[str, ...] = ()  # what it was granted and did not come to

    @property
    def lacking(self) -> list[Proposed]:
        """What it asks for already, and was not granted."""
        return [one for one in self.proposal.wanted if one.permission in self.asked]

    @property
    def new(self) -> list[Proposed]:
        return [one for one in self.proposal.wanted if one.permission not in self.asked]

    def table(self) -> Table:
        """Its table of permissions with what is proposed."""
        made = dict(self.spec.permissions or {})
        for one in self.new:
            held = made.get(one.permission.kind, ())
            written = placed(one.permission, self.spec)
            made[one.permission.kind] = (*(held if isinstance(held, tuple) else ()), written)
        return {kind: kept for kind in KINDS if (kept := _needed(kind, made))}


def _needed(kind: str, table: Table) -> tuple[str, ...] | bool:
    """The targets of one kind without those that another one stands for: who may write there may read."""
    targets, written = table.get(kind, ()), table.get("write", ()) if kind == "read" else ()
    if isinstance(targets, bool):
        return targets
    read = [] if isinstance(written, bool) else [permission("read", each) for each in written]
    asked = {each: permission(kind, each) for each in targets}
    return tuple(
        each
        for each, one in asked.items()
        if not allowed([*read, *(other for other in asked.values() if other != one)], one)
    )


def placed(one: Permission, spec: Spec) -> str:
    """The target with the home or the workspace in words, where it lies there.

    What the plugin's own command or environment names stays there wherever broker is started.
    """
    head, path = (SOCKET, one.socket) if one.socket else ("", one.target)
    if not path.startswith("/"):
        return one.target
    workspace, home = os.path.realpath(os.getcwd()), os.path.realpath(os.path.expanduser("~"))
    named = any(_below(word, path) or _below(path, word) for word in _paths(spec))
    for name, place in (("workspace", "" if named or workspace == home else workspace), ("home", home)):
        if len(place) > 1 and (path == place or path.startswith(f"{place}/")):
            return f"{head}${{{name}}}{path[len(place) :]}"
    return one.target


def say(found: Found, *, failed: bool) -> None:
    """Print it for a person."""
    for one in found.proposal.withheld:
        click.secho(plain(f"  not proposed: {one.permission} ({_how(one)}): {one.note}"), fg="red")
    if not found.proposal.wanted:
        click.secho("  It was refused nothing that it could be granted.", fg=None if failed else "green")
    for one in found.proposal.wanted:
        click.echo(plain(f"  refused: {one.permission} ({_how(one)})"))
        if one.note:
            click.secho(plain(f"    {one.note}"), fg="yellow")
    _say_table(found)
    if found.lacking:
        words = " ".join(f"'{one.permission}'" for one in found.lacking)
        click.echo(plain(f"\nIt asks for this already: broker grant {found.spec.name} {words}"))
    for each in found.unused:
        click.echo(plain(f"  granted, and not used this time: {each}"))
    click.echo("Variables it missed cannot be seen: what it reads of its environment, only it knows.")


def write(found: Found) -> None:
    """Put the table into the user's config.toml. Raises `ConfigError`."""
    if not found.new:
        return
    path = Path(found.spec.source)
    if not found.own:
        raise ConfigError(
            f"{found.spec.name} is not named in your own config.toml, so its permissions are not written",
            hint=f"Put the lines above into {_place(found)}, and run `broker grant {found.spec.name}`.",
        )
    try:
        old = original(path, MAX_TOML)
        text = with_permissions((old.data or b"").decode(), found.spec.name, found.table())
    except Faulty as faulty:
        raise ConfigError(f"{faulty.problem.where}: {faulty.problem.what}", hint=faulty.problem.fix) from None
    except ValueError as error:
        raise ConfigError(f"nothing was written: {error}", hint="Put the lines above there yourself.") from None
    backup = exchanged(old, text)
    kept = f"; what it was is in {backup.name}" if backup else ""
    click.secho(plain(f"Written to {path}{kept}."), fg="green")
    click.echo(f"Run `broker learn {found.spec.name}` again: what it is refused next shows only now.")


def _say_table(found: Found) -> None:
    if not found.new:
        return
    click.echo(plain(f"\nThis would allow it, in {_place(found)}:\n"))
    if not found.spec.version and not found.spec.source.endswith(".toml"):
        click.echo(
            plain(f'"permissions": {msgspec.json.format(msgspec.json.encode(found.table()), indent=2).decode()}')
        )
    else:
        click.secho("[permissions]" if found.spec.version else f"[servers.{found.spec.name}.permissions]", bold=True)
        for kind, targets in found.table().items():
            click.echo(plain(f"{kind} = {_toml(targets)}"))
    if found.own:
        click.echo("\n`--write` writes it there, and that is the grant.")
    click.echo("It may want more once it is let do this.")


def _toml(targets: tuple[str, ...] | bool) -> str:
    from tomlkit import item

    return item(targets if isinstance(targets, bool) else list(targets)).as_string()


def _place(found: Found) -> str:
    spec = found.spec
    return os.path.join(spec.cwd, "plugin.toml") if spec.version and spec.cwd else spec.source


def _how(one: Proposed) -> str:
    return ", ".join(call if count == 1 else f"{call} {count} times" for call, count in sorted(one.calls.items()))


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _paths(spec: Spec) -> list[str]:
    """The paths that its command and environment name."""
    words = [*spec.command[1:], *spec.env.values()]
    return [os.path.realpath(word) for word in words if word.startswith("/") and word != "/"]
