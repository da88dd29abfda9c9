"""The pages tools bring along (MCP Apps): whose `ui://` resource is whose.

Rule 1: a host finds a tool's page by the URI in the tool's `_meta`, so tool, list and read always name it alike.
Rule 2: a URI that one plugin uses stays as it is. When several use it, the first by name keeps it, and the others' get
        their plugin's name in front: `ui://PLUGIN/...`, for hosts look at the scheme.
Rule 3: a page that no list has, but a tool names, belongs to the tool's plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw

SCHEME = "ui://"
_FLAT = "ui/resourceUri"  # where drafts of MCP Apps had it; hosts and servers still write both
_MARK = b'"ui:'  # in every definition that names a page, however its slashes are written

_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode


class Views:
    """All `ui://` URIs of all plugins. Plugins are added in the order of their names."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str]] = {}  # as clients see it -> plugin, its own URI
        self._shown: dict[tuple[str, str], str] = {}
        self.plugins: set[str] = set()  # that have any

    def add(self, plugin: str, tools: Iterable[Raw], resources: Iterable[Raw]) -> None:
        """Every page this plugin lists, or a tool of its names."""
        for own in [*_listed(resources), *(uri for tool in tools for uri in views_of(tool))]:
            if (plugin, own) in self._shown:
                continue
            shown = own
            while shown in self._owners:
                shown = explicit(plugin, shown)
            self._owners[shown], self._shown[plugin, own] = (plugin, own), shown
            self.plugins.add(plugin)

    def shown(self, plugin: str, own: str) -> str:
        """What clients call it."""
        return self._shown.get((plugin, own), own)

    def owner(self, shown: str) -> tuple[str, str] | None:
        """(plugin, the plugin's own URI) of a page."""
        return self._owners.get(shown)

    def named(self, plugin: str, tool: Raw) -> Raw:
        """A tool's definition with its page as clients call it."""
        views = views_of(tool)
        if all(self.shown(plugin, own) == own for own in views):
            return tool
        members = _members(tool)
        members["_meta"] = _renamed(members["_meta"], lambda own: self.shown(plugin, own))
        return Raw(_encode(members))


def views_of(tool: Raw) -> list[str]:
    """The pages a tool's definition names."""
    if _MARK not in bytes(tool):
        return []
    found: list[str] = []

    def note(own: str) -> str:
        found.append(own)
        return own

    try:
        _renamed(_members(tool).get("_meta", Raw(b"{}")), note)
    except msgspec.MsgspecError:
        return []
    return found


def explicit(plugin: str, own: str) -> str:
    """A page's name with its owner in it."""
    return f"{SCHEME}{plugin}/{own.removeprefix(SCHEME)}"


def implied(shown: str) -> tuple[str, str]:
    """(plugin, the plugin's own URI) that `explicit` made `shown` of, if it did."""
    plugin, _, rest = shown.removeprefix(SCHEME).partition("/")
    return plugin, SCHEME + rest


def contents_named(own: str, shown: str, result: bytes | Raw) -> bytes | Raw:
    """A `resources/read` result with the URI its client asked for."""
    try:
        members = _members(result)
        contents = msgspec.json.decode(members["contents"], type=list[dict[str, Raw]])
    except (KeyError, msgspec.MsgspecError):
        return result
    for content in contents:
        if "uri" in content and _text(content["uri"]) == own:
            content["uri"] = Raw(_encode(shown))
    members["contents"] = Raw(_encode(contents))
    return _encode(members)


def _listed(resources: Iterable[Raw]) -> list[str]:
    uris = [_text(_members(item)["uri"]) for item in resources if _MARK in bytes(item)]
    return [uri for uri in uris if uri.startswith(SCHEME)]


def _renamed(meta: Raw, name: Callable[[str], str]) -> Raw:
    """`_meta` with each page in it under another name."""
    members = _members(meta)
    places = [(members, _FLAT)]
    if memoryview(members.get("ui", b"0"))[0] == ord("{"):
        ui = _members(members["ui"])
        places.append((ui, "resourceUri"))
    else:
        ui = None
    for place, key in places:
        own = _text(place[key]) if memoryview(place.get(key, b"0"))[0] == ord('"') else ""
        if own.startswith(SCHEME):
            place[key] = Raw(_encode(name(own)))
    if ui is not None:
        members["ui"] = Raw(_encode(ui))
    return Raw(_encode(members))
