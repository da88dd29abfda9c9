"""What the broker says it can do: its own, and what plugins offer that is truly relayed.

Rule 1: an extension is named only if some plugin offers it and its messages find their way.
Rule 2: an opening is answered at once, and once for all: clients give up on one that waits (Claude Code after 3 s). So
        while the lists of some plugin are not known, all that can be relayed is promised. Where in the end no plugin
        has it, its lists are empty, and no tool makes use of it.
Rule 3: a plugin that is passed through alone speaks for itself, and never comes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from broker import __version__
from broker.core import skills, tasks
from broker.core.ports import Identity
from broker.model import Era, Listing
from broker.wire import eras

APPS = "io.modelcontextprotocol/ui"
RELAYED = {
    Era.LEGACY: (APPS, skills.EXTENSION),
    Era.MODERN: (APPS, skills.EXTENSION, tasks.EXTENSION),
}
OWN: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
_encode = msgspec.json.Encoder().encode
SERVER_INFO = Raw(
    _encode(
        {
            "name": "broker",
            "title": "broker",
            "version": __version__,
            "description": "All plugins, one process",
        }
    )
)
STAMP = Raw(_encode({eras.SERVER_INFO: SERVER_INFO}))  # the `_meta` of what the broker itself answers, since 2026-07-28


def offered(listings: Iterable[Listing], identity: Identity, *, all_known: bool) -> Raw:
    """The capabilities a client is told, given what the plugins known so far said of theirs."""
    known = [each for each in listings if not each.capabilities.keys().isdisjoint(("extensions", "tasks"))]
    found = dict(OWN)
    if identity.version == eras.LATEST_LEGACY and (not all_known or any(map(tasks.runs_tools, known))):
        found["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
        if not all_known or any(map(tasks.lists_tasks, known)):
            found["tasks"]["list"] = {}
    promised = {} if all_known else {name: Raw(b"{}") for name in RELAYED[identity.era]}
    if extensions := promised | _extensions(known, identity.era):
        if skills.EXTENSION in extensions:
            extensions[skills.EXTENSION] = _skills(known, all_known)
        found["extensions"] = extensions
    return Raw(_encode(found))


def _extensions(listings: Iterable[Listing], era: Era) -> dict[str, Raw]:
    """The first of each that is relayed."""
    found: dict[str, Raw] = {}
    for listing in listings:
        for name, settings in _members(listing.capabilities, "extensions").items():
            if name in RELAYED[era]:
                found.setdefault(name, settings)
    return found


def _skills(listings: Iterable[Listing], all_known: bool) -> Raw:
    """What all plugins with skills can do together."""
    settings = (_members(listing.capabilities, "extensions").get(skills.EXTENSION, b"") for listing in listings)
    folders = not all_known or any(b'"directoryRead":true' in bytes(each).replace(b" ", b"") for each in settings)
    return Raw(b'{"directoryRead":true}' if folders else b"{}")


def _members(capabilities: Mapping[str, Raw], name: str) -> eras.Members:
    try:
        return eras.members(capabilities.get(name, Raw(b"{}")))
    except msgspec.MsgspecError:
        return {}
