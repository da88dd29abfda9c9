"""Families of resources by the shape of their URIs: `note://{id}`, or `file:///{+path}` where a slash may be in it.

Of RFC 6570 these two expressions and no other: what an author means by the rest is never only a look at the URI.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MOST = 16  # expressions; the broker looks for no template with more
_EXPRESSION = re.compile(r"\{(\+?)([A-Za-z_][A-Za-z0-9_]*)\}")


class Template:
    """One of them. Raises `ValueError` with a sentence about what is wrong with `text`."""

    def __init__(self, text: str) -> None:
        parts = _EXPRESSION.split(text)
        self._literals, self._slashes, self._names = parts[::3], parts[1::3], parts[2::3]
        if not self._names or len(self._names) > MOST or not self._literals[0]:
            raise ValueError(f"{text!r} must begin with text and hold 1 to {MOST} of {{name}} or {{+name}}")
        if any("{" in each or "}" in each for each in self._literals):
            raise ValueError(f"{text!r} may hold {{name}} and {{+name}} and no other expression")
        if not all(self._literals[1:-1]) or len(set(self._names)) < len(self._names):
            raise ValueError(f"{text!r} needs text between its expressions, and each name once")

    def match(self, uri: str) -> dict[str, str] | None:
        """The values in `uri`, each as short as it can be; None if it is none of the family. In one pass."""
        if not uri.startswith(self._literals[0]):
            return None
        found: dict[str, str] = {}
        at, last = len(self._literals[0]), len(self._names) - 1
        for number, (slash, name, literal) in enumerate(
            zip(self._slashes, self._names, self._literals[1:], strict=True)
        ):
            end = _end(uri, at, literal) if number == last else uri.find(literal, at)
            if end <= at or (not slash and "/" in uri[at:end]):
                return None
            found[name] = unquote(uri[at:end])
            at = end + len(literal)
        return found


def _end(uri: str, at: int, literal: str) -> int:
    """Where the last value ends, if `literal` is the end of `uri`."""
    return len(uri) - len(literal) if uri.endswith(literal) and len(uri) - len(literal) > at else -1
