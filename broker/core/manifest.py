"""`plugin.toml`: what a plugin is and what it asks for, as one strict struct."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeGuard

import msgspec
from msgspec import Meta, Struct

from broker.core.shape import Wrong, shaped, unknown_key
from broker.core.source import Faulty, Toml, read_toml
from broker.errors import ConfigError
from broker.model import UNBOUNDED, Hook, Limits
from broker.permissions.environment import complaint_about_env, complaint_about_secrets

API = 1  # the plugin interface this broker speaks
NAME = re.compile(r"[a-z0-9-]{1,32}")

# semver.org's own pattern, without its groups.
_SEMVER = (
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
}
LEAST_RESULT = 16 << 10  # bytes
MOST_WARM = 16  # instances of a WASM plugin that wait for calls
_MOST = 1 << 50  # seconds or bytes; above it somebody mistyped, and floats stop being exact soon after


def duration(value: object) -> float:
    """Seconds of "500ms", "30s", "2m", "1h" or a number of seconds; more than 0. ValueError says why not."""
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        value = float(found[1]) * _SECONDS[found[2]]
    if not _is_number(value):
        raise ValueError('must be a time such as "30s", "500ms" or "2m".')
    if not 0 < value <= _MOST:
        raise ValueError("must be a time of more than 0 seconds, and not endless.")
    return float(value)


def size(value: object) -> int:
    """Bytes of "256MiB", "64KB" or a whole number of bytes; always more than 0. ValueError says why not."""
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        number = float(found[1]) * _BYTES[found[2]]
        value = int(number) if math.isfinite(number) else _MOST + 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError('must be a size such as "256MiB" or "64KB", or a whole number of bytes.')
    if not 0 < value <= _MOST:
        raise ValueError("must be a size of more than 0 bytes, and one a machine can have.")
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Seconds(float):
    """A duration of a file, in seconds; see `duration`."""

    @classmethod
    def parse(cls, value: object) -> Seconds:
        return cls(duration(value))


class Timeout(Seconds):
    """A duration of a file that may also be 0: none."""

    @classmethod
    def parse(cls, value: object) -> Timeout:
        return cls(0 if _is_number(value) and value == 0 else duration(value))


class Bytes(int):
    """A size of a file, in bytes; see `size`."""

    @classmethod
    def parse(cls, value: object) -> Bytes:
        return cls(size(value))


class Memory(Bytes):
    """A size of a file that may also be -1: no bound."""

    @classmethod
    def parse(cls, value: object) -> Memory:
        return cls(UNBOUNDED if _is_number(value) and value == UNBOUNDED else size(value))


class ResultSize(Bytes):
    """A size of a result: room for a piece of it, and for the links to what is cut."""

    @classmethod
    def parse(cls, value: object) -> ResultSize:
        found = size(value)
        if found < LEAST_RESULT:
            raise ValueError(f"must be at least {LEAST_RESULT >> 10}KiB.")
        return cls(found)


class Patience(Seconds):
    """A duration of a file that may also be "never", which is infinite."""

    @classmethod
    def parse(cls, value: object) -> Patience:
        return cls(math.inf if value == "never" else duration(value))


Count = Annotated[int, Meta(ge=1)]
Warm = Annotated[int, Meta(ge=0, le=MOST_WARM)]
Texts = tuple[str, ...]
# What a user may accept that nothing here enforces; the names are those of `broker doctor`.
Unenforced = tuple[
    Literal["read", "write", "net", "sockets", "run", "processes", "tree", "memory", "pids", "disk"], ...
]


class Permissions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plugin asks for. What is not listed is refused for good."""

    read: Texts = ()
    write: Texts = ()
    net: Texts = ()
    env: Texts = ()
    run: Texts = ()
    secrets: Texts = ()
    ui: Texts = ()
    call: Texts = ()
    sampling: bool = False

    def asked(self) -> dict[str, Texts | bool]:
        """Only the kinds that ask for something, as `Spec.permissions` wants them."""
        return {kind: asked for kind, asked in msgspec.structs.asdict(self).items() if asked}


class LimitsTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[limits]` table; None where it says nothing."""

    memory: Memory | None = None
    timeout: Seconds | None = None
    start: Seconds | None = None
    idle: Patience | None = None
    pids: Count | None = None
    disk: Bytes | None = None

    def over(self, limits: Limits) -> Limits:
        """`limits` with what this table says put over it."""
        given = {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}
        plain: dict[str, float | None] = {key: float(n) if isinstance(n, float) else int(n) for key, n in given.items()}
        if self.memory == UNBOUNDED:
            plain["memory"] = None
        tuned = msgspec.structs.replace(limits, **plain)
        # A per-call time above the cap would never be reached; whoever raised it meant both.
        return msgspec.structs.replace(tuned, cap=max(tuned.cap, tuned.timeout))


class Restart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    policy: Literal["never", "on-failure", "always"] = "on-failure"


class Command(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command the plugin adds to editors."""

    title: str
    description: str = ""


class Option(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value the user may set under `[plugins.NAME.config]`."""

    type: Literal["string", "integer", "number", "boolean", "array"]
    default: str | int | float | bool | list[object] | None = None
    title: str = ""
    description: str = ""
    enum: tuple[str | int | float, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `plugin.toml`. Exactly one of `entry` and `command` is given; `entry` is relative to the folder."""

    name: str
    version: str
    api: int
    publisher: str = ""
    description: str = ""
    entry: str | None = None
    command: Annotated[Texts, Meta(min_length=1)] | None = None
    concurrency: Count | None = None
    instance: Literal["fresh", "shared"] = "fresh"  # of WASM: one per call, or one for all that keeps what it knows
    warm: Warm = 1  # of WASM: instances that are ready before a call needs one
    permissions: Permissions = Permissions()
    limits: LimitsTable = LimitsTable()
    restart: Restart = Restart()
    commands: dict[str, Command] = {}
    config: dict[str, Option] = {}
    hooks: tuple[Hook, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path`, checked; its entry exists inside the folder. Raises ConfigError."""
    try:
        return examine(path)
    except Faulty as faulty:
        raise ConfigError(str(faulty), hint=faulty.problem.fix or None) from None


def examine(path: Path) -> Manifest:
    """`read_manifest` for a caller that collects problems: raises Faulty with the Problem."""
    file = read_toml(path)
    try:
        return _checked(file, path.parent)
    except Wrong as wrong:
        raise Faulty(file.blame(wrong)) from None


def configured(manifest: Manifest, given: Mapping[str, object]) -> dict[str, object]:
    """The plugin's options: the defaults, then what was `given`; Wrong for a value they do not take."""
    values = {name: option.default for name, option in manifest.config.items() if option.default is not None}
    for name, value in given.items():
        if name not in manifest.config:
            raise unknown_key([name], manifest.config)
        if complaint := _misfit(manifest.config[name], value):
            raise Wrong(f"`{name}` {complaint}", keys=[name])
    return {**values, **given}


