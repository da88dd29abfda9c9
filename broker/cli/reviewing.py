"""`broker review` and `broker approve`: what a plugin shows now, against what its user approved.

Rule 1: nothing is approved that was not shown, character by character, with what is suspicious in it first.
Rule 2: on a terminal anything but an exact yes is no. Without one nobody can be asked: then `--yes` says it.
Rule 3: what is approved is what was shown here, not what the plugin shows a moment later.

Exit codes of review: 0 nothing is withheld, 1 something is. Of approve: 0 done, 1 not done, 2 the command was wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
from msgspec import Struct

from broker.cli.learning import learn
from broker.cli.screen import plain
from broker.cli.terminal import Terminal
from broker.core.catalog import shown_name
from broker.core.router import Router
from broker.errors import BadArguments, LedgerBroken, PluginUnavailable
from broker.model import KINDS, Listing
from broker.permissions.changes import ONE, Change, shown, taken
from broker.permissions.difference import difference
from broker.permissions.pins import Pin, Pins, Stamp, pin_of
from broker.permissions.scan import Flag, level, scan, visible

DONE, NOT_DONE = 0, 1
COLOURS = {"+": "green", "-": "red"}


class Reviewed(Struct, frozen=True, kw_only=True):
    """One change; the keys are those of `--json`."""

    kind: str
    name: str
    what: str
    level: Literal["high", "medium", "low"] | None
    flags: list[Flag]
    difference: list[str]


class Review(Struct, frozen=True, kw_only=True):
    """A plugin beside its pin."""

    plugin: str
    state: Literal["not approved", "approved", "unreadable"]
    withheld: bool  # whether clients do not see what differs
    problem: str = ""
    changes: list[Reviewed] = []


class Seen(Struct, frozen=True):
    """What a plugin showed last, its pin, what differs, and the file the pin was read from."""

    listing: Listing
    pin: Pin | None
    changes: list[Change]
    stamp: Stamp | None
    problem: str = ""


async def review(core: Router, name: str, folder: Path, *, as_json: bool) -> int:
    """Print what differs; the exit code. Raises `NotFound`, `PluginUnavailable`."""
    seen = await _seen(core, name, Pins(folder))
    found = _reviewed(core, name, seen)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _say(found)
    return NOT_DONE if found.withheld else DONE


async def approve(core: Router, name: str, words: Sequence[str], folder: Path, *, yes: bool) -> int:
    """Show what differs, ask, and make it the pin; the exit code. Raises `BadArguments` and as `review`."""
    pins = Pins(folder)
    seen = await _seen(core, name, pins)
    chosen = _chosen(name, seen.changes, words)
    if not chosen and seen.pin is not None:
        click.echo(f"{name} shows what was approved. There is nothing to approve.")
        return DONE
    _say(_reviewed(core, name, msgspec.structs.replace(seen, changes=chosen)))
    if not (yes or _agreed(name)):
        click.echo("Nothing was approved.", err=True)
        return NOT_DONE
    if not pins.replace(name, _pin(seen, chosen), seen=seen.stamp):
        click.echo(f"{name} was approved by somebody else meanwhile; run `broker review {name}` again.", err=True)
        return NOT_DONE
    click.echo(f"{name} is approved with these definitions. Brokers that run take it up within a moment.")
    return DONE


async def _seen(core: Router, name: str, pins: Pins) -> Seen:
    """Starts the plugin only if nobody knows its lists."""
    plugin = core.generations.named(name)
    await learn(core, Terminal(), [name])
    if plugin.listing is None:
        raise plugin.failure or PluginUnavailable(f"{name} did not say what it offers")
    stamp, problem = pins.stamp(name), ""
    try:
        pin = pins.read(name)
    except LedgerBroken as error:
        pin, problem = None, str(error)
    pin = None if pin is not None and pin.awaited else pin
    _, changes = shown(pin or Pin(), plugin.listing)
    return Seen(plugin.listing, pin, changes, stamp, problem)


def _reviewed(core: Router, name: str, seen: Seen) -> Review:
    state: Any = "unreadable" if seen.problem else "not approved" if seen.pin is None else "approved"
    nothing = core.catalog.withheld(name).reason
    return Review(
        plugin=name,
        state=state,
        withheld=bool(nothing) or (seen.pin is not None and any(change.withheld for change in seen.changes)),
        problem=seen.problem,
        changes=sorted(map(_change, seen.changes), key=lambda each: ("high", "medium", "low", None).index(each.level)),
    )


def _change(change: Change) -> Reviewed:
    flags = scan(bytes(change.new)) if change.new is not None else []
    old, new = (None if raw is None else bytes(raw) for raw in (change.old, change.new))
    return Reviewed(
        kind=change.kind,
        name=change.name,
        what=change.what,
        level=level(flags),
        flags=flags,
        difference=difference(old, new),
    )


def _pin(seen: Seen, chosen: Sequence[Change]) -> Pin:
    if len(chosen) == len(seen.changes):
        return pin_of(seen.listing)
    return taken(seen.pin or Pin(listing=Listing(info=seen.listing.info)), seen.listing, chosen)


def _chosen(plugin: str, changes: Sequence[Change], words: Sequence[str]) -> list[Change]:
    """The changes that `words` name: tools as the plugin or its clients call them, URIs, `instructions`."""
    for word in words:
        if not any(word in _names(plugin, change) for change in changes):
            raise BadArguments(
                f"nothing called {word!r} differs in {plugin}", hint=f"`broker review {plugin}` shows what does."
            )
    return [change for change in changes if not words or not _names(plugin, change).isdisjoint(words)]


def _names(plugin: str, change: Change) -> set[str]:
    return {change.name, shown_name(plugin, change.name)}


def _agreed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise BadArguments(
            "nobody can be asked here, because standard input is no terminal",
            hint=f"Add --yes, if you have read it: broker approve {name} --yes",
        )
    click.echo("\nApprove it? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(review: Review) -> None:
    name = review.plugin
    if review.problem:
        click.secho(plain(review.problem), fg="red")
    elif review.state == "not approved":
        seen = "clients see nothing of it" if review.withheld else "clients see what it shows, whatever that is"
        click.echo(f"{name} was never approved: {seen}. `broker approve {name}` holds it to what follows.")
    elif not review.changes:
        click.echo(f"{name} shows what was approved.")
    for change in review.changes:
        _say_change(change)
    if review.changes and review.state == "approved":
        click.echo(f"\nClients see none of it. `broker approve {name}` takes it, `broker approve {name} THAT` a part.")


def _say_change(change: Reviewed) -> None:
    noun = ONE[change.kind] if change.kind in KINDS else ""  # pyright: ignore[reportArgumentType]
    title = " ".join(filter(None, (change.what, noun, visible(change.name))))
    click.secho(f"\n{title}", bold=True)
    for flag in change.flags:
        colour = "red" if change.level == "high" else "yellow"
        where = f" in {visible(flag.where)}" if flag.where else ""
        click.secho(f"  !! {flag.what}{where}: {flag.found}", fg=colour)
    for line in change.difference:
        click.secho(f"  {line}", fg=COLOURS.get(line[:1]))
