"""The commands a person types. Each imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from broker import __version__
from broker.cli.approving import COMMANDS as APPROVING
from broker.cli.consenting import COMMANDS as CONSENTING
from broker.cli.creating import COMMANDS as CREATING
from broker.cli.developing import COMMANDS as DEVELOPING
from broker.cli.inspecting import COMMANDS as INSPECTING
from broker.cli.locating import COMMANDS as LOCATING
from broker.cli.moving import COMMANDS as MOVING
from broker.cli.operating import COMMANDS as OPERATING
from broker.cli.packing import COMMANDS as PACKING
from broker.cli.person import COMMANDS
from broker.cli.schemas import COMMANDS as SCHEMAS
from broker.cli.screen import Plain, plain
from broker.cli.secrets import COMMANDS as SECRETS
from broker.cli.sources import sources
from broker.cli.testing import COMMANDS as TESTING


def main() -> None:
    """The entry point of `broker` and `plugin-broker`."""
    from broker.errors import BrokerError

    try:
        sys.exit(cli(standalone_mode=False))
    except BrokerError as error:
        click.echo(plain(f"broker: {error}\n{error.hint}"), err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)


def _size(_: click.Context, option: click.Parameter, value: str | None) -> int | None:
    from broker.core.manifest import size

    try:
        return size(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="broker")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens.")
def cli(verbose: bool) -> None:
    """One stdio process that runs all your MCP servers and plugins, for every AI client."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Plain("broker: %(message)s"))


@cli.command()
@sources
@click.option("--passthrough", metavar="NAME", help="Offer only this server, under its own names.")
@click.option(
    "--max-frame", metavar="SIZE", callback=_size, help="The largest message written to the client; 8MiB if unsaid."
)
def mcp(passthrough: str | None, max_frame: int | None, **sources: Any) -> int:
    """Serve an AI client on standard input and output.

    This is what a client's configuration names: command `broker`, arguments `mcp`.
    """
    from broker.app import Options, run_mcp

    if os.isatty(0):
        click.echo("broker mcp waits for an MCP client on its standard input; Ctrl-C ends it.", err=True)
    return run_mcp(Options(passthrough=passthrough, max_frame=max_frame, **sources))


@cli.command()
@sources
@click.option("--stdio", is_flag=True, help="Which it does anyway; some editors say it.")
@click.option(
    "--max-frame", metavar="SIZE", callback=_size, help="The largest message written to the editor; 8MiB if unsaid."
)
def lsp(stdio: bool, max_frame: int | None, **sources: Any) -> int:
    """Serve an editor on standard input and output, as a language server.

    This is what an editor's configuration names: command `broker`, arguments `lsp`.
    """
    from broker.app import Options, run_lsp

    if os.isatty(0):
        click.echo("broker lsp waits for an editor on its standard input; Ctrl-C ends it.", err=True)
    return run_lsp(Options(max_frame=max_frame, **sources))


_ROOMS = (
    COMMANDS,
    APPROVING,
    CONSENTING,
    OPERATING,
    MOVING,
    SECRETS,
    LOCATING,
    SCHEMAS,
    CREATING,
    PACKING,
    DEVELOPING,
    TESTING,
    INSPECTING,
)
for _command in (each for commands in _ROOMS for each in commands):
    cli.add_command(_command)
