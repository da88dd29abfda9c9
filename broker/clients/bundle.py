"""The manifest of a bundle (`.mcpb`, formerly `.dxt`; versions 0.1 to 0.4) as an entry of config.toml.

Rule 1: a bundle knows no permissions. It has those of its block in `_meta`, which is ours, or none; and its folder.
Rule 2: what is sensitive goes into the keyring and into the one variable that is made of it.
Rule 3: an option without a value takes with it the word or the variable that is only about it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from broker.clients.known import Entry
from broker.core.expand import Surroundings as Expansion
from broker.core.manifest import Permissions, check_variables
from broker.core.mcpservers import Server as Entries
from broker.core.mcpservers import server_spec
from broker.core.shape import Wrong, shaped, table
from broker.permissions.environment import denied

META = "plugin-broker"  # the key of our block in `_meta`: {"permissions": {…}}
VERSIONS = ("0.1", "0.2", "0.3", "0.4")
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20  # bytes

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_OPTION = "user_config."
_OWN_CODE = ("PYTHONPATH", "NODE_PATH")  # variables that name code, which may be the bundle's own
_UNSET = "\0"  # stands in a text for an option without a value; no value has one

Value = str | int | float | bool | list[str]


class Option(Struct, frozen=True):
    """One of its options, which its user sets."""

    type: Literal["string", "number", "boolean", "directory", "file"]
    title: str = ""
    description: str = ""
    required: bool = False
    default: Value | None = None
    multiple: bool = False
    sensitive: bool = False
    min: float | None = None
    max: float | None = None


class Override(Struct, frozen=True):
    command: str | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = {}


class Command(Struct, frozen=True):
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    platform_overrides: Mapping[str, Override] = {}


class Server(Struct, frozen=True):
    type: Literal["python", "node", "binary", "uv"]
    entry_point: str = ""
    mcp_config: Command | None = None


class Compatibility(Struct, frozen=True):
    platforms: tuple[str, ...] = ()


class Bundle(Struct, frozen=True):
    """What of a manifest means something here."""

    name: str
    version: str
    server: Server
    description: str = ""
    user_config: Mapping[str, Option] = {}
    compatibility: Compatibility = Compatibility()
    permissions: Permissions | None = None  # of our block


class Installed(Struct, frozen=True, kw_only=True):
    """A bundle as config.toml holds it."""

    entry: Entry
    secrets: Mapping[str, str]  # for the keyring; empty values are still to be set
    hidden: tuple[str, ...] = ()  # values that no screen shows
    notes: tuple[str, ...] = ()


def read(text: bytes) -> Bundle:
    """The manifest. Wrong says what is wrong in it."""
    try:
        held = table(msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Wrong(f"{MANIFEST} is not JSON: {error}.") from None
    if held is None:
        raise Wrong(f"{MANIFEST} must be a JSON object.")
    version = held.get("manifest_version", held.get("dxt_version"))
    if version not in VERSIONS:
        raise Wrong(f"its manifest has version {str(version)[:20]}; broker knows {', '.join(VERSIONS)}.")
    known = {key: held[key] for key in Bundle.__struct_fields__ if key in held and key != "permissions"}
    block = (table(held.get("_meta")) or {}).get(META)
    if block is not None:
        known["permissions"] = (table(block) or {}).get("permissions", {})
    bundle = shaped(known, Bundle)
    _check(bundle)
    return bundle


def value(key: str, option: Option, text: str, home: str) -> Value:
    """What a person's `text` means as the value of an option. ValueError says why it means nothing."""
    if "\0" in text:
        raise ValueError(f"`{key}` must not have a NUL character.")
    if option.type == "boolean":
        return _boolean(key, text)
    if option.type == "number":
        return _number(key, option, text)
    words = text.split(os.pathsep) if option.multiple else [text]
    if option.type in ("directory", "file"):
        words = [os.path.abspath(os.path.join(home, word[2:]) if word.startswith("~/") else word) for word in words]
    return words if option.multiple else words[0]


