"""The broker as a language server: one `Session` per editor, which knows no language and has every plugin's commands.

Rule 1: the core is opened by `initialize`, which says where the workspace is and whether its user trusts it.
Rule 2: what the editor can is computed once, in `EditorCan`; what it cannot, a plugin hears of as `NotInClient`.
Rule 3: an editor that does not read, answer or say goodbye costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
from lsprotocol import types as lsp
from msgspec import Raw, Struct

from broker.core import hostparams as host
from broker.core.ports import Identity, Reply
from broker.core.router import Router
from broker.errors import BrokerError, Closed, FrameTooLarge, NoSuchMethod, NotInClient, Overloaded
from broker.faces.lsp_can import EditorCan, Wishes, client_name, folders, path_of
from broker.faces.lsp_commands import Names, described
from broker.faces.lsp_documents import Documents, Editing, Findings
from broker.faces.lsp_editor import FEW, Editor
from broker.faces.lsp_glue import Glue
from broker.faces.lsp_progress import WorkDone, fresh_token
from broker.faces.lsp_questions import elicited
from broker.faces.lsp_runs import Runs
from broker.faces.lsp_status import StatusBar, summary
from broker.link import LSP, Link
from broker.model import Era, Kind, Problem
from broker.stream import Stream
from broker.wire import eras
from broker.wire.framing import Headers
from broker.wire.peer import Asked, Peer, Told

log = logging.getLogger("broker.lsp")

CLOGGED = 8 << 20  # unsent bytes from which an editor is not read, and none of its commands is begun
LAGGING = 1 << 20  # unsent bytes from which log messages and progress are left out
LINGER = 1.0  # seconds that commands in work may go on when the editor's side has ended
FRAME_ROOM = 1 << 10  # bytes of an envelope around a result
MOST_WORK = 64  # pieces of work that plugins show beside their calls

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
_SEVERITY = {"debug": "debug", "info": "info", "notice": "info", "warning": "warning"}  # the others are errors
_LEVELS = {"debug": 0, "info": 1, "warn": 2, "warning": 2, "error": 3}
_SHOWN, _HIDDEN = host.Shown(shown=True), host.Shown(shown=False)


class Opening(Struct, frozen=True, kw_only=True):
    """What `initialize` says that decides what is run."""

    folders: Sequence[Path]  # of the workspace
    trusted: bool  # by its user
    process: int | None  # of the editor


class House(Protocol):
    """Who runs this session."""

    def open(self, opening: Opening) -> Router:
        """The core for this workspace. Raises `ConfigError`."""
        ...

    def problems(self) -> Sequence[Problem]:
        """What is wrong in the files of the user."""
        ...

    def configure(self, plugins: Mapping[str, Any]) -> None:
        """The editor's settings give these plugins these options from now on."""
        ...

    def trust(self, trusted: bool) -> None:
        """The user trusts the workspace from now on, or not any more."""
        ...


