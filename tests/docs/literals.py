"""JSON values as each language writes them: on one line if it is short enough, else a member a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

WIDTH = 96  # columns
_RESERVED = frozenset("and break do else elseif end false for function goto if in local nil not or repeat then".split())
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Style:
    """How a language writes."""

    objects: tuple[str, str]
    lists: tuple[str, str]
    key: Callable[[str], str]
    scalar: Callable[[Any], str] = json.dumps
    step: str = "  "

    def write(self, value: Any, head: str = "", margin: str = "") -> str:
        """`head`, which stands behind `margin` on its line, and the value."""
        if not isinstance(value, dict | list) or not value:
            return head + self._empty(value)
        short = head + self._line(value)
        if len(margin) + len(short) <= WIDTH:
            return short
        deeper = margin + self.step
        if isinstance(value, dict):
            keyed = cast(dict[str, Any], value).items()
            return self.broken(head, self.objects, {self.key(name): each for name, each in keyed}, margin)
        members = (self.write(each, "", deeper) for each in cast(list[Any], value))
        return _lines(head + self.lists[0].rstrip(), members, self.lists[1].lstrip(), deeper, margin)

    def broken(self, head: str, around: tuple[str, str], members: Mapping[str, Any], margin: str = "") -> str:
        """An object, or the named arguments of a call, one a line."""
        deeper = margin + self.step
        lines = (self.write(each, name, deeper) for name, each in members.items())
        return _lines(head + around[0].rstrip(), lines, around[1].lstrip(), deeper, margin)

    def _line(self, value: Any) -> str:
        if isinstance(value, dict) and value:
            keyed = cast(dict[str, Any], value).items()
            return ", ".join(self.key(name) + self._line(each) for name, each in keyed).join(self.objects)
        if isinstance(value, list) and value:
            return ", ".join(map(self._line, cast(list[Any], value))).join(self.lists)
        return self._empty(value)

    def _empty(self, value: Any) -> str:
        if isinstance(value, dict | list):
            opening, closing = self.objects if isinstance(value, dict) else self.lists
            return opening.strip() + closing.strip()
        return self.scalar(value)


def _lines(opening: str, members: Any, closing: str, deeper: str, margin: str) -> str:
    return f"{opening}\n" + "".join(f"{deeper}{each},\n" for each in members) + margin + closing


def _python_scalar(value: Any) -> str:
    return str(value) if value is None or isinstance(value, bool) else json.dumps(value)


def _lua_key(name: str) -> str:
    return f"{name} = " if _NAME.fullmatch(name) and name not in _RESERVED else f"[{json.dumps(name)}] = "


def _typescript_key(name: str) -> str:
    return f"{name}: " if _NAME.fullmatch(name) else f"{json.dumps(name)}: "


PYTHON = Style(("{", "}"), ("[", "]"), lambda name: f"{json.dumps(name)}: ", _python_scalar, "    ")
TYPESCRIPT = Style(("{ ", " }"), ("[", "]"), _typescript_key)
LUA = Style(("{ ", " }"), ("{ ", " }"), _lua_key)