class Surroundings(Struct, frozen=True):
    """What `${…}` in a manifest may stand for."""

    folder: str  # the bundle's own
    home: str
    platform: str = sys.platform

    def places(self) -> dict[str, str]:
        known = {"DESKTOP": "Desktop", "DOCUMENTS": "Documents", "DOWNLOADS": "Downloads"}
        return {
            "__dirname": self.folder,
            "HOME": self.home,
            **{name: os.path.join(self.home, folder) for name, folder in known.items()},
            "pathSeparator": os.sep,
            "/": os.sep,
        }

    def default(self, option: Option) -> Value | None:
        """The default of an option with its places filled in."""
        if isinstance(option.default, str):
            return self._filled(option.default)
        return [self._filled(each) for each in option.default] if isinstance(option.default, list) else option.default

    def _filled(self, text: str) -> str:
        places = self.places()
        return _REFERENCE.sub(lambda found: places.get(found[1], found[0]), text)


def installed(bundle: Bundle, values: Mapping[str, Value], around: Surroundings) -> Installed:
    """The entry of a bundle that lies in a folder, with the values of its options. Wrong says why there is none."""
    return _Installation(bundle, values, around).installed()


class _Installation:
    """One bundle on its way."""

    def __init__(self, bundle: Bundle, values: Mapping[str, Value], around: Surroundings) -> None:
        self._bundle, self._values, self._around = bundle, values, around
        self._places = around.places()
        self._notes: list[str] = []
        self._secrets: dict[str, str] = {}

    def installed(self) -> Installed:
        missing = [key for key, option in self._bundle.user_config.items() if self._lacks(key, option)]
        if missing:
            raise Wrong(
                f"its option `{missing[0]}` needs a value.",
                fix=f"Run it on a terminal, which asks, or add --set {missing[0]}=VALUE.",
            )
        command = self._command()
        entry: Entry = {"command": _literal(self._program(self._one(command.command)))}
        if args := [_literal(word) for word in self._words(command.args)]:
            entry["args"] = args
        if env := dict(self._environment(command.env)):
            entry["env"] = env
        entry["cwd"] = _literal(self._around.folder)
        entry["permissions"] = self._permissions()
        around = Expansion({}, Path(self._around.folder))
        server_spec("bundle", shaped(entry, Entries), source=MANIFEST, around=around, anchor=Path("/"))
        hidden = (str(each) for key, each in self._values.items() if self._bundle.user_config[key].sensitive)
        return Installed(
            entry=entry, secrets=self._secrets, hidden=tuple(hidden), notes=tuple(dict.fromkeys(self._notes))
        )

    def _lacks(self, key: str, option: Option) -> bool:
        return option.required and not option.sensitive and self._values.get(key) in (None, "", [])

    def _command(self) -> Command:
        """What it is started by on this platform."""
        server = self._bundle.server
        if server.mcp_config is None:  # a uv bundle needs none
            return Command("uv", ("run", "--directory", "${__dirname}", server.entry_point))
        usual = server.mcp_config
        other = usual.platform_overrides.get("win32" if self._around.platform == "win32" else self._around.platform)
        if other is None:
            return usual
        args = usual.args if other.args is None else other.args
        return Command(other.command or usual.command, args, {**usual.env, **other.env})

    def _program(self, command: str) -> str:
        if not command:
            raise Wrong("its manifest names no command to start.")
        if self._bundle.server.type == "uv":
            self._notes.append("uv installs packages at its start, which a confined server cannot; see `broker check`.")
        if command == "python" and shutil.which(command) is None:
            return "python3"
        if "/" in command and not os.path.isabs(command):
            return os.path.join(self._around.folder, command)
        return command

    def _words(self, args: Sequence[str]) -> Iterator[str]:
        for word in args:
            named = _REFERENCE.fullmatch(word)
            key = named[1].removeprefix(_OPTION) if named and named[1].startswith(_OPTION) else None
            found = self._values.get(key) if key else None
            self._warn(word)
            if isinstance(found, list):
                yield from found
                continue
            filled = self._one(word)
            if not (named and _UNSET in filled):
                yield filled.replace(_UNSET, "")

    def _warn(self, word: str) -> None:
        for key in self._named(word):
            if self._bundle.user_config[key].sensitive:
                self._notes.append(f"its secret `{key}` stands on its command line, which every program here can read.")

    def _environment(self, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, text in env.items():
            filled = self._one(text)
            options = [self._bundle.user_config[key] for key in self._named(text)]
            if any(option.sensitive for option in options):
                if _UNSET not in filled or any(option.required for option in options):
                    self._secrets[name] = "" if _UNSET in filled else filled
            elif _UNSET not in filled:
                self._check_variable(name, filled)
                yield name, _literal(filled)

    def _check_variable(self, name: str, filled: str) -> None:
        own = all(_below(os.path.normpath(each), self._around.folder) for each in filled.split(os.pathsep))
        if denied(name) and not (name in _OWN_CODE and own):
            raise Wrong(f"it sets {name}, which makes programs run other code than its own.")

    def _permissions(self) -> dict[str, object]:
        """What it asks for, its own folder, and its secrets."""
        block = self._bundle.permissions or Permissions()
        secrets = tuple(dict.fromkeys([*block.secrets, *self._secrets]))
        held = msgspec.structs.replace(block, read=(self._around.folder, *block.read), secrets=secrets)
        check_variables(held)
        return {kind: asked if isinstance(asked, bool) else list(asked) for kind, asked in held.asked().items()}

    def _named(self, text: str) -> list[str]:
        found = [body.removeprefix(_OPTION) for body in _REFERENCE.findall(text) if body.startswith(_OPTION)]
        return [key for key in found if key in self._bundle.user_config]

    def _one(self, text: str) -> str:
        return _REFERENCE.sub(self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        body = found[1]
        if body in self._places:
            return self._places[body]
        if not body.startswith(_OPTION):
            return found[0]  # it may be meant for the program
        key = body.removeprefix(_OPTION)
        if key not in self._bundle.user_config:
            raise Wrong(f"its manifest refers to `{key[:100]}`, an option it does not have.")
        known = self._values.get(key)
        if known is None or known == "":
            return _UNSET
        if isinstance(known, list):
            if len(known) != 1:
                raise Wrong(f"its option `{key}` has several values, and its manifest wants one.")
            return known[0]
        return (
            str(known).lower() if isinstance(known, bool) else f"{known:g}" if isinstance(known, float) else str(known)
        )


def _check(bundle: Bundle) -> None:
    platforms = bundle.compatibility.platforms
    if platforms and sys.platform not in platforms:
        raise Wrong(f"it is made for {', '.join(platforms)}, and this is {sys.platform}.")
    if bundle.server.mcp_config is None and bundle.server.type != "uv":
        raise Wrong("its manifest says nothing to run (`server.mcp_config`).")
    path = Path(bundle.server.entry_point)
    if path.is_absolute() or ".." in path.parts:
        raise Wrong("its `entry_point` leads out of the bundle.")


def _boolean(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no"):
        raise ValueError(f"`{key}` must be true or false.")
    return text.lower() in ("true", "yes")


def _number(key: str, option: Option, text: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"`{key}` must be a number.") from None
    low, high = option.min, option.max
    if not (number == number and (low is None or low <= number) and (high is None or number <= high)):
        raise ValueError(f"`{key}` must be a number from {low} to {high}.")
    return int(number) if number.is_integer() else number


def _literal(text: str) -> str:
    """The text so that `expand` gives back its very words."""
    return text.replace("${", "${BROKER_DOLLAR:-$}{")


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")
