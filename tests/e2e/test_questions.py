"""Servers that need their client: pushed questions in the legacy era, round trips in the modern one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import KINDS, Home, Json, Line, opened
from tests.fixtures.scripted_tools import REQUEST_STATE

pytestmark = pytest.mark.matrix

LATER = [pytest.param(kind, marks=pytest.mark.long) for kind in ("old", "locked")]
PUSHING = ("legacy", "dual", *LATER)  # servers that speak the legacy era
ASKING = ("modern", "dual", LATER[1])  # servers that speak the modern one
ALL: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}
ANSWERS: dict[str, tuple[str, Json]] = {
    "elicit": ("elicitation/create", {"action": "accept", "content": {"name": "Ann"}, "x-kept": 1}),
    "sample": (
        "sampling/createMessage",
        {
            "role": "assistant",
            "content": {"type": "text", "text": "Hello"},
            "model": "m",
            "stopReason": "endTurn",
        },
    ),
    "roots": ("roots/list", {"roots": [{"uri": "file:///ü", "name": "u"}]}),
}
KEYS = {"elicit": "who", "sample": "answer", "roots": "roots"}


def home(folder: Path, kind: str, *flags: str) -> Home:
    return Home.of(folder, {"one": KINDS[kind], "two": KINDS[kind]}, *flags)


def asked_later(line: Line, tool: str, **extra: Any) -> Any:
    return line.send("tools/call", {"name": f"one__{tool}", "arguments": {}, **extra})


def said(reply: Json) -> Any:
    return json.loads(reply["result"]["content"][0]["text"])


@pytest.mark.parametrize("kind", PUSHING)
async def test_a_pushed_question_is_answered_by_the_client_that_called(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "legacy", ALL) as line:
        for tool, (method, answer) in ANSWERS.items():
            call = asked_later(line, tool)
            question = await line.asked(method)
            if tool == "elicit":
                assert question["params"]["message"] == "Who?"
                assert question["params"]["requestedSchema"]["required"] == ["name"]
            line.write({"id": question["id"], "result": answer})
            assert said(await line.reply(call)) == answer


@pytest.mark.parametrize("kind", PUSHING)
async def test_a_clients_refusal_reaches_the_server_as_its_error(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "legacy", ALL) as line:
        call = asked_later(line, "sample")
        question = await line.asked("sampling/createMessage")
        refusal = {"code": -1, "message": "User rejected sampling request", "data": {"why": 1}}
        line.write({"id": question["id"], "error": refusal})
        assert said(await line.reply(call)) == {"error": refusal}


@pytest.mark.parametrize("tool", ANSWERS)
async def test_what_the_client_did_not_declare_is_never_asked(tmp_path: Path, tool: str) -> None:
    async with opened(home(tmp_path, "legacy")) as line:
        answer = said(await line.reply(asked_later(line, tool)))
        assert answer == {"action": "decline"} if tool == "elicit" else answer["error"]["code"] == -32601
        assert not any("method" in message and "id" in message for message in line.said)


async def test_questions_of_two_servers_at_once_are_not_mixed_up(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "legacy"), "legacy", ALL) as line:
        calls = [
            line.send("tools/call", {"name": f"{name}__elicit", "arguments": {"message": name}})
            for name in ("one", "two")
        ]
        is_question = "elicitation/create"
        await line.until(lambda _: sum(m.get("method") == is_question for m in line.said) == 2)
        for question in [message for message in line.said if message.get("method") == is_question]:
            name = question["params"]["message"]
            line.write({"id": question["id"], "result": {"action": "accept", "content": {"name": name}}})
        answers = [said(await line.reply(call))["content"]["name"] for call in calls]
        assert answers == ["one", "two"]


async def test_a_call_cancelled_in_the_middle_of_its_question_takes_the_question_back(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "legacy"), "legacy", ALL) as line:
        call = asked_later(line, "elicit")
        question = await line.asked("elicitation/create")
        line.cancel(call)
        told = await line.notice("notifications/cancelled")
        assert told["requestId"] == question["id"]
        line.write({"id": question["id"], "result": {"action": "cancel"}})
        assert await line.text("one__echo", {"text": "on"}) == "on"
        assert not any(message.get("id") == call and "method" not in message for message in line.said)


@pytest.mark.parametrize("kind", ASKING)
async def test_a_round_trip_through_the_result_is_handed_through(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "modern", ALL) as line:
        for tool, (method, answer) in ANSWERS.items():
            first = (await line.reply(asked_later(line, tool)))["result"]
            assert first["resultType"] == "input_required" and first["requestState"] == REQUEST_STATE
            assert first["inputRequests"][KEYS[tool]]["method"] == method
            answers = {KEYS[tool]: answer}
            second = asked_later(line, tool, inputResponses=answers, requestState=first["requestState"])
            reply = await line.reply(second)
            assert reply["result"]["resultType"] == "complete" and said(reply) == answers


@pytest.mark.parametrize("kind", ASKING)
async def test_a_modern_client_without_the_capability_is_told_which_one(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "modern", {"roots": {}}) as line:
        error = (await line.reply(asked_later(line, "elicit")))["error"]
        assert error["code"] == -32021
        assert error["data"] == {"requiredCapabilities": {"elicitation": {}}}


@pytest.mark.parametrize("kind", PUSHING)
async def test_changed_roots_are_told_to_the_server(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "legacy", ALL) as line:
        await line.text("one__echo", {"text": "started"})
        line.tell("notifications/roots/list_changed")
        heard = json.loads(await line.text("one__heard"))
        assert "notifications/roots/list_changed" in heard


def held(folder: Path, kind: str, *flags: str, **permissions: Any) -> Home:
    """A home whose server has a table of permissions, and is not held to it by the kernel here."""
    server = KINDS[kind]
    entry = {"command": server["command"], "args": [*server["args"], *flags], "unconfined": True}
    lines = ["[servers.one]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    lines += ["[servers.one.permissions]", *(f"{key} = {json.dumps(value)}" for key, value in permissions.items())]
    return Home.of_toml(folder, "\n".join(lines) + "\n")


@pytest.mark.parametrize(("kind", "era"), [("legacy", "legacy"), ("legacy", "modern"), ("modern", "legacy")])
async def test_a_plugin_that_may_not_use_the_clients_model_never_reaches_it(
    tmp_path: Path, kind: str, era: str
) -> None:
    async with opened(held(tmp_path, kind), era, ALL) as line:
        reply = await line.reply(asked_later(line, "sample"))
        assert "-32601" in json.dumps(reply) or "sampling" in json.dumps(reply), reply
        assert "Hello" not in json.dumps(reply) and "inputRequests" not in json.dumps(reply)
        assert not any(message.get("method") == "sampling/createMessage" for message in line.said)


async def test_a_modern_plugin_that_asks_all_the_same_is_refused_with_the_reason(tmp_path: Path) -> None:
    home = held(tmp_path, "modern", "--bold")
    async with opened(home, "modern", ALL) as line:
        said = json.dumps(await line.reply(asked_later(line, "sample")))
        assert "may not use its client's model" in said and "sampling = true" in said


async def test_a_plugin_that_may_use_the_clients_model_does(tmp_path: Path) -> None:
    async with opened(held(tmp_path, "legacy", sampling=True), "legacy", ALL) as line:
        call = asked_later(line, "sample")
        question = await line.asked("sampling/createMessage")
        line.write({"id": question["id"], "result": ANSWERS["sample"][1]})
        assert said(await line.reply(call)) == ANSWERS["sample"][1]
