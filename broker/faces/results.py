"""Results too large for a client: what is left out is kept for a while, and read in pages as a resource.

Rule 1: a result below its limit is never looked into; of a larger one nothing is decoded but where its parts begin.
Rule 2: what a client gets instead is a result its tool could have given: content, and links to the rest. What its
        output schema demands stays whole; if that alone passes the limit, the result stays as it is.
Rule 3: what is kept belongs to one client, under a name nobody can guess, and is bounded: in count, bytes and time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Identity, Reply
from broker.errors import BrokerError, NotFound
from broker.model import Era
from broker.wire import eras

log = logging.getLogger("broker.results")

KEPT = 64  # parts of one client's results
KEPT_BYTES = 32 << 20
KEPT_FOR = 900.0  # seconds since it was last read
LINKS = 8  # of one result; what is left out beyond them is one more, as JSON
LINK = 900  # bytes of a link, at most
NOTE = 400  # bytes of the line at the end of a text that was cut, at most
PAGE = 256 << 10  # bytes of a page, where the plugin has no limit of its own; and what is shown of its result then
LEAST = 512  # bytes of a text worth showing
ENVELOPE = 1 << 10  # bytes around a page
LINKED_SINCE = "2025-06-18"  # MCP revision that has resource links

_URI = re.compile(r"broker://([a-z0-9-]{1,32})/results/([0-9a-f]{32})(?:\?page=([0-9]{1,6}))?")
_encode = msgspec.json.Encoder().encode
_quoted = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode
_BACKSLASH = ord("\\")


class Kept(Struct):
    """A part of a result, as the inside of the JSON string that it was."""

    uri: str
    what: str  # for a person
    member: str  # text or blob
    mime: str
    inside: bytes
    starts: list[int]  # of its pages

    def size(self) -> int:
        return len(self.inside)


class Results:
    """What is kept for one client. `max_frame`: bytes of the largest message it is sent."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._kept: dict[str, tuple[Kept, float]] = {}  # id -> and when it expires; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def fitting(self, result: Reply, limit: int, source: Source) -> Reply:
        """`result` in at most `limit` bytes, what does not fit offered as links; itself where that cannot be."""
        found = eras.members(result)
        blocks = _blocks(found)
        if blocks is None or bytes(found.get("resultType", b'"complete"')) != b'"complete"':
            return result
        cut = Cut(self, source, min(limit, self._max_frame))
        if not cut.members(found):
            source.say_whole(len(memoryview(result)), limit)
            return result
        return _joined({"content": cut.content(blocks), **found})

    def rescued(self, result: Reply, failure: bytes, source: Source) -> bytes:
        """A tool's `failure` to pass its result, with links to the parts of that result."""
        found, told = eras.members(result), eras.members(failure)
        blocks = _blocks(found)
        if blocks is None or bytes(found.get("resultType", b'"complete"')) != b'"complete"':
            return failure
        source.demands = False  # a failure owes no structured content
        cut = Cut(self, source, min(PAGE, self._max_frame))
        cut.members(found)
        content = cut.content(blocks)
        both = b"[%b,%b]" % (bytes(told["content"])[1:-1], content[1:-1]) if content != b"[]" else told["content"]
        joined = _joined({**told, "content": both})
        return joined if len(joined) <= self._max_frame else failure

    def keep(self, source: Source, what: str, member: str, mime: str, inside: memoryview, page: int) -> Kept:
        """Keep the inside of a JSON string; what was kept first makes room."""
        id = os.urandom(16).hex()
        uri = f"broker://{source.plugin}/results/{id}"
        copy = bytes(inside)
        step = min(page, self._max_frame) - ENVELOPE if member == "text" else (self._max_frame - ENVELOPE) // 4 * 4
        kept = Kept(uri, what, member, mime, copy, list(_starts(copy, step)))
        while self._kept and (len(self._kept) >= KEPT or self._bytes() + len(copy) > KEPT_BYTES):
            del self._kept[next(iter(self._kept))]
        self._touch(id, kept)
        return kept

    def page(self, uri: str | None, identity: Identity) -> Reply | None:
        """One page of what is kept for this client; None for what is no address of ours. Raises `NotFound`."""
        match = _URI.fullmatch(uri or "")
        if match is None or uri is None:
            return None
        id, number = match[2], int(match[3] or 1)
        self._expire()
        kept, _ = self._kept.get(id, (None, 0))
        if kept is None or not kept.uri.startswith(f"broker://{match[1]}/"):
            raise NotFound(
                f"nothing is kept at {uri}: parts of large results are kept {KEPT_FOR / 60:g} minutes, for their client",
                hint="Call the tool again.",
            )
        if not 1 <= number <= len(kept.starts):
            raise NotFound(f"there is no page {number} at {kept.uri}", hint=f"Its pages are 1 to {len(kept.starts)}.")
        self._touch(id, kept)
        body = _page(kept, number, uri)
        return eras.modern_result("resources/read", body) if identity.era is Era.MODERN else body

    def close(self) -> None:
        """Forget all."""
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _touch(self, id: str, kept: Kept) -> None:
        loop = asyncio.get_running_loop()
        self._kept.pop(id, None)
        self._kept[id] = kept, loop.time() + KEPT_FOR
        if self._timer is None:
            self._timer = loop.call_later(KEPT_FOR, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._expire()
        if self._kept:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(next(iter(self._kept.values()))[1], self._sweep)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for id in [id for id, (_, end) in self._kept.items() if end <= now]:
            del self._kept[id]

    def _bytes(self) -> int:
        return sum(kept.size() for kept, _ in self._kept.values())


class Source(Struct):
    """Where a result comes from, and what its client understands."""

    plugin: str
    tool: str
    identity: Identity
    demands: bool  # the tool declares a schema, which its structured content must be there for
    said: set[str]  # plugins whose results were left whole, and the log said so

    @property
    def linked(self) -> bool:
        """Whether the client knows resource links."""
        return self.identity.era is Era.MODERN or self.identity.version >= LINKED_SINCE

    def say_whole(self, size: int, limit: int) -> None:
        """Say, once for each plugin, that the limit does not hold for what a schema demands."""
        if self.plugin not in self.said:
            self.said.add(self.plugin)
            log.warning(
                "a result of %s has %d bytes, above its max_result of %d, and is passed whole: the tool %s declares an "
                "output schema, so its structured content must be there",
                self.plugin,
                size,
                limit,
                self.tool,
            )


class Cut:
    """One result on its way to `limit` bytes."""

    def __init__(self, results: Results, source: Source, limit: int) -> None:
        self._results, self._source, self._page = results, source, limit
        self._room = limit - (LINKS + 1) * LINK - NOTE
        self._added: list[bytes] = []  # blocks about members that are left out

    def members(self, found: eras.Members) -> bool:
        """Take the content out of `found`, and what is too large beside it; False if that may not be."""
        del found["content"]
        for name in sorted(found, key=lambda name: len(memoryview(found[name]))):
            size = len(memoryview(found[name]))
            if name == "structuredContent" and self._source.demands:
                if size > self._room:
                    return False
            elif size > self._room // 2:
                self._added += self._left_out(name, "text", "application/json", _as_string(found.pop(name)), "")
                continue
            self._room -= size
        return True

    def content(self, blocks: Sequence[Raw]) -> bytes:
        """The content: whole blocks, smallest first, as long as there is room; then a piece of one text."""
        sizes = [len(memoryview(block)) + 1 for block in blocks]
        whole: set[int] = set()
        for at in sorted(range(len(blocks)), key=lambda at: sizes[at]):
            if sizes[at] > self._room:
                break
            whole.add(at)
            self._room -= sizes[at]
        out = [at for at in range(len(blocks)) if at not in whole]
        linked, crowd = (out, []) if len(out) <= LINKS - len(self._added) else (out[: LINKS - 2], out[LINKS - 2 :])
        shown = {at: self._part(blocks[at]) for at in linked}
        said = [piece for at, block in enumerate(blocks) for piece in ([bytes(block)] if at in whole else shown.get(at, []))]
        if crowd:
            rest = Raw(b"[%b]" % b",".join(memoryview(blocks[at]) for at in crowd))
            said += self._left_out(f"{len(crowd)} more blocks", "text", "application/json", _as_string(rest), "")
        return b"[%b]" % b",".join([*said, *self._added])

    def _part(self, block: Raw) -> list[bytes]:
        """What is shown of a block that does not fit."""
        try:
            held = eras.members(block)
            kind = _text(held["type"])
            about = f',"annotations":{bytes(note).decode()}' if len(note := held.get("annotations", b"")) in range(1, 256) else ""
            if kind == "text":
                return self._text(_inside(held["text"]), about)
            inner = eras.members(held["resource"]) if kind == "resource" else held
            mime = _short(inner.get("mimeType"), 100)
            if kind == "resource" and "text" in inner:
                return self._left_out(_short(inner.get("uri"), 200), "text", mime, _inside(inner["text"]), about)
            blob = inner["blob"] if kind == "resource" else inner["data"]
            return self._left_out(f"{kind} {mime}", "blob", mime, _inside(blob), about)
        except (KeyError, TypeError, msgspec.MsgspecError):  # of a kind nobody knows here
            return self._left_out("a block", "text", "application/json", _as_string(block), "")
