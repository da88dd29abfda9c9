"""An editor's documents: their text, changes to them, and what plugins find wrong in them.

Rule 1: an editor tells of its documents only if a plugin may know of them; else nothing is ever sent.
Rule 2: each document has the diagnostics of all plugins together, each named as its source; a flood is told at a pace.
Rule 3: an edit of an open document names the version that the plugin could have seen, so that it cannot hit another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import msgspec
from lsprotocol import types as lsp
from pygls.workspace import TextDocument

from broker.core import hostparams as host
from broker.errors import NotFound
from broker.faces.lsp_editor import Editor
from broker.faces.lsp_glue import Glue
from broker.faces.lsp_runs import RUN

PACE = 0.1  # seconds between two tellings
SEVERITY = {"error": 1, "warning": 2, "info": 3, "hint": 4}
MOST = 5000  # documents that have diagnostics

Json = dict[str, Any]


class Editing(host.Edit):
    """The params of `editor.edit` as the host hands them on."""

    open: tuple[str, ...] = ()  # documents that must be open


class Findings:
    """The diagnostics of all plugins."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._held: dict[str, dict[str, list[host.Diagnostic]]] = {}  # uri -> plugin -> its own
        self._due: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, plugin: str, params: host.Diagnostics) -> bool:
        """Put what a plugin says of a document in the place of what it said before; whether there was room."""
        uri = params.uri
        if uri not in self._held and len(self._held) >= MOST:
            return False
        held = self._held.setdefault(uri, {})
        if params.diagnostics:
            held[plugin] = params.diagnostics
        else:
            held.pop(plugin, None)
        if not held:
            del self._held[uri]
        self._tell_soon([uri])
        return True

    def actions(self, params: lsp.CodeActionParams) -> list[Json]:
        """What plugins offer for a place in a document."""
        if params.context.only and not any(kind in ("", "quickfix") for kind in params.context.only):
            return []
        uri, found = params.text_document.uri, cast("list[Json]", [])
        for plugin, diagnostics in self._held.get(uri, {}).items():
            for each in diagnostics:
                if _meets(each.range, params.range):
                    found += filter(None, (self._action(plugin, uri, each, fix) for fix in each.fixes))
        return found

    def close(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _action(self, plugin: str, uri: str, diagnostic: host.Diagnostic, fix: host.Fix) -> Json | None:
        run: Json = {"title": fix.title, "command": RUN, "arguments": [f"{plugin}.{fix.command}", uri]}
        if not self._editor.can.code_actions:  # then it knows commands alone
            return run if fix.command else None
        action: Json = {"title": fix.title, "kind": "quickfix", "diagnostics": [_diagnostic(plugin, diagnostic)]}
        if fix.edits:
            action["edit"] = {"changes": {uri: msgspec.to_builtins(fix.edits)}}
        return {**action, **({"command": run} if fix.command else {})}

    def _tell_soon(self, uris: Iterable[str]) -> None:
        self._due.update(uris)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PACE, self._tell)

    def _tell(self) -> None:
        due, self._due, self._timer = self._due, set(), None
        for uri in sorted(due):
            held = self._held.get(uri, {})
            found = [_diagnostic(plugin, each) for plugin in sorted(held) for each in held[plugin]]
            self._editor.tell("textDocument/publishDiagnostics", {"uri": uri, "diagnostics": found})


class Documents:
    """What the editor told of its documents, and what it is asked for them."""

    def __init__(self, editor: Editor, glue: Glue) -> None:
        self._editor, self._glue = editor, glue

    def read(self, params: host.ReadDocument) -> host.DocumentText:
        """An open document as it is now. Raises `NotFound`."""
        found = self._document(params.uri)
        return host.DocumentText(
            uri=params.uri, text=found.source, languageId=str(found.language_id or ""), version=found.version
        )

    async def edit(self, plugin: str, params: Editing) -> host.Applied:
        """Have the editor change documents. Raises `NotFound`."""
        for uri in params.open:
            self._document(uri)
        changes = {uri: [msgspec.to_builtins(edit) for edit in edits] for uri, edits in params.changes.items()}
        edit: Json = {"changes": changes}
        if self._editor.can.versioned_edits:
            edit = {"documentChanges": [self._versioned(uri, edits) for uri, edits in changes.items()]}
        reason = await self._editor.edit(params.label or f"{plugin}'s change", edit)
        return host.Applied(applied=not reason, reason=reason)

    async def active(self) -> host.Document | None:
        """What its user works on; only clients of broker's own say that."""
        said = await self._editor.wanted("broker/active", {})
        if not isinstance(said, dict) or not isinstance(uri := cast("Json", said).get("uri"), str):
            return None
        held = cast("Json", said)
        try:
            selection = msgspec.convert(held.get("range"), host.Range | None)
        except msgspec.ValidationError:
            selection = None
        document, language = self._glue.document(uri), held.get("languageId")
        return host.Document(
            uri=uri,
            languageId=language if isinstance(language, str) else "",
            version=document.version if document is not None else None,
            selection=selection,
        )

    def _document(self, uri: str) -> TextDocument:
        found = self._glue.document(uri)
        if found is None:
            raise NotFound(f"{uri[:200]} is not open in {self._editor.name}", hint="Its file may still be there.")
        return found

    def _versioned(self, uri: str, edits: list[Json]) -> Json:
        document = self._glue.document(uri)
        return {
            "textDocument": {"uri": uri, "version": document.version if document is not None else None},
            "edits": edits,
        }


def _diagnostic(plugin: str, found: host.Diagnostic) -> Json:
    shown: Json = {
        "range": msgspec.to_builtins(found.range),
        "message": found.message,
        "severity": SEVERITY[found.severity],
        "source": plugin,
    }
    return {**shown, **({"code": found.code} if found.code else {})}


def _meets(held: host.Range, asked: lsp.Range) -> bool:
    """Whether two ranges touch."""
    begin, end = (asked.start.line, asked.start.character), (asked.end.line, asked.end.character)
    return (held.start.line, held.start.character) <= end and begin <= (held.end.line, held.end.character)
