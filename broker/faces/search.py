"""All tools behind three, for a client with too many: `search_tools`, `describe_tool` and `call_tool`.

Rule 1: this file only looks up. A `call_tool` leaves it as the `tools/call` it stands for, and passes what each passes.
Rule 2: what the catalog does not list is not found, not described and not called.
Rule 3: what a client is shown changes only with what stays visible beside the three, and only that is told as a change.
Rule 4: no plugin can fill a result alone while others have what is asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.core.catalog import Catalog, Entry, allowed, page_of, paged
from broker.core.ports import Identity
from broker.core.ranking import Field, Ranking
from broker.errors import BadArguments
from broker.faces.offers import STAMP
from broker.model import Era, Settings, Surface
from broker.wire.eras import Members, members

FEW = 12  # tools; fewer are shown as they are: three more and a search cost a model more than they save
FOUND = 10  # tools of a result, if the client does not say
MOST = 50
NEAR = 1 / 3  # of the best score, from which other plugins' tools come before more of one plugin's
LINE = 200  # characters of a description in a result
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
# Name, title, first sentence, the rest of the description, arguments. Measured on 142 tools of 12 real servers.
FIELDS = (Field(3, 4), Field(3, 3), Field(2, 8), Field(0.7, 25), Field(0.3, 40))
CHUNK = 25  # tools taken into the index before others have their turn

SEARCH, DESCRIBE, CALL = "search_tools", "describe_tool", "call_tool"
_LOOKS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
_NAME = {"type": "string", "description": "A tool's name, exactly as search_tools says it"}
_encode = msgspec.json.Encoder().encode
THREE = [
    Raw(_encode(definition))
    for definition in (
        {
            "name": SEARCH,
            "title": "Search tools",
            "description": (
                "Finds tools by what they do; most tools are not in your list and are found only here. Returns name, "
                "title, one line and annotations of each, best first. Then describe_tool tells a tool's arguments, and "
                "call_tool calls it."
            ),
            "inputSchema": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "A few words: what it should do, and to what"},
                    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": FOUND},
                },
                "required": ["query"],
            },
            "annotations": {"title": "Search tools", **_LOOKS},
        },
        {
            "name": DESCRIBE,
            "title": "Describe a tool",
            "description": "Tells the whole definition of a tool: its description, arguments, result and annotations.",
            "inputSchema": {"type": "object", "properties": {"name": _NAME}, "required": ["name"]},
            "annotations": {"title": "Describe a tool", **_LOOKS},
        },
        {
            "name": CALL,
            "title": "Call a tool",
            "description": (
                "Calls a tool that search_tools found, with arguments as describe_tool tells them. It does what that "
                "tool does, which may change or delete things: mind the tool's own annotations."
            ),
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": _NAME,
                    "arguments": {"type": "object", "description": "The arguments of that tool"},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
            # The worst of what it may call: a client judges it by these, not by those of the tool behind it.
            "annotations": {
                "title": "Call a tool",
                "readOnlyHint": False,
                "destructiveHint": True,
                "idempotentHint": False,
                "openWorldHint": True,
            },
        },
    )
]


class ToolIndex:
    """The full-text index over the catalog's tools, shared by all clients; made when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._edition = -1
        self._entries: list[Entry] = []
        self._ranking = Ranking(FIELDS)
        self._making = asyncio.Lock()

    async def find(self, query: str, limit: int) -> tuple[list[Entry], int]:
        """The best `limit` tools for a query, and how many match at all."""
        async with self._making:
            if self._edition != self.catalog.edition:
                await self._make()
            entries, ranked = self._entries, self._ranking.search(query)
        wanted = query.strip().casefold()
        exact = [at for at, each in enumerate(entries) if wanted in (each.name.casefold(), each.own.casefold())]
        best = dict.fromkeys([*exact, *_fairly(entries, ranked, limit)])
        return [entries[at] for at in best][:limit], max(len(ranked), len(exact))

    async def _make(self) -> None:
        edition, entries, ranking = self.catalog.edition, list(self.catalog.entries("tools")), Ranking(FIELDS)
        for at, entry in enumerate(entries):
            ranking.add(_fields(entry))
            if at % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        self._edition, self._entries, self._ranking = edition, entries, ranking


