"""Documents, diagnostics, edits and what else plugins show in an editor."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker.errors import Closed, NotFound, NotInClient
from tests.faces.lsp_client import Client
from tests.pretend import House

Json = dict[str, Any]
URI = "file:///w/a%20b.py"
MAY_ALL = ("ui:documents", "ui:edit", "ui:diagnostics")


async def perform(client: Client, op: str, **params: Any) -> Any:
    doing = client.session.perform(op, "a", json.dumps(params).encode())
    return json.loads(bytes(await asyncio.wait_for(doing, 5)))


def place(line: int, begin: int, end: int) -> Json:
    return {"start": {"line": line, "character": begin}, "end": {"line": line, "character": end}}


def opened(client: Client, text: str) -> None:
    document = {"uri": URI, "languageId": "python", "version": 1, "text": text}
    client.write(method="textDocument/didOpen", params={"textDocument": document})


async def test_documents_are_told_only_where_a_plugin_may_know_of_them() -> None:
    for granted, wanted in ((("ui:toast",), False), (("ui:documents",), True), (("ui:edit",), True)):
        client = Client(House("a", granted=granted))
        found = (await client.initialize())["capabilities"]
        sync = found.get("textDocumentSync")
        assert (sync is not None) is wanted
        assert sync is None or (sync["openClose"] is True and sync["change"] == 2 and sync["save"])


async def test_a_document_is_read_as_its_user_sees_it() -> None:
    client = Client(House("a", granted=MAY_ALL))
    await client.initialize()
    opened(client, "x = '𝄞'\ny\n")
    change = {"range": place(0, 5, 7), "text": "é"}  # the clef is two UTF-16 units
    document = {"uri": URI, "version": 2}
    client.write(method="textDocument/didChange", params={"textDocument": document, "contentChanges": [change]})
    await client.result("broker/list", {})
    found = await perform(client, "editor.read", uri=URI)
    assert found == {"uri": URI, "text": "x = 'é'\ny\n", "languageId": "python", "version": 2}
    client.write(method="textDocument/didClose", params={"textDocument": {"uri": URI}})
    await client.result("broker/list", {})
    with pytest.raises(NotFound, match="not open in test"):
        await perform(client, "editor.read", uri=URI)


async def test_a_change_of_a_document_nobody_opened_costs_only_itself() -> None:
    client = Client(House("a", granted=MAY_ALL))
    await client.initialize()
    params = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"text": "x"}]}
    client.write(method="textDocument/didChange", params=params)
    client.write(method="textDocument/didClose", params={"textDocument": {"uri": URI}})
    assert (await client.run("broker.call", "a__echo"))["plugin"] == "a"


async def test_plugins_that_listen_hear_of_documents() -> None:
    inside = House("a", granted=MAY_ALL)
    client = Client(inside)
    await client.initialize()
    await client.run("broker.call", "a__echo")
    names = ["document.opened", "document.saved", "document.closed"]
    inside.router.events.subscribe(inside.router.plugins["a"].spec, names)
    opened(client, "x")
    client.write(method="textDocument/didSave", params={"textDocument": {"uri": URI}})
    client.write(method="textDocument/didClose", params={"textDocument": {"uri": URI}})
    instance = inside.runtime.instances[0]
    await client.eventually(lambda: len(instance.heard_of) == 3)
    assert instance.heard_of[0] == ("document.opened", {"uri": URI, "languageId": "python"})


@pytest.mark.parametrize("versioned", [True, False])
async def test_an_edit_names_the_version_it_is_meant_for(versioned: bool) -> None:
    client = Client(House("a", granted=MAY_ALL))
    await client.initialize({"workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": versioned}}})
    opened(client, "x")
    client.answers["workspace/applyEdit"] = {"applied": True}
    edits = [{"range": place(0, 0, 1), "newText": "y"}]
    assert await perform(client, "editor.edit", changes={URI: edits}, label="Tidy", open=[URI]) == {"applied": True}
    asked = client.all("workspace/applyEdit")[0]
    assert asked["label"] == "Tidy"
    if versioned:
        document = {"uri": URI, "version": 1}
        assert asked["edit"] == {"documentChanges": [{"textDocument": document, "edits": edits}]}
    else:
        assert asked["edit"] == {"changes": {URI: edits}}
    with pytest.raises(NotFound):
        await perform(client, "editor.edit", changes={"file:///x": edits}, open=["file:///x"])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"applied": False, "failureReason": "read-only"}, "read-only"),
        ({"applied": False}, "test refused the change"),
        (None, "test did not answer"),
        ({"applied": "yes"}, "test refused the change"),
        (RuntimeError("no"), "test did not answer"),
    ],
)
async def test_an_edit_that_was_not_made_says_why(answer: Any, why: str) -> None:
    client = Client(House("a"))
    await client.initialize()
    client.answers["workspace/applyEdit"] = answer
    assert await perform(client, "editor.edit", changes={URI: []}) == {"applied": False, "reason": why}


async def test_an_operation_that_an_editor_cannot_do_is_not_in_the_client() -> None:
    client = Client(House("a"))
    await client.initialize({})
    can = client.session.operations
    assert {"toast", "pick", "confirm", "show", "editor.read", "editor.diagnostics"} <= can
    for op in ("editor.edit", "editor.active", "input", "progress.begin", "set_status"):
        assert op not in can
        with pytest.raises(NotInClient, match="test cannot do"):
            await perform(client, op)
    ours = Client(House("a"))
    await ours.ours()
    assert {"editor.edit", "editor.active", "input", "progress.begin", "set_status"} <= ours.session.operations


@pytest.mark.parametrize("answer", [None, {}, {"uri": 7}, [], Client.SILENT])
async def test_a_client_that_does_not_say_what_is_active_says_nothing(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.faces.lsp_editor.ANSWER", 0.05)
    client = Client(House("a"))
    await client.ours()
    client.answers["broker/active"] = answer
    assert await perform(client, "editor.active") is None


async def test_what_is_active_is_the_document_and_what_is_selected() -> None:
    client = Client(House("a"))
    await client.ours()
    client.answers["broker/active"] = {"uri": URI, "range": place(1, 2, 3), "languageId": "python"}
    found = await perform(client, "editor.active")
    assert found == {"uri": URI, "languageId": "python", "selection": place(1, 2, 3)}
    client.answers["broker/active"] = {"uri": URI, "range": {"start": 7}}
    assert await perform(client, "editor.active") == {"uri": URI}


# diagnostics


def wrong(line: int, **more: Any) -> Json:
    return {"range": place(line, 0, 3), "message": f"bad {line}", **more}


async def test_each_document_has_the_diagnostics_of_all_plugins_named() -> None:
    client = Client(House("a"))
    await client.initialize()
    await perform(client, "editor.diagnostics", uri=URI, diagnostics=[wrong(1, severity="error", code="E1")])
    other = json.dumps({"uri": URI, "diagnostics": [wrong(2)]}).encode()
    await client.session.perform("editor.diagnostics", "b", other)
    shown = (await client.said("textDocument/publishDiagnostics"))["diagnostics"]
    assert [(each["source"], each["severity"], each.get("code")) for each in shown] == [("a", 1, "E1"), ("b", 2, None)]
    await perform(client, "editor.diagnostics", uri=URI, diagnostics=[])
    await client.until(lambda _: len(client.all("textDocument/publishDiagnostics")) == 2)
    left = client.all("textDocument/publishDiagnostics")[-1]["diagnostics"]
    assert [each["source"] for each in left] == ["b"]


async def test_a_flood_of_diagnostics_is_told_at_a_pace() -> None:
    client = Client(House("a"))
    await client.initialize()
    for line in range(1000):
        await perform(client, "editor.diagnostics", uri=URI, diagnostics=[wrong(line)])
    last = await client.until(lambda message: "bad 999" in json.dumps(message))
    assert last and len(client.all("textDocument/publishDiagnostics")) < 100


async def test_fixes_are_code_actions_of_the_place() -> None:
    client = Client(House("a", granted=MAY_ALL))
    found = await client.initialize()
    assert found["capabilities"]["codeActionProvider"] == {"codeActionKinds": ["quickfix"]}
    edits = [{"range": place(1, 0, 3), "newText": ""}]
    fixes = [{"title": "Remove it", "edits": edits}, {"title": "Look it up", "command": "lookup"}]
    await perform(client, "editor.diagnostics", uri=URI, diagnostics=[wrong(1, fixes=fixes), wrong(5, fixes=fixes)])
    params: Json = {"textDocument": {"uri": URI}, "range": place(1, 1, 1), "context": {"diagnostics": []}}
    remove, look = await client.result("textDocument/codeAction", params)
    assert remove["edit"] == {"changes": {URI: edits}} and remove["kind"] == "quickfix"
    assert look["command"]["command"] == "broker.run" and look["command"]["arguments"] == ["a.lookup", URI]
    assert [each["message"] for each in remove["diagnostics"]] == ["bad 1"]
    params["context"]["only"] = ["refactor"]
    assert await client.result("textDocument/codeAction", params) == []
    assert await client.result("textDocument/codeAction", {**params, "range": place(3, 0, 0)}) == []


async def test_an_editor_that_knows_commands_alone_is_offered_those_fixes() -> None:
    client = Client(House("a", granted=MAY_ALL))
    await client.initialize({})
    fixes = [
        {"title": "Remove it", "edits": [{"range": place(1, 0, 3), "newText": ""}]},
        {"title": "Run", "command": "c"},
    ]
    await perform(client, "editor.diagnostics", uri=URI, diagnostics=[wrong(1, fixes=fixes)])
    params = {"textDocument": {"uri": URI}, "range": place(1, 1, 1), "context": {"diagnostics": []}}
    found = await client.result("textDocument/codeAction", params)
    assert found == [{"title": "Run", "command": "broker.run", "arguments": ["a.c", URI]}]


# window


async def test_a_toast_is_one_line_that_names_its_plugin() -> None:
    client = Client(House("a"))
    await client.initialize()
    await perform(client, "toast", title="Done", message="with\nlines\n" + "x" * 900, kind="warn")
    shown = await client.said("window/showMessage", type=2)
    assert shown["message"].startswith("a: Done: with lines x") and len(shown["message"]) == 600


async def test_a_file_is_opened_at_its_place_and_a_page_outside() -> None:
    client = Client(House("a"))
    await client.initialize()
    client.answers["window/showDocument"] = {"success": True}
    assert await perform(client, "show", uri=URI, range=place(3, 0, 2)) == {"shown": True}
    assert await perform(client, "show", uri="https://x.dev") == {"shown": True}
    assert client.all("window/showDocument") == [
        {"uri": URI, "takeFocus": True, "selection": place(3, 0, 2)},
        {"uri": "https://x.dev", "external": True},
    ]


async def test_an_editor_that_opens_nothing_is_told_the_path() -> None:
    client = Client(House("a"))
    await client.initialize({})
    assert await perform(client, "show", uri=URI) == {"shown": False}
    assert (await client.said("window/showMessage"))["message"] == f"a wants to show {URI}"
    assert client.all("window/showDocument") == []


async def test_work_beside_a_call_is_shown_reported_and_cancelled() -> None:
    inside = House("a")
    client = Client(inside)
    await client.ours()
    heard: list[tuple[str, str]] = []
    inside.router.cancelled = lambda plugin, id: heard.append((plugin, id))
    assert await perform(client, "progress.begin", id="index", title="Indexing", cancellable=True) == {"shown": True}
    token = (await client.said("window/workDoneProgress/create"))["token"]
    begun = await client.said("$/progress", token=token)
    assert begun["value"] == {"kind": "begin", "title": "a: Indexing", "cancellable": True}
    await perform(client, "progress.report", id="index", message="half", percentage=50)
    await client.until(lambda message: '"half"' in json.dumps(message))
    client.write(method="window/workDoneProgress/cancel", params={"token": token})
    await client.eventually(lambda: heard == [("a", "index")])
    await perform(client, "progress.end", id="index", message="done")
    await client.until(lambda message: '"kind": "end"' in json.dumps(message))
    assert await perform(client, "progress.end", id="index") == {"shown": False}


async def test_a_flood_of_status_is_told_at_a_pace() -> None:
    client = Client(House("a"))
    await client.ours()
    for nth in range(1000):
        await perform(client, "set_status", key="k", value=str(nth))
    assert await client.run("broker.call", "a__echo")
    assert len(client.all("broker/status")) < 20


async def test_an_editor_that_left_is_asked_for_nothing_more() -> None:
    client = Client(House("a"))
    await client.initialize()
    client.session.close()
    with pytest.raises(Closed):
        await perform(client, "toast", title="x")
