"""Two versions of a definition as the lines a person reads: what went (`-`), what came (`+`), and a little around.

Rule 1: every character is shown: what a terminal would act on, or nobody would see, is written as `\\u{200b}`.
Rule 2: a long text is one line for each of its sentences, so that one changed word does not show it all twice.
Rule 3: nothing is cut: what is not shown could not be judged.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any, cast

from broker.permissions.scan import visible

AROUND = 2  # lines of what stayed, around what did not

_FIRST = re.compile(r"@@ -[01][, ]")  # above it nothing is left out
_SENTENCE = re.compile(r"(?<=\n)|(?<=[.!?;:] )")


def difference(old: bytes | None, new: bytes | None) -> list[str]:
    """The lines, each beginning with `-`, `+` or a space; None: there is no such definition."""
    before, after = (_lines(raw) if raw is not None else [] for raw in (old, new))
    if before == after and old != new:  # only in ways that are not read: order, white space, how a number is written
        return [f" {line}" for line in after]
    found = list(difflib.unified_diff(before, after, n=AROUND, lineterm=""))[2:]
    return [" …" if line.startswith("@@") else line for line in found if not _FIRST.match(line)]


def _lines(raw: bytes) -> list[str]:
    try:
        read = json.loads(raw, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return [visible(raw.decode(errors="backslashreplace"))]
    return [visible(line) for line in _written(read, "", "")]


class _Number(str):
    """A number in its own digits."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """The members of an object, also those that stand twice."""


def _written(value: Any, indent: str, name: str) -> Iterator[str]:
    inner = indent + "  "
    if isinstance(value, _Members) and value:
        yield f"{indent}{name}{{"
        for key, item in sorted(value, key=lambda member: member[0]):
            yield from _written(item, inner, f"{_quoted(key)}: ")
        yield f"{indent}}}"
    elif isinstance(value, list) and value and not isinstance(value, _Members):
        yield f"{indent}{name}["
        for item in cast("list[Any]", value):
            yield from _written(item, inner, "")
        yield f"{indent}]"
    elif isinstance(value, str) and not isinstance(value, _Number):
        first, *rest = (part for part in _SENTENCE.split(value) if part or not value)
        yield f"{indent}{name}{_quoted(first)}"
        yield from (f"{inner}{_quoted(part)}" for part in rest)
    else:
        yield f"{indent}{name}{_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, _Members):
        return "{}"
    return value if isinstance(value, _Number) else json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