class Search:
    """What one client sees of the tools, and what the three answer it."""

    HINT = f"Take a name from {SEARCH}, and the arguments from {DESCRIBE}."

    def __init__(self, index: ToolIndex, settings: Settings) -> None:
        self._index, self._catalog, self._settings = index, index.catalog, settings
        self._listed: tuple[Surface, list[bytes]] | None = None  # what the client was shown last

    def page(self, identity: Identity, cursor: str | None, *, settled: bool) -> tuple[bytes, str | None]:
        """A page of the tools this client sees; `settled`: the tools of every plugin are known."""
        surface = self._surface(identity)
        if surface.expose != "search":
            self._listed = None
            return self._catalog.page("tools", cursor)
        pages = self._pages(surface, settled)
        self._listed = surface, pages
        return page_of(pages, cursor)

    def first(self, identity: Identity, *, settled: bool) -> bytes:
        """The first page of the tools this client would see."""
        surface = self._surface(identity)
        return self._pages(surface, settled)[0] if surface.expose == "search" else self._catalog.page("tools", None)[0]

    def outdated(self, *, settled: bool) -> bool:
        """Whether the list this client was shown last is not the one it would be shown now."""
        return self._listed is None or self._listed[1] != self._pages(self._listed[0], settled)

    def serves(self, identity: Identity, params: Members) -> bool:
        """Whether a call is one of the three."""
        return _string(params, "name") in (SEARCH, DESCRIBE, CALL) and self._surface(identity).expose == "search"

    def instructions(self, identity: Identity, plugins: Iterable[str]) -> str | None:
        """What a model should know of the tools it does not see."""
        if self._surface(identity).expose != "search":
            return None
        names = ", ".join(sorted(plugins))
        return f"# broker\nTools of these may be left out of the list; {SEARCH} finds them, {CALL} calls them: {names}"

    def through(self, params: Members) -> bool:
        """Make a `call_tool` the call it stands for; False if it is another of the three. Raises `BadArguments`."""
        if _string(params, "name") != CALL:
            return False
        given = _arguments(params)
        if not _string(given, "name"):
            raise BadArguments(f"{CALL} needs the `name` of a tool")
        if strange := given.keys() - {"name", "arguments"}:  # to call without them would be another call
            names = ", ".join(sorted(strange))[:LINE]
            raise BadArguments(f"{CALL} takes `name` and `arguments`; the tool's own ({names}) go into `arguments`")
        params["name"], params["arguments"] = given["name"], given.get("arguments", Raw(b"{}"))
        return True

    async def answer(self, params: Members, era: Era) -> bytes:
        """The result of `search_tools` or `describe_tool`. Raises `BadArguments`, `NotFound`."""
        given = _arguments(params)
        described = _string(params, "name") == DESCRIBE
        said = bytes(self._catalog.tool(_string(given, "name") or "").raw) if described else await self._found(given)
        result: dict[str, Any] = {"content": [{"type": "text", "text": said.decode()}]}
        return _encode(result if era is Era.LEGACY else {**result, "resultType": "complete", "_meta": STAMP})

    async def _found(self, given: Members) -> bytes:
        asked = _question(given)
        found, matching = await self._index.find(asked.query, min(max(1, asked.limit), MOST))
        tools: Any = [_summary(entry) for entry in found]
        return _encode({"tools": tools, "matching": matching, "of": len(list(self._catalog.entries("tools")))})

    def _pages(self, surface: Surface, settled: bool) -> list[bytes]:
        entries = list(self._catalog.entries("tools"))
        globs = surface.always or ()
        # One without a name of its own says that a required plugin is not there; who works on must know.
        shown = [each.raw for each in entries if not each.own or (globs and allowed(each.name, [globs]))]
        if settled and len(entries) - len(shown) < FEW:
            return paged(each.raw for each in entries)
        return paged([*THREE, *shown])

    def _surface(self, identity: Identity) -> Surface:
        top, name = self._settings.surface, _client(identity.info).casefold()
        own = (each for glob, each in self._settings.clients.items() if fnmatchcase(name, glob.casefold()))
        mine = next(own, top)
        return Surface(
            expose=top.expose if mine.expose is None else mine.expose,
            always=top.always if mine.always is None else mine.always,
        )


