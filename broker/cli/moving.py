"""The commands that move servers and plugins into broker, and broker into other clients: their words and options."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import", short_help="Take over the servers of other clients.")
@click.argument("names", nargs=-1, metavar="[CLIENT|FILE]...")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Another config.toml.")
@click.option("--write", is_flag=True, help="Write them without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs; asks nothing.")
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="The value of an option of a bundle.")
def import_(
    names: tuple[str, ...], config_file: Path | None, write: bool, as_json: bool, given: tuple[str, ...]
) -> int:
    """Show the servers in the files of other clients, and take them over into broker's config.toml.

    CLIENT is one of claude, claude-desktop, cursor, vscode, codex, gemini, zed, windsurf, copilot and opencode;
    without one, all that are found here. Nothing is written without --write or a yes. The old file is kept beside
    the new one, and the files of the clients are only read.

    FILE may also be a bundle (.mcpb, .dxt): it is unpacked into broker's data folder, asked for its options on a
    terminal, and may see its own folder and nothing else until it is given permissions.

    Exit code: 0 fine, 1 something could not be read, used or written, 2 the command was wrong.
    """
    from broker.cli.importing import perform

    return perform(names, config_file, write=write, as_json=as_json, given=given)


@click.command(short_help="Take up a plugin: its folder, or a packed file.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Another config.toml.")
@click.option("--write", is_flag=True, help="Write it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs; asks nothing.")
def add(path: Path, config_file: Path | None, write: bool, as_json: bool) -> int:
    """Put the plugin in the folder PATH, or in the file PATH that `broker pack` made, into broker's config.toml.

    A folder is used where it is; a file is unpacked into broker's data folder. What the plugin asks for is shown, and
    not granted: `broker grant` does that. Nothing is written without --write or a yes. A newer file of a plugin that
    was added as a file takes its place. Other bundles (.mcpb, .dxt) are taken as `broker import` takes them.

    Exit code: 0 fine, 1 it could not be used or written, 2 the command was wrong.
    """
    from broker.cli.adding import perform

    return perform(path, config_file, write=write, as_json=as_json)


@click.command(short_help="Register broker with other clients, or take it out again.")
@click.argument("clients", nargs=-1, required=True, metavar="CLIENT...")
@click.option("--undo", is_flag=True, help="Take the entry out again.")
@click.option("--command", metavar="PATH", help="What starts broker; its name if that is on the PATH, else its path.")
@click.option("--force", is_flag=True, help="Also replace, or take out, an entry that is not of this broker.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def export(clients: tuple[str, ...], undo: bool, command: str | None, force: bool, dry_run: bool) -> int:
    """Write `broker mcp` into the user's own file of each CLIENT, under the name `broker`.

    CLIENT is one of claude, claude-desktop, cursor, vscode, codex, gemini, zed, windsurf, copilot and opencode.
    Everything else in the file stays as it is, and a copy of what it was is kept beside it.

    Exit code: 0 fine, 1 a file could not be changed, 2 the command was wrong.
    """
    from broker.cli.exporting import Wanted, own_command, perform

    words = command or ("" if undo else own_command())
    return perform(Wanted(clients=clients, command=words, undo=undo, force=force, dry=dry_run))


COMMANDS = (add, import_, export)
