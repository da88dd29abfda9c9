"""`broker import FILE.mcpb`: a bundle unpacked into broker's data folder, and put into its config.toml.

One with a plugin.toml is a plugin of ours, and is added as such (see `adding`).

Rule 1: nothing of a bundle is run here. It is unpacked first into a folder that nothing names, and shown; only what
        its user agreed to is written, and without that the folder is gone again.
Rule 2: values that are sensitive come from a prompt that does not show them, never from the command line.

Exit codes: 0 fine, 1 it could not be used or written, 2 the command was wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import msgspec

from broker.cli import adding
from broker.cli.arguments import array
from broker.cli.importing import exchanged
from broker.cli.screen import plain, say_problems
from broker.clients import tomltext
from broker.clients.bundle import (
    MANIFEST,
    MAX_MANIFEST,
    Bundle,
    Installed,
    Option,
    Surroundings,
    Value,
    installed,
    read,
    value,
)
from broker.clients.known import Entry
from broker.clients.rewrite import Original
from broker.clients.unpack import unpacked
from broker.core.manifest import examine
from broker.core.mcpservers import slug
from broker.core.shape import Wrong, table
from broker.core.source import Faulty
from broker.errors import BrokerError, ConfigError
from broker.model import Problem

_HIDDEN = "…"
_SIGNATURE = b"MCPB_SIG_END"  # the last bytes of a bundle that was signed


def perform(file: Path, config: Path, given: Mapping[str, str], *, write: bool, as_json: bool) -> int:
    """Show what would be imported, and write it if that is wanted; the exit code."""
    folder: Path | None = None
    try:
        old = adding.opened(config)
        folder = unpacked(file.absolute(), bundles(os.environ))
        if (folder / adding.PLUGIN).is_file():
            return _add_plugin(file, folder, old, given, write=write, as_json=as_json)
        return _perform(file, folder, old, given, write=write, as_json=as_json)
    except Wrong as wrong:
        say_problems([Problem(str(file), wrong.what, wrong.fix)], stderr=True)
    except Faulty as faulty:
        say_problems([faulty.problem], stderr=True)
    except BrokerError as error:
        say_problems([Problem(str(config), f"{error}.", error.hint)], stderr=True)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return 1


def bundles(environ: Mapping[str, str]) -> Path:
    """The folder of all bundles; beside what no plugin may see, because each may see its own."""
    if home := environ.get("BROKER_HOME"):
        return Path(home).absolute() / "bundles"
    import platformdirs

    return platformdirs.user_data_path("broker") / "bundles"


def _perform(file: Path, folder: Path, old: Original, given: Mapping[str, str], *, write: bool, as_json: bool) -> int:
    bundle = read(_manifest(folder))
    name = slug(bundle.name)
    _check_free(name, old)
    place = folder.with_name(f"{name}-{_digest(file)[:12]}")
    around = Surroundings(str(place), os.path.expanduser("~"))
    asks = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    found = installed(bundle, _values(bundle, given, around, asks=asks), around)
    if not as_json:
        _show(name, bundle, found, _is_signed(file))
    wanted = write or (asks and _agreed(old.path))
    if wanted:
        _keep(name, folder, place, old, found)
    if as_json:
        _print_json(name, bundle, found, place, written=wanted)
    else:
        _conclude(name, bundle, found, old.path, written=wanted)
    return 0


def _add_plugin(
    file: Path, folder: Path, old: Original, given: Mapping[str, str], *, write: bool, as_json: bool
) -> int:
    if given:
        raise Wrong("it is a plugin, whose options are set in config.toml.", fix="Leave --set out.")
    manifest = examine(folder / adding.PLUGIN)
    place = folder.with_name(f"{manifest.name}-{_digest(file)[:12]}")
    return adding.add(adding.Found(folder, manifest, place), old, write=write, as_json=as_json)


def _manifest(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not path.is_file():
        raise Wrong(f"there is no {MANIFEST} in it, so it is no bundle.")
    if path.stat().st_size > MAX_MANIFEST:
        raise Wrong(f"its {MANIFEST} is larger than {MAX_MANIFEST >> 20} MiB.")
    return path.read_bytes()


def _check_free(name: str, old: Original) -> None:
    held = tomllib.loads((old.data or b"").decode())
    if name in {**(table(held.get("servers")) or {}), **(table(held.get("plugins")) or {})}:
        raise ConfigError(f"there is a {name} already", hint=f"Take [servers.{name}] out first, if this replaces it.")


# the values of its options


def _values(bundle: Bundle, given: Mapping[str, str], around: Surroundings, *, asks: bool) -> dict[str, Value]:
    unknown = next((key for key in given if key not in bundle.user_config), None)
    if unknown is not None:
        known = ", ".join(bundle.user_config) or "none"
        raise Wrong(f"it has no option `{unknown}`.", fix=f"There are {known}.")
    found = {key: _value(key, option, given, around, asks=asks) for key, option in bundle.user_config.items()}
    return {key: each for key, each in found.items() if each is not None}


def _value(key: str, option: Option, given: Mapping[str, str], around: Surroundings, *, asks: bool) -> Value | None:
    if key in given:
        if option.sensitive:
            raise Wrong(
                f"`{key}` is a secret, and a command line can be read by others.", fix="Leave it out: it is asked."
            )
        try:
            return value(key, option, given[key], around.home)
        except ValueError as error:
            raise Wrong(str(error)) from None
    default = around.default(option)
    return _asked(key, option, default, around) if asks else default


def _asked(key: str, option: Option, default: Value | None, around: Surroundings) -> Value | None:
    """A person's answer; Enter is the default. Asks again until it means something."""
    several = f", several separated by {os.pathsep}" if option.multiple else ""
    about = f" ({plain(option.description)}{several})" if option.description or several else ""
    known = "" if default is None or option.sensitive else f" [{plain(str(default))}]"
    while True:
        prompt = f"{plain(option.title or key)}{about}{known}"
        text: str = click.prompt(prompt, default="", show_default=False, hide_input=option.sensitive)
        if not text and (default is not None or not option.required or option.sensitive):
            return default
        try:
            if text:
                return value(key, option, text, around.home)
            click.echo("this one is needed")
        except ValueError as error:
            click.echo(plain(str(error)))