class _Question(Struct):
    query: str
    limit: int = FOUND


def _question(given: Members) -> _Question:
    try:
        return msgspec.json.decode(_encode(given), type=_Question, strict=False)  # models write "5" for 5
    except msgspec.MsgspecError as error:
        raise BadArguments(f"{SEARCH} takes a text `query` and a number `limit`: {error}") from None


def _arguments(params: Members) -> Members:
    try:
        return members(params.get("arguments", Raw(b"{}")))
    except msgspec.MsgspecError:
        raise BadArguments("`arguments` must be an object") from None


def _string(given: Members, member: str) -> str | None:
    try:
        return msgspec.json.decode(given[member], type=str)
    except (KeyError, msgspec.MsgspecError):
        return None


def _client(info: Raw) -> str:
    try:
        return _said(msgspec.json.decode(info, type=dict[str, Any]), "name")
    except msgspec.MsgspecError:
        return ""


def _summary(entry: Entry) -> dict[str, Any]:
    """One tool in a result: enough to choose by."""
    held = msgspec.json.decode(entry.raw)
    title, line = _title(held), " ".join(_said(held, "description")[: 4 * LINE].split())
    given = _table(held, "annotations")
    hints = {hint: given[hint] for hint in HINTS if isinstance(given.get(hint), bool)}
    return {
        "name": entry.name,
        **({"title": title[:LINE]} if title else {}),
        "description": line if len(line) <= LINE else f"{line[: LINE - 1]}…",
        **({"annotations": hints} if hints else {}),
    }


def _fields(entry: Entry) -> Sequence[str]:
    """A tool's texts, in the order of `FIELDS`."""
    held = msgspec.json.decode(entry.raw)
    description = _said(held, "description").strip()
    first = description.partition("\n")[0].partition(". ")[0]
    arguments = _table(_table(held, "inputSchema"), "properties")
    told = " ".join(f"{name} {_said(each, 'description')}" for name, each in arguments.items())
    return f"{entry.plugin} {entry.own}", _title(held), first, description[len(first) :], told


def _title(held: Any) -> str:
    return _said(held, "title") or _said(_table(held, "annotations"), "title")


def _said(held: Any, member: str) -> str:
    """A text of a plugin's, or nothing: it may have put anything there."""
    found = held.get(member) if isinstance(held, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    return found if isinstance(found, str) else ""


def _table(held: dict[str, Any], member: str) -> dict[str, Any]:
    found = held.get(member)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _fairly(entries: Sequence[Entry], ranked: Sequence[tuple[int, float]], limit: int) -> list[int]:
    """The best, but no more than half of one plugin's while others' are nearly as good."""
    if len(ranked) <= limit:
        return [at for at, _ in ranked]
    floor, taken = NEAR * ranked[0][1], Counter[str]()
    first: list[int] = []
    rest: list[int] = []
    for place, (at, score) in enumerate(ranked):
        plugin = entries[at].plugin
        fair = score >= floor and taken[plugin] < max(1, limit // 2)
        taken[plugin] += fair
        (first if fair else rest).append(place)
    return [ranked[place][0] for place in sorted([*first, *rest][:limit])]
