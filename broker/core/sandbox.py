"""The `sandbox` of a server in VS Code's mcp.json, as the permissions that mean the same or less.

VS Code: writing and the network are closed but for what is listed; reading is open but for what is denied; what is
denied wins. Here all of it is closed, and a folder is given whole. So:

    allowWrite       write (and with it read); without what is denied to be written, or read
    denyRead         reading is closed anyway; takes out what `allowWrite` would open
    allowedDomains   net, at ports 443 and 80, or at the port it names
    allowUnixSockets net:unix:…

Rule 1: nothing is allowed that VS Code would refuse. What is denied inside of something allowed cannot be taken out of
        it, because the kernel holds a plugin to whole folders and hosts to whole patterns: then all of it stays closed.
Rule 2: what VS Code would allow and this does not is said, and how to allow it.
Rule 3: a key nobody knows can only be let go if it cannot deny anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

from msgspec import Struct

from broker.core.expand import Surroundings
from broker.core.shape import Key, Wrong, dotted, table
from broker.permissions.scopes import SOCKET, Permission, covers, permission

PORTS = (443, 80)  # of a domain that names none

_FILES = ("allowWrite", "allowRead", "denyRead", "denyWrite")
_HOSTS = ("allowedDomains", "deniedDomains", "allowUnixSockets")
_PLACES = {"${workspaceFolder}": "${workspace}", "${userHome}": "${home}", "~": "${home}", ".": "${workspace}"}
_READING = (
    "its `sandbox` leaves reading open in VS Code. Here it reads only what it may write, and starts no other programs."
)


class Mapped(Struct, frozen=True):
    """What a sandbox asks for here, and what its user should know, each as a sentence and the remedy."""

    permissions: Mapping[str, tuple[str, ...] | bool]
    notes: tuple[tuple[str, str], ...]


class _Place(Struct, frozen=True):
    """A path as it is asked for, and where that is now."""

    text: str
    real: str


def mapped(entry: Mapping[str, object], around: Surroundings, anchor: Path) -> Mapped | None:
    """The permissions of an entry whose `sandboxEnabled` is true; None without. Wrong: what cannot be mapped safely."""
    if entry.get("sandboxEnabled") is not True:
        return None
    held = entry.get("sandbox")
    box = table({} if held is None else held)
    if box is None:
        raise Wrong("`sandbox` must be an object.", keys=["sandbox"])
    return _Mapping(around, anchor).mapped(box)


class _Mapping:
    """One sandbox on its way."""

    def __init__(self, around: Surroundings, anchor: Path) -> None:
        self._around, self._anchor = around, anchor
        self._notes: list[tuple[str, str]] = []

    def mapped(self, box: Mapping[str, object]) -> Mapped:
        self._check(box, ("filesystem", "network"), ["sandbox"])
        files = self._part(box, "filesystem", _FILES)
        hosts = self._part(box, "network", _HOSTS)
        denied = [each for key in ("denyRead", "denyWrite") for each in self._places(files, key)]
        write = self._open(self._places(files, "allowWrite"), denied, "allowWrite")
        read = self._open(self._places(files, "allowRead"), list(self._places(files, "denyRead")), "allowRead")
        net = [*self._domains(hosts), *self._sockets(hosts)]
        found = {"read": read, "write": write, "net": net}
        fix = "Run `broker learn NAME`, and write `permissions` into its entry: these then count instead."
        self._notes.append((_READING, fix))
        return Mapped({kind: tuple(dict.fromkeys(each)) for kind, each in found.items() if each}, tuple(self._notes))

    def _part(self, box: Mapping[str, object], name: str, keys: Iterable[str]) -> Mapping[str, object]:
        held = box.get(name)
        part = table({} if held is None else held)
        if part is None:
            raise Wrong(f"`sandbox.{name}` must be an object.", keys=["sandbox", name])
        self._check(part, keys, ["sandbox", name])
        return part

    def _check(self, part: Mapping[str, object], known: Iterable[str], at: list[Key]) -> None:
        for key in part:
            if key in known:
                continue
            keys: list[Key] = [*at, key]
            if key.lower().startswith(("den", "strict", "ignore", "mandatory", "credentials", "disabled")):
                raise Wrong(
                    f"{dotted(keys)} is not known here, and could deny what would then be allowed.",
                    keys=keys,
                    fix="Write `permissions` into its entry instead of `sandbox`.",
                )
            self._notes.append((f"{dotted(keys)} has no meaning here, and is left out.", "Remove it."))

    def _texts(self, part: Mapping[str, object], key: str) -> list[str]:
        value = part.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise Wrong(f"`{key}` in `sandbox` must be a list of texts.", keys=["sandbox"])
        found = [(table(each) or {}).get("path", each) for each in cast("list[object]", value)]
        if not all(isinstance(each, str) and each for each in found):
            raise Wrong(f"`{key}` in `sandbox` must be a list of texts.", keys=["sandbox"])
        return cast("list[str]", found)

    # files

    def _places(self, part: Mapping[str, object], key: str) -> list[_Place]:
        return [place for text in self._texts(part, key) if (place := self._place(text, key)) is not None]

    def _place(self, text: str, key: str) -> _Place | None:
        """None: it is a pattern, which nothing can hold a process to; one that denies denies the folder it is in."""
        bare = re.sub(r"(/\*\*)+/?$", "", text) or "/"
        if re.search(r"[*?\[]", bare):
            if key.startswith("deny"):
                bare = os.path.dirname(re.split(r"[*?\[]", bare)[0]) or "."
                what = f"`{text}` in `{key}` is a pattern, so all of {self._asked(bare)} stays closed."
                self._notes.append((what, "Name the files and folders it is about."))
            else:
                what = f"`{text}` in `{key}` is a pattern, and the kernel holds a process only to files and folders."
                self._notes.append((what, "Name those instead."))
                return None
        return _Place(
            self._asked(bare), os.path.realpath(self._around.path(bare, self._around.workspace or self._anchor))
        )

    def _asked(self, text: str) -> str:
        """The path in our words."""
        head, slash, rest = text.partition("/")
        if head in _PLACES:
            return _PLACES[head] + slash + self._around.expand(rest)
        text = self._around.expand(text)
        return text if os.path.isabs(text) else f"${{workspace}}/{text}"

    def _open(self, allowed: Iterable[_Place], denied: list[_Place], key: str) -> list[str]:
        kept: list[str] = []
        for place in allowed:
            inner = next((each for each in denied if _below(each.real, place.real)), None)
            if any(_below(place.real, each.real) for each in denied):
                continue
            if inner is not None:
                what = f"`{inner.text}` is denied inside of `{place.text}` in `{key}`, so all of that stays closed."
                self._notes.append((what, "Name the folders in it that may be open."))
                continue
            kept.append(place.text)
        return kept

    # hosts

    def _domains(self, part: Mapping[str, object]) -> Iterator[str]:
        denied = [each for text in self._texts(part, "deniedDomains") for each in self._targets(text, "deniedDomains")]
        for text in self._texts(part, "allowedDomains"):
            for one in self._targets(text, "allowedDomains"):
                if any(covers(each, one) for each in denied):
                    continue
                if any(covers(one, each) for each in denied):
                    what = f"a host is denied that is one of `{one.target}`, so all of those stay closed."
                    self._notes.append((what, "Name the hosts that may be reached."))
                    continue
                yield one.target

    def _targets(self, text: str, key: str) -> Iterator[Permission]:
        named = re.search(r":(\d+|\*)$", text)
        ports = [text] if named else [f"{text}:{port}" for port in PORTS]
        for each in ports:
            try:
                yield permission("net", each)
            except ValueError as error:
                if key.startswith("den"):
                    raise Wrong(f"`{text}` in `{key}` cannot be read: {error}", keys=["sandbox", "network"]) from None
                self._notes.append((f"`{text}` in `{key}` is left out: {error}", "Correct it."))
                return

    def _sockets(self, part: Mapping[str, object]) -> Iterator[str]:
        for place in self._places(part, "allowUnixSockets"):
            yield SOCKET + place.text


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
