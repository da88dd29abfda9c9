"""The commands of a person: their words and options. What they do is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from broker.cli.sources import configuration, sources


@click.command("list", short_help="Show every plugin and server, and what is wrong with any.")
@sources
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_(as_json: bool, **sources: Any) -> int:
    """Show every plugin and server, and what is wrong with any.

    Only those that were never started before are started, once, to learn what they offer.
    """
    from broker.app import run
    from broker.cli.listing import show

    found = configuration(sources)
    return run(lambda core: show(core, found, as_json=as_json), found)


@click.command(short_help="Show the tools as clients see them.")
@sources
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print the definitions as in tools/list.")
def tools(names: tuple[str, ...], as_json: bool, **sources: Any) -> int:
    """Show the tools as clients see them: all, or those of a plugin, or those called NAME (* is allowed).

    A tool that is named exactly is shown with all its arguments.
    """
    from broker.app import run
    from broker.cli.tools import show

    found = configuration(sources)
    return run(lambda core: show(core, found, names, as_json=as_json), found)


@click.command(short_help="Call a tool and print what it answers.")
@sources
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "given", metavar="JSON", help="The arguments as a JSON object; @FILE reads a file, - stdin.")
@click.option("--raw", is_flag=True, help="Print the whole result as JSON.")
def call(name: str, words: tuple[str, ...], given: str | None, raw: bool, **sources: Any) -> int:
    """Call the tool NAME (as `broker tools` shows it) and print what it answers.

    A value is read by the type the tool declares: text as it is, numbers, true or false, and JSON for arrays
    and objects.

    Exit code: 0 it answered, 1 it answered with an error, 2 the command was wrong, 3 the plugin failed.
    """
    from broker.cli.arguments import read
    from broker.cli.calling import Wanted, perform

    wanted = Wanted(name, words, read(given), raw)
    return perform(wanted, configuration(sources))


@click.command(short_help="Find what is wrong in the configuration; starts nothing.")
@sources
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON, for programs.")
def check(path: Path | None, as_json: bool, **sources: Any) -> int:
    """Find what is wrong in the configuration, or in PATH: a configuration file or a plugin's folder.

    Also looks for every program that would be started. Nothing is started. Exit code 1 if there is a problem.
    """
    from broker.cli.checking import examined, show

    found = configuration(sources) if path is None else examined(path)
    return show(found, as_json=as_json)


COMMANDS = (list_, tools, call, check)
