"""The commands that look after brokers and plugins: their words and options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from broker.cli.sources import configuration, sources

MOST_WARM = 16  # as in core.manifest, whose import `broker --help` would pay for


@click.command(short_help="Examine everything: machine, configuration, plugins and running brokers.")
@sources
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(as_json: bool, **sources: Any) -> int:
    """Examine everything: the machine, the configuration, every plugin, and the brokers that run.

    Every plugin that is not disabled is started once.

    Exit code: 0 all is fine, 1 something fails, 2 the command was wrong.
    """
    from broker.cli.doctoring import show

    return show(configuration(sources), as_json=as_json)


@click.command(short_help="Show what a plugin printed, or who called what.")
@sources
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=40, show_default=True, help="How many of the last lines."
)
@click.option("--json", "as_json", is_flag=True, help="Print the calls as they are in the file; without NAME.")
def log(name: str | None, follow: bool, lines: int, as_json: bool, **sources: Any) -> int:
    """Show the last lines of what the plugin NAME printed beside its messages (stderr, and noise on stdout).

    Without NAME: the last calls, with client, plugin, method, name, duration and outcome.
    """
    from broker.app import Folders
    from broker.cli.logs import audit_of, log_of, printed, readable, show, whole

    if name is not None and as_json:
        raise click.UsageError("--json is for the calls; a plugin's own log is text.")
    logs = Folders.of(os.environ).logs
    if name is None:
        return show(audit_of(logs), lines, follow=follow, shown=whole if as_json else readable)
    return show(log_of(name, logs, configuration(sources)), lines, follow=follow, shown=printed)


@click.command(short_help="Say what an error means and what to do.", context_settings={"ignore_unknown_options": True})
@click.argument("error", required=False, metavar="[NAME|CODE]")
def explain(error: str | None) -> int:
    """Say what an error means, its usual causes, and what to do: by its name (plugin-crashed) or code (-31001).

    Without one, all errors are listed.
    """
    from broker.cli.explaining import show

    return show(error)


@click.command(short_help="Start a plugin anew in every running broker.")
@sources
@click.argument("name")
def restart(name: str, **sources: Any) -> int:
    """Start the plugin NAME anew in every running broker, and forget its failures.

    Exit code: 0 done, 1 it could not be done or no broker runs, 2 no plugin of that name.
    """
    from broker.cli.controlling import act

    return act("restart", name, configuration(sources))


@click.command(short_help="Stop a plugin in every running broker, until it is called.")
@sources
@click.argument("name")
def stop(name: str, **sources: Any) -> int:
    """Stop the plugin NAME in every running broker. The next call starts it again; `broker disable` does not.

    Exit code: 0 done, 1 it could not be done or no broker runs, 2 no plugin of that name.
    """
    from broker.cli.controlling import act

    return act("stop", name, configuration(sources))


@click.command(short_help="Have instances of a WASM plugin ready ahead of calls.")
@sources
@click.argument("name")
@click.argument("count", type=click.IntRange(0, MOST_WARM))
def warm(name: str, count: int, **sources: Any) -> int:
    """Have COUNT instances of the WASM plugin NAME ready ahead of calls in every running broker; one is ready anyway.

    Starts it, and lasts until it is stopped. `warm = COUNT` in its entry or its manifest lasts.

    Exit code: 0 done, 1 it could not be done or no broker runs, 2 no plugin of that name.
    """
    from broker.cli.controlling import act

    return act("warm", name, configuration(sources), count=count)


@click.command(short_help="Take a plugin out, now and in brokers to come.")
@sources
@click.argument("name")
def disable(name: str, **sources: Any) -> int:
    """Take the plugin NAME out of every running broker, and out of those that start later.

    Exit code: 0 done, 1 no broker runs or one could not do it (later ones will), 2 no plugin of that name.
    """
    from broker.app import Folders
    from broker.cli.controlling import disable

    return disable(name, configuration(sources), Folders.of(os.environ).state)


@click.command(short_help="Take a disabled plugin back.")
@sources
@click.argument("name")
def enable(name: str, **sources: Any) -> int:
    """Take the plugin NAME back that `broker disable` took out.

    Exit code: 0 done, 1 no broker runs or one could not do it (later ones will), 2 no plugin of that name, or its
    own entry disables it.
    """
    from broker.app import Folders
    from broker.cli.checking import disabling
    from broker.cli.controlling import enable

    folder = Folders.of(os.environ).state
    return enable(name, lambda: configuration(sources), lambda spec: disabling(spec, Path.cwd()), folder)


COMMANDS = (doctor, log, explain, restart, stop, warm, disable, enable)
