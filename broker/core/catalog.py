"""The names the broker offers, who owns each, and what a list looks like.

Rule 1: a name that is not listed cannot be called: lists and look-ups read the same tables.
Rule 2: names are `plugin__tool`, at most 60 characters, shortened deterministically; clients cut or drop longer ones.
Rule 3: two names that are one to a client (case, Unicode form, `.` and `-` for `_`) are refused, both of them:
        who comes last must not win, nor who comes first.
Rule 4: lists are sorted, so they are the same on every connection.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec
from msgspec import Raw, Struct

from broker.core import skills
from broker.core.tasks import runs_tools
from broker.core.views import SCHEME, Views, explicit, implied, views_of
from broker.errors import BadArguments, NotFound
from broker.model import KINDS, Kind, Listing, Problem, Spec
from broker.permissions.lack import noted
from broker.permissions.withheld import NOTHING, Withheld

MAX_NAME = 60  # Copilot CLI cuts at 64 with its own prefix, Gemini CLI at 63
PAGE = 4 << 20  # bytes of one page of a list; the TypeScript SDK drops a connection at 10 MiB
NEAR = 500  # names that are compared with a wrong one; a comparison costs 50 us
MAX_URI = 4096  # characters of a URI that is looked for among templates
MAX_EXPRESSIONS = 16  # in a template that is looked at
EXPLICIT = "broker://"  # broker://PLUGIN/URI names a resource by its owner

_KEY: dict[Kind, str] = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode
_EXPRESSION = re.compile(r"(\{[^{}]*\})")
_ODD = re.compile(r"[^A-Za-z0-9_.-]")


class Entry(Struct, frozen=True):
    """One name: what clients see, and whose it is."""

    name: str  # as clients see it
    plugin: str
    own: str  # as the plugin calls it
    raw: Raw  # the definition, with the name clients see
    as_task: bool = False  # a tool that its plugin runs only as a task (MCP 2025-11-25)


class Catalog:
    """The tables of names. `alone` is the one plugin that is passed through without prefix."""

    def __init__(self, alone: str | None = None) -> None:
        self._alone = alone
        self._specs: dict[str, Spec] = {}
        self._listings: dict[str, Listing] = {}
        self._tables: dict[Kind, dict[str, Entry]] = {}
        self._pages: dict[Kind, list[bytes]] = {}
        self._problems: dict[Kind, list[Problem]] = {}
        self._views: Views | None = None
        self.edition = 0  # another one: the tables may be others
        self._withheld: dict[str, Withheld] = {}
        self._missing: dict[str, Entry] = {}  # in place of the tools of plugins that must be there, and are not

    def put(self, spec: Spec, listing: Listing | None, withheld: Withheld = NOTHING) -> None:
        """What clients see of a plugin from now on, and what is kept from them; None takes it away."""
        if self._alone not in (None, spec.name):
            return
        self.edition += 1
        self._missing.pop(spec.name, None)
        self._withheld.pop(spec.name, None)
        if withheld:
            self._withheld[spec.name] = withheld
        if listing is None:
            self._listings.pop(spec.name, None)
        else:
            self._specs[spec.name], self._listings[spec.name] = spec, listing
        self._tables.clear()
        self._pages.clear()
        self._views = None

    def miss(self, plugin: str, why: str) -> None:
        """Show a tool that says why those of `plugin` are not there, so that nobody works on without knowing."""
        name = shown_name(plugin, "unavailable")
        what = f"The tools of {plugin} are not available: {why} Calling this tells the reason again."
        raw = _encode({"name": name, "description": what, "inputSchema": {"type": "object"}})
        self.edition += 1
        self._missing[plugin] = Entry(name, plugin, "", Raw(raw))
        self._tables.pop("tools", None)
        self._pages.pop("tools", None)

    def listing(self, plugin: str) -> Listing | None:
        return self._listings.get(plugin)

    def entries(self, kind: Kind) -> Iterable[Entry]:
        """Everything of a kind, sorted by the name clients see."""
        return self._table(kind).values()

    def problems(self) -> list[Problem]:
        """Names that are refused, and why."""
        for kind in KINDS:
            self._table(kind)
        return [problem for kind in KINDS for problem in self._problems[kind]]

    def page(self, kind: Kind, cursor: str | None) -> tuple[bytes, str | None]:
        """One page of a list as a JSON array, and the cursor of the next. Raises `BadArguments`."""
        pages = self._pages.get(kind)
        if pages is None:
            pages = self._pages[kind] = paged([entry.raw for entry in self.entries(kind)])
        return page_of(pages, cursor)

    def tool(self, name: str) -> Entry:
        """Whose tool it is. Raises `NotFound`."""
        return self._table("tools").get(name) or self._of_app(name) or self._found("tools", name, "tool")

    def prompt(self, name: str) -> Entry:
        return self._found("prompts", name, "prompt")

    def withheld(self, plugin: str) -> Withheld:
        """What of a plugin's own lists is kept from clients."""
        return self._withheld.get(plugin, NOTHING)

    def resource(self, uri: str) -> tuple[str, str]:
        """(plugin, the plugin's own URI) of a resource: by list, by template, or by explicit owner.

        Raises `NotFound`, `Withdrawn`.
        """
        try:
            plugin, own = self._resource(uri)
        except NotFound:
            self._check_name("resources", uri)
            raise
        if plugin in self._withheld:
            self._check_uri(plugin, own)
        return plugin, own

    def _check_uri(self, plugin: str, own: str) -> None:
        """Raises `Withdrawn` for what is withheld, or can be had only by a template that is."""
        withheld = self._withheld[plugin]
        withheld.check_names(("resources", "templates"), own)
        hidden = any(_matches(template, own) for template in withheld.names.get("templates", ()))
        if withheld.reason or (hidden and not self._is_shown(plugin, own)):
            raise withheld.refusal(own)

    def _is_shown(self, plugin: str, own: str) -> bool:
        """Whether a URI is listed, or can come from a template that is."""
        listed, templates = self._table("resources").values(), self._table("templates").values()
        return any(each.plugin == plugin and each.own == own for each in listed) or any(
            each.plugin == plugin and _matches(each.own, own) for each in templates
        )

    def _resource(self, uri: str) -> tuple[str, str]:
        entry = self._table("resources").get(uri)
        if entry is not None:
            return entry.plugin, entry.own
        if uri.startswith(SCHEME):
            return self._view(uri)
        if uri.startswith(skills.SCHEME):
            return self._skill(uri)
        if uri.startswith(EXPLICIT):
            plugin, _, own = uri[len(EXPLICIT) :].partition("/")
            if own and plugin in self._listings:
                return plugin, own
            raise NotFound(f"no plugin {plugin} is known that could have a resource {own}")
        owner = self._by_template(uri) or self._by_capability()
        if owner is None:
            raise NotFound(f"no plugin has a resource {uri}")
        return owner, uri

    def _view(self, uri: str) -> tuple[str, str]:
        """Of a page that no list has: by the tool that names it, by template, or by explicit owner."""
        found = self._known_views().owner(uri)
        if found is not None:
            return found
        owner, (plugin, own) = self._by_template(uri), implied(uri)
        if owner is None and plugin in self._listings and own != SCHEME:
            return plugin, own
        owner = owner or self._by_capability()
        if owner is None:
            raise NotFound(f"no plugin has a resource {uri}")
        return owner, uri

    def _skill(self, uri: str) -> tuple[str, str]:
        """Of a skill: by the owner in its URI, or by a plugin's own URI that is listed, or can be only one's."""
        plugin, own = skills.implied(uri)
        if self._has_skills(plugin) and self._alone is None:
            return plugin, own
        kinds: tuple[Kind, ...] = ("resources", "templates")
        entries = [entry for kind in kinds for entry in self._table(kind).values()]
        owners = {entry.plugin for entry in entries if _matches(entry.own, uri)}
        owners = owners or {name for name in self._listings if self._has_skills(name)}
        if len(owners) == 1:
            return owners.pop(), uri
        raise NotFound(f"no plugin has a skill {uri}", hint="Take a URI from skills/list or resources/list.")

    def _has_skills(self, plugin: str) -> bool:
        return plugin in self._listings and skills.offers(self._listings[plugin])

    def _of_app(self, name: str) -> Entry | None:
        """A tool by its own name, as the page of an app calls it, if only one plugin with pages has it."""
        plugins = self._known_views().plugins
        found = [each for each in self._table("tools").values() if each.own == name and each.plugin in plugins]
        return found[0] if len(found) == 1 else None

    def _known_views(self) -> Views:
        if self._views is None:
            self._views = Views()
            for plugin in sorted(self._listings):
                listing, filters = self._listings[plugin], self._specs[plugin].tools
                tools = [
                    each for each in listing.tools if views_of(each) and allowed(_text(_members(each)["name"]), filters)
                ]
                self._views.add(plugin, tools, listing.resources)
        return self._views

    def template(self, text: str) -> tuple[str, str]:
        """(plugin, the plugin's own template) of a URI template, or of a URI. Raises `NotFound`."""
        entry = self._table("templates").get(text)
        if entry is not None:
            return entry.plugin, entry.own
        self._check_name("templates", text)
        return self.resource(text)

    def _found(self, kind: Kind, name: str, what: str) -> Entry:
        entry = self._table(kind).get(name)
        if entry is None:
            self._check_name(kind, name)
            raise NotFound(f"no {what} is called {name}{_nearest(name, self._table(kind))}")
        return entry

    def _check_name(self, kind: Kind, name: str) -> None:
        """Raises `Withdrawn` if something withheld has this name, or everything of its plugin is."""
        plain = self._alone is not None or kind not in ("tools", "prompts")
        for plugin, withheld in self._withheld.items():
            names = {own if plain else shown_name(plugin, own) for own in withheld.names.get(kind, ())}
            if name in names or (withheld.reason and (self._alone is not None or name.startswith(f"{plugin}__"))):
                raise withheld.refusal(name)

    def _table(self, kind: Kind) -> dict[str, Entry]:
        table = self._tables.get(kind)
        if table is None:
            self._problems[kind] = []
            build = self._names if kind in ("tools", "prompts") else self._uris
            table = self._tables[kind] = build(kind)
        return table

    def _names(self, kind: Kind) -> dict[str, Entry]:
        found: dict[str, list[Entry]] = {}
        for missing in self._missing.values() if kind == "tools" else ():
            found[_folded(missing.name)] = [missing]
        for plugin in sorted(self._listings):
            for item in getattr(self._listings[plugin], kind):
                entry = self._entry(kind, plugin, item)
                if entry is not None:
                    found.setdefault(_folded(entry.name), []).append(entry)
        for same in found.values():
            if len(same) > 1:
                self._refuse(kind, same)
        entries = [same[0] for same in found.values() if len(same) == 1]
        return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}

    def _entry(self, kind: Kind, plugin: str, item: Raw) -> Entry | None:
        members = _members(item)
        own = _text(members["name"])
        if kind == "tools" and not allowed(own, self._specs[plugin].tools):
            return None
        as_task = kind == "tools" and self._only_as_task(plugin, item)
        if kind == "tools" and self._specs[plugin].missing:
            members["description"] = Raw(_encode(noted(self._specs[plugin], _description(members))))
            item = Raw(_encode(members))
        if self._alone is not None:
            return Entry(own, plugin, own, item, as_task)
        if kind == "tools" and plugin in self._known_views().plugins:
            members = _members(self._known_views().named(plugin, item))
        if as_task:  # called plainly it is run as a task by us
            members["execution"] = Raw(_encode({**_members(members["execution"]), "taskSupport": "optional"}))
        name = shown_name(plugin, own)
        members["name"] = Raw(_encode(name))
        return Entry(name, plugin, own, Raw(_encode(members)), as_task)

    def _only_as_task(self, plugin: str, tool: Raw) -> bool:
        if b'"taskSupport"' not in bytes(tool) or not runs_tools(self._listings[plugin]):
            return False
        try:
            return bytes(_members(_members(tool)["execution"]).get("taskSupport", b"")) == b'"required"'
        except (KeyError, msgspec.MsgspecError):
            return False

    def _refuse(self, kind: Kind, same: list[Entry]) -> None:
        names = ", ".join(repr(entry.own) for entry in same)
        what = f"the {kind} {names} have names that clients cannot tell apart; none of them is offered"
        fix = 'hide all but one with `tools = ["!name"]` in its entry' if kind == "tools" else ""
        self._problems[kind].append(Problem(same[0].plugin, what, fix))

    def _uris(self, kind: Kind) -> dict[str, Entry]:
        table: dict[str, Entry] = {}
        for plugin in sorted(self._listings):
            for item in getattr(self._listings[plugin], kind):
                members = _members(item)
                own = shown = _text(members[_KEY[kind]])
                if own.startswith(SCHEME) and kind == "resources":
                    shown = self._known_views().shown(plugin, own)
                elif own.startswith(skills.SCHEME) and self._alone is None and self._has_skills(plugin):
                    shown = skills.shown(plugin, own)
                elif shown in table:
                    shown = explicit(plugin, own) if own.startswith(SCHEME) else f"{EXPLICIT}{plugin}/{own}"
                if shown != own:
                    members[_KEY[kind]] = Raw(_encode(shown))
                    item = Raw(_encode(members))
                table.setdefault(shown, Entry(shown, plugin, own, item))
        return dict(sorted(table.items()))

    def _by_template(self, uri: str) -> str | None:
        entries = self._table("templates").values()
        return next((entry.plugin for entry in entries if _matches(entry.own, uri)), None)

    def _by_capability(self) -> str | None:
        """The only plugin that has resources at all, if there is only one."""
        owners = [name for name, listing in self._listings.items() if "resources" in listing.capabilities]
        return owners[0] if len(owners) == 1 else None


