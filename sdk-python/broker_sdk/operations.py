"""What broker's operations are given and give back: types alone, which nothing needs at run time.

Written by `python -m broker.authoring.stubs` from the table of operations (`broker/core/host.json`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict, overload


class Shown(TypedDict):
    shown: bool


class Held(TypedDict):
    value: str | None


class Deleted(TypedDict):
    deleted: bool


class _FileText(TypedDict):
    size: int


class FileText(_FileText, total=False):
    text: str
    base64: str


class FileSize(TypedDict):
    size: int


class _Page(TypedDict):
    status: int
    headers: dict[str, str]


class Page(_Page, total=False):
    body: str
    base64: str


class Output(TypedDict):
    code: int
    stdout: str
    stderr: str


class _Answer(TypedDict):
    action: Literal["accept", "cancel", "decline"]


class Answer(_Answer, total=False):
    content: dict[str, Any] | None


class Chosen(TypedDict):
    value: str | None


class Confirmed(TypedDict):
    confirmed: bool


class Position(TypedDict):
    """Both count from 0; characters are UTF-16 code units, as in the language server protocol."""

    line: int  # from 0; up to 2147483647
    character: int  # from 0; up to 2147483647


class Range(TypedDict):
    start: Position
    end: Position


class Reported(TypedDict):
    shown: bool
    cancelled: bool


class _Document(TypedDict):
    uri: str


class Document(_Document, total=False):
    languageId: str
    version: int | None
    selection: Range | None


class _DocumentText(TypedDict):
    uri: str
    text: str


class DocumentText(_DocumentText, total=False):
    languageId: str
    version: int | None


class TextEdit(TypedDict):
    range: Range
    newText: str  # at most 1048576 characters


class _Applied(TypedDict):
    applied: bool


class Applied(_Applied, total=False):
    reason: str


class _Fix(TypedDict):
    title: str  # at most 200 characters


class Fix(_Fix, total=False):
    """One way to get rid of a diagnostic."""

    edits: list[TextEdit]  # at most 1000 of them
    command: str  # at most 64 characters


class _Diagnostic(TypedDict):
    range: Range
    message: str  # at most 4096 characters


class Diagnostic(_Diagnostic, total=False):
    severity: Literal["error", "hint", "info", "warning"]  # "warning" if unsaid
    code: str  # at most 200 characters
    fixes: list[Fix]  # at most 10 of them


class Subscribed(TypedDict):
    names: list[str]


class Request(Protocol):
    """`ctx.host.request`, by operation."""

    @overload
    def __call__(
        self, operation: Literal["log"], /, *, message: str, level: Literal["debug", "error", "info", "warn"] = ...
    ) -> Awaitable[None]:
        """Writes a line to the plugin's log, and sends it to the client."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["toast"],
        /,
        *,
        title: str,
        message: str = ...,
        kind: Literal["error", "info", "warn"] = ...,
    ) -> Awaitable[Shown]:
        """Shows a short message to the person. Needs `ui:toast`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["register_command"],
        /,
        *,
        name: str,
        title: str = ...,
        description: str = ...,
        handler: str = ...,
    ) -> Awaitable[Shown]:
        """Offers a command to the person; the plugin is asked `command/run` when it is run. Needs
        `ui:command`."""
        ...

    @overload
    def __call__(self, operation: Literal["set_status"], /, *, key: str, value: str) -> Awaitable[Shown]:
        """Shows a short text beside the plugin's name, as long as the plugin runs. Needs `ui:status`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["progress"],
        /,
        *,
        progress: float,
        total: float | None = ...,
        message: str | None = ...,
    ) -> Awaitable[Shown]:
        """Tells the caller how far its call is."""
        ...

    @overload
    def __call__(self, operation: Literal["config.get"], /, *, key: str | None = ...) -> Awaitable[Any]:
        """An option of the plugin's own configuration, or all of them."""
        ...

    @overload
    def __call__(
        self, operation: Literal["config.set"], /, *, key: str, value: str | int | float | bool | Sequence[Any] | None
    ) -> Awaitable[None]:
        """Changes an option of the plugin's own configuration, in its user's file; null takes the change
        back. Needs `ui:config`."""
        ...

    @overload
    def __call__(self, operation: Literal["secrets.get"], /, *, name: str) -> Awaitable[Held]:
        """A secret from the keyring of the system, or null. Needs `secrets:NAME`."""
        ...

    @overload
    def __call__(self, operation: Literal["secrets.set"], /, *, name: str, value: str) -> Awaitable[None]:
        """Keeps a secret in the keyring of the system. Needs `secrets:NAME`."""
        ...

    @overload
    def __call__(self, operation: Literal["secrets.delete"], /, *, name: str) -> Awaitable[Deleted]:
        """Forgets a secret. Needs `secrets:NAME`."""
        ...

    @overload
    def __call__(self, operation: Literal["state.get"], /, *, key: str) -> Awaitable[Any]:
        """What the plugin kept under a key, or null."""
        ...

    @overload
    def __call__(self, operation: Literal["state.set"], /, *, key: str, value: Any) -> Awaitable[None]:
        """Keeps a value under a key, also after the broker ends; null takes it away."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["fs.read"],
        /,
        *,
        path: str,
        offset: int = ...,
        encoding: Literal["base64", "utf-8"] = ...,
    ) -> Awaitable[FileText]:
        """A piece of a file, of 512 KiB at most, and how long the file is. Needs `read:PATH`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["fs.write"], /, *, path: str, text: str = ..., base64: str = ..., append: bool = ...
    ) -> Awaitable[FileSize]:
        """Writes or appends to a file, which is made if need be. Needs `write:PATH`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["http.fetch"],
        /,
        *,
        url: str,
        method: Literal["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"] = ...,
        headers: Mapping[str, str] = ...,
        body: str = ...,
        timeout: float = ...,
        encoding: Literal["base64", "utf-8"] = ...,
    ) -> Awaitable[Page]:
        """Makes one request. Redirects are not followed, and an answer may have 512 KiB. Needs
        `net:HOST:PORT`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["exec"], /, *, command: Sequence[str], input: str = ..., timeout: float = ...
    ) -> Awaitable[Output]:
        """Runs a program, held to what the plugin may do, and returns what it wrote. Needs `run:PROGRAM`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["call"], /, *, plugin: str, tool: str, arguments: Mapping[str, Any] = ...
    ) -> Awaitable[dict[str, Any]]:
        """Calls a tool of another plugin, for whoever called this one; its result is as MCP has it. Needs
        `call:PLUGIN`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["ask"],
        /,
        *,
        message: str,
        schema: Mapping[str, Any] | None = ...,
        choices: Sequence[str] = ...,
    ) -> Awaitable[Answer]:
        """Asks the person who made the call. Needs `ui:ask`."""
        ...

    @overload
    def __call__(self, operation: Literal["pick"], /, *, message: str, items: Sequence[str]) -> Awaitable[Chosen]:
        """Has the person choose one of some texts. Needs `ui:ask`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["input"], /, *, message: str, default: str = ..., secret: bool = ...
    ) -> Awaitable[Chosen]:
        """Has the person type a line. Needs `ui:ask`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["confirm"], /, *, message: str, yes: str = ..., no: str = ...
    ) -> Awaitable[Confirmed]:
        """Asks the person yes or no. Needs `ui:ask`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["show"], /, *, uri: str, range: Range | None = ..., focus: bool = ...
    ) -> Awaitable[Shown]:
        """Opens a file in the editor, perhaps at a place in it, or a page of https in the browser. Needs
        `ui:show`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["progress.begin"],
        /,
        *,
        id: str,
        title: str,
        message: str = ...,
        cancellable: bool = ...,
    ) -> Awaitable[Shown]:
        """Shows that the plugin works at something beside any call; the event `progress.cancelled` may
        follow. Needs `ui:status`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["progress.report"],
        /,
        *,
        id: str,
        message: str | None = ...,
        percentage: float | None = ...,
    ) -> Awaitable[Reported]:
        """Says how far that work is, and hears whether its person wants it to end. Needs `ui:status`."""
        ...

    @overload
    def __call__(self, operation: Literal["progress.end"], /, *, id: str, message: str = ...) -> Awaitable[Shown]:
        """Says that it is over. What a plugin leaves open ends with it. Needs `ui:status`."""
        ...

    @overload
    def __call__(self, operation: Literal["editor.active"], /) -> Awaitable[Document | None]:
        """The document that the person works on, or null. Needs `ui:documents`."""
        ...

    @overload
    def __call__(self, operation: Literal["editor.read"], /, *, uri: str) -> Awaitable[DocumentText]:
        """The text of an open document, as the person sees it. Needs `ui:documents`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["editor.edit"], /, *, changes: Mapping[str, Sequence[TextEdit]], label: str = ...
    ) -> Awaitable[Applied]:
        """Edits documents in the editor: open ones, or files that the plugin may write to. Needs
        `ui:edit`."""
        ...

    @overload
    def __call__(
        self, operation: Literal["editor.diagnostics"], /, *, uri: str, diagnostics: Sequence[Diagnostic]
    ) -> Awaitable[Shown]:
        """Marks places in a document, perhaps with fixes to choose from; fixes that edit need ui:edit too.
        Needs `ui:diagnostics`."""
        ...

    @overload
    def __call__(
        self,
        operation: Literal["events.subscribe"],
        /,
        *,
        names: Sequence[
            Literal[
                "config.changed",
                "document.closed",
                "document.opened",
                "document.saved",
                "progress.cancelled",
                "workspace.changed",
            ]
        ],
    ) -> Awaitable[Subscribed]:
        """Has the plugin told of these, as long as it runs; config.changed and progress.cancelled need
        nothing. Needs `ui:documents`."""
        ...