class Session:
    """One editor on one stream. It is the `Face` the core knows that editor by."""

    def __init__(self, house: House, stream: Stream, *, key: str, max_frame: int, on_end: Callable[[], None]) -> None:
        self._house, self._max_frame, self._on_end = house, max_frame, on_end
        self.key = key
        self.identity = Identity()
        self._level = _LEVELS["info"]
        self._folders: list[Path] = []
        self._pushes: object = None  # the settings as they were pushed last
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: dict[tuple[str, str], WorkDone] = {}
        self._link = Link(
            Framed(Headers()),
            stream,
            on_ask=self._asked,
            on_tell=self._told,
            on_end=self._ended,
            dialect=LSP,
            linger=LINGER,
            max_unsent=CLOGGED,
            max_frame=max_frame + FRAME_ROOM,
            on_room=self._room.set,
        )
        self._editor = Editor(self._link)
        own = {"workspace/executeCommand": self._execute, "broker/list": self._list}
        self._glue = Glue(own, on_open=self._open, on_exit=self.close, on_cancel=self._cancelled)
        self._findings = Findings(self._editor)
        self._documents = Documents(self._editor, self._glue)
        self._router: Router | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._link.start()

    def close(self) -> None:
        """End the session. Safe to call twice."""
        self._link.close()

    @property
    def title(self) -> str:
        return self._editor.name

    @property
    def said_goodbye(self) -> bool:
        """Whether the editor sent `shutdown`."""
        return self._glue.shut

    # what the core tells its face

    def tell(self, method: str, params: Reply) -> None:
        if method == "notifications/progress":
            self._runs.progressed(params)
        elif method == "notifications/message":
            self.logged(params)

    async def ask(self, method: str, params: Reply) -> Reply:
        if method == "roots/list":
            return _encode({"roots": [{"uri": path.as_uri(), "name": path.name} for path in self._folders]})
        if method != "elicitation/create":
            raise NoSuchMethod(f"{self.title} cannot be asked {method}")
        if self.clogged:
            raise Overloaded(f"{self.title} does not read what it is sent")
        if len(memoryview(params)) > self._max_frame:
            raise FrameTooLarge(f"{method} has {len(memoryview(params))} bytes; the limit is {self._max_frame}")
        return await elicited(self._editor, bytes(params))

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        self._status.changed()

    def commands_changed(self) -> None:
        self._names.changed()

    def updated(self, uri: str) -> None:
        """An editor subscribes to no resources."""

    def task_changed(self, id: str, params: Reply) -> None:
        """An editor knows no tasks."""

    def logged(self, params: Reply) -> None:
        said = msgspec.json.decode(params, type=dict[str, Any])
        level = _SEVERITY.get(str(said.get("level")), "error")
        if _LEVELS[level] < self._level or self._link.unsent > LAGGING:
            return
        data, source = said.get("data"), said.get("logger")
        text = data if isinstance(data, str) else _encode(data).decode()
        self._editor.log(level, f"{source}: {text}" if source else text)

    @property
    def clogged(self) -> bool:
        return self._link.open and self._link.unsent > CLOGGED

    async def room(self) -> None:
        """Return when the editor has read what was written to it, or has left."""
        self._room.clear()
        if self.clogged:
            await self._room.wait()

    # what plugins have it do

    @property
    def operations(self) -> frozenset[str]:
        return self._operations

    async def perform(self, op: str, plugin: str, params: bytes) -> Reply:
        if op not in self._operations:
            raise NotInClient(f"{plugin} asked for {op}, which {self.title} cannot do")
        if not self._link.open:
            raise Closed(f"{self.title} is gone")
        if self.clogged:
            raise Overloaded(f"{self.title} does not read what it is sent")
        kind, do = _DO[op]
        return _encode(await do(self, plugin, msgspec.json.decode(params, type=kind)))

    async def _toast(self, plugin: str, params: host.Toast) -> host.Shown:
        text = f"{params.title}: {params.message}" if params.message else params.title
        self._editor.message({"warn": "warning"}.get(params.kind, params.kind), f"{plugin}: {text}")
        return _SHOWN

    async def _set_status(self, plugin: str, params: host.SetStatus) -> host.Shown:
        self._status.changed()
        return _SHOWN

    async def _begin(self, plugin: str, params: host.Begin) -> host.Shown:
        key = plugin, params.id
        if key in self._work:
            self._work.pop(key).end()
        if len(self._work) >= MOST_WORK:
            return _HIDDEN
        title = f"{plugin}: {params.title}"
        self._work[key] = work = WorkDone(self._editor, fresh_token(), title, cancellable=params.cancellable)
        work.report(params.message, None)
        return _SHOWN

    async def _report(self, plugin: str, params: host.Report) -> host.Reported:
        work = self._work.get((plugin, params.id))
        if work is not None:
            work.report(params.message, params.percentage)
        return host.Reported(shown=work is not None, cancelled=False)

    async def _finish(self, plugin: str, params: host.Finish) -> host.Shown:
        work = self._work.pop((plugin, params.id), None)
        if work is None:
            return _HIDDEN
        work.end(params.message)
        return _SHOWN

    async def _pick(self, plugin: str, params: host.Pick) -> host.Chosen:
        items, text = params.items, f"{plugin}: {params.message}"
        if self._editor.wishes.pick:
            taken = await self._editor.pick(plugin, params.message, [{"label": item} for item in items])
            return host.Chosen(value=items[taken[0]] if taken else None)
        if len(items) > FEW:
            raise NotInClient(f"{self.title} shows {FEW} choices at most, and {plugin} has {len(items)}")
        at = await self._editor.choose("info", text, items)
        return host.Chosen(value=None if at is None else items[at])

    async def _input(self, plugin: str, params: host.Input) -> host.Chosen:
        text = await self._editor.input(plugin, params.message, value=params.default, secret=params.secret)
        return host.Chosen(value=text)

    async def _confirm(self, plugin: str, params: host.Confirm) -> host.Confirmed:
        at = await self._editor.choose("info", f"{plugin}: {params.message}", [params.yes, params.no])
        return host.Confirmed(confirmed=at == 0)

    async def _show_document(self, plugin: str, params: host.Show) -> host.Shown:
        outside = not params.uri.startswith("file:")
        selection = None if params.range is None or outside else msgspec.to_builtins(params.range)
        if self._editor.can.show:
            shown = await self._editor.show(params.uri, selection=selection, external=outside, focus=params.focus)
            return host.Shown(shown=shown)
        self._editor.message("info", f"{plugin} wants to show {params.uri}")
        return _HIDDEN

    async def _active(self, plugin: str, params: host.Active) -> host.Document | None:
        return await self._documents.active()

    async def _read(self, plugin: str, params: host.ReadDocument) -> host.DocumentText:
        return self._documents.read(params)

    async def _edit(self, plugin: str, params: Editing) -> host.Applied:
        return await self._documents.edit(plugin, params)

    async def _diagnostics(self, plugin: str, params: host.Diagnostics) -> host.Shown:
        return _SHOWN if self._findings.put(plugin, params) else _HIDDEN

    # what the editor says

    def _asked(self, asked: Asked) -> Reply | Coroutine[Any, Any, Reply]:
        return self._glue.serve(asked)

    def _told(self, told: Told) -> None:
        self._glue.told(told)

    def _open(self, params: Json) -> None:
        """`initialize`. Raises `ConfigError`."""
        editor, process = self._editor, params.get("processId")
        editor.wishes = Wishes.of(params.get("initializationOptions"))
        editor.can, editor.name = EditorCan.of(params.get("capabilities")), client_name(params, editor.wishes)
        self._glue.trace, self._folders = params.get("trace"), folders(params)
        number = process if isinstance(process, int) and process > 0 else None
        opening = Opening(folders=self._folders, trusted=editor.wishes.trusted, process=number)
        self._router = router = self._house.open(opening)
        self.identity, self._operations = _identity(editor, params), _operations(editor)
        self._names, self._status = Names(editor, router), StatusBar(editor, router)
        self._runs = Runs(
            editor,
            router,
            self,
            self.identity,
            cancel=self._link.cancel,
            trace=self._trace,
            largest=self._max_frame,
        )
        self._features(router)
        router.join(self)
        router.met(self, self.identity)
        router.client = self.identity, self

    def _features(self, router: Router) -> None:
        """What of LSP is served, beside what pygls serves by itself."""
        granted = {each for plugin in router.plugins.values() for each in plugin.spec.granted}
        self._glue.open(self._names.static(), sync=bool(granted & {"ui:documents", "ui:edit"}))
        for method, handler in (
            (lsp.INITIALIZED, self._begun),
            (lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, self._pushed),
            (lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, self._moved),
            ("broker/trust", self._trusted),
            (lsp.TEXT_DOCUMENT_DID_OPEN, self._opened),
            (lsp.TEXT_DOCUMENT_DID_SAVE, self._saved),
            (lsp.TEXT_DOCUMENT_DID_CLOSE, self._closed),
        ):
            self._glue.feature(method, handler)
        if "ui:diagnostics" in granted:
            options = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
            self._glue.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, self._findings.actions, options)

    async def _execute(self, asked: Asked, params: Any) -> bytes:
        self._status.changed()
        try:
            return await self._runs.execute(asked, params)
        finally:
            self._status.changed()

    async def _list(self, asked: Asked, params: Any) -> bytes:
        """`broker/list`: all there is to run, and how the plugins are."""
        router = self._opened_router
        if not router.all_known:
            await router.learned(self.identity, self)
        tools = [msgspec.json.decode(entry.raw, type=dict[str, Raw]) for entry in router.catalog.entries("tools")]
        shown = [{name: tool[name] for name in _OF_TOOL if name in tool} for tool in tools]
        found = {
            "commands": [described(each) for each in router.commands()],
            "plugins": summary(router.generations.statuses())["plugins"],
        }
        return _encode({**found, "tools": shown})

    def _begun(self, params: object) -> None:
        """`initialized`: now the editor can be asked and told."""
        for problem in self._house.problems():
            self._editor.log("warning", f"{problem.where}: {problem.what} {problem.fix}")
        for notice in self._opened_router.generations.notices:
            self.logged(notice)
        self._names.changed()
        self._status.begin()
        self._soon(self._settle_in())

    async def _settle_in(self) -> None:
        if self._editor.can.watches_settings:
            watch = {"id": "settings", "method": lsp.WORKSPACE_DID_CHANGE_CONFIGURATION}
            registration = {**watch, "registerOptions": {"section": "broker"}}
            await self._editor.wanted("client/registerCapability", {"registrations": [registration]})
        await self._pull()

    async def _pull(self) -> None:
        """Ask for our section of the settings; Helix answers null and has pushed them."""
        if self._editor.can.configuration:
            answer = await self._editor.wanted("workspace/configuration", {"items": [{"section": "broker"}]})
            found = cast("list[object]", answer) if isinstance(answer, list) else []
            self._configured(found[0] if found and found[0] else self._pushes)

    def _pushed(self, params: lsp.DidChangeConfigurationParams) -> None:
        """Some push our section, some all that holds it, some only say that there is news."""
        settings: object = params.settings
        held = cast("Json", settings) if isinstance(settings, dict) else {}
        if "broker" in held or held.keys() & {"level", "plugins"}:
            self._pushes = held.get("broker", held)
        if self._editor.can.configuration:
            self._soon(self._pull())
        else:
            self._configured(self._pushes)

    def _configured(self, settings: object) -> None:
        """Take what the editor's settings say."""
        held = cast("Json", settings) if isinstance(settings, dict) else {}
        self._level = _LEVELS.get(str(held.get("level")), _LEVELS["info"])
        plugins = held.get("plugins")
        self._house.configure(cast("Json", plugins) if isinstance(plugins, dict) else {})
        self._opened_router.happened("config.changed", b"{}")

    def _moved(self, params: lsp.DidChangeWorkspaceFoldersParams) -> None:
        gone = [path for each in params.event.removed if (path := path_of(each.uri)) is not None]
        new = [path for each in params.event.added if (path := path_of(each.uri)) is not None]
        self._folders = [path for path in self._folders if path not in gone and path not in new] + new
        self._opened_router.tell_all("notifications/roots/list_changed", b"{}")
        changed = {"added": [path.as_uri() for path in new], "removed": [path.as_uri() for path in gone]}
        self._opened_router.happened("workspace.changed", _encode(changed))

    def _trusted(self, params: object) -> None:
        said = cast("Json", params).get("trusted") if isinstance(params, dict) else None
        if isinstance(said, bool):
            self._house.trust(said)

    def _cancelled(self, token: int | str) -> None:
        if not self._runs.cancelled(token):
            for (plugin, id), work in self._work.items():
                if work.token == token:
                    self._opened_router.cancelled(plugin, id)

    def _opened(self, params: lsp.DidOpenTextDocumentParams) -> None:
        self._happened("document.opened", params.text_document.uri, str(params.text_document.language_id))

    def _saved(self, params: lsp.DidSaveTextDocumentParams) -> None:
        document = self._glue.document(params.text_document.uri)
        language = "" if document is None else str(document.language_id or "")
        self._happened("document.saved", params.text_document.uri, language)

    def _closed(self, params: lsp.DidCloseTextDocumentParams) -> None:
        self._happened("document.closed", params.text_document.uri, "")

    def _happened(self, name: str, uri: str, language: str) -> None:
        about = {"uri": uri, **({"languageId": language} if language else {})}
        self._opened_router.happened(name, _encode(about))

    # ends

    def _ended(self) -> None:
        self._room.set()
        for task in self._tasks:
            task.cancel()
        self._findings.close()
        for work in self._work.values():
            work.end()
        if self._router is not None:
            self._names.close()
            self._status.close()
            self._router.leave(self)
        self._on_end()

    def _soon(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _trace(self, message: str, verbose: str) -> None:
        if self._glue.trace != "off" and (not verbose or self._glue.trace == "verbose"):
            said = {"message": message, **({"verbose": verbose} if verbose else {})}
            self._editor.tell("$/logTrace", said)

    @property
    def _opened_router(self) -> Router:
        assert self._router is not None
        return self._router


class Framed(Peer):
    """A peer that writes `id: null` where JSON-RPC has it, as LSP demands; MCP forbids it."""

    def _fault(self, id: bytes | None, error: BrokerError) -> Any:
        return super()._fault(b"null" if id is None else id, error)


def _identity(editor: Editor, params: Json) -> Identity:
    """What plugins know the editor as: a client of MCP that can be asked with a form."""
    modes: Json = {"form": {}, **({"url": {}} if editor.can.show else {})}
    info = params.get("clientInfo")
    version = cast("Json", info).get("version") if isinstance(info, dict) else None
    about = {"name": editor.name, "version": version if isinstance(version, str) else "0"}
    return Identity(
        era=Era.LEGACY,
        version=eras.LATEST_LEGACY,
        info=Raw(_encode(about)),
        capabilities={"elicitation": Raw(_encode(modes)), "roots": Raw(b'{"listChanged":true}')},
    )


def _operations(editor: Editor) -> frozenset[str]:
    """What of `_DO` this editor does."""
    needs = {
        "progress.begin": editor.can.progress,
        "progress.report": editor.can.progress,
        "progress.end": editor.can.progress,
        "set_status": editor.wishes.status,
        "input": editor.wishes.input,
        "editor.active": editor.wishes.active,
        "editor.edit": editor.can.edit,
    }
    return frozenset(op for op in _DO if needs.get(op, True))


_Do = tuple[type[Any], Callable[[Session, str, Any], Awaitable[Any]]]
_DO: Mapping[str, _Do] = {
    "toast": (host.Toast, Session._toast),  # pyright: ignore[reportPrivateUsage]
    "set_status": (host.SetStatus, Session._set_status),  # pyright: ignore[reportPrivateUsage]
    "progress.begin": (host.Begin, Session._begin),  # pyright: ignore[reportPrivateUsage]
    "progress.report": (host.Report, Session._report),  # pyright: ignore[reportPrivateUsage]
    "progress.end": (host.Finish, Session._finish),  # pyright: ignore[reportPrivateUsage]
    "pick": (host.Pick, Session._pick),  # pyright: ignore[reportPrivateUsage]
    "input": (host.Input, Session._input),  # pyright: ignore[reportPrivateUsage]
    "confirm": (host.Confirm, Session._confirm),  # pyright: ignore[reportPrivateUsage]
    "show": (host.Show, Session._show_document),  # pyright: ignore[reportPrivateUsage]
    "editor.active": (host.Active, Session._active),  # pyright: ignore[reportPrivateUsage]
    "editor.read": (host.ReadDocument, Session._read),  # pyright: ignore[reportPrivateUsage]
    "editor.edit": (Editing, Session._edit),  # pyright: ignore[reportPrivateUsage]
    "editor.diagnostics": (host.Diagnostics, Session._diagnostics),  # pyright: ignore[reportPrivateUsage]
}
_OF_TOOL = ("name", "title", "description", "inputSchema")
