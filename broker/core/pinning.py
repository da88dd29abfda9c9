"""The one place that decides what clients are shown of what a plugin shows.

Rule 1: of a plugin that has a pin, the text of the pin; what is not in it is withheld (see `permissions.changes`).
Rule 2: of one that was approved before anybody saw its lists, or with `pins = "first"` of every one, its first whole
        lists become the pin.
Rule 3: with `quarantine`, nothing of one that has no pin.
Rule 4: of any other, what it shows: nobody approved it, so nothing of it can be said to have changed.
Rule 5: a pin that cannot be read or kept shows nothing.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from broker.errors import LedgerBroken
from broker.model import Kind, Listing, Policy
from broker.permissions.withheld import NOTHING, Withheld

if TYPE_CHECKING:
    from broker.permissions.changes import Change
    from broker.permissions.pins import Pin, Pins, Stamp

log = logging.getLogger("broker.pinning")

_encode = msgspec.json.Encoder().encode


class Judged(Struct, frozen=True):
    """What clients may see of a plugin, None while nobody knows its lists, and what is kept from them."""

    listing: Listing | None
    withheld: Withheld = NOTHING
    pinned: bool = False


class Pinning:
    """The pins of one broker, in `folder`; without one there are none. `tell` is given log messages for clients."""

    def __init__(self, folder: Path | None = None, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.tell: Callable[[bytes], None] = lambda params: None
        self._folder = folder
        self._pins: Pins | None = None
        self._known: dict[str, tuple[Stamp, Pin]] = {}
        self._judged: dict[str, Stamp | None] = {}  # the file each plugin was judged by last
        self._notices: dict[str, tuple[object, str]] = {}  # what is withheld, and how that was said

    def holds(self, name: str) -> bool:
        """Whether its lists are to be known before it is called, and compared while it runs."""
        strict = self._folder is not None and (self.policy.pins == "first" or self.policy.quarantine)
        return strict or self._stamped(name)

    def judge(self, name: str, live: Listing | None) -> Judged:
        """What clients may see of these lists. May write the pin."""
        if not self.holds(name):
            self.forget(name)
            self._judged[name] = None
            return Judged(live)
        try:
            return self._judge(name, live)
        except LedgerBroken as error:
            return self._nothing(name, live, Withheld(name, str(error), error.hint))
        except OSError as error:
            reason = f"the definitions of {name} cannot be kept, so nothing of it is shown: {error.strerror or error}"
            return self._nothing(name, live, Withheld(name, reason, "Make room, or correct the folder's rights."))

    def moved(self, name: str) -> bool:
        """Whether its pin is another one than it was judged by."""
        if name not in self._judged:
            return False
        return self._judged[name] is not None if not self._stamped(name) else self._judged[name] != self._stamp(name)

    def forget(self, name: str) -> None:
        """The plugin is gone; there is nothing to say about it."""
        self._notices.pop(name, None)
        self._judged.pop(name, None)

    @property
    def notices(self) -> list[bytes]:
        """The log messages about everything withheld now, for a client that was not there when it was said."""
        return [_notice(text) for _, text in self._notices.values()]

    def _judge(self, name: str, live: Listing | None) -> Judged:
        pin = self._pin(name)
        if live is None:
            return Judged(None, pinned=True)
        if pin is None or pin.awaited:
            if self.policy.quarantine:
                reason = f"{name} is new here, and nothing of it is shown before its user approved it"
                hint = f"`broker review {name}` shows what it offers, `broker approve {name}` takes it."
                return self._nothing(name, live, Withheld(name, reason, hint))
            if live.partial:
                return Judged(live, pinned=True)
            pin = self._take(name, live)
        return self._compared(name, pin, live)

    def _compared(self, name: str, pin: Pin, live: Listing) -> Judged:
        from broker.permissions.changes import shown

        listing, changes = shown(pin, live)
        names: dict[Kind, frozenset[str]] = {}
        for change in changes:
            if change.withheld and change.kind != "instructions" and change.kind != "capabilities":
                names[change.kind] = names.get(change.kind, frozenset()) | {change.name}
        kept = [change for change in changes if change.withheld]
        self._say(name, [(each.kind, each.name, bytes(each.new or b"")) for each in kept], _sentence(name, kept))
        return Judged(listing, Withheld(name, names=names), pinned=True)

    def _nothing(self, name: str, live: Listing | None, withheld: Withheld) -> Judged:
        if live is None:
            return Judged(None, withheld, pinned=True)
        self._say(name, withheld.reason, f"{withheld.reason}. {withheld.hint}")
        info = Raw(_encode({"name": name, "version": ""}))
        none = Listing(versions=live.versions, info=info, partial=live.partial)
        return Judged(none, withheld, pinned=True)

    def _say(self, name: str, what: object, text: str) -> None:
        """Say it once to the log and to clients; nothing, if nothing is withheld."""
        if not what:
            self._notices.pop(name, None)
        elif self._notices.get(name, (None,))[0] != what:
            self._notices[name] = what, text
            log.warning("%s", text)
            self.tell(_notice(text))

    def _pin(self, name: str) -> Pin | None:
        stamp = self._stamp(name)
        self._judged[name] = stamp
        if stamp is None:
            return None
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            pin = self._store().read(name)
            if pin is None:
                return None
            self._known[name] = known = stamp, pin
        return known[1]

    def _take(self, name: str, live: Listing) -> Pin:
        pin = self._store().take(name, live)
        self._judged[name] = self._stamp(name)
        log.info("%s is pinned to the definitions it shows now", name)
        return pin

    def _stamped(self, name: str) -> bool:
        """Whether there is a file, without the imports that reading it needs."""
        return self._folder is not None and os.path.lexists(self._folder / f"{name}.json")

    def _stamp(self, name: str) -> Stamp | None:
        return self._store().stamp(name)

    def _store(self) -> Pins:
        if self._pins is None:
            from broker.permissions.pins import Pins

            assert self._folder is not None
            self._pins = Pins(self._folder)
        return self._pins


def _sentence(name: str, changes: list[Change]) -> str:
    """Without a word of the plugin's: what is new in it must not reach a model this way either."""
    from broker.permissions.changes import ONE

    counts = Counter((change.what, ONE[change.kind]) for change in changes)
    listed = ", ".join(_counted(count, *what) for what, count in counts.items())
    return (
        f"{name} does not show what its user approved; withheld: {listed}. "
        f"`broker review {name}` shows the difference, `broker approve {name}` takes it."
    )


def _counted(count: int, what: str, noun: str) -> str:
    if noun.endswith("s"):  # there is one of these
        return f"{what} {noun}"
    return f"{count} {what} {noun}{'s' * (count > 1)}"


def _notice(text: str) -> bytes:
    return _encode({"level": "warning", "logger": "broker", "data": text})
