"""`broker pack`: its words and options, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from broker.cli.screen import plain, word

if TYPE_CHECKING:
    from broker.authoring.packing import Packed


@click.command(short_help="Put a plugin into one file to give to others.")
@click.argument("path", type=click.Path(path_type=Path), default=".")
@click.option("--output", type=click.Path(path_type=Path), help="The file; NAME-VERSION.mcpb or .zip here, if unsaid.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def pack(path: Path, output: Path | None, as_json: bool) -> None:
    """Check the plugin in the folder PATH, and put it into one file; the same folder always gives the same bytes.

    `broker add FILE` takes it up elsewhere. A plugin that other clients can run too is an MCPB bundle for them. What
    is hidden, looks like a secret, or is for its author alone (tests, caches, environments) stays out.

    Exit code: 0 packed, 2 the plugin is wrong or the file cannot be written.
    """
    from broker.authoring.packing import pack

    packed = pack(path, output)
    if as_json:
        _print_json(packed)
    else:
        _show(packed)


def _show(packed: Packed) -> None:
    from broker.cli.adding import asked_for

    count = len(packed.names)
    click.secho(word(str(packed.file)), bold=True, nl=False)
    click.echo(f"  {packed.size:,} bytes, {count} file{'s' * (count != 1)}")
    click.echo(f"  sha256 {packed.digest}")
    for line in asked_for(packed.manifest):
        click.echo(plain(line))
    for name in packed.secrets:
        click.secho(f"  left out: {word(name)}, which looks like a secret", fg="yellow")
    if packed.newer:
        click.secho(
            f"  note: {word(packed.newer)} was changed after the last build; `make` builds it again", fg="yellow"
        )
    others = ", and so do other clients that install MCPB bundles" if packed.elsewhere else ""
    click.echo(f"  `broker add` takes it{others}.")


def _print_json(packed: Packed) -> None:
    report = {
        "file": str(packed.file),
        "sha256": packed.digest,
        "size": packed.size,
        "names": packed.names,
        "left_out": packed.secrets,
        "permissions": packed.manifest.permissions.asked(),
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))


COMMANDS = (pack,)