def shown_name(plugin: str, own: str) -> str:
    """`plugin__tool` in the characters every client takes; a long one ends in a hash of the whole."""
    name = f"{plugin}__{_ODD.sub('_', unicodedata.normalize('NFKC', own))}"
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(f"{plugin}\0{own}".encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}_{digest}"


def allowed(name: str, filters: Sequence[Sequence[str]]) -> bool:
    """Whether every filter lets a tool through: one of its globs matches, if it has any, and none of its `!globs`."""
    return all(_passes(name, globs) for globs in filters)


def _passes(name: str, globs: Sequence[str]) -> bool:
    wanted = [glob for glob in globs if not glob.startswith("!")]
    if wanted and not any(fnmatchcase(name, glob) for glob in wanted):
        return False
    return not any(fnmatchcase(name, glob[1:]) for glob in globs if glob.startswith("!"))


def _description(members: dict[str, Raw]) -> str:
    try:
        return _text(members["description"])
    except (KeyError, msgspec.MsgspecError):
        return ""


def _folded(name: str) -> str:
    return re.sub(r"[.\-]", "_", name.casefold())


def _matches(template: str, uri: str) -> bool:
    """Whether `uri` can come from an RFC 6570 template.

    A plain expression (`{id}`) stands for something without a slash, one with an operator (`{+path}`, `{?q}`) for
    anything or nothing. In steps of len(uri) times expressions, whatever a plugin's template looks like.
    """
    literals, expressions = _EXPRESSION.split(template)[::2], _EXPRESSION.findall(template)
    if not uri.startswith(literals[0]) or len(uri) > MAX_URI or len(expressions) > MAX_EXPRESSIONS:
        return False
    ends = {len(literals[0])}
    for expression, literal in zip(expressions, literals[1:], strict=True):
        plain = expression[1:2] not in "+#/?&.;"
        ends = {end + len(literal) for end in _ends(uri, ends, plain) if uri.startswith(literal, end)}
    return len(uri) in ends


