"""The definitions a plugin was approved with, on disk: a file `NAME.json` for each plugin, in the state folder.

Rule 1: what is kept is the definitions themselves, as they came, and the digest of each: clients are shown this text.
Rule 2: an approval can come before anybody has seen a list; the first whole lists after it become the pin.
Rule 3: files are replaced as a whole, by one process at a time, and can be read and written by their user only.
Rule 4: it fails closed: a file that is there and cannot be used is `LedgerBroken`, never "nothing was approved".
Rule 5: after every change the file `changed` is another one: running brokers look at it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from broker.errors import ConfigError, LedgerBroken
from broker.model import KINDS, Kind, Listing
from broker.permissions.canonical import Ambiguous, canonical, digest
from broker.permissions.written import alone, replace_file

FORMAT = 1
MARK = "changed"
NAMES: dict[Kind, str] = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}

Stamp = tuple[int, int, int]

_encode = msgspec.json.Encoder(order="sorted").encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode


class Pin(Struct, frozen=True, kw_only=True):
    """What one plugin was approved with."""

    awaited: bool = False  # it is approved, and its first lists are yet to come
    listing: Listing = msgspec.field(default_factory=Listing)
    digests: dict[str, dict[str, str]] = {}  # kind -> name -> digest

    def items(self, kind: Kind) -> dict[str, Raw]:
        """The definitions of a kind by their names."""
        return named(kind, getattr(self.listing, kind))


class _File(Struct, frozen=True):
    format: int
    sha256: str  # of the bytes of `pin`
    pin: Raw


class Pins:
    """The folder of pins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def stamp(self, name: str) -> Stamp | None:
        """What tells that the file of a plugin is another one; None: there is none."""
        try:
            found = os.stat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return (-1, -1, -1)
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self, name: str) -> Pin | None:
        """What it was approved with; None: nobody approved it. Raises `LedgerBroken`."""
        try:
            data = self.path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._broken(name, error.strerror or str(error)) from None
        try:
            return _pin(data)
        except ValueError as error:
            raise self._broken(name, str(error)) from None

    def approve_next(self, name: str) -> None:
        """Have its next lists become its pin, unless it has one, usable or not. Raises `ConfigError`."""
        try:
            with alone(self.folder / MARK):
                if self.stamp(name) is None:
                    self._write(name, Pin(awaited=True))
        except OSError as error:
            hint = "Make room on the disk, or correct the rights of the folder."
            raise ConfigError(f"{self.path(name)} cannot be written: {error.strerror or error}", hint=hint) from None

    def take(self, name: str, listing: Listing) -> Pin:
        """Pin these lists, if no process has pinned any yet; the pin. Raises `LedgerBroken`, `OSError`."""
        with alone(self.folder / MARK):
            pin = self.read(name)
            if pin is None or pin.awaited:
                pin = pin_of(listing)
                self._write(name, pin)
        return pin

    def replace(self, name: str, pin: Pin, *, seen: Stamp | None) -> bool:
        """Put `pin` in place of the one whose stamp is `seen`; False if that is another one now. Raises `OSError`."""
        with alone(self.folder / MARK):
            if self.stamp(name) != seen:
                return False
            self._write(name, pin)
        return True

    def _write(self, name: str, pin: Pin) -> None:
        data = _encode(pin)
        file = _encode(_File(FORMAT, hashlib.sha256(data).hexdigest(), Raw(data)))
        replace_file(self.path(name), file, lasting=True)
        replace_file(self.folder / MARK, os.urandom(8).hex().encode())

    def _broken(self, name: str, why: str) -> LedgerBroken:
        what = f"{self.path(name)} cannot be used, so nothing of {name} is shown: {why}"
        hint = f"Restore it from a backup, or look at what {name} shows now and take it: `broker approve {name}`."
        return LedgerBroken(what, hint=hint, facts={"plugin": name})


def pin_of(listing: Listing) -> Pin:
    """The pin of what a plugin shows. What depends on the moment is left out."""
    kept = replace(listing, versions={}, partial=False)
    digests: dict[str, dict[str, str]] = {
        kind: {name: digest_of(kind, raw) for name, raw in named(kind, getattr(listing, kind)).items()}
        for kind in KINDS
    }
    return Pin(listing=kept, digests=digests)


def named(kind: Kind, items: Iterable[Raw]) -> dict[str, Raw]:
    """Definitions by their names; of several with one name, the first."""
    found: dict[str, Raw] = {}
    for item in items:
        found.setdefault(name_of(kind, item), item)
    return found


def name_of(kind: Kind, item: Raw) -> str:
    return _text(_members(item)[NAMES[kind]])


def digest_of(kind: Kind, item: Raw) -> str:
    """Of a definition. Size and time of a resource are not part of what it is: they change with its content."""
    raw = bytes(item)
    if kind == "resources" and (b'"size"' in raw or b'"lastModified"' in raw):
        raw = _lasting(item)
    return digest(kind, raw)


def _lasting(item: Raw) -> bytes:
    try:
        members = _members(canonical(bytes(item)))
    except Ambiguous:
        return bytes(item)
    members.pop("size", None)
    if memoryview(members.get("annotations", b"0"))[0] == ord("{"):
        annotations = _members(members["annotations"])
        annotations.pop("lastModified", None)
        members["annotations"] = Raw(_encode(annotations))
    return _encode(members)


def _pin(data: bytes) -> Pin:
    """Raises `ValueError`."""
    file = msgspec.json.decode(data, type=_File)
    if file.format != FORMAT:
        raise ValueError(f"it has format {file.format}; this version reads {FORMAT}")
    if hashlib.sha256(file.pin).hexdigest() != file.sha256:
        raise ValueError("it is not as broker wrote it")
    return msgspec.json.decode(file.pin, type=Pin)
