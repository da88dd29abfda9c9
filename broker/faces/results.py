"""Results too large for a client: what is left out is kept for a while, and read in pages as a resource.

Rule 1: a result below its limit is never looked into; of a larger one only the places are found where it can be cut.
Rule 2: what a client gets instead is a result its tool could have given: content, and links to the rest. What its
        output schema demands stays whole; if that alone passes the limit, the result stays as it is.
Rule 3: what is kept belongs to one client, under a name nobody can guess, and is bounded: in count, bytes and time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from broker.core.plugins import Plugin
from broker.core.ports import Call, Identity, Reply
from broker.errors import BrokerError, FrameTooLarge, NotFound
from broker.faces.cutting import boundary, inside, within
from broker.faces.offers import SERVER_INFO
from broker.model import Era, Listing
from broker.wire import eras

log = logging.getLogger("broker.results")

KEPT = 64  # parts of one client's results
KEPT_BYTES = 32 << 20
KEPT_FOR = 900.0  # seconds since it was last read
PAGE = 256 << 10  # bytes of a page, and of what is shown, where the plugin has no limit of its own
LINKS = 6  # parts of one result that have a link of their own; those beyond share one
LINK = 1500  # bytes of a link, at most
NOTE = 600  # bytes of the line below a text that was cut, and of the braces around a result, at most
LEAST = 512  # bytes of a text worth showing
ENVELOPE = 1 << 10  # bytes around a page
LINKED_SINCE = "2025-06-18"  # the MCP revision that has resource links
OF_TOOLS = ("tools/call", "tasks/result")  # methods whose result is a tool's
BESIDE = 640  # bytes of a block around its payload, above which it is kept as it is, in JSON

_URI = re.compile(r"broker://[a-z0-9-]{1,32}/results/([0-9a-f]{32})(?:\?page=([0-9]{1,6}))?")
_MIME = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_COMPLETE = b'"complete"'
_encode = msgspec.json.Encoder().encode
_blocks = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode

Failing = Callable[[BrokerError, Era], bytes]


class Source(Struct):
    """Where a result comes from, and what its client understands."""

    plugin: str
    tool: str
    linked: bool  # the client knows resource links
    demands: bool  # the tool declares a schema, for which its structured content must be there

    @classmethod
    def of(cls, call: Call, listing: Listing | None) -> Source:
        """Of a call that was run by the last plugin of its chain, which shows `listing`."""
        identity, own = call.identity, _text(call.params.get("name", b'""'))
        linked = identity.era is Era.MODERN or identity.version >= LINKED_SINCE
        tools = (eras.members(tool) for tool in listing.tools) if listing is not None else ()
        demands = any("outputSchema" in tool for tool in tools if _text(tool["name"]) == own)
        return cls(call.chain[-1], _short(own) or "a tool", linked, demands or listing is None or not own)


class Part(Struct):
    """What is left out of a result: the inside of a JSON string."""

    what: str  # for a person
    member: str  # text or blob
    mime: str
    inside: bytes
    about: eras.Members = {}  # its annotations and `_meta`


class Kept(Struct):
    """A part that can be read."""

    uri: str
    part: Part
    starts: list[int]  # of its pages
    end: float  # loop time at which it is forgotten


class Results:
    """What is kept for one client. `max_frame`: bytes of the largest message it is sent."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._kept: dict[str, Kept] = {}  # by id; what was not read for longest is first
        self._timer: asyncio.TimerHandle | None = None
        self._said: set[str] = set()

    def bounded(self, call: Call, result: Reply, plugin: Plugin | None, fail: Failing) -> Reply:
        """The result of a call, in as many bytes as its plugin and its client may have. Raises `FrameTooLarge`.

        `fail` makes the result of a tool that failed.
        """
        size, tool = len(memoryview(result)), call.method in OF_TOOLS
        cap = plugin.spec.max_result if plugin is not None and tool else None
        if size <= min(cap or size, self._max_frame):
            return result
        source = Source.of(call, plugin.listing if plugin is not None else None)
        if cap is not None:
            result = self.fitting(result, cap, source)
        if len(memoryview(result)) <= self._max_frame:
            return result
        error = FrameTooLarge(f"the result of {call.method} has {size} bytes; the limit is {self._max_frame}")
        if not tool:
            raise error
        return self.rescued(result, fail(error, call.identity.era), source)

    def fitting(self, result: Reply, limit: int, source: Source) -> Reply:
        """`result` in at most `limit` bytes, what does not fit offered as links; itself where that cannot be."""
        limit = min(limit, self._max_frame)
        cut = _Cut(self, source, limit, result)
        if cut.possible and cut.take_members():
            return cut.joined(cut.content())
        if cut.possible:
            self._say_whole(source, len(memoryview(result)), limit)
        return result

    def rescued(self, result: Reply, failure: bytes, source: Source) -> bytes:
        """The `failure` of a tool whose result passes `max_frame`, with what its result held, cut."""
        source.demands = False  # a failure owes no structured content
        cut = _Cut(self, source, min(PAGE, self._max_frame) - len(failure), result)
        if not cut.possible or not cut.take_members():
            return failure
        told = eras.members(failure)
        said, held = bytes(told["content"]), cut.content()
        told["content"] = Raw(said if held == b"[]" else b"%b,%b" % (said[:-1], held[1:]))
        whole = _encode(told)
        return whole if len(whole) <= self._max_frame else failure

    def keep(self, source: Source, part: Part, page: int) -> Kept:
        """Keep a part in pages of at most so many bytes; what was not read for longest makes room."""
        id = os.urandom(16).hex()
        size = len(part.inside)
        while self._kept and (len(self._kept) >= KEPT or self._bytes() + size > KEPT_BYTES):
            del self._kept[next(iter(self._kept))]
        kept = Kept(f"broker://{source.plugin}/results/{id}", part, self._pages(part, page), 0)
        self._touch(id, kept)
        return kept

    def page(self, uri: str | None, identity: Identity) -> Reply | None:
        """One page of what is kept for this client; None for an address that is not of this kind. Raises `NotFound`."""
        match = _URI.fullmatch(uri or "")
        if match is None or uri is None:
            return None
        id, number = match[1], int(match[2] or 1)
        self._expire()
        kept = self._kept.get(id)
        if kept is None or uri.partition("?")[0] != kept.uri:
            bounds = f"parts of a large result are kept {KEPT_FOR / 60:g} minutes, for one client"
            raise NotFound(f"nothing is kept at {uri}: {bounds}", hint="Call the tool again.")
        if not 1 <= number <= len(kept.starts):
            raise NotFound(f"{kept.uri} has no page {number}", hint=f"Its pages are 1 to {len(kept.starts)}.")
        self._touch(id, kept)
        body = _page(kept, number, uri)
        return eras.modern_result("resources/read", body, SERVER_INFO) if identity.era is Era.MODERN else body

    def close(self) -> None:
        """Forget all."""
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pages(self, part: Part, page: int) -> list[int]:
        if part.member == "blob":  # a picture in pieces is none, so a piece is as large as can be
            return list(range(0, len(part.inside), (self._max_frame - ENVELOPE) // 4 * 4)) or [0]
        starts, step = [0], min(page, self._max_frame) - ENVELOPE
        while (end := boundary(part.inside, starts[-1], starts[-1] + step)) < len(part.inside):
            starts.append(end)
        return starts

    def _touch(self, id: str, kept: Kept) -> None:
        loop = asyncio.get_running_loop()
        self._kept.pop(id, None)
        self._kept[id] = kept
        kept.end = loop.time() + KEPT_FOR
        if self._timer is None:
            self._timer = loop.call_at(kept.end, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._expire()
        for kept in self._kept.values():
            self._timer = asyncio.get_running_loop().call_at(kept.end, self._sweep)
            break

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for id in [id for id, kept in self._kept.items() if kept.end <= now]:
            del self._kept[id]

    def _bytes(self) -> int:
        return sum(len(kept.part.inside) for kept in self._kept.values())

    def _say_whole(self, source: Source, size: int, limit: int) -> None:
        if source.plugin not in self._said:
            self._said.add(source.plugin)
            log.warning(
                "a result of %s has %d bytes, above its `max_result` of %d, and is passed whole: its tool %s declares "
                "an output schema, so its structured content must be there",
                *(source.plugin, size, limit, source.tool),
            )


class _Cut:
    """One result on its way to `limit` bytes."""

    def __init__(self, results: Results, source: Source, limit: int, result: Reply) -> None:
        self._results, self._source, self._limit = results, source, limit
        self._room = limit - (LINKS + 2) * LINK - NOTE
        self._members = eras.members(result)
        self._after: list[bytes] = []  # blocks that tell of members left out
        try:
            self._blocks = _blocks(self._members.pop("content"))
            self.possible = bytes(self._members.get("resultType", _COMPLETE)) == _COMPLETE
        except (KeyError, msgspec.MsgspecError):
            self.possible = False

    def take_members(self) -> bool:
        """Count what stands beside the content, and leave out what is too large; False if that may not be."""
        large: eras.Members = {}
        for name, value in sorted(self._members.items(), key=lambda each: len(memoryview(each[1]))):
            size = len(name.encode()) + len(memoryview(value)) + 4
            demanded = self._source.demands and name == "structuredContent"
            if demanded and size > self._room:
                return False
            if size > self._room // 2 and not demanded:
                large[name] = self._members.pop(name)
            else:
                self._room -= size
        if large:
            names = _short(", ".join(sorted(large)))
            value = _encode(large) if len(large) > 1 else bytes(*large.values())
            self._after = self._left_out(Part(names, "text", "application/json", _quoted(value)))
        return True

    def content(self) -> bytes:
        """The content: as many blocks as there is room for, smallest first, and the beginning of one text."""
        blocks, whole = self._blocks, self._that_fit()
        out = [at for at in range(len(blocks)) if at not in whole]
        linked = out if len(out) <= LINKS else out[: LINKS - 1]
        shown = {at: self._instead(blocks[at]) for at in linked} | {at: [bytes(blocks[at])] for at in whole}
        said = [piece for at in sorted(shown) for piece in shown[at]]
        if len(out) > len(linked):
            rest = b"[%b]" % b",".join(memoryview(blocks[at]) for at in out[len(linked) :])
            what = f"{len(out) - len(linked)} more blocks"
            said += self._left_out(Part(what, "text", "application/json", _quoted(rest)))
        return b"[%b]" % b",".join([*said, *self._after])

    def joined(self, content: bytes) -> bytes:
        """The result with this content."""
        members = b"".join(b",%b:%b" % (_encode(name), memoryview(value)) for name, value in self._members.items())
        return b'{"content":%b%b}' % (content, members)

    def _that_fit(self) -> set[int]:
        sizes = [len(memoryview(block)) + 1 for block in self._blocks]
        whole: set[int] = set()
        for at in sorted(range(len(sizes)), key=lambda at: sizes[at]):
            if sizes[at] > self._room:
                break
            whole.add(at)
            self._room -= sizes[at]
        return whole

    def _instead(self, block: Raw) -> list[bytes]:
        """The blocks for one that does not fit."""
        try:
            part = _part(block)
        except (KeyError, msgspec.MsgspecError):  # of a kind nobody knows here
            part = Part("a block", "text", "application/json", _quoted(bytes(block)))
        if part.what == "text" and self._room >= LEAST + BESIDE:
            return self._beginning(part)
        return self._left_out(part)

    def _beginning(self, part: Part) -> list[bytes]:
        """A text as far as there is room, and where the rest is."""
        end = boundary(part.inside, 0, self._room - BESIDE)
        self._room = 0
        left = Part("the rest of the text", part.member, part.mime, part.inside[end:], part.about)
        kept = self._results.keep(self._source, left, self._limit)
        note = f"\n[broker left out {len(left.inside)} of {len(part.inside)} bytes here; {_where(kept)}]"
        about = b"".join(b",%b:%b" % (_encode(name), memoryview(value)) for name, value in part.about.items())
        text = b'{"type":"text","text":"%b%b"%b}' % (memoryview(part.inside)[:end], within(note), about)
        return [text, _link(self._source, kept)] if self._source.linked else [text]

    def _left_out(self, part: Part) -> list[bytes]:
        kept = self._results.keep(self._source, part, self._limit)
        if self._source.linked:
            return [_link(self._source, kept)]
        note = f"[broker left out {part.what}, {len(part.inside)} bytes; {_where(kept)}]"
        return [_encode({"type": "text", "text": note})]


def _part(block: Raw) -> Part:
    """What one block of content holds. Raises `KeyError`, `MsgspecError` when that is not all there is to it."""
    held = eras.members(block)
    kind = _text(held["type"])
    inner = eras.members(held["resource"]) if kind == "resource" else held
    member = "text" if "text" in inner else "blob" if kind == "resource" else "data"
    value = inner[member]
    if len(memoryview(block)) - len(memoryview(value)) > BESIDE:
        raise KeyError(kind)
    about = {name: Raw(bytes(held[name])) for name in ("annotations", "_meta") if name in held}  # not the whole frame
    what = _short(_text(inner["uri"])) if kind == "resource" else kind
    mime = _text(inner.get("mimeType", b'""'))
    if member == "text":
        return Part(what, "text", mime if _MIME.fullmatch(mime) else _MIXED["text"], inside(value), about)
    return Part(what, "blob", mime if _MIME.fullmatch(mime) else _MIXED["blob"], within(_text(value)), about)


def _link(source: Source, kept: Kept) -> bytes:
    part, pages = kept.part, len(kept.starts)
    found = {
        "type": "resource_link",
        "uri": kept.uri,
        "name": f"{part.what} of {source.tool}",
        "description": f"Left out by broker because of its size; {_where(kept)}",
        "mimeType": part.mime if pages == 1 else _MIXED[part.member],
        "size": len(part.inside) if part.member == "text" else len(part.inside) * 3 // 4,
    }
    return _encode({**found, **part.about})


def _where(kept: Kept) -> str:
    pages = f"in {len(kept.starts)} pages" if len(kept.starts) > 1 else "in one page"
    return f"read the resource {kept.uri} ({pages}, for {KEPT_FOR / 60:g} minutes)"


def _page(kept: Kept, number: int, uri: str) -> bytes:
    """The result of reading one page; a second content says where the next is."""
    starts, part = [*kept.starts, len(kept.part.inside)], kept.part
    piece = Raw(b'"%b"' % memoryview(part.inside)[starts[number - 1] : starts[number]])
    mime = part.mime if len(kept.starts) == 1 else _MIXED[part.member]
    contents: list[dict[str, object]] = [{"uri": uri, "mimeType": mime, part.member: piece}]
    facts: dict[str, object] = {"page": number, "pages": len(kept.starts)}
    if number < len(kept.starts):
        facts["next"] = following = f"{kept.uri}?page={number + 1}"
        more = f"[page {number} of {len(kept.starts)}; the next is the resource {following}]"
        contents.append({"uri": following, "mimeType": "text/plain", "text": more})
    return _encode({"contents": contents, "_meta": {"plugin-broker/page": facts}})


_MIXED = {"text": "text/plain", "blob": "application/octet-stream"}  # a piece of JSON is no JSON


def _quoted(value: bytes) -> bytes:
    """JSON as the inside of a JSON string."""
    return within(value.decode())


def _short(text: str) -> str:
    return " ".join(text.split())[:80]
