"""What the broker says it can do: its own, and what plugins offer that is truly relayed.

An extension is named only if some plugin offers it and its messages find their way; one that is passed through alone
speaks for itself, and never comes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from broker.core import tasks
from broker.core.ports import Identity
from broker.model import Era, Listing
from broker.wire import eras

APPS = "io.modelcontextprotocol/ui"
OWN: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
_encode = msgspec.json.Encoder().encode


def offered(listings: Iterable[Listing], identity: Identity) -> Raw:
    """The capabilities a client is told, given what the plugins known so far said of theirs."""
    known = [each for each in listings if not each.capabilities.keys().isdisjoint(("extensions", "tasks"))]
    found = dict(OWN)
    if identity.version == eras.LATEST_LEGACY and any(map(tasks.runs_tools, known)):
        found["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
        if any(map(tasks.lists_tasks, known)):
            found["tasks"]["list"] = {}
    if extensions := _extensions(known, identity.era):
        found["extensions"] = extensions
    return Raw(_encode(found))


def _extensions(listings: Iterable[Listing], era: Era) -> dict[str, Raw]:
    """The first of each that is relayed."""
    relayed = {APPS, tasks.EXTENSION} if era is Era.MODERN else {APPS}
    found: dict[str, Raw] = {}
    for listing in listings:
        for name, settings in _members(listing.capabilities, "extensions").items():
            if name in relayed:
                found.setdefault(name, settings)
    return found


def _members(capabilities: Mapping[str, Raw], name: str) -> eras.Members:
    try:
        return eras.members(capabilities.get(name, Raw(b"{}")))
    except msgspec.MsgspecError:
        return {}
