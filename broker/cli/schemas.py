"""`broker schema`: what plugins may ask broker to do, as JSON Schema for those who write them."""

from __future__ import annotations

import click


@click.command(short_help="Print the contract of plugins with broker, as JSON Schema.")
@click.argument("what", type=click.Choice(["host"]))
def schema(what: str) -> None:
    """Print as JSON what a plugin may ask its host: operations, params, results, permissions, rates, codes.

    The same is in the package as broker/core/host.json.
    """
    from broker.core.hosttable import contract

    click.echo(contract(), nl=False)


COMMANDS = (schema,)