# writing


def _agreed(path: Path) -> bool:
    click.echo(plain(f"\nWrite this to {path}? [y/N] "), nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _keep(name: str, folder: Path, place: Path, old: Original, found: Installed) -> None:
    """Put everything where it belongs; the config.toml last. Raises `ConfigError`, `SecretMissing`, Wrong."""
    text = (old.data or b"").decode() or None
    if text and not text.endswith("\n"):
        text += "\n"
    try:
        new = tomltext.put(text, "servers", name, found.entry)
    except ValueError as error:
        raise ConfigError(f"nothing was written: {error}") from None
    _store(name, found.secrets)
    shutil.rmtree(place, ignore_errors=True)  # the same file, imported before and taken out
    try:
        folder.rename(place)
        old.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}", hint="Check its rights.") from None
    try:
        exchanged(old, new)
    except ConfigError:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _store(name: str, secrets: Mapping[str, str]) -> None:
    if not any(secrets.values()):
        return
    from broker.permissions.secrets import store

    for key, secret in secrets.items():
        if secret:
            store(name, key, secret)


# showing


def _show(name: str, bundle: Bundle, found: Installed, signed: bool) -> None:
    about = f"  {bundle.description}" if bundle.description else ""
    click.secho(plain(f"{bundle.name} {bundle.version}"), bold=True, nl=False)
    click.echo(plain(about))
    notes = [*found.notes, *(["its signature is not checked: nobody's word stands for it."] if signed else [])]
    for note in notes:
        click.secho(plain(f"  note: {note}"), fg="yellow")
    click.echo("\n" + plain(tomltext.put(None, "servers", name, _hidden(found))).rstrip("\n"))


def _hidden(found: Installed) -> Entry:
    """The entry for a screen."""
    args = array(found.entry.get("args"))
    shown = [_HIDDEN if any(secret in word for secret in found.hidden if secret) else word for word in args]
    return {key: shown if key == "args" else found.entry[key] for key in found.entry}


def _conclude(name: str, bundle: Bundle, found: Installed, path: Path, *, written: bool) -> None:
    if not written:
        click.echo(plain(f"\nIt would be written to {path}. Nothing was; `--write` does it."))
        return
    click.secho(plain(f"\n{name} written to {path}."), fg="green")
    for key in [key for key, secret in found.secrets.items() if not secret]:
        click.echo(f"It needs a secret: `broker secret set {name} {key}`.")
    if bundle.permissions is None:
        click.echo("It says nothing of permissions, so it sees its own folder and nothing else.")
        click.echo(f"`broker learn {name}` finds out what it needs.")


def _print_json(name: str, bundle: Bundle, found: Installed, place: Path, *, written: bool) -> None:
    report: dict[str, Any] = {
        "name": name,
        "version": bundle.version,
        "folder": str(place),
        "entry": _hidden(found),
        "secrets": sorted(found.secrets),
        "notes": list(found.notes),
        "written": written,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))


def settings(words: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` words. Raises click.UsageError."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {word} is not of the form KEY=VALUE.")
        found[key] = text
    return found


def _digest(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _is_signed(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-min(len(_SIGNATURE), file.stat().st_size), os.SEEK_END)
        return opened.read() == _SIGNATURE
