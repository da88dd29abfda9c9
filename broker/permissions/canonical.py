"""One form for all ways to write the same definition, so that its digest changes only when its meaning may have.

Rule 1: members are sorted, white space and escapes are gone, text is in Unicode form NFC: what is shown the same is the
        same. (RFC 8785 sorts by UTF-16 units and leaves text as it is; here both sides are ours.)
Rule 2: numbers are compared exactly, by their digits: 1, 1.0 and 10e-1 are one number, 9007199254740992 and
        9007199254740993 are two, though RFC 8785 would round them to one.
Rule 3: what two readers may read in two ways has no such form: a member that stands twice, also once both names are
        in NFC, half a surrogate pair, NaN. It is then compared byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any, cast

from broker.model import Kind

MAX_EXPONENT = 18  # digits of one; a longer one is no number anybody means


class Ambiguous(ValueError):
    """This has no canonical form; the message says why."""


class _Number(str):
    """A number in its own digits."""

    __slots__ = ()


def canonical(raw: bytes) -> bytes:
    """The canonical form of a JSON document. Raises `Ambiguous`."""
    try:
        read = json.loads(
            raw, object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse
        )
        return _written(read).encode()
    except (UnicodeError, RecursionError) as error:
        raise Ambiguous(f"it has text that is no Unicode, or is nested too deeply: {error}") from None
    except ValueError as error:
        raise error if isinstance(error, Ambiguous) else Ambiguous(f"it is no JSON: {error}") from None


def digest(kind: Kind | str, raw: bytes) -> str:
    """What a definition of this kind is known by, as a hex SHA-256."""
    try:
        form = canonical(raw)
    except Ambiguous:
        form = b"\0" + raw
    return hashlib.sha256(kind.encode() + b"\0" + form).hexdigest()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {unicodedata.normalize("NFC", name): value for name, value in pairs}
    if len(found) < len(pairs):
        raise Ambiguous("a member stands in it twice")
    return found


def _refuse(word: str) -> Any:
    raise Ambiguous(f"{word} is no JSON")


def _written(value: Any) -> str:
    if isinstance(value, _Number):
        return _number(value)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return "{" + ",".join(f"{_text(name)}:{_written(members[name])}" for name in sorted(members)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, cast("list[Any]", value))) + "]"
    return _text(unicodedata.normalize("NFC", value)) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(text: str) -> str:
    """Sign, digits without zeros at either end, and the power of ten they are multiplied by."""
    mantissa, _, power = text.lower().partition("e")
    if len(power) > MAX_EXPONENT:
        raise Ambiguous("a number in it is too long")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    short = digits.rstrip("0")
    return f"{sign}{short}e{int(power or 0) - len(fraction) + len(digits) - len(short)}"
