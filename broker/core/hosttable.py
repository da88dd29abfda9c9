"""What plugins may ask the broker to do: one table, for every runtime, every guest and the channel of a subprocess.

Rule 1: an operation's params are one strict struct: an unknown key is an error, and each text has a bound.
Rule 2: what an operation needs to be granted follows from its params alone.
Rule 3: names and codes are for good: a plugin that was built once goes on working.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from broker.core.events import DOCUMENTS
from broker.core.hostoperation import COMMON, Operation, net, path, ui, wanted
from broker.core.hostparams import (
    Active,
    Answer,
    Applied,
    Ask,
    Begin,
    CallTool,
    Chosen,
    ConfigGet,
    ConfigSet,
    Confirm,
    Confirmed,
    Deleted,
    Diagnostics,
    Document,
    DocumentText,
    Edit,
    Exec,
    Fetch,
    FileSize,
    FileText,
    Finish,
    Held,
    Input,
    Log,
    Output,
    Page,
    Pick,
    Progress,
    Read,
    ReadDocument,
    RegisterCommand,
    Report,
    Reported,
    Secret,
    SecretSet,
    SetStatus,
    Show,
    Shown,
    StateGet,
    StateSet,
    Subscribe,
    Subscribed,
    Toast,
    Write,
)  # fmt: skip
from broker.permissions.scopes import Permission

QUESTION = ("not-answered",)
FACE = ("not-in-client", "not-answered", "remote-error", "connection-closed")
VERSION = 1  # of the table; another one only adds


def _heard(params: Subscribe) -> Permission | None:
    return Permission("ui", "documents") if DOCUMENTS.intersection(params.names) else None


OWN = (
    Operation(
        name="log",
        does="Writes a line to the plugin's log, and sends it to the client.",
        params=Log,
        result=None,
        rate=100,
        burst=200,
        audited=False,
    ),
    Operation(
        name="toast",
        does="Shows a short message to the person.",
        params=Toast,
        result=Shown,
        wants=ui("toast"),
        needs="ui:toast",
        rate=1,
        burst=5,
    ),
    Operation(
        name="register_command",
        does="Offers a command to the person; the plugin is asked `command/run` when it is run.",
        params=RegisterCommand,
        result=Shown,
        wants=ui("command"),
        needs="ui:command",
        rate=10,
        burst=64,
    ),
    Operation(
        name="set_status",
        does="Shows a short text beside the plugin's name, as long as the plugin runs.",
        params=SetStatus,
        result=Shown,
        wants=ui("status"),
        needs="ui:status",
        rate=10,
        burst=20,
        audited=False,
    ),
    Operation(
        name="progress",
        does="Tells the caller how far its call is.",
        params=Progress,
        result=Shown,
        rate=100,
        burst=100,
        audited=False,
    ),
    Operation(
        name="config.get",
        does="An option of the plugin's own configuration, or all of them.",
        params=ConfigGet,
        result=Any,
        rate=1000,
        burst=1000,
        audited=False,
    ),
    Operation(
        name="config.set",
        does="Changes an option of the plugin's own configuration, in its user's file; null takes the change back.",
        params=ConfigSet,
        result=None,
        wants=ui("config"),
        needs="ui:config",
        rate=0.5,
        burst=5,
        codes=("host-failed",),
    ),
    Operation(
        name="secrets.get",
        does="A secret from the keyring of the system, or null.",
        params=Secret,
        result=Held,
        wants=lambda params: wanted("secrets", params.name),
        needs="secrets:NAME",
        rate=5,
        burst=20,
        codes=("secret-missing",),
    ),
    Operation(
        name="secrets.set",
        does="Keeps a secret in the keyring of the system.",
        params=SecretSet,
        result=None,
        wants=lambda params: wanted("secrets", params.name),
        needs="secrets:NAME",
        rate=1,
        burst=5,
        codes=("secret-missing",),
    ),
    Operation(
        name="secrets.delete",
        does="Forgets a secret.",
        params=Secret,
        result=Deleted,
        wants=lambda params: wanted("secrets", params.name),
        needs="secrets:NAME",
        rate=1,
        burst=5,
        codes=("secret-missing",),
    ),
    Operation(
        name="state.get",
        does="What the plugin kept under a key, or null.",
        params=StateGet,
        result=Any,
        rate=1000,
        burst=1000,
        codes=("host-failed",),
        audited=False,
    ),
    Operation(
        name="state.set",
        does="Keeps a value under a key, also after the broker ends; null takes it away.",
        params=StateSet,
        result=None,
        rate=50,
        burst=100,
        codes=("host-failed",),
    ),
    Operation(
        name="fs.read",
        does="A piece of a file, of 512 KiB at most, and how long the file is.",
        params=Read,
        result=FileText,
        wants=path("read"),
        needs="read:PATH",
        rate=200,
        burst=400,
        codes=("host-failed",),
    ),
    Operation(
        name="fs.write",
        does="Writes or appends to a file, which is made if need be.",
        params=Write,
        result=FileSize,
        wants=path("write"),
        needs="write:PATH",
        rate=50,
        burst=100,
        codes=("host-failed",),
    ),
    Operation(
        name="http.fetch",
        does="Makes one request. Redirects are not followed, and an answer may have 512 KiB.",
        params=Fetch,
        result=Page,
        wants=net,
        needs="net:HOST:PORT",
        rate=10,
        burst=20,
        codes=("host-failed", "plugin-timeout"),
    ),
    Operation(
        name="exec",
        does="Runs a program, held to what the plugin may do, and returns what it wrote.",
        params=Exec,
        result=Output,
        wants=lambda params: wanted("run", params.command[0]),
        needs="run:PROGRAM",
        rate=5,
        burst=10,
        codes=("host-failed", "plugin-timeout", "not-enforced"),
    ),
    Operation(
        name="call",
        does="Calls a tool of another plugin, for whoever called this one; its result is as MCP has it.",
        params=CallTool,
        result=dict[str, Any],
        wants=lambda params: wanted("call", params.plugin),
        needs="call:PLUGIN",
        rate=50,
        burst=100,
        codes=("not-found", "self-wait", "plugin-timeout", "plugin-crashed", "denied-by-hook", "remote-error"),
    ),
    Operation(
        name="ask",
        does="Asks the person who made the call.",
        params=Ask,
        result=Answer,
        wants=ui("ask"),
        needs="ui:ask",
        rate=0.1,
        burst=3,
        codes=QUESTION,
    ),
)

FRONT = (
    Operation(
        name="pick",
        does="Has the person choose one of some texts.",
        params=Pick,
        result=Chosen,
        wants=ui("ask"),
        needs="ui:ask",
        rate=0.1,
        burst=3,
        codes=QUESTION,
    ),
    Operation(
        name="input",
        does="Has the person type a line.",
        params=Input,
        result=Chosen,
        wants=ui("ask"),
        needs="ui:ask",
        rate=0.1,
        burst=3,
        codes=(*QUESTION, "not-in-client"),
    ),
    Operation(
        name="confirm",
        does="Asks the person yes or no.",
        params=Confirm,
        result=Confirmed,
        wants=ui("ask"),
        needs="ui:ask",
        rate=0.1,
        burst=3,
        codes=QUESTION,
    ),
    Operation(
        name="show",
        does="Opens a file in the editor, perhaps at a place in it, or a page of https in the browser.",
        params=Show,
        result=Shown,
        wants=ui("show"),
        needs="ui:show",
        rate=1,
        burst=5,
        codes=FACE,
    ),
    Operation(
        name="progress.begin",
        does="Shows that the plugin works at something beside any call; the event `progress.cancelled` may follow.",
        params=Begin,
        result=Shown,
        wants=ui("status"),
        needs="ui:status",
        rate=1,
        burst=10,
    ),
    Operation(
        name="progress.report",
        does="Says how far that work is, and hears whether its person wants it to end.",
        params=Report,
        result=Reported,
        wants=ui("status"),
        needs="ui:status",
        rate=20,
        burst=100,
        codes=("not-found",),
        audited=False,
    ),
    Operation(
        name="progress.end",
        does="Says that it is over. What a plugin leaves open ends with it.",
        params=Finish,
        result=Shown,
        wants=ui("status"),
        needs="ui:status",
        rate=2,
        burst=20,
        codes=("not-found",),
        audited=False,
    ),
    Operation(
        name="editor.active",
        does="The document that the person works on, or null.",
        params=Active,
        result=Document | None,
        wants=ui("documents"),
        needs="ui:documents",
        rate=20,
        burst=100,
        codes=FACE,
        audited=False,
    ),
    Operation(
        name="editor.read",
        does="The text of an open document, as the person sees it.",
        params=ReadDocument,
        result=DocumentText,
        wants=ui("documents"),
        needs="ui:documents",
        rate=20,
        burst=100,
        codes=(*FACE, "not-found"),
    ),
    Operation(
        name="editor.edit",
        does="Edits documents in the editor: open ones, or files that the plugin may write to.",
        params=Edit,
        result=Applied,
        wants=ui("edit"),
        needs="ui:edit",
        rate=5,
        burst=20,
        codes=(*FACE, "not-found"),
    ),
    Operation(
        name="editor.diagnostics",
        does="Marks places in a document, perhaps with fixes to choose from; fixes that edit need ui:edit too.",
        params=Diagnostics,
        result=Shown,
        wants=ui("diagnostics"),
        needs="ui:diagnostics",
        rate=20,
        burst=200,
    ),
    Operation(
        name="events.subscribe",
        does="Has the plugin told of these, as long as it runs; config.changed and progress.cancelled need nothing.",
        params=Subscribe,
        result=Subscribed,
        wants=_heard,
        needs="ui:documents",
        partly=True,
        rate=5,
        burst=10,
    ),
)
OPERATIONS: Mapping[str, Operation] = {each.name: each for each in (*OWN, *FRONT)}


def granted(permissions: Iterable[Permission]) -> list[str]:
    """The operations that make sense for whoever has these permissions."""
    held = list(permissions)
    return [each.name for each in OPERATIONS.values() if not each.needs or each.partly or _any_of(held, each.needs)]


def _any_of(held: Iterable[Permission], needs: str) -> bool:
    kind, _, target = needs.partition(":")
    return any(one.kind == kind and (kind != "ui" or one.target == target) for one in held)


def schema() -> dict[str, Any]:
    """The whole table as JSON Schema, for those who write guests and what they are written with."""
    table = list(OPERATIONS.values())
    kinds = [kind for each in table for kind in (each.params, each.result)]
    shapes, shared = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    operations = {
        each.name: {
            "description": each.does,
            "params": shapes[2 * nth],
            "result": shapes[2 * nth + 1],
            "permission": each.needs or None,
            "perSecond": each.rate,
            "atOnce": each.burst,
            "audited": each.audited,
            "codes": [*COMMON, *each.codes],
        }
        for nth, each in enumerate(table)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What plugins may ask broker to do",
        "version": VERSION,
        "operations": operations,
        "$defs": shared,
    }


def contract() -> str:
    """The table as text, as it is in `host.json` beside this file."""
    return msgspec.json.format(msgspec.json.encode(schema(), order="sorted"), indent=2).decode() + "\n"
