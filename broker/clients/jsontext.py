"""One member put into the text of a JSON file, or taken out of it again; every other byte stays.

The files are people's and other programs': comments, tabs, line ends and order are theirs, so nothing is
re-serialised. Nothing is remembered either: the layout of what was put in says how it is taken out.
Rule 1: a member goes behind the last one. It leaves with the comma after it, or else with the one before it.
Rule 2: into an object that was empty it goes directly behind the brace. White space behind the brace means
        that the object was made for this member, and it leaves with it.
Rule 3: a file that is made begins with a brace and a line end, and is gone when its only member leaves. In a
        file that held no value two spaces stand behind the brace, and what was there comes back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

from broker.core import jsonc
from broker.core.shape import table

_BOM = b"\xef\xbb\xbf"
_UNIT = b"  "  # of indentation, where a file shows none
_COMMENTS = re.compile(rb"(?:[^\S\n]*+(?://[^\n]*?(?=\r?\n|\Z)|/\*.*?\*/))*", re.DOTALL)
_COMMA = re.compile(rb"\s*+,")
_SPACE = " \t\r\n"
_SPACES = re.compile(r"[ \t\r\n]*+")
_KEY = re.compile(r'("(?:[^"\\]|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_VALUE = json.JSONDecoder(parse_int=str, parse_float=str)  # finds where a value ends; numbers of any length are text
_REST_OF_LINE = re.compile(rb"[^\S\n]*+\n")


class Span(NamedTuple):
    """A member of an object: its key decoded, and the offsets of key and value."""

    key: str
    start: int
    value: int
    end: int


class _Object(NamedTuple):
    """The offsets of an object's brace and of what follows its other brace, and its members."""

    start: int
    end: int
    members: list[Span]

    def last(self, key: str) -> Span | None:
        """The member that counts: of two with one key every reader takes the last."""
        return next((span for span in reversed(self.members) if span.key == key), None)


class _Style(NamedTuple):
    """How a text is laid out."""

    newline: bytes = b"\n"
    unit: bytes = _UNIT
    space: bytes = b" "  # behind a colon or a comma


def plain(text: bytes) -> bytes:
    """`text` without what JSON does not know, every byte in its place; what is JSON already is not gone through."""
    return text if _is_json(text) else jsonc.plain(text)


def spans(text: bytes, *path: str) -> list[Span]:
    """The members of the object at `path`, of the outermost one without; none if there is no such object."""
    found = _at(text, plain(text), *path)
    return found.members if found else []


def put(text: bytes | None, section: str, name: str, value: Mapping[str, object]) -> bytes:
    """`text` with `{section: {name: value}}` in it; None: there is no file.

    The text must be JSON (comments are fine), its outermost value and the section objects, the name new.
    """
    if text is None:
        return _written({section: {name: value}}, _Style(), b"") + b"\n"
    if text.startswith(_BOM):
        return _BOM + put(text[len(_BOM) :], section, name, value)
    bare = plain(text)
    root, held = _at(text, bare), _at(text, bare, section)
    if root is None:
        return b"{ " + _written({section: {name: value}}, _Style(), None)[1:] + text
    style = _style(text, bare, root)
    if held is None:
        return _added(text, root, style, section, {name: value})
    return _added(text, held, style, name, value)


def swap(text: bytes, section: str, name: str, value: Mapping[str, object]) -> bytes:
    """`text` with another value, on one line, of a member that is there."""
    held = _at(text, plain(text), section)
    span = held.last(name) if held else None
    assert span is not None
    return text[: span.value] + _written(value, _Style(), None) + text[span.end :]


def take(text: bytes, section: str, name: str) -> bytes | None:
    """`text` without that member, and without what was made for it; None: the file was made for it."""
    if text.startswith(_BOM):
        rest = take(text[len(_BOM) :], section, name)
        return None if rest is None else _BOM + rest
    bare = plain(text)
    root, held = _at(text, bare), _at(text, bare, section)
    span = held.last(name) if held else None
    if root is None or held is None or span is None:
        return text
    if not _made_for_one(text, held):
        return take(_without(text, held, span), section, name)  # a key can come twice
    return _without_section(text, root, cast("Span", root.last(section)))


def _without_section(text: bytes, root: _Object, section: Span) -> bytes | None:
    behind = text[root.start + 1 : section.start]
    rest = text[: root.start] + text[root.end :]
    if _made_for_one(text, root):
        if behind.startswith(b"\n") and not rest.strip():
            return None
        if behind == b"  ":
            return rest
    return _without(text, root, section)


