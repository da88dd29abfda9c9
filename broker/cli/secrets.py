"""`broker secret`: values a plugin is given by the keyring. They come from a prompt or standard input, never argv."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from broker.cli.sources import configuration, sources

if TYPE_CHECKING:
    from broker.model import Settings, Spec

MAX_SECRET = 64 << 10  # bytes; Linux takes no variable above 128 KiB


@click.group(short_help="Keep the secrets of plugins in the system's keyring.")
def secret() -> None:
    """Keep the secrets that plugins ask for in the keyring of the operating system.

    A plugin that asks for the secret KEY, and was granted it, is given it as an environment variable: KEY in upper
    case, with _ for -. No other plugin is, and no log shows it.
    """


@secret.command("set", short_help="Keep a value.")
@sources
@click.argument("name")
@click.argument("key")
def set_(name: str, key: str, **sources: Any) -> int:
    """Keep a value for the secret KEY of the plugin NAME, in place of an older one.

    The value is asked for without showing it; from a pipe it is what comes on standard input, without a line end.

    Exit code: 0 done, 2 it could not be done.
    """
    from broker.permissions.secrets import store

    spec = _asking(name, key, configuration(sources))
    store(spec.name, key, _value(spec.name, key))
    click.echo(f"The secret {key} of {name} is in the keyring.")
    if f"secrets:{key}" not in spec.granted:
        click.echo(f"{name} was not granted it yet: `broker grant {name} secrets:{key}`.")
    click.echo(f"A {name} that runs has the old value until `broker restart {name}`.")
    return 0


@secret.command("list", short_help="Show which secrets a plugin asks for, and which are set.")
@sources
@click.argument("name")
def list_(name: str, **sources: Any) -> int:
    """Show which secrets the plugin NAME asks for, which are set, and which it was granted. Never a value.

    Exit code: 0 every one is set, 1 one is not, 2 the keyring cannot be read, or no plugin of that name.
    """
    from broker.permissions.environment import variable
    from broker.permissions.secrets import stored

    spec = _plugin(name, configuration(sources))
    keys = _keys(spec)
    if not keys:
        click.echo(f"{name} asks for no secrets.")
    held = {key: stored(spec.name, key) is not None for key in keys}
    for key, is_set in held.items():
        granted = "granted" if f"secrets:{key}" in spec.granted else "not granted"
        click.echo(f"{key}  {'set' if is_set else 'not set'}, {granted}, given as {variable(key)}")
    return 0 if all(held.values()) else 1


@secret.command("remove", short_help="Forget a value.")
@click.argument("name")
@click.argument("key")
def remove_(name: str, key: str) -> int:
    """Take the secret KEY of the plugin NAME out of the keyring; neither needs to be configured any more.

    Exit code: 0 done, 1 there was none, 2 the keyring cannot be changed.
    """
    from broker.cli.screen import plain
    from broker.permissions.secrets import remove

    if remove(name, key):
        click.echo(plain(f"The secret {key} of {name} is no longer in the keyring."))
        return 0
    click.echo(plain(f"The keyring has no secret {key} of {name}."), err=True)
    return 1


def _plugin(name: str, found: Settings) -> Spec:
    from broker.core.shape import nearest
    from broker.errors import NotFound

    specs = {spec.name: spec for spec in found.plugins}
    if name not in specs:
        near = nearest(name, specs)
        more = f"; did you mean {near}?" if near else f"; there are {', '.join(sorted(specs)) or 'none'}"
        raise NotFound(f"no plugin is called {name}{more}", hint="Run `broker list` to see them.")
    return specs[name]


def _keys(spec: Spec) -> tuple[str, ...]:
    asked = (spec.permissions or {}).get("secrets", ())
    return asked if isinstance(asked, tuple) else ()


def _asking(name: str, key: str, found: Settings) -> Spec:
    """The plugin, if it asks for the secret. A value under a name that nobody asks for would lie there for ever."""
    from broker.errors import NotFound

    spec = _plugin(name, found)
    if key not in _keys(spec):
        asked = ", ".join(_keys(spec)) or "none"
        hint = f"`broker secret list {name}` shows them. Only what `permissions.secrets` names is ever given."
        raise NotFound(f"{name} does not ask for a secret {key}; it asks for {asked}", hint=hint)
    return spec


def _value(name: str, key: str) -> str:
    from broker.errors import BadArguments

    value = _typed(name, key) if sys.stdin.isatty() else _piped()
    if not value or "\0" in value:
        raise BadArguments("a secret must not be empty or contain a NUL character", hint="Nothing was changed.")
    return value


def _typed(name: str, key: str) -> str:
    return click.prompt(f"The secret {key} of {name}", hide_input=True, prompt_suffix=": ", err=True)


def _piped() -> str:
    from broker.errors import BadArguments

    data = sys.stdin.buffer.read(MAX_SECRET + 1)
    if len(data) > MAX_SECRET:
        raise BadArguments(f"a secret has at most {MAX_SECRET >> 10} KiB", hint="Nothing was changed.")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadArguments("a secret must be UTF-8 text", hint="Encode it, for example with base64.") from None


COMMANDS = (secret,)