def _ends(uri: str, starts: set[int], plain: bool) -> Iterator[int]:
    """Where an expression may end that begins at one of `starts`."""
    inside = False
    for at in range(len(uri) + 1):
        if inside or (not plain and at in starts):
            yield at
        inside = (inside or at in starts) and not (plain and uri[at : at + 1] == "/")


def paged(items: Iterable[Raw]) -> list[bytes]:
    """A list as pages that every client can read, each a JSON array."""
    pages: list[list[bytes]] = [[]]
    size = 0
    for item in items:
        raw = bytes(item)
        if size + len(raw) > PAGE and pages[-1]:
            pages.append([])
            size = 0
        pages[-1].append(raw)
        size += len(raw)
    return [b"[" + b",".join(page) + b"]" for page in pages]


def page_of(pages: Sequence[bytes], cursor: str | None) -> tuple[bytes, str | None]:
    """The page a client asks for, and the cursor of the next. Raises `BadArguments`."""
    number = 0 if cursor is None else _page_number(cursor, len(pages))
    return pages[number], f"page-{number + 1}" if number + 1 < len(pages) else None


def _page_number(cursor: str, pages: int) -> int:
    match = re.fullmatch(r"page-(\d{1,6})", cursor)
    if match is None or int(match[1]) >= pages:
        raise BadArguments(f"the cursor {cursor!r} is not one of this list")
    return int(match[1])


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib  # only on the way to an error

    prefix = name.partition("__")[0]
    same = [each for each in names if each.startswith(prefix)][:NEAR] or list(names)[:NEAR]
    near = difflib.get_close_matches(name, same, 1)
    return f"; did you mean {near[0]}?" if near else ""
