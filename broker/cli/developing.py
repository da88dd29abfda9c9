"""`broker dev`: its words, and the session from its first start to its end.

Exit codes: 0 its author left, 2 the command or the manifest was wrong.
"""

from __future__ import annotations

from typing import Any

import click

from broker.cli.trying import on_trial, trial


@click.command(short_help="Run a plugin under the broker while you write it.")
@on_trial
@click.option("--mcp", is_flag=True, help="Serve it to an MCP client on standard input and output instead of you.")
@click.option("--no-watch", is_flag=True, help="Do not look at what the kernel refuses it; it starts a little faster.")
def dev(mcp: bool, no_watch: bool, **options: Any) -> int:
    """Run the plugin in PATH under the broker while you write it: confined as at its users, granted what it asks for.

    PATH is a plugin's folder, or the folder or file of a plain MCP server. Each save is taken up as soon as the new
    code is ready; until then, and if it is broken, the old one serves. Type `help` for what can be called.

    What it asks for is granted to this session only; what it is refused is said with the line to add.
    """
    from broker.cli.sessions import run_console, run_mcp

    wanted = trial(**options)
    return run_mcp(wanted, watch=not no_watch) if mcp else run_console(wanted, watch=not no_watch)


COMMANDS = (dev,)
