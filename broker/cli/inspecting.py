"""`broker inspect`: the official MCP Inspector on one plugin, through the broker.

Exit codes: the Inspector's own; 2 the command was wrong, or there is no Node.js that runs it.
"""

from __future__ import annotations

import os
import shlex

import click

from broker.cli.screen import plain


@click.command(
    short_help="Open the MCP Inspector on a plugin.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", default=".")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- INSPECTOR OPTIONS]")
def inspect(target: str, words: tuple[str, ...]) -> int:
    """Open the official MCP Inspector on TARGET, through the broker: a plugin's folder, or a configured plugin's name.

    A folder is served by `broker dev --mcp`: what it asks for is granted to this session only, and each save is taken
    up. What follows TARGET goes to the Inspector: broker inspect . --cli --method tools/list

    npx fetches the Inspector; it needs Node.js 22.19 or later.
    """
    from broker.authoring.inspector import command
    from broker.cli.sources import configuration
    from broker.confine.tree import in_front

    names = [] if os.path.exists(target) else [spec.name for spec in configuration({}).plugins]
    argv = command(target, names, words, os.environ)
    click.echo(plain(f"broker runs: {shlex.join(argv)}"), err=True)
    return in_front(argv, os.environ)


COMMANDS = (inspect,)
