"""Questions of MCP (elicitation) put to the user of an editor, which has buttons, and of broker's own clients a form.

Rule 1: consent has three buttons in this order: Allow once, Always allow, Deny. Some editors can only answer the first.
Rule 2: anything but one of the titles that were offered, exactly, is no answer.
Rule 3: a form is asked field by field. A field that an editor cannot ask for is left out, or if it must be filled in,
        the question is refused before anybody is asked anything.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import Struct

from broker.errors import NotInClient
from broker.faces.lsp_editor import FEW, Editor

CONSENT = {"once": "Allow once", "always": "Always allow", "no": "Deny"}
MOST = 50  # fields

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
_CANCEL: Json = {"action": "cancel"}


class Form(Struct, rename="camel"):
    """The params of an elicitation."""

    message: str = ""
    mode: str = "form"
    url: str = ""
    requested_schema: Json = {}


async def elicited(editor: Editor, params: bytes) -> bytes:
    """The answer to `elicitation/create`. Raises `NotInClient`."""
    try:
        form = msgspec.json.decode(params, type=Form)
    except msgspec.MsgspecError:
        raise NotInClient("the question is none that an editor can be asked") from None
    return _encode(await (_visit(editor, form) if form.mode == "url" else _filled(editor, form)))


async def _visit(editor: Editor, form: Form) -> Json:
    """Have the person open a page."""
    if not editor.can.show or not form.url.startswith(("https://", "http://")):
        raise NotInClient(f"{editor.name} opens no pages")
    taken = await editor.choose("info", f"{form.message} ({form.url})", ["Open", "Decline"])
    if taken is None:
        return _CANCEL
    return {"action": "accept" if taken == 0 and await editor.show(form.url, external=True) else "decline"}


async def _filled(editor: Editor, form: Form) -> Json:
    schema = form.requested_schema
    fields: dict[str, Json] = {
        name: cast("Json", each) for name, each in _object(schema.get("properties")).items() if isinstance(each, dict)
    }
    needed = {each for each in cast("list[object]", schema.get("required") or []) if isinstance(each, str)}
    if len(fields) > MOST:
        raise NotInClient(f"{editor.name} is not asked for more than {MOST} fields")
    if not fields:
        taken = await editor.choose("info", form.message, ["OK", "Decline"])
        return _CANCEL if taken is None else {"action": "decline" if taken else "accept", "content": {}}
    asked = {name: each for name, each in fields.items() if _can_ask(editor, each)}
    if needed - asked.keys() or not asked:
        raise NotInClient(f"{editor.name} cannot ask for a text; one of broker's own clients can")
    content: Json = {}
    for name, field in asked.items():
        if len(asked) > 1:
            title = field.get("title") or name
            text = f"{form.message} {title}"
        else:
            text = form.message
        found, value = await _asked(editor, text, field)
        if not found:
            return _CANCEL
        content[name] = value
    return {"action": "accept", "content": content}


def _can_ask(editor: Editor, field: Json) -> bool:
    choices = _choices(field)
    if choices is None or field.get("type") == "array":
        return choices is None and field.get("type") in ("string", "number", "integer") and editor.wishes.input
    return 0 < len(choices) and (len(choices) <= FEW or editor.wishes.pick)


def _choices(field: Json) -> list[tuple[object, str]] | None:
    """(value, title) of each thing it can be; None if it can be anything."""
    if field.get("type") == "boolean":
        return [(True, "Yes"), (False, "No")]
    given = field.get("oneOf")
    if isinstance(given, list):
        found = [_object(each) for each in cast("list[object]", given)]
        return [(each.get("const"), str(each.get("title") or each.get("const"))) for each in found]
    values = field.get("enum")
    if not isinstance(values, list):
        return None
    titles, names = cast("list[object]", values), field.get("enumNames")
    if isinstance(names, list) and len(cast("list[object]", names)) == len(titles):
        titles = cast("list[object]", names)
    return [(value, str(title)) for value, title in zip(cast("list[object]", values), titles, strict=True)]


async def _asked(editor: Editor, text: str, field: Json) -> tuple[bool, object]:
    """(whether the person answered, what)."""
    choices = _choices(field)
    if choices is None:
        return await _typed(editor, text, field)
    if {value for value, _ in choices if isinstance(value, str)} == CONSENT.keys():
        choices, level = list(CONSENT.items()), "warning"
    else:
        level = "info"
    titles = [title for _, title in choices]
    if len(titles) <= FEW:
        taken = await editor.choose(level, text, titles)
        return (False, None) if taken is None else (True, choices[taken][0])
    places = await editor.pick("", text, [{"label": title} for title in titles])
    return (True, choices[places[0]][0]) if places else (False, None)


async def _typed(editor: Editor, text: str, field: Json) -> tuple[bool, object]:
    typed = await editor.input("", text, value=str(field.get("default") or ""))
    if typed is None:
        return False, None
    try:
        return True, {"integer": int, "number": float}.get(str(field.get("type")), str)(typed)
    except ValueError:
        editor.message("warning", f"{typed[:40]!r} is no number")
        return False, None


def _object(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}
