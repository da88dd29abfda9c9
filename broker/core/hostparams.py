"""What each operation of the host is given, and what it gives back: one strict struct each, every text bounded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker.core.events import Name as Event

MOST = 1 << 20  # bytes of the params of one operation, and of its result
PIECE = 512 << 10  # bytes of a file or of a page in one result: base64 and JSON's escapes fit around it
LONGEST_RUN = 120.0  # seconds of one program

Key = Annotated[str, Meta(min_length=1, max_length=256)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Line = Annotated[str, Meta(max_length=1000)]
Words = Annotated[str, Meta(max_length=8192)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Data = Annotated[str, Meta(max_length=MOST)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Plugin = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")]


Uri = Annotated[str, Meta(min_length=1, max_length=8192)]
Question = Annotated[str, Meta(min_length=1, max_length=1000)]
Label = Annotated[str, Meta(min_length=1, max_length=60)]


class Params(Struct, forbid_unknown_fields=True, kw_only=True):
    """Of one operation."""


class Log(Params):
    message: Words
    level: Literal["debug", "info", "warn", "error"] = "info"


class Toast(Params):
    title: Title
    message: Line = ""
    kind: Literal["info", "warn", "error"] = "info"


class RegisterCommand(Params):
    name: Name
    title: Annotated[str, Meta(max_length=200)] = ""
    description: Line = ""
    handler: Annotated[str, Meta(max_length=256)] = ""  # what its own runtime calls; empty: its name


class SetStatus(Params):
    key: Name
    value: Annotated[str, Meta(max_length=200)]  # empty takes it away


class Progress(Params):
    progress: float
    total: float | None = None
    message: Line | None = None


class ConfigGet(Params):
    key: Key | None = None  # None: all of it


class StateGet(Params):
    key: Key


class StateSet(Params):
    key: Key
    value: Raw  # null takes it away


class Read(Params):
    path: Path
    offset: Annotated[int, Meta(ge=0)] = 0
    encoding: Literal["utf-8", "base64"] = "utf-8"


class Write(Params):
    path: Path
    text: Data | UnsetType = UNSET
    base64: Data | UnsetType = UNSET
    append: bool = False


class Fetch(Params):
    url: Annotated[str, Meta(min_length=1, max_length=8192)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[Annotated[str, Meta(max_length=256)], Words] = {}
    body: Data = ""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 20.0
    encoding: Literal["utf-8", "base64"] = "utf-8"


class Exec(Params):
    command: Annotated[list[Annotated[str, Meta(max_length=8192)]], Meta(min_length=1, max_length=256)]
    input: Data = ""
    timeout: Annotated[float, Meta(gt=0, le=LONGEST_RUN)] = 10.0


class CallTool(Params):
    plugin: Plugin
    tool: Key
    arguments: dict[str, Raw] = {}


class Ask(Params):
    message: Annotated[str, Meta(min_length=1, max_length=1000)]
    schema: dict[str, Any] | None = None  # a flat form, as MCP's elicitation has it
    choices: Annotated[list[Title], Meta(max_length=50)] = []  # instead of a schema: one of these


class Begin(Params):
    """Work beside any call; `id` is the plugin's own name for it."""

    id: Name
    title: Title
    message: Line = ""
    cancellable: bool = False


class Report(Params):
    id: Name
    message: Line | None = None
    percentage: Annotated[float, Meta(ge=0, le=100)] | None = None


class Finish(Params):
    id: Name
    message: Line = ""


class ConfigSet(Params):
    key: Key
    value: str | int | float | bool | list[Any] | None  # null: as the manifest has it


class Secret(Params):
    name: Name


class SecretSet(Params):
    name: Name
    value: Annotated[str, Meta(min_length=1, max_length=4096)]


class Position(Params):
    """Both count from 0; characters are UTF-16 code units, as in the language server protocol."""

    line: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    character: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]


class Range(Params):
    start: Position
    end: Position  # behind the last character


class Show(Params):
    uri: Annotated[str, Meta(min_length=1, max_length=8192)]  # `file:`, `https:`, or a path as `fs.read` takes it
    range: Range | None = None  # of a file: what is selected
    focus: bool = True


class Pick(Params):
    message: Question
    items: Annotated[list[Title], Meta(min_length=1, max_length=200)]


class Input(Params):
    message: Question
    default: Line = ""
    secret: bool = False  # what is typed is not shown


class Confirm(Params):
    message: Question
    yes: Label = "Yes"
    no: Label = "No"


class Active(Params):
    pass


class ReadDocument(Params):
    uri: Uri


class TextEdit(Params):
    range: Range
    newText: Data


class Edit(Params):
    changes: Annotated[
        dict[Uri, Annotated[list[TextEdit], Meta(max_length=10_000)]], Meta(min_length=1, max_length=200)
    ]
    label: Annotated[str, Meta(max_length=200)] = ""


class Fix(Params):
    """One way to get rid of a diagnostic."""

    title: Title
    edits: Annotated[list[TextEdit], Meta(max_length=1000)] = []  # of the same document
    command: Annotated[str, Meta(max_length=64)] = ""  # of the plugin's own; it is given the uri of the document


class Diagnostic(Params):
    range: Range
    message: Annotated[str, Meta(min_length=1, max_length=4096)]
    severity: Literal["error", "warning", "info", "hint"] = "warning"
    code: Annotated[str, Meta(max_length=200)] = ""
    fixes: Annotated[list[Fix], Meta(max_length=10)] = []


class Diagnostics(Params):
    """All that the plugin says of a document, in the place of what it said before."""

    uri: Uri
    diagnostics: Annotated[list[Diagnostic], Meta(max_length=1000)]


class Subscribe(Params):
    names: Annotated[list[Event], Meta(min_length=1, max_length=10)]


# results


class Shown(Struct):
    shown: bool  # whether somebody is there to see it


class Reported(Struct):
    shown: bool
    cancelled: bool  # its person wants it to end


class FileText(Struct, omit_defaults=True):
    size: int  # of the whole file
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class FileSize(Struct):
    size: int


class Page(Struct, omit_defaults=True):
    status: int
    headers: dict[str, str]
    body: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Output(Struct):
    code: int
    stdout: str
    stderr: str


class Answer(Struct, omit_defaults=True):
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class Chosen(Struct):
    value: str | None  # null: it was closed without an answer


class Confirmed(Struct):
    confirmed: bool  # false also if it was closed without an answer


class Held(Struct):
    value: str | None  # null: there is none


class Deleted(Struct):
    deleted: bool


class Document(Struct, omit_defaults=True):
    uri: str
    languageId: str = ""
    version: int | None = None
    selection: Range | None = None


class DocumentText(Struct, omit_defaults=True):
    uri: str
    text: str
    languageId: str = ""
    version: int | None = None


class Applied(Struct, omit_defaults=True):
    applied: bool
    reason: str = ""  # why not


class Subscribed(Struct):
    names: list[str]  # all that it hears now
