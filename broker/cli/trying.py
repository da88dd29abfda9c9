"""The options that say which plugin is tried, and with what; shared by `broker dev` and `broker test`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from broker.authoring.trial import Trial

_Command = TypeVar("_Command", bound=Callable[..., Any])


def on_trial(command: _Command) -> _Command:
    """Give a command its PATH and the options of a trial; it takes them as `**options` for `trial`."""
    for option in (
        click.option("--config", multiple=True, metavar="KEY=VALUE", help="An option of the plugin; JSON, or text."),
        click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable, or the value of a secret."),
        click.option("--deny", multiple=True, metavar="PERMISSION", help="As if it did not ask for this or this kind."),
        click.option("--grant", multiple=True, metavar="PERMISSION", help="As if it asked for this, too."),
        click.argument("path", type=click.Path(path_type=Path, exists=True), default="."),
    ):
        command = option(command)
    return command


def trial(
    path: Path, grant: tuple[str, ...], deny: tuple[str, ...], env: tuple[str, ...], config: tuple[str, ...]
) -> Trial:
    """What the options say. Raises `BadArguments`."""
    from broker.authoring.trial import Trial

    options = {key: _value(text) for key, text in map(_parts, config)}
    return Trial(path=path, grant=grant, deny=deny, env=dict(map(_parts, env)), config=options)


def _parts(word: str) -> tuple[str, str]:
    from broker.errors import BadArguments

    name, equals, value = word.partition("=")
    if not name or not equals:
        raise BadArguments(f"{word!r} is not of the form NAME=VALUE", hint="For example --config limit=5.")
    return name, value


def _value(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
