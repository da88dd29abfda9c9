"""The commands about definitions: their words and options. What they do is imported when one of them runs."""

from __future__ import annotations

import os
from typing import Any

import click

from broker.cli.sources import configuration, sources


@click.command(short_help="Show how a plugin differs from what you approved.")
@sources
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def review(name: str, as_json: bool, **sources: Any) -> int:
    """Show how what the plugin NAME offers differs from what was approved, and what is suspicious in it: characters
    nobody sees, orders to a model. Of a plugin that was never approved, everything is shown.

    Exit code: 0 nothing is withheld from clients, 1 something is, 2 the command was wrong.
    """
    from broker.app import Folders, run
    from broker.cli.reviewing import review

    folder = Folders.of(os.environ).state / "pins"
    return run(lambda core: review(core, name, folder, as_json=as_json), configuration(sources))


@click.command(short_help="Hold a plugin to what it shows now.")
@sources
@click.argument("name")
@click.argument("definitions", nargs=-1, metavar="[DEFINITION]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def approve(name: str, definitions: tuple[str, ...], yes: bool, **sources: Any) -> int:
    """Hold the plugin NAME to what it shows now: from then on clients see this text, and whatever becomes different
    is withheld. DEFINITION takes only that of what changed: a tool, a prompt, a URI, `instructions`, `capabilities`.

    Exit code: 0 done, 1 not approved, 2 the command was wrong.
    """
    from broker.app import Folders, run
    from broker.cli.reviewing import approve

    folder = Folders.of(os.environ).state / "pins"
    return run(lambda core: approve(core, name, definitions, folder, yes=yes), configuration(sources))


COMMANDS = (review, approve)
