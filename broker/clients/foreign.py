"""The servers in other clients' files, as they are written there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from broker.clients import jsontext
from broker.clients.known import CLIENTS, Client, Entry, client_of
from broker.core.mcpservers import MAX_JSON
from broker.core.shape import Wrong, dotted, table
from broker.core.source import Faulty, Toml, read_text, read_toml
from broker.model import Problem

_BOM = b"\xef\xbb\xbf"
_ADDRESSES = ("url", "httpUrl", "serverUrl", "tcp")
_OBJECT = "it must be an object with a `command`."


class Foreign(Struct, frozen=True, kw_only=True):
    """One entry of a client's file."""

    client: Client
    where: str  # file:line
    label: str  # its name as it is written there
    entry: Entry
    project: str | None = None  # the folder it is meant for alone (Claude Code)
    off: bool = False  # the file switches it off elsewhere than in its entry


def entries(path: Path, client: Client | None = None) -> Iterator[Foreign | Problem]:
    """Every entry of the file at `path`, in its order; a Problem for what cannot be read.

    `client` says whose file it is; without one it is told by the file's name and keys.
    """
    toml = path.suffix == ".toml" if client is None else client.format == "toml"
    try:
        yield from _in_toml(path, client) if toml else _in_json(path, client)
    except Faulty as faulty:
        yield faulty.problem


def address(entry: Mapping[str, object]) -> str | None:
    """Where a server that is not started but called over the network is; without what may be a secret."""
    given = next((entry[key] for key in _ADDRESSES if isinstance(entry.get(key), str)), None)
    if given is None:
        remote = str(entry.get("type")).lower() in ("http", "sse", "ws", "remote", "streamable-http", "streamablehttp")
        return "URL" if remote else None
    try:
        split = urlsplit(str(given))
        return f"{split.scheme}://{split.hostname}" if split.hostname else "URL"
    except ValueError:
        return "URL"


def json_object(path: Path, text: bytes) -> dict[str, bytes]:
    """The members of the JSON object in the file at `path`, comments allowed; none if it is blank.

    Faulty says what is wrong. Half an emoji is not, as long as it is in no server: Claude Code writes such a history.
    """
    try:
        bare = jsontext.plain(text.removeprefix(_BOM))
        value: object = json.loads(bare.decode(), parse_int=str, parse_float=str) if bare.strip() else {}
    except UnicodeDecodeError as error:
        where = f"{path}:{_line(text, error.start)}"
        raise Faulty(Problem(where, "it is not UTF-8 text.", "Save it as UTF-8.")) from None
    except RecursionError:
        raise Faulty(Problem(f"{path}:1", "its JSON is nested too deeply.")) from None
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {error.msg} (column {error.colno})."
        raise Faulty(Problem(f"{path}:{error.lineno}", what, "Correct it there.")) from None
    if not isinstance(value, dict):
        raise Faulty(Problem(f"{path}:1", "it must be one JSON object."))
    return {span.key: bare[span.value : span.end] for span in jsontext.spans(bare)}


def _in_json(path: Path, client: Client | None) -> Iterator[Foreign | Problem]:
    text = read_text(path, MAX_JSON).encode()
    held = json_object(path, text)
    sections = [each for each in dict.fromkeys(one.section for one in CLIENTS) if each in held]
    if client is None and not sections:
        what = f"it has none of {', '.join(f'`{one.section}`' for one in CLIENTS if one.format == 'json')}."
        raise Faulty(Problem(f"{path}:1", what, "Name a file that holds MCP servers."))
    for section in [client.section] if client else sections:
        owner = client or client_of(path, section)
        yield from _section(path, text, owner, (section,), _switched_off(held))
    owner = client or client_of(path, "mcpServers")
    for span in jsontext.spans(text, "projects") if owner.key == "claude" else ():
        yield from _section(path, text, owner, ("projects", span.key, "mcpServers"))


def _section(
    path: Path, text: bytes, client: Client, keys: tuple[str, ...], off: Iterable[str] = ()
) -> Iterator[Foreign | Problem]:
    project = keys[1] if len(keys) > 1 else None
    for span in jsontext.spans(text, *keys):
        where = f"{path}:{_line(text, span.start)}"
        try:
            entry = msgspec.json.decode(jsontext.plain(text[span.value : span.end]), type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError):
            yield Problem(where, f"{dotted([span.key])}: {_OBJECT}", "Correct it, or remove it.")
        else:
            yield Foreign(client=client, where=where, label=span.key, entry=entry, project=project, off=span.key in off)


def _switched_off(held: Mapping[str, bytes]) -> set[str]:
    """Gemini CLI's `mcp.allowed` and `mcp.excluded`."""
    rules = table(json.loads(held.get("mcp", b"{}"))) or {}
    servers = {span.key for span in jsontext.spans(held.get("mcpServers", b""))}
    allowed = servers & _texts(rules["allowed"]) if "allowed" in rules else servers
    return servers - (allowed - _texts(rules.get("excluded")))


def _texts(value: object) -> set[str]:
    return {str(each) for each in cast("list[object]", value)} if isinstance(value, list) else set()


def _in_toml(path: Path, client: Client | None) -> Iterator[Foreign | Problem]:
    file: Toml = read_toml(path)
    owner = client or client_of(path, "mcp_servers")
    held = table(file.data.get(owner.section))
    if held is None:
        if client is None:
            raise Faulty(Problem(f"{path}:1", f"it has no `{owner.section}`.", "Name a file that holds MCP servers."))
        return
    for label, value in held.items():
        entry = table(value)
        if entry is None:
            yield file.blame(Wrong(_OBJECT), owner.section, label, about=f"{dotted([label])}: ")
        else:
            where = file.where([owner.section, label])
            yield Foreign(client=owner, where=where, label=label, entry=dict(entry))


def _line(text: bytes, at: int) -> int:
    return text.count(b"\n", 0, at) + 1
