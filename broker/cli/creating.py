"""`broker new` and `broker types`: their words and options, and what is printed."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from broker.cli.screen import word

# As the folders in authoring/templates, which `broker --help` need not look for.
_LANGUAGES = (
    "What to write it in: python, typescript, javascript or lua; or, for WebAssembly, rust, c, assemblyscript, "
    "wasm-python or wasm-javascript. Those for WebAssembly have the template `tool` alone."
)


@click.command(short_help="Make the folder of a new plugin, with a test that passes.")
@click.argument("name")
@click.option("--lang", "language", default="python", show_default=True, help=_LANGUAGES)
@click.option("--template", default="tool", show_default=True, help="What it begins with: a tool, command or hook.")
@click.option("--path", type=click.Path(path_type=Path), help="The folder to make; NAME in this one, if unsaid.")
def new(name: str, language: str, template: str, path: Path | None) -> None:
    """Make the folder of a new plugin NAME: manifest, source, a test that passes, README. Needs no network.

    Nothing is overwritten. What the language needs and is missing here is said, with what installs it.

    Exit code: 0 made, 2 the name, language or template is none, or the folder is there.
    """
    from broker.authoring.creating import create
    from broker.authoring.toolchains import missing

    folder = path or Path(name)
    files = create(name, language, template, folder)
    click.secho(f"{word(str(folder))} is a new plugin:", fg="green")
    for file in files:
        click.echo(f"  {file}")
    click.echo("\nNext:")
    click.echo(f"  cd {shlex.quote(str(folder))}")
    for need in missing(language):
        click.secho(f"  {need.install}", fg="yellow", nl=False)
        click.echo(f"    # {need.what}: missing here")
    click.echo("  cat README.md    # how to test it, try it and give it away")


@click.command(short_help="Write a plugin's options and secrets down for its author's editor.")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
def types(path: Path) -> None:
    """Write down what the manifest of the plugin in PATH says for the tools that read its code while it is written.

    TypeScript and JavaScript get broker-env.d.ts, by which an option or a secret that plugin.toml does not list is an
    error of the compiler; Lua gets types/broker.d.lua and .luarc.json for its language server.

    Exit code: 0 fine, 2 the manifest is wrong or a file cannot be written.
    """
    from broker.authoring.declarations import write

    for name in (written := write(path)):
        click.echo(f"{word(str(path / name))} written")
    if not written:
        click.echo("Nothing was written: only plugins in TypeScript, JavaScript and Lua need it.")


COMMANDS = (new, types)
