"""Checks of what a plugin shows: its lists of tools, resources and prompts, as a client would get them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from broker.authoring.client import Json, decoded
from broker.authoring.report import Check, judged, skipped
from broker.authoring.schema import complaints
from broker.core.shape import table
from broker.model import Listing, Spec
from broker.permissions.scan import level, scan

GOLDEN = "tools.json"  # beside plugin.toml; `snapshot_tools` of the SDKs' testing helpers writes it
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)  # MCP 2025-11-25, "Tool Names"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.", re.ASCII)  # RFC 3986


def checked(listing: Listing, folder: Path | None) -> Iterator[Check]:
    """The checks of all lists; `folder` may have a golden file."""
    tools = [decoded(each) for each in listing.tools]
    if tools:
        yield judged("tool names", list(_names(tools)), "A name is 1 to 128 of A-Z a-z 0-9 _ - . and is there once.")
        yield judged("tool schemas", list(_schemas(tools)), "Correct them by JSON Schema 2020-12.")
        yield judged("descriptions", list(_described(tools)), "Say in a sentence what it does: a model chooses by it.")
    else:
        yield skipped("tools", "it has none")
    yield from _others(listing)
    everything = (*listing.tools, *listing.resources, *listing.templates, *listing.prompts)
    yield judged("no hidden orders", list(_suspicious(everything)), "Users are warned of such texts; reword them.")
    if folder is not None:
        yield _golden(listing.tools, folder / GOLDEN)


def commands(spec: Spec, registered: Sequence[str], listing: Listing) -> Check:
    """Whether somebody handles each command that the manifest declares."""
    tools = {str(decoded(each).get("name")) for each in listing.tools}
    lost = [each.name for each in spec.commands if each.name not in registered and each.name not in tools]
    complaints = [f"nobody handles the command {name}" for name in lost]
    return judged("commands of the manifest", complaints, "Register a handler under that name, or take it out.")


def _names(tools: Sequence[Json]) -> Iterator[str]:
    names = [str(each.get("name", "")) for each in tools]
    yield from (f"{name!r} is no name" for name in names if not _NAME.fullmatch(name))
    yield from (f"{name} is there {count} times" for name, count in Counter(names).items() if count > 1)


def _schemas(tools: Sequence[Json]) -> Iterator[str]:
    for tool in tools:
        given = table(tool.get("inputSchema"))
        if given is None or given.get("type") != "object":
            yield f'{tool.get("name")}: inputSchema must be an object with "type": "object"'
        for member in ("inputSchema", "outputSchema"):
            if member in tool:
                yield from (f"{tool.get('name')}: {member}: {each}" for each in complaints(tool[member]))


def _described(tools: Sequence[Json]) -> Iterator[str]:
    for tool in tools:
        said = tool.get("description")
        if not isinstance(said, str) or not said.strip():
            yield f"{tool.get('name')} has no description"


def _others(listing: Listing) -> Iterator[Check]:
    if listing.resources or listing.templates:
        uris = [str(decoded(each).get("uri", "")) for each in listing.resources]
        wrong = [f"{uri!r} is no URI" for uri in uris if not _SCHEME.match(uri)]
        templates = [str(decoded(each).get("uriTemplate", "")) for each in listing.templates]
        wrong += [f"{uri!r} is no template of URIs" for uri in templates if not _SCHEME.match(uri)]
        wrong += [f"{uri} is there {count} times" for uri, count in Counter(uris).items() if count > 1]
        yield judged("resources", wrong, "Begin with a scheme, as in note://first.")
    if listing.prompts:
        yield judged("prompts", list(_prompts(listing.prompts)), "Give each prompt and argument one name.")


def _prompts(prompts: Sequence[Raw]) -> Iterator[str]:
    held = [decoded(each) for each in prompts]
    names = Counter(str(each.get("name", "")) for each in held)
    yield from (f"{name!r} is there {count} times" for name, count in names.items() if count > 1 or not name)
    for prompt in held:
        arguments: list[Any] = prompt["arguments"] if isinstance(prompt.get("arguments"), list) else []
        if not all(isinstance((table(each) or {}).get("name"), str) for each in arguments):
            yield f"{prompt.get('name')}: an argument has no name"


def _suspicious(everything: Sequence[Raw]) -> Iterator[str]:
    for raw in everything:
        flags = scan(bytes(raw))
        if level(flags) in ("high", "medium"):
            worst = max(flags, key=lambda flag: flag.weight)
            yield f"{decoded(raw).get('name')}: {worst.where} {worst.what} ({worst.found})"


def _golden(tools: Sequence[Raw], path: Path) -> Check:
    """Whether the definitions are those its author keeps; a change of them asks every user to approve it again."""
    if not path.is_file():
        return skipped("golden definitions", f"there is no {GOLDEN}")
    try:
        kept = {str(each.get("name")): each for each in msgspec.json.decode(path.read_bytes(), type=list[Json])}
    except (OSError, msgspec.MsgspecError) as error:
        return judged("golden definitions", [f"{path} cannot be read: {error}"], "Write it anew.")
    now = {str(each.get("name")): each for each in map(decoded, tools)}
    wrong = [f"{name} is new" for name in now if name not in kept]
    wrong += [f"{name} is gone" for name in kept if name not in now]
    wrong += [f"{name} changed" for name in now if name in kept and now[name] != kept[name]]
    return judged("golden definitions", wrong, f"If that is meant, write {GOLDEN} anew: users are asked to approve it.")
