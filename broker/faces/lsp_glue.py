"""pygls behind our own loop and codec: it knows LSP's messages and an editor's documents; all that waits is ours.

Rule 1: ids, cancelling, bounds and writing are `Link`'s. pygls is given one message's params at a time, and never the
        loop, standard input and output, or the end of the process.
Rule 2: params of a method that LSP has become its types; those of any other stay as the JSON they are. What does not
        agree with its type costs only that message.
Rule 3: what LSP says once (capabilities, documents, trace) pygls does. What runs, changes or ends (commands, `exit`)
        it does not get to see.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import msgspec
from lsprotocol import converters
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcMethodNotFound
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.workspace import TextDocument

from broker import __version__
from broker.errors import BadArguments, BadRequest, NoSuchMethod, RemoteError
from broker.wire.peer import Asked, Told

log = logging.getLogger("broker.lsp")

NOT_INITIALIZED = -32002  # LSP's code
OPENINGS = frozenset({"initialize", "initialized", "exit", "$/setTrace"})  # served before and after a session

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Json = dict[str, Any]
Handler = Callable[[Any], Any]
Own = Callable[[Asked, Any], Coroutine[Any, Any, bytes]]


class _Protocol(LanguageServerProtocol):
    """What pygls does by itself, without what would run, end or judge things."""

    commands: Sequence[str] = ()
    sync = False  # whether an editor is to tell of its documents
    on_cancel: Callable[[int | str], None]

    @lsp_method(lsp.INITIALIZE)
    def lsp_initialize(self, params: lsp.InitializeParams) -> Generator[Any, Any, lsp.InitializeResult]:
        if params.capabilities.general is not None:
            # Not asking is UTF-16, which every editor has: a plugin counts the same in all of them.
            params.capabilities.general.position_encodings = None
        result = yield from super().lsp_initialize(params)
        offered = result.capabilities
        offered.execute_command_provider = lsp.ExecuteCommandOptions(self.commands, work_done_progress=True)
        offered.experimental = {"broker": {"version": __version__}}
        if not self.sync:
            offered.text_document_sync = None
        return result

    @lsp_method(lsp.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(self, params: lsp.ExecuteCommandParams) -> Any:
        raise NoSuchMethod("workspace/executeCommand is served outside of pygls")

    @lsp_method(lsp.EXIT)
    def lsp_exit(self, *_: Any) -> Any:
        raise NoSuchMethod("exit is served outside of pygls")

    @lsp_method(lsp.WINDOW_WORK_DONE_PROGRESS_CANCEL)
    def lsp_work_done_progress_cancel(self, params: lsp.WorkDoneProgressCancelParams) -> Any:
        self.on_cancel(params.token)


class Glue:
    """The LSP half of one session.

    `own` serves requests by method, instead of pygls, with their params as JSON. `on_open` is given the params of
    `initialize`, and calls `open` before it returns. `on_exit` is told of `exit`,
    `on_cancel` of the token of work that the user wants to end.
    """

    def __init__(
        self,
        own: Mapping[str, Own],
        *,
        on_open: Callable[[Json], None],
        on_exit: Callable[[], None],
        on_cancel: Callable[[int | str], None],
    ) -> None:
        self._converter = converters.get_converter()
        self._server = LanguageServer(
            "broker",
            __version__,
            protocol_cls=_Protocol,
            converter_factory=lambda: self._converter,
            text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental,
        )
        assert isinstance(self._server.protocol, _Protocol)
        self._protocol = self._server.protocol
        self._protocol.on_cancel = on_cancel
        self._own, self._on_open, self._on_exit = own, on_open, on_exit
        self.opened = self.shut = False  # `initialize` was answered, `shutdown` came

    def feature(self, method: str, handler: Handler, options: object = None) -> None:
        """Have `handler` called with a message's typed params, after what pygls does with it."""
        self._server.feature(method, options)(partial(handler))  # pygls leaves marks on what it is given

    def open(self, commands: Sequence[str], *, sync: bool) -> None:
        """What `initialize` will say: the commands there are, and whether documents are wanted."""
        self._protocol.commands, self._protocol.sync = commands, sync

    @property
    def trace(self) -> str:
        """`off`, `messages` or `verbose`."""
        return self._protocol.trace.value

    @trace.setter
    def trace(self, value: object) -> None:
        self._protocol.trace = lsp.TraceValue(value) if value in ("off", "messages", "verbose") else lsp.TraceValue.Off

    def document(self, uri: str) -> TextDocument | None:
        """An open document as the editor has it."""
        return self._server.workspace.text_documents.get(unquote(uri))

    def serve(self, asked: Asked) -> bytes | Coroutine[Any, Any, bytes]:
        """The result of a request. Raises `BrokerError`."""
        self._check(asked.method)
        own = self._own.get(asked.method)
        if own is not None:
            return own(asked, _decode(asked.params))
        handler = self._handler(asked.method)
        if handler is None:
            raise NoSuchMethod(f"{asked.method[:100]} is nothing broker does for an editor", hint=_HINT)
        if asked.method == lsp.INITIALIZE:
            self._on_open(_object(asked.params))
        result = _driven(handler, self._typed(asked.method, asked.params))
        self.opened |= asked.method == lsp.INITIALIZE
        self.shut |= asked.method == lsp.SHUTDOWN
        return _encode(self._converter.unstructure(result))

    def told(self, told: Told) -> None:
        """Take a notification. Raises `BrokerError`."""
        if told.method == lsp.EXIT:
            self._on_exit()
        elif (self.opened and not self.shut) or told.method in OPENINGS:
            handler = self._handler(told.method)
            if handler is not None:
                _driven(handler, self._typed(told.method, told.params))

    def _check(self, method: str) -> None:
        if self.shut:
            raise BadRequest(f"{method[:100]} came after shutdown", hint="After it only `exit` may come.")
        if method == lsp.INITIALIZE and self.opened:
            raise BadRequest("initialize came a second time", hint="An editor sends it once for each `broker lsp`.")
        if not self.opened and method != lsp.INITIALIZE:
            raise RemoteError(NOT_INITIALIZED, f"{method[:100]} came before initialize")

    def _handler(self, method: str) -> Handler | None:
        try:
            return self._protocol._get_handler(method)  # pyright: ignore[reportPrivateUsage]
        except JsonRpcMethodNotFound:
            return None

    def _typed(self, method: str, params: msgspec.Raw) -> Any:
        """The params in LSP's types. Raises `BadArguments`."""
        said, kinds = _decode(params), lsp.METHOD_TO_TYPES.get(method)
        if kinds is None or kinds[2] is None:
            return said
        try:
            return self._converter.structure(said, kinds[2])
        except Exception as error:  # whatever the converter's hooks stumble on
            log.debug("%s", error, exc_info=error)
            if method == lsp.INITIALIZE:
                # Who says something odd of itself is served all the same, as one that can do nothing special.
                return lsp.InitializeParams(capabilities=lsp.ClientCapabilities())
            raise BadArguments(f"the params of {method[:100]} are not what LSP says they are", hint=_HINT) from None


_HINT = "The editor must follow the Language Server Protocol, 3.17."


def _object(params: msgspec.Raw) -> Json:
    """Raises `BadArguments`."""
    try:
        return msgspec.json.decode(params, type=Json)
    except msgspec.MsgspecError:
        raise BadArguments("the params of initialize must be an object", hint=_HINT) from None


def _driven(handler: Handler, params: object) -> Any:
    """What pygls' own scheduler would do with a handler: a function, or a generator of calls. None of them waits."""
    found = handler(params)
    if not isinstance(found, Generator):
        return found
    calls = cast("Generator[tuple[Handler, tuple[Any, ...], dict[str, Any] | None], Any, Any]", found)
    said: Any = None
    try:
        while True:
            inner, args, kwargs = calls.send(said)
            said = inner(*args, **(kwargs or {}))
    except StopIteration as stop:
        return stop.value