def _checked(file: Toml, folder: Path) -> Manifest:
    _check_api(file.data)
    manifest = shaped(file.data, Manifest)
    _check_words(manifest)
    _check_options(manifest)
    check_variables(manifest.permissions)
    _check_start(manifest)
    _check_limits(manifest)
    if manifest.entry is not None:
        _check_entry(manifest.entry, folder)
    return manifest


def _check_api(data: Mapping[str, object]) -> None:
    # First of all: in another api every other key may mean something else.
    api = data.get("api")
    if isinstance(api, int) and api != API:
        fix = f"Use a version of the plugin made for api {API}, or another version of broker."
        raise Wrong(f"it says api = {api}, this broker speaks {API}.", keys=["api"], fix=fix)


def _check_words(manifest: Manifest) -> None:
    if not NAME.fullmatch(manifest.name):
        what = "`name` must be 1 to 32 of the characters a-z, 0-9 and -."
        raise Wrong(what, keys=["name"], fix='Write it like "my-plugin".')
    if not re.fullmatch(_SEMVER, manifest.version, re.ASCII):
        what = "`version` must be a semantic version, three numbers with dots."
        raise Wrong(what, keys=["version"], fix='Write it like "1.4.0" or "1.4.0-beta.1".')


def check_variables(permissions: Permissions) -> None:
    """Wrong, if the table asks for variables or secrets that no plugin is given."""
    for kind, names, complaint in (
        ("env", permissions.env, complaint_about_env),
        ("secrets", permissions.secrets, complaint_about_secrets),
    ):
        if names and (what := complaint(names)):
            raise Wrong(f"`permissions.{kind}`: {what}", keys=["permissions", kind], fix="Remove it from the list.")


def _check_options(manifest: Manifest) -> None:
    for name, option in manifest.config.items():
        if option.default is not None and (complaint := _misfit(option, option.default)):
            keys = ["config", name, "default"]
            raise Wrong(f"`config.{name}.default` {complaint}", keys=keys)


def _misfit(option: Option, value: object) -> str | None:
    if not isinstance(value, _KINDS[option.type]) or (isinstance(value, bool) and option.type != "boolean"):
        return f"must be of type {option.type}."
    if option.enum and value not in option.enum:
        return f"must be one of {', '.join(map(repr, option.enum))}."
    if _is_number(value) and option.minimum is not None and not value >= option.minimum:
        return f"must be at least {option.minimum}."
    if _is_number(value) and option.maximum is not None and not value <= option.maximum:
        return f"must be at most {option.maximum}."
    return None


def _check_start(manifest: Manifest) -> None:
    if manifest.entry is None and manifest.command is None:
        fix = 'Add entry = "plugin.py", or command = ["uvx", "some-server"].'
        raise Wrong("it says neither `entry` nor `command`, so there is nothing to run.", fix=fix)
    if manifest.entry is not None and manifest.command is not None:
        what = "it says both `entry` and `command`; only one can be run."
        raise Wrong(what, keys=["command"], fix="Remove one of them.")
    if any("\0" in word for word in manifest.command or ()) or (manifest.command or ("-",))[0] == "":
        raise Wrong("`command` is empty or contains a NUL character.", keys=["command"])


def _check_limits(manifest: Manifest) -> None:
    if manifest.limits.memory == UNBOUNDED:
        what = "`limits.memory` is -1, no bound, which a plugin cannot give to itself."
        fix = f"Remove it; its user can set it under [plugins.{manifest.name}.limits] in config.toml."
        raise Wrong(what, keys=["limits", "memory"], fix=fix)


def _check_entry(entry: str, folder: Path) -> None:
    try:
        root = folder.resolve()
        target = (root / entry).resolve()
        # resolve() follows symlinks, so this also refuses a link that leads outside.
        inside = target != root and target.is_relative_to(root)
        found = inside and target.is_file()
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a loop of symlinks
        inside, found = True, False
    if not inside:
        what = "`entry` leads outside of the plugin's folder."
        raise Wrong(what, keys=["entry"], fix="Put the file into the folder, or use `command`.")
    if not found:
        what = "`entry` names a file that does not exist in the plugin's folder."
        raise Wrong(what, keys=["entry"], fix="Correct the name; it is relative to plugin.toml.")
