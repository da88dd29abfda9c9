"""What a plugin shows now, against what it was approved with.

Rule 1: clients are shown the text of the pin, byte by byte, never the live one.
Rule 2: a definition that changed or is new is withheld; one that is gone is not shown, and is shown again when it is
        what it was.
Rule 3: a name that stands twice is what it was only if each of them is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from broker.model import KINDS, Kind, Listing
from broker.permissions.canonical import digest
from broker.permissions.pins import Pin, digest_of, name_of, pin_of

Part = Literal["tools", "resources", "templates", "prompts", "instructions", "capabilities"]
ONE: dict[Part, str] = {
    "tools": "tool",
    "resources": "resource",
    "templates": "resource template",
    "prompts": "prompt",
    "instructions": "instructions",
    "capabilities": "capabilities",
}

_encode = msgspec.json.Encoder(order="sorted").encode


class Change(Struct, frozen=True, kw_only=True):
    """One definition that is not what was approved. All instructions are one, and so are all capabilities."""

    kind: Part
    name: str
    what: Literal["changed", "new", "removed"]
    old: Raw | None = None
    new: Raw | None = None

    @property
    def withheld(self) -> bool:
        """Whether there is something that clients do not see."""
        return self.what != "removed"


def shown(pin: Pin, live: Listing) -> tuple[Listing, list[Change]]:
    """What clients are shown of `live`, and everything in it that differs from the pin."""
    changes: list[Change] = []
    lists = {kind: _shown(kind, pin, getattr(live, kind), changes) for kind in KINDS}
    changes += _described(pin.listing, live)
    instructions = pin.listing.instructions if live.instructions is not None else None
    kept = pin.listing
    return replace(live, info=kept.info, capabilities=kept.capabilities, instructions=instructions, **lists), changes


def taken(pin: Pin, live: Listing, changes: Iterable[Change]) -> Pin:
    """The pin with these changes in it, and no others."""
    kept = {kind: pin.items(kind) for kind in KINDS}
    rest: dict[str, Any] = {}
    for change in changes:
        if change.kind == "instructions" or change.kind == "capabilities":
            rest[change.kind] = getattr(live, change.kind)
        elif change.new is None:
            kept[change.kind].pop(change.name, None)
        else:
            kept[change.kind][change.name] = change.new
    rest |= {kind: list(items.values()) for kind, items in kept.items()}
    return pin_of(replace(pin.listing, **rest))


def _shown(kind: Kind, pin: Pin, live: Iterable[Raw], changes: list[Change]) -> list[Raw]:
    found: dict[str, list[Raw]] = {}
    for item in live:
        found.setdefault(name_of(kind, item), []).append(item)
    known = pin.items(kind)
    same: list[Raw] = []
    for name, items in found.items():
        old, digest = known.get(name), pin.digests.get(kind, {}).get(name)
        other = next((item for item in items if item != old and digest_of(kind, item) != digest), None)
        if old is not None and other is None:
            same.append(old)
        else:
            new = items[0] if other is None else other
            changes.append(Change(kind=kind, name=name, what="changed" if old else "new", old=old, new=new))
    gone = [Change(kind=kind, name=name, what="removed", old=known[name]) for name in known if name not in found]
    changes += gone
    return same


def _described(old: Listing, new: Listing) -> list[Change]:
    parts: list[tuple[Part, Raw | None, Raw | None]] = [
        ("instructions", _said(old.instructions), _said(new.instructions)),
        ("capabilities", _said(old.capabilities), _said(new.capabilities)),
    ]
    return [
        Change(kind=kind, name=kind, what=_what(before, after), old=before, new=after)
        for kind, before, after in parts
        if before != after
        and (before is None or after is None or digest(kind, bytes(before)) != digest(kind, bytes(after)))
    ]


def _what(old: Raw | None, new: Raw | None) -> Literal["changed", "new", "removed"]:
    if old is None:
        return "new"
    return "changed" if new is not None else "removed"


def _said(part: object) -> Raw | None:
    return Raw(_encode(part)) if part else None
