"""Questions across the eras: a legacy server's pushes become results, a modern server's results become requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import KINDS, Home, Json, Line, opened
from tests.e2e.test_questions import ALL, ANSWERS, KEYS

pytestmark = pytest.mark.matrix

LEGACY_ONLY = ("legacy", "old")


def home(folder: Path, kind: str, *flags: str) -> Home:
    return Home.of(folder, {"one": KINDS[kind], "two": KINDS[kind]}, *flags)


def said(reply: Json) -> Any:
    return json.loads(reply["result"]["content"][0]["text"])


def send(line: Line, tool: str, arguments: Json | None = None, **extra: Any) -> Any:
    return line.send("tools/call", {"name": f"one__{tool}", "arguments": arguments or {}, **extra})


async def asked(line: Line, tool: str, **extra: Any) -> Json:
    """The result that asks."""
    result = (await line.reply(send(line, tool, **extra)))["result"]
    assert result["resultType"] == "input_required", result
    return result


def answers(result: Json, answer: Json) -> Json:
    """What a retry adds to its request."""
    given = dict.fromkeys(result["inputRequests"], answer)
    return {"inputResponses": given, "requestState": result["requestState"]}


class TestLegacyServer:
    """With a modern client."""

    @pytest.mark.parametrize("kind", LEGACY_ONLY)
    @pytest.mark.parametrize("tool", ANSWERS)
    async def test_a_push_becomes_a_result_and_the_retry_resumes_the_same_call(
        self, tmp_path: Path, kind: str, tool: str
    ) -> None:
        method, answer = ANSWERS[tool]
        async with opened(home(tmp_path, kind), "modern", ALL) as line:
            first = await asked(line, tool)
            (question,) = first["inputRequests"].values()
            assert question["method"] == method
            if tool == "elicit":
                assert question["params"]["message"] == "Who?"
            reply = await line.reply(send(line, tool, **answers(first, answer)))
            assert reply["result"]["resultType"] == "complete" and said(reply) == answer
            assert not any("method" in message and "id" in message for message in line.said)

    async def test_what_this_request_did_not_declare_is_declined(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", {"roots": {}}) as line:
            assert said(await line.reply(send(line, "elicit"))) == {"action": "decline"}
            assert said(await line.reply(send(line, "sample")))["error"]["code"] == -32601

    async def test_a_request_that_declares_more_reaches_a_server_that_was_told_so(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", {}) as line:
            assert json.loads(await line.text("one__client"))["capabilities"] == {}
            line.capabilities = ALL
            assert json.loads(await line.text("one__client"))["capabilities"] == ALL
            first = await asked(line, "elicit")
            assert said(await line.reply(send(line, "elicit", **answers(first, ANSWERS["elicit"][1]))))
            line.capabilities = {}
            assert json.loads(await line.text("one__client"))["capabilities"] == {}
            assert said(await line.reply(send(line, "elicit"))) == {"action": "decline"}

    @pytest.mark.parametrize("lie", ["other arguments", "other tool", "made up", "cut", "used twice"])
    async def test_a_state_that_is_not_good_is_refused(self, tmp_path: Path, lie: str) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", ALL) as line:
            first = await asked(line, "elicit")
            good = answers(first, ANSWERS["elicit"][1])
            state = first["requestState"]
            if lie == "used twice":
                await line.reply(send(line, "elicit", **good))
            bad = {"made up": "broker1.aaaa.bbbb", "cut": state[:-3]}.get(lie, state)
            tool, arguments = ("sample" if lie == "other tool" else "elicit"), {}
            if lie == "other arguments":
                arguments = {"message": "And your password?"}
            reply = await line.reply(send(line, tool, arguments, **{**good, "requestState": bad}))
            assert reply["error"]["code"] == -32602 and "requestState" in reply["error"]["message"]

    async def test_an_answer_left_out_is_asked_for_again(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", ALL) as line:
            first = await asked(line, "elicit")
            again = await asked(line, "elicit", inputResponses={}, requestState=first["requestState"])
            assert again["requestState"] != first["requestState"]
            reply = await line.reply(send(line, "elicit", **answers(again, ANSWERS["elicit"][1])))
            assert said(reply) == ANSWERS["elicit"][1]

    async def test_a_server_that_dies_while_its_client_thinks_is_told_at_the_retry(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", ALL) as line:
            first = await asked(line, "elicit")
            for process in line.processes():
                if "scripted" in " ".join(process.cmdline()):
                    process.kill()
            result = (await line.reply(send(line, "elicit", **answers(first, ANSWERS["elicit"][1]))))["result"]
            assert result["isError"] and "SIGKILL" in result["content"][0]["text"]
            assert await line.text("one__echo", {"text": "on"}) == "on"

    async def test_progress_follows_the_request_that_is_open(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", ALL) as line:
            first = await line.reply(line.send("tools/call", {"name": "one__elicit", "arguments": {}}))
            before = len(line.said)
            retry = {"name": "one__elicit", "arguments": {}, **answers(first["result"], ANSWERS["elicit"][1])}
            await line.reply(line.send("tools/call", retry, meta={"progressToken": "second"}))
            tokens = {
                message["params"]["progressToken"] for message in line.said[before:] if "progress" in str(message)
            }
            assert tokens <= {"second"}


class TestModernServer:
    """With a legacy client."""

    @pytest.mark.parametrize("tool", ANSWERS)
    async def test_a_result_that_asks_becomes_a_request_and_the_answer_goes_back(
        self, tmp_path: Path, tool: str
    ) -> None:
        method, answer = ANSWERS[tool]
        async with opened(home(tmp_path, "modern"), "legacy", ALL) as line:
            call = send(line, tool)
            question = await line.asked(method)
            line.write({"id": question["id"], "result": answer})
            reply = await line.reply(call)
            assert said(reply) == {KEYS[tool]: answer} and "resultType" not in reply["result"]

    async def test_a_client_that_refuses_is_a_failed_call(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "legacy", ALL) as line:
            call = send(line, "sample")
            question = await line.asked("sampling/createMessage")
            line.write({"id": question["id"], "error": {"code": -1, "message": "User rejected it"}})
            result = (await line.reply(call))["result"]
            assert result["isError"] and "User rejected it" in result["content"][0]["text"]
            assert result["_meta"]["plugin-broker/error"]["name"] == "not-answered"

    async def test_a_client_that_did_not_declare_it_is_told_what_is_missing(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "legacy", {"roots": {}}) as line:
            result = (await line.reply(send(line, "elicit")))["result"]
            assert result["isError"] and "elicitation" in result["content"][0]["text"]
            assert not any("method" in message and "id" in message for message in line.said)

    async def test_a_cancelled_call_takes_its_question_back(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "legacy", ALL) as line:
            call = send(line, "elicit")
            question = await line.asked("elicitation/create")
            line.cancel(call)
            assert (await line.notice("notifications/cancelled"))["requestId"] == question["id"]
            assert await line.text("one__echo", {"text": "on"}) == "on"