def _is_json(text: bytes) -> bool:
    try:
        _VALUE.decode(text.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _uncommented(text: bytes) -> bytes:
    return text if _is_json(text) else jsonc.uncommented(text)


def _at(text: bytes, bare: bytes, *path: str) -> _Object | None:
    """The object at `path`; `bare` is `text` made plain."""
    skip = len(_BOM) if text.startswith(_BOM) else 0
    letters = bare.decode("latin-1")  # a letter for each byte, whatever it means
    found = _object(letters, skip + len(letters[skip:]) - len(letters[skip:].lstrip(_SPACE)))
    for key in path:
        span = found.last(key) if found else None
        found = _object(letters, span.value) if span else None
    return found


def _object(letters: str, start: int) -> _Object | None:
    if letters[start : start + 1] != "{":
        return None
    members: list[Span] = []
    at = _skipped(letters, start + 1)
    while letters[at] == '"':
        key = cast("re.Match[str]", _KEY.match(letters, at))
        name = json.loads(key[1].encode("latin-1"))
        _, end = _VALUE.raw_decode(letters, key.end())
        members.append(Span(name, at, key.end(), end))
        at = _skipped(letters, _skipped(letters, end) + (letters[_skipped(letters, end)] == ","))
    return _Object(start, at + 1, members)


def _skipped(letters: str, at: int) -> int:
    return cast("re.Match[str]", _SPACES.match(letters, at)).end()


def _style(text: bytes, bare: bytes, root: _Object) -> _Style:
    newline = b"\r\n" if b"\r\n" in text else b"\n"
    if not root.members:
        return _Style(newline)
    first = root.members[0]
    tight = bare[first.start : first.value].endswith(b'":')
    return _Style(newline, _indent(text, first.start) or _UNIT, b"" if tight else b" ")


def _indent(text: bytes, at: int) -> bytes | None:
    """What stands before `at` in its line, if there is a line before and only white space in this one."""
    start = text.rfind(b"\n", 0, at) + 1
    before = text[start:at]
    return before if start and not before.strip(b" \t") else None


def _added(text: bytes, held: _Object, style: _Style, key: str, value: Mapping[str, object]) -> bytes:
    """`text` with one more member in the object `held`."""
    if not held.members:
        at = held.start + 1
        return text[:at] + _member(key, value, style, None) + text[at:]
    last = held.members[-1]
    comma = _COMMA.match(_uncommented(text), last.end)
    tail = comma.end() if comma else last.end
    comments = cast("re.Match[bytes]", _COMMENTS.match(text, tail))  # those in the line of the last member are its
    at = comments.end()
    indent = _indent(text, last.start)
    if indent is None and comments[0] and not comments[0].endswith(b"*/"):
        indent = style.unit  # what follows such a comment needs a line of its own
    lead = style.space if indent is None else style.newline + indent
    added = lead + _member(key, value, style, indent)
    if comma:
        return text[:at] + added + b"," + text[at:]
    return text[: last.end] + b"," + text[last.end : at] + added + text[at:]


def _without(text: bytes, held: _Object, span: Span) -> bytes:
    """`text` without the member at `span`, its comma and its lead."""
    bare = _uncommented(text)
    before = text[: span.start].rstrip(b" \t").removesuffix(b"\n").removesuffix(b"\r")
    rest, comma = text[span.end :], _COMMA.match(bare, span.end)
    if comma:
        rest = text[span.end : comma.end() - 1] + text[comma.end() :]
    if _in_line_comment(before, bare) and not _REST_OF_LINE.match(rest):
        before = text[: span.start]
    if not comma and span.start != held.members[0].start:
        at = bare.rindex(b",", 0, span.start)
        before = before[:at] + before[at + 1 :]
    return before + rest


def _in_line_comment(before: bytes, bare: bytes) -> bool:
    """Whether `before` ends in a comment that only a line end ends."""
    line = before[before.rfind(b"\n") + 1 :].rstrip()
    said = bare[: len(before)].rstrip()
    return len(said) < len(before.rstrip()) and not line.endswith(b"*/")


def _made_for_one(text: bytes, held: _Object) -> bool:
    """Whether the object holds one member, and by its layout was made for it."""
    if len(held.members) != 1:
        return False
    only = held.members[0]
    behind, rest = text[held.start + 1 : only.start], text[only.end : held.end - 1]
    return bool(behind) and not behind.strip() and rest.strip() in (b"", b",")


def _member(key: str, value: object, style: _Style, indent: bytes | None) -> bytes:
    return msgspec.json.encode(key) + b":" + style.space + _written(value, style, indent)


def _written(value: object, style: _Style, indent: bytes | None) -> bytes:
    """`value` as JSON: objects over several lines where the line has this `indent`, on one line for None."""
    comma = b"," + style.space
    if isinstance(value, list):
        return b"[" + comma.join(map(msgspec.json.encode, cast("list[object]", value))) + b"]"
    held = table(value)
    if held is None:
        return msgspec.json.encode(value)
    if indent is None:
        return b"{ " + comma.join(_member(key, each, style, None) for key, each in held.items()) + b" }"
    deeper = indent + style.unit
    rows = [style.newline + deeper + _member(key, each, style, deeper) for key, each in held.items()]
    return b"{" + b",".join(rows) + style.newline + indent + b"}"
