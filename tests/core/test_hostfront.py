"""What plugins show to an editor or to an AI client, and ask of them: who does it, what is left of it elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import BadArguments, Closed, NotAnswered, NotFound, NotInClient, Overloaded, PermissionMissing
from broker.model import Command, Spec
from tests.core.test_hostapi import EVERYTHING, FORMS, Home
from tests.pretend import PretendFace, raw

WHERE = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
NOT_OVER_MCP = [
    ("show", {"uri": "https://x.dev/"}),
    ("editor.active", {}),
    ("editor.read", {"uri": "file:///r/f"}),
    ("editor.edit", {"changes": {"file:///r/f": []}}),
    ("input", {"message": "Password?", "secret": True}),
]


async def edited(tmp_path: Path, **performs: Any) -> Home:
    """A home whose client is an editor that does this."""
    home = await Home(tmp_path).known()
    home.face.performs = performs
    return home


@pytest.mark.parametrize(("op", "params"), NOT_OVER_MCP, ids=lambda each: each if isinstance(each, str) else "")
async def test_what_no_ai_client_can_do_is_not_in_client(tmp_path: Path, op: str, params: dict[str, Any]) -> None:
    home = await Home(tmp_path).known()
    for call in (None, home.in_work()):
        with pytest.raises(NotInClient, match="lua asked for") as caught:
            await home.ask(op, call, **params)
        assert "broker lsp" in caught.value.hint
    assert home.face.told == [] and home.face.performed == []


async def test_what_is_only_shown_is_no_failure_over_mcp(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    assert await home.ask("editor.diagnostics", uri="file:///r/f", diagnostics=[]) == {"shown": False}
    assert await home.ask("progress.begin", id="w", title="Indexing") == {"shown": False}
    assert await home.ask("progress.report", id="w", percentage=5) == {"shown": False, "cancelled": False}
    assert await home.ask("progress.end", id="w") == {"shown": False}
    assert await home.ask("toast", title="Done") == {"shown": True}  # as a log message
    assert home.face.logs[-1]["data"] == "Done"


async def test_questions_become_forms_over_mcp(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    asked: list[Any] = []
    answers = iter(["green", "Ada", "Yes", "No"])

    async def answer(method: str, params: Any) -> Any:
        asked.append(json.loads(bytes(params)))
        return raw({"action": "accept", "content": {"answer": next(answers)}})

    home.face.ask = answer  # type: ignore[method-assign]
    call = home.in_work()
    assert await home.ask("pick", call, message="Colour?", items=["red", "green"]) == {"value": "green"}
    assert await home.ask("input", call, message="Name?", default="x") == {"value": "Ada"}
    assert await home.ask("confirm", call, message="Sure?") == {"confirmed": True}
    field = asked[0]["requestedSchema"]["properties"]["answer"]
    assert field["enum"] == ["red", "green"] and asked[0]["message"] == "The plugin lua asks: Colour?"
    assert asked[1]["requestedSchema"]["properties"]["answer"]["default"] == "x"
    assert [each["requestedSchema"]["properties"]["answer"].get("enum") for each in asked[2:]] == [["Yes", "No"]]


@pytest.mark.parametrize("said", [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {}}])
async def test_only_an_answer_is_a_yes(tmp_path: Path, said: Any) -> None:
    home = await Home(tmp_path).known()
    home.face.answers["elicitation/create"] = said
    assert await home.ask("confirm", home.in_work(), message="Sure?") == {"confirmed": False}
    assert await home.ask("pick", home.in_work(), message="Which?", items=["a"]) == {"value": None}


async def test_a_question_of_no_call_is_answered_only_by_an_editor(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(NotAnswered, match="nobody called"):
        await home.ask("confirm", message="Sure?")
    home.face.performs = {"confirm": {"confirmed": True}}
    assert await home.ask("confirm", message="Sure?") == {"confirmed": True}


async def test_an_editor_is_asked_in_its_own_way_and_the_clock_of_the_call_stands_still(tmp_path: Path) -> None:
    home = await edited(tmp_path, pick={"value": "b"})
    call = home.in_work()
    open_: list[int] = []
    perform = home.face.perform

    async def slowly(op: str, plugin: str, params: bytes) -> Any:
        open_.append(call.questions)
        return await perform(op, plugin, params)

    home.face.perform = slowly  # type: ignore[method-assign]
    assert await home.ask("pick", call, message="Which?", items=["a", "b"]) == {"value": "b"}
    assert open_ == [1] and call.questions == 0
    assert home.face.performed == [("pick", "lua", {"message": "Which?", "items": ["a", "b"]})]


async def test_what_belongs_to_a_call_stays_with_who_made_it(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    editor = PretendFace("editor")
    editor.performs = {"toast": {"shown": True}, "confirm": {"confirmed": True}, "show": {"shown": True}}
    home.router.join(editor)
    call = Call(home.face, FORMS, "tools/call", {"name": raw("x")}, chain=("lua",))
    await home.ask("toast", call, title="mine")
    with pytest.raises(NotInClient, match="not in alice"):
        await home.ask("show", call, uri="https://x.dev/")
    assert editor.performed == [] and home.face.told[-1][1]["data"] == "mine"
    await home.ask("toast", title="everybody's")
    assert await home.ask("show", uri="https://x.dev/") == {"shown": True}
    assert [op for op, _, _ in editor.performed] == ["toast", "show"]


async def test_a_client_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.hostfront.PROMPTLY", 0.05)
    home = await edited(tmp_path, show={}, toast={})

    async def never(op: str, plugin: str, params: bytes) -> Any:
        await asyncio.get_running_loop().create_future()

    home.face.perform = never  # type: ignore[method-assign]
    with pytest.raises(NotAnswered, match="alice did not answer show of lua"):
        await home.ask("show", uri="https://x.dev/")
    assert await home.ask("toast", title="x") == {"shown": True}  # as a log message


async def test_what_a_client_answers_reaches_the_plugin(tmp_path: Path) -> None:
    home = await edited(tmp_path, show=Closed("alice left"), **{"editor.read": NotFound("it is not open")})
    with pytest.raises(Closed):
        await home.ask("show", uri="https://x.dev/")
    with pytest.raises(NotFound, match="it is not open"):
        await home.ask("editor.read", uri="file:///r/f")


@pytest.mark.parametrize("uri", ["http://x.dev/", "command:rm", "vscode://x", "x", "", "javascript:1", "../f"])
async def test_only_files_and_secure_pages_are_shown(tmp_path: Path, uri: str) -> None:
    home = await edited(tmp_path, show={"shown": True})
    with pytest.raises(BadArguments):
        await home.ask("show", uri=uri)
    assert home.face.performed == []


async def test_a_path_is_shown_as_the_file_it_names(tmp_path: Path) -> None:
    home = await edited(tmp_path, show={"shown": True})
    for path in ("/r/é b.txt", "${workspace}/é b.txt"):
        await home.ask("show", uri=path, range=WHERE)
    assert {params["uri"] for _, _, params in home.face.performed} == {"file:///r/%C3%A9%20b.txt"}


async def test_a_document_that_is_not_open_is_edited_only_by_who_may_write_to_it(tmp_path: Path) -> None:
    home = await edited(tmp_path, **{"editor.edit": {"applied": True}})
    uris = ["file:///w/a", "file:///r/b", "file:///w/../etc/passwd", "untitled:1", "file://host/w/a", "file:///w/%00"]
    await home.ask("editor.edit", changes={uri: [{"range": WHERE, "newText": "x"}] for uri in uris})
    assert home.face.performed[0][2]["open"] == uris[1:]


async def test_fixes_that_edit_need_the_permission_to(tmp_path: Path) -> None:
    home = await edited(tmp_path, **{"editor.diagnostics": {}})
    fix = {"title": "Do it", "edits": [{"range": WHERE, "newText": "x"}]}
    marks = [{"range": WHERE, "message": "To do", "fixes": [fix]}]
    assert await home.ask("editor.diagnostics", uri="file:///r/f", diagnostics=marks) == {"shown": True}
    home.spec = Spec(name="lua", source="t", permissions={}, granted=("ui:diagnostics",))
    with pytest.raises(PermissionMissing, match="ui:edit"):
        await home.ask("editor.diagnostics", uri="file:///r/f", diagnostics=marks)
    await home.ask("editor.diagnostics", uri="file:///r/f", diagnostics=[{"range": WHERE, "message": "To do"}])


async def test_work_over_mcp_is_progress_of_the_call_it_was_begun_in(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    call = home.in_work()
    call.token = raw("t")
    await home.ask("progress.begin", call, id="w", title="Indexing")
    assert await home.ask("progress.report", id="w", message="half", percentage=50) == {
        "shown": True,
        "cancelled": False,
    }
    await home.ask("progress.end", id="w", message="done")
    told = [params for method, params in home.face.told if method == "notifications/progress"]
    assert [each["progress"] for each in told] == [1, 2, 3]  # which MCP wants to grow
    assert [each["message"] for each in told] == ["Indexing", "Indexing: half 50 %", "Indexing: done"]


async def test_work_that_was_never_begun_or_is_too_much_is_refused(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(NotFound, match="works at nothing called w"):
        await home.ask("progress.report", id="w")
    for number in range(8):
        await home.ask("progress.begin", id=f"w{number}", title="x")
    with pytest.raises(Overloaded):
        await home.ask("progress.begin", id="w8", title="x")


async def test_a_person_who_cancels_work_is_heard_of(tmp_path: Path) -> None:
    home = await edited(tmp_path, **{"progress.begin": {}, "progress.report": {}})
    await home.ask("events.subscribe", names=["progress.cancelled"])
    await home.ask("progress.begin", id="w", title="Indexing", cancellable=True)
    home.router.cancelled("lua", "other")
    home.router.cancelled("nobody", "w")
    assert (await home.ask("progress.report", id="w"))["cancelled"] is False
    home.router.cancelled("lua", "w")
    assert (await home.ask("progress.report", id="w"))["cancelled"] is True


async def test_a_secret_that_was_read_is_shown_to_nobody(tmp_path: Path) -> None:
    home = await edited(tmp_path, toast={}, confirm={"confirmed": True})
    home.secrets["token"] = "hunter2hunter2"
    assert await home.ask("secrets.get", name="token") == {"value": "hunter2hunter2"}
    await home.ask("toast", title="it is hunter2hunter2")
    await home.ask("confirm", message="Use hunter2hunter2?")
    await home.ask("log", message="hunter2hunter2")
    assert "hunter2" not in json.dumps(home.face.performed) + json.dumps(home.face.logs) + "".join(home.lines)
    await home.ask("secrets.set", name="token", value="another-secret")
    await home.ask("log", message="another-secret")
    assert "another-secret" not in home.lines[-1]
    assert await home.ask("secrets.delete", name="token") == {"deleted": True}
    assert await home.ask("secrets.get", name="token") == {"value": None}


async def test_commands_are_registered_once_and_kept(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    home.router.generations.plugins["lua"].spec = Spec(
        name="lua", source="t", commands=(Command("refresh", "Refresh it", "All of it"), Command("other"))
    )
    await home.ask("register_command", name="refresh", description="New words")
    await home.ask("register_command", name="refresh", description="New words")
    offered = [(each.shown, each.title, each.description) for each in home.router.commands()]
    assert offered == [("lua.other", "other", ""), ("lua.refresh", "Refresh it", "New words")]
    assert home.face.command_changes == 1


async def test_a_change_of_options_reaches_only_the_file_and_who_listens(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    await home.ask("config.set", key="limit", value=3)
    assert home.done == [("limit", 3)]
    assert await home.ask("events.subscribe", names=["config.changed"]) == {"names": ["config.changed"]}


async def test_what_is_open_is_told_only_to_who_may_know(tmp_path: Path) -> None:
    home = await Home(tmp_path, tuple(one for one in EVERYTHING if one != "ui:documents")).known()
    with pytest.raises(PermissionMissing, match="ui:documents"):
        await home.ask("events.subscribe", names=["config.changed", "document.saved"])
    with pytest.raises(BadArguments):
        await home.ask("events.subscribe", names=["document.typed"])
    assert home.router.events.wanted == frozenset()


async def test_identities_that_cannot_be_asked_are_said(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    call = home.in_work()
    call.identity = Identity(version="2025-11-25")
    with pytest.raises(NotAnswered, match="does not ask its user questions"):
        await home.ask("pick", call, message="x", items=["a"])
