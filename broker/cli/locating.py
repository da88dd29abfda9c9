"""`broker where`: where the editor clients are that were installed with broker."""

from __future__ import annotations

import sys
from pathlib import Path

import click

CLIENTS = ("nvim", "vim", "emacs", "claude-code")


@click.command(short_help="Print the folder of an editor's client, for its configuration.")
@click.argument("editor", type=click.Choice(CLIENTS))
def where(editor: str) -> None:
    """Print the folder of broker's client for EDITOR, which comes with broker.

    Neovim: vim.opt.rtp:append(vim.fn.system({ "broker", "where", "nvim" }))
    """
    # Without a line break, so that a configuration can use it as it is.
    click.echo(_folder(editor), nl=sys.stdout.isatty())


def _folder(editor: str) -> Path:
    """In what was installed they are inside of the package, in a checkout beside it."""
    package = Path(__file__).parent.parent
    found = [home / "editors" / editor for home in (package, package.parent) if (home / "editors" / editor).is_dir()]
    if not found:
        raise click.ClickException(f"the client for {editor} was not installed with this broker; install it again.")
    return found[0]


COMMANDS = (where,)
