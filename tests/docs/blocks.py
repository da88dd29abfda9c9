"""The fenced blocks of a Markdown page, and what the page says about each.

A block's title is its file: ```python title="plugin.py"```, or a comment in its first line, `# plugin.py`. A title that
ends in `: add` adds to that file. A `console` block has commands behind `$`, what is typed to them behind `>`, and what
they print. A comment above a block speaks to the suite: `<!-- not run: why -->`, `<!-- instead: what -->`,
`<!-- exits 1 -->`.
"""

from __future__ import annotations

import re
from textwrap import dedent

from msgspec import Struct

_FENCE = re.compile(
    r"(?:^[ ]*<!--\s*(?P<comment>[^\n]*?)\s*-->\n\s*?)?"
    r"^(?P<margin>[ ]*)```(?P<language>[\w-]*)[ ]*(?:title=\"(?P<title>[^\"\n]*)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=margin)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_NAMED = re.compile(r"(?:#|//|--) ([\w./-]+\.\w+)\n")
ADD = ": add"


class Block(Struct):
    """One fenced block."""

    language: str
    file: str  # empty: none
    adds: bool  # to what the file has already
    text: str
    line: int  # of the page
    said: str  # the comment above

    @property
    def skipped(self) -> str:
        """Why it is not run."""
        return self.said.removeprefix("not run:").strip() if self.said.startswith("not run:") else ""

    @property
    def instead(self) -> bool:
        """Whether the suite does something to the same effect."""
        return self.said.startswith("instead:")

    @property
    def code(self) -> int:
        """With what its last command ends."""
        return int(self.said.removeprefix("exits ")) if self.said.startswith("exits ") else 0


def blocks(page: str) -> list[Block]:
    """In their order."""
    return [_block(found, page) for found in _FENCE.finditer(page)]


def _block(found: re.Match[str], page: str) -> Block:
    text = dedent(found["text"])
    first = _NAMED.match(text)
    title = found["title"] or (first[1] if first else "")
    line = page.count("\n", 0, found.start("language")) + 1
    return Block(found["language"], title.removesuffix(ADD), title.endswith(ADD), text, line, found["comment"] or "")
