"""The commands of consent: their words and options. What they do is imported when one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.sources import configuration, sources

if TYPE_CHECKING:
    from broker.model import Spec
    from broker.permissions.gate import Gate


@click.command(short_help="Show a plugin: what it starts, what it asks for, what it was granted.")
@sources
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def show(name: str, as_json: bool, **sources: Any) -> int:
    """Show everything about the plugin NAME: its whole command line, the program and its digest, every permission it
    asks for, when that was granted, and why an earlier grant does not count any more. Nothing is started.
    """
    from broker.cli.granted import show

    spec, gate = _found(name, sources)
    return show(spec, gate, as_json=as_json)


@click.command(short_help="Grant a plugin what it asks for.")
@sources
@click.argument("name")
@click.argument("permissions", nargs=-1, metavar="[PERMISSION]...")
@click.option("--once", is_flag=True, help="Only in the brokers that run now, until they end.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def grant(name: str, permissions: tuple[str, ...], once: bool, yes: bool, **sources: Any) -> int:
    """Grant the plugin NAME what it asks for: PERMISSION as `broker show NAME` prints it, or a kind such as net for
    all of that kind. Without one, everything that is missing is shown, and then asked for.

    A grant lasts until `broker revoke`, or until the plugin's manifest, command line or program changes.

    Exit code: 0 done, 1 not granted, 2 the command was wrong.
    """
    from broker.cli.granting import grant

    spec, gate = _found(name, sources)
    return grant(spec, permissions, gate, once=once, yes=yes)


@click.command(short_help="Take back what a plugin was granted.")
@sources
@click.argument("name")
@click.argument("permissions", nargs=-1, metavar="[PERMISSION]...")
def revoke(name: str, permissions: tuple[str, ...], **sources: Any) -> int:
    """Take back what the plugin NAME was granted: PERMISSION, all of a kind such as net, or without one everything.

    Exit code: 0 done, 1 nothing was granted, 2 the command was wrong.
    """
    from broker.cli.granting import revoke

    spec, gate = _found(name, sources)
    return revoke(spec, permissions, gate)


@click.command(short_help="Show what was granted, to whom and when.")
@sources
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def grants(name: str | None, as_json: bool, **sources: Any) -> int:
    """Show what was granted to NAME, or to all plugins, and when: the ledger as it is, whether it counts or not."""
    from broker.app import Options, gate
    from broker.cli.granted import grants

    return grants(gate(Options(**sources)), name, as_json=as_json)


@click.command("learn", short_help="Run a plugin watched, and propose its permissions.")
@sources
@click.argument("name")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- TOOL [KEY=VALUE]...]...")
@click.option("--write", is_flag=True, help="Write what is proposed into your config.toml.")
@click.option("--seconds", type=click.FloatRange(0, 86400), default=0.0, help="Watch it this long after its last call.")
def learn_(name: str, words: tuple[str, ...], write: bool, seconds: float, **sources: Any) -> int:
    """Run the plugin NAME with what it was granted and nothing more, and propose the smallest permissions that would
    allow what it was refused: files, programs and hosts. It is started and asked for its tools; TOOLs named after --
    are called, with another -- between two.

    Exit code: 0 it was refused nothing, 1 it was refused something or did not run, 2 the command was wrong.
    """
    from broker.app import Options, gate
    from broker.cli.watched import Wanted, perform, split

    wanted = Wanted(name, split(words), seconds, write)
    return perform(wanted, configuration(sources), gate(Options(**sources)))


def _found(name: str, sources: dict[str, Any]) -> tuple[Spec, Gate]:
    """The plugin of this name, and what judges it. Raises `NotFound`."""
    from broker.app import Options, gate
    from broker.cli.granted import named

    return named(name, configuration(sources)), gate(Options(**sources))


COMMANDS = (show, grant, revoke, grants, learn_)
