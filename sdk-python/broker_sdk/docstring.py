"""What a docstring says of a function and of each of its parameters: Google's, NumPy's and Sphinx's ways."""

from __future__ import annotations

import re

_GOOGLE = re.compile(r"(args|arguments|parameters|params):\s*$", re.IGNORECASE)
_NUMPY = re.compile(r"parameters\s*$", re.IGNORECASE)
_OTHER = re.compile(
    r"(returns?|yields?|raises?|examples?|notes?|attributes|see also|warnings?|todo)(:\s*$|\s*$)", re.IGNORECASE
)
_FIELD = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(\w+):\s*(.*)")
_ANY_FIELD = re.compile(r":(?:param|parameter|arg|argument|type|returns?|rtype|raises?)\b[^:]*:")
_NAMED = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_TYPED = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?$")


def parsed(doc: str | None) -> tuple[str, dict[str, str]]:
    """The description, without the sections about parameters and results, and the text for each parameter."""
    if not doc:
        return "", {}
    lines = _dedented(doc)
    told: list[str] = []
    params: dict[str, str] = {}
    at = 0
    while at < len(lines):
        if _ANY_FIELD.match(lines[at]):
            at = _sphinx(lines, at, params)
        elif _GOOGLE.match(lines[at]):
            at = _section(lines, at + 1, params, _NAMED)
        elif _NUMPY.match(lines[at]) and _underlined(lines, at):
            at = _section(lines, at + 2, params, _TYPED)
        elif _OTHER.match(lines[at]) and (lines[at].rstrip().endswith(":") or _underlined(lines, at)):
            at = _skipped(lines, at + 2) if _underlined(lines, at) else _section(lines, at + 1, {}, _NAMED)
        else:
            told.append(lines[at])
            at += 1
    return "\n".join(told).strip(), params


def _dedented(doc: str) -> list[str]:
    lines = doc.expandtabs().splitlines()
    rest = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(rest, default=0)
    return [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])]


def _underlined(lines: list[str], at: int) -> bool:
    return at + 1 < len(lines) and len(lines[at + 1]) >= 3 and set(lines[at + 1]) == {"-"}


def _section(lines: list[str], at: int, params: dict[str, str], named: re.Pattern[str]) -> int:
    """Read the parameters of a section; returns where it ends: at a line that is not indented and names none."""
    margin: int | None = None
    name = ""
    while at < len(lines):
        line = lines[at]
        indent = len(line) - len(line.lstrip())
        if line.strip():
            if margin is None:
                margin = indent
            if indent < margin or (margin == 0 and (_OTHER.match(line) or _underlined(lines, at))):
                break
            found = named.match(line.strip()) if indent == margin else None
            if found is None and margin == 0 and indent == 0:
                break
            name = _note(params, name, found, line)
        at += 1
    return at


def _skipped(lines: list[str], at: int) -> int:
    """The next section's title, or the end."""
    while at < len(lines) and not _underlined(lines, at):
        at += 1
    return at


def _note(params: dict[str, str], name: str, found: re.Match[str] | None, line: str) -> str:
    if found is not None:
        params[found[1]] = found[2].strip() if found.lastindex == 2 else ""
        return found[1]
    if name:
        params[name] = f"{params[name]} {line.strip()}".strip()
    return name


def _sphinx(lines: list[str], at: int, params: dict[str, str]) -> int:
    found = _FIELD.match(lines[at])
    text = [found[2]] if found else []
    at += 1
    while at < len(lines) and lines[at].startswith(" ") and lines[at].strip():
        text.append(lines[at].strip())
        at += 1
    if found:
        params[found[1]] = " ".join(text).strip()
    return at
