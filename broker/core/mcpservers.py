"""Ordinary MCP servers: one entry to a Spec, and the JSON files of other clients that hold them.

Claude writes `{"mcpServers": {…}}`, VS Code `{"servers": {…}, "inputs": []}`, Zed `{"context_servers": {…}}`.
Other clients add keys of their own, so in these files an unknown key means nothing; in `config.toml`, which
is written for broker, it is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from broker.core import jsonc
from broker.core.expand import Surroundings
from broker.core.manifest import (
    NAME,
    Count,
    LimitsTable,
    Manifest,
    Permissions,
    ResultSize,
    Seconds,
    Texts,
    Unenforced,
    check_variables,
    duration,
)
from broker.core.shape import Key, Wrong, dotted, shaped, table
from broker.core.source import Faulty, read_text
from broker.model import Limits, Problem, Spec
from broker.permissions.environment import denied

MAX_JSON = 16 << 20  # bytes; Claude keeps its history in the same file as its servers
MAX_COMMENTED = 1 << 20  # bytes of a file with comments; a person wrote it
MAX_SERVERS = 1 << 20  # bytes of the servers alone
MAX_ENV_FILE = 1 << 20  # bytes
SECTIONS = ("mcpServers", "servers", "context_servers")

_LONGEST_NAME = 32
_REMOTE = ("http", "sse", "ws", "streamable-http", "streamableHttp")
_LEAST_MILLISECONDS = 1000  # Claude Code's own minimum


class CallTimeout(float):
    """Seconds of a server's `timeout`: a number is milliseconds, as in Claude Code; text is a duration."""

    @classmethod
    def parse(cls, value: object) -> CallTimeout:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if 0 < value < _LEAST_MILLISECONDS:
                raise ValueError(f'is a number of milliseconds; write "{value}s" if seconds are meant.')
            value = value / 1000
        return cls(duration(value))


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of an `mcpServers` table: the keys of other clients, then ours."""

    type: str | None = None
    command: str | None = None
    args: Texts = ()
    env: dict[str, str | int | float | None] = {}  # VS Code allows numbers, and null for "not set"
    env_file: str | None = field(default=None, name="envFile")
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    timeout: CallTimeout | None = None
    disabled: bool = False
    enabled: bool = True
    concurrency: Count | None = None
    required: bool = False
    replay: Texts = ()
    max_result: ResultSize | None = None
    tools: Texts | None = None
    limits: LimitsTable = LimitsTable()
    permissions: Permissions | None = None
    unconfined: bool = False
    unenforced: Unenforced = ()
    strict: bool = False


KEYS = frozenset(Server.__struct_encode_fields__)


class Found(Struct, frozen=True):
    """A plugin and the place that names it."""

    where: str  # file:line
    label: str  # its name as it is written there
    spec: Spec
    manifest: Manifest | None = None  # of a plugin folder


def slug(name: str) -> str:
    """`name` as the prefix of tools: [a-z0-9-], 1 to 32. The same name always gives the same slug."""
    if NAME.fullmatch(name):
        return name
    if not name.isascii():
        from unicodedata import normalize  # a megabyte of tables that few names need

        name = normalize("NFKD", name).encode("ascii", "ignore").decode() or name
    short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if 0 < len(short) <= _LONGEST_NAME:
        return short
    from zlib import crc32

    mark = f"{crc32(name.encode('utf-8', 'surrogatepass')):08x}"
    return f"{short[: _LONGEST_NAME - 9].strip('-') or 'server'}-{mark}"


def tool_filters(globs: Texts | None) -> tuple[Texts, ...]:
    """`Spec.tools` of one `tools` key: no key lets everything through, an empty list nothing."""
    if globs is None:
        return ()
    return (globs or ("!*",),)


def environment(given: Mapping[str, str | int | float | None], around: Surroundings) -> dict[str, str]:
    """The `env` table expanded; null means "not set". Wrong (keys from `env` on) for what no system takes."""
    values: dict[str, str] = {}
    for name, value in given.items():
        if not name or "=" in name or "\0" in name:
            raise Wrong("a name in `env` is empty or contains = or NUL.", keys=["env"])
        if value is not None:
            values[name] = _word(str(value), around, "env", name)
    return values


def server_spec(name: str, server: Server, *, source: str, around: Surroundings, anchor: Path) -> Spec:
    """The Spec of one server; relative paths start at `anchor`. Wrong says what keeps it from being run.

    A disabled server is not looked into: its command and args stay as they are written.
    """
    if server.disabled or not server.enabled:
        command = (server.command, *server.args) if server.command else ()
        return Spec(name=name, source=source, command=command, enabled=False)
    _check_stdio(server)
    if server.permissions is not None:
        check_variables(server.permissions)
    return Spec(
        name=name,
        source=source,
        command=tuple(_words(server, around)),
        cwd=None if server.cwd is None else _path(server.cwd, around, anchor, "cwd"),
        env={**_env_file(server, around, anchor), **environment(server.env, around)},
        concurrency=server.concurrency,
        limits=_limits(server),
        tools=tool_filters(server.tools),
        required=server.required,
        replay=server.replay,
        max_result=None if server.max_result is None else int(server.max_result),
        permissions=None if server.permissions is None else server.permissions.asked(),
        unconfined=server.unconfined,
        unenforced=server.unenforced,
        strict=server.strict,
    )


def servers_in(path: Path, around: Surroundings) -> Iterator[Found | Problem]:
    """Every server of the JSON file `path`, in its order; a Problem for each that cannot be used."""
    try:
        text, sections = _opened(path)
        for section in sections:
            yield from _servers(path, text, section, around)
    except Faulty as faulty:
        yield faulty.problem


def _check_env(spec: Spec) -> None:
    """Refuse what a file made by another program must not choose: code that is run in front of the command."""
    for name in spec.env:
        if denied(name):
            what = f"`env` sets {dotted([name])}, which makes programs run other code than the command."
            raise Wrong(what, keys=["env"], fix=f"If you want that, write [servers.{spec.name}] into config.toml.")


def _check_stdio(server: Server) -> None:
    if server.url or server.type in _REMOTE:
        fix = 'Write command = "npx" and args = ["mcp-remote", URL] instead of the url.'
        raise Wrong("broker runs stdio servers; bridge it with `npx mcp-remote URL`.", keys=["url"], fix=fix)
    if server.type not in (None, "stdio"):
        raise Wrong('`type` must be "stdio".', keys=["type"])
    if not server.command:
        raise Wrong("there is no `command`, so there is nothing to run.", keys=["command"])


def _words(server: Server, around: Surroundings) -> Iterator[str]:
    yield _word(server.command or "", around, "command")
    for place, word in enumerate(server.args):
        yield _word(word, around, "args", place)


def _word(text: str, around: Surroundings, *keys: Key) -> str:
    try:
        value = around.expand(text)
    except Wrong as wrong:
        raise Wrong(f"{dotted(keys)}: {wrong.what}", keys=keys, fix=wrong.fix) from None
    if "\0" in value:
        raise Wrong(f"{dotted(keys)} contains a NUL character.", keys=keys)
    return value


def _path(text: str, around: Surroundings, anchor: Path, key: str) -> str:
    try:
        return around.path(text, anchor)
    except Wrong as wrong:
        raise Wrong(f"`{key}`: {wrong.what}", keys=[key], fix=wrong.fix) from None


def _limits(server: Server) -> Limits:
    limits = server.limits.over(Limits())
    if server.timeout is None:
        return limits
    return LimitsTable(timeout=Seconds(server.timeout)).over(limits)


def _env_file(server: Server, around: Surroundings, anchor: Path) -> dict[str, str]:
    if server.env_file is None:
        return {}
    path = _path(server.env_file, around, anchor, "envFile")
    around.named.add(path)
    try:
        text = read_text(Path(path), MAX_ENV_FILE)
    except Faulty as faulty:
        fix = faulty.problem.fix
        raise Wrong(f"`envFile`: {path}: {faulty.problem.what}", keys=["envFile"], fix=fix) from None
    from dotenv import dotenv_values  # few entries have such a file

    values = dotenv_values(stream=StringIO(text), interpolate=False)
    if any("\0" in name + (value or "") for name, value in values.items()):
        raise Wrong("`envFile`: it contains a NUL character.", keys=["envFile"])
    return {name: value for name, value in values.items() if value is not None}


class _Section(Struct, frozen=True):
    key: str
    text: bytes


def _opened(path: Path) -> tuple[bytes, list[_Section]]:
    text = read_text(path, MAX_JSON).encode()
    try:
        held = _decoded(text)
    except (msgspec.MsgspecError, RecursionError):
        text = jsonc.plain(text) if len(text) <= MAX_COMMENTED else text
        held = _strictly(path, text)
    sections = [_Section(key, bytes(held[key])) for key in SECTIONS if key in held]
    if not sections:
        what = "it has none of `mcpServers`, `servers` and `context_servers`."
        raise Faulty(Problem(f"{path}:1", what, 'Write {"mcpServers": {"name": {"command": "…"}}}.'))
    return text, sections


def _decoded(text: bytes) -> dict[str, Raw]:
    return msgspec.json.decode(text, type=dict[str, Raw])


def _strictly(path: Path, text: bytes) -> dict[str, Raw]:
    try:
        return _decoded(text)
    except RecursionError:
        raise Faulty(Problem(f"{path}:1", "its JSON is nested too deeply.")) from None
    except msgspec.ValidationError:
        raise Faulty(Problem(f"{path}:1", "it must be one JSON object.")) from None
    except msgspec.MsgspecError as error:
        at = re.search(r"\(byte (\d+)\)", str(error))
        line = text.count(b"\n", 0, int(at[1]) if at else len(text)) + 1
        raise Faulty(Problem(f"{path}:{line}", f"this is not JSON: {error}.")) from None


def _servers(path: Path, text: bytes, section: _Section, around: Surroundings) -> Iterator[Found | Problem]:
    start = text.find(section.text)
    line = text.count(b"\n", 0, start) + 1
    if not section.text.startswith(b"{") or len(section.text) > MAX_SERVERS:
        what = f"`{section.key}` must be an object of at most {MAX_SERVERS >> 20} MiB."
        raise Faulty(Problem(f"{path}:{line}", what))
    counted = 0
    for member in jsonc.members(section.text):
        line += section.text.count(b"\n", counted, member.offset)
        counted = member.offset
        yield from _server(path, f"{path}:{line}", member, around)


def _server(path: Path, where: str, member: jsonc.Member, around: Surroundings) -> Iterator[Found | Problem]:
    label = "?"
    try:
        label = msgspec.json.decode(member.key, type=str)
        entry = msgspec.json.decode(member.value)
        server = shaped(_ours(entry), Server)
        anchor = around.workspace or path.parent
        spec = server_spec(slug(label), server, source=str(path), around=around, anchor=anchor)
        _check_env(spec)
        spec, notes = _boxed(spec, entry, around, anchor)
    except Wrong as wrong:
        yield Problem(where, f"{dotted([label])}: {wrong.what}", wrong.fix, slug(label))
    except (msgspec.MsgspecError, RecursionError):
        yield Problem(where, f"{dotted([label])}: its JSON cannot be read.", plugin=slug(label))
    else:
        yield Found(where, label, spec)
        for what, fix in notes:
            yield Problem(where, f"{dotted([label])}: {what}", fix.replace("NAME", spec.name), spec.name)


def _boxed(
    spec: Spec, entry: Mapping[str, object], around: Surroundings, anchor: Path
) -> tuple[Spec, tuple[tuple[str, str], ...]]:
    """`spec` held to VS Code's `sandbox`, and what that leaves to say; its own `permissions` come first."""
    if not spec.enabled or spec.permissions is not None or "sandboxEnabled" not in entry:
        return spec, ()
    from broker.core.sandbox import mapped  # few files have one

    found = mapped(entry, around, anchor)
    return (spec, ()) if found is None else (replace(spec, permissions=found.permissions), found.notes)


def _ours(entry: object) -> dict[str, object]:
    """The keys of an entry that mean something here; null is how some clients write "not set"."""
    held = table(entry)
    if held is None:
        raise Wrong('it must be an object such as {"command": "…", "args": […]}.')
    if held.get("source") == "extension":
        raise Wrong("it belongs to a Zed extension.", fix="Write the command the extension runs.")
    known = {key: value for key, value in held.items() if key in KEYS and value is not None}
    if older := table(known.get("command")):  # Zed before 2025-06: {"path": …, "args": …, "env": …}
        known |= {key: older[key] for key in ("args", "env") if key in older}
        known["command"] = older.get("path")
    if known.get("type") not in (*_REMOTE, None):
        del known["type"]
    timeout = known.get("timeout")
    if isinstance(timeout, int) and 0 < timeout < _LEAST_MILLISECONDS and timeout is not True:
        known["timeout"] = f"{timeout}s"  # Cline and Roo count seconds; nobody means a timeout of 60 ms
    return known
