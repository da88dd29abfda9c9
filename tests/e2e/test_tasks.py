"""Tasks of MCP 2025-11-25, and those of the extension, through the broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ERAS, META, Home, Json, Line, driven, opened
from tests.servers import BY_NAME, scripted

pytestmark = pytest.mark.matrix

EXTENSION = META + "tasks"
RELATED = META + "related-task"
DECLARED: Json = {"extensions": {EXTENSION: {}}}
ANSWER = {"action": "accept", "content": {"name": "Ann"}}


def home(folder: Path, era: str, *flags: str, jobs: str = "") -> Home:
    servers = {name: scripted("--era", era, "--jobs", jobs) for name in ("one", "two")}
    return Home.of(folder, {**servers, "bare": scripted("--era", era)}, *flags)


async def begun(line: Line, tool: str = "one__job", meta: Json | None = None, **arguments: Any) -> Json:
    """A task, as the client is told of it."""
    extra = {"task": {"ttl": 60_000}} if line.era == "legacy" else {}
    params = {"name": tool, "arguments": arguments, **extra}
    result = await line.result("tools/call", params, meta=meta)
    if line.era == "modern":
        assert result["resultType"] == "task", result
    return result["task"] if line.era == "legacy" else result


async def ended(line: Line, id: str) -> Json:
    """A task of the extension when it is over."""
    while True:
        task = await line.result("tasks/get", {"taskId": id})
        if task["status"] not in ("working", "input_required"):
            return task


def text(result: Json) -> str:
    return result["content"][0]["text"]


class TestCore:
    """Legacy client, legacy server."""

    async def test_a_client_is_told_of_tasks_if_a_plugin_has_them(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            await line.names()
        async with opened(home(tmp_path, "legacy"), initialized=False) as line:
            told = (await line.initialize())["capabilities"]
            assert told["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        async with opened(home(tmp_path, "legacy"), initialized=False) as line:
            assert "tasks" not in (await line.initialize("2025-06-18"))["capabilities"]

    async def test_each_task_is_found_at_the_plugin_that_has_it(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            one, two = await begun(line, text="a", wait=True), await begun(line, "two__job", text="b", wait=True)
            assert one["status"] == "working" and one["taskId"] != two["taskId"]
            results = [line.send("tasks/result", {"taskId": task["taskId"]}) for task in (one, two)]
            state = await line.result("tasks/get", {"taskId": one["taskId"]})
            assert state["taskId"] == one["taskId"] and state["ttl"] == 60_000
            assert await line.text("one__echo", {"text": "meanwhile"}) == "meanwhile"
            for name in ("one", "two"):
                await line.text(f"{name}__finish")
            for task, id, said in zip((one, two), results, "ab", strict=True):
                result = (await line.reply(id))["result"]
                assert text(result) == said and result["_meta"][RELATED] == {"taskId": task["taskId"]}
            await line.until(lambda message: says(message, two["taskId"], "completed"))

    async def test_a_cancelled_task_is_cancelled_at_its_server(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            task = await begun(line, wait=True)
            gone = await line.result("tasks/cancel", {"taskId": task["taskId"]})
            assert gone["taskId"] == task["taskId"] and gone["status"] == "cancelled"
            assert (await line.error("tasks/cancel", {"taskId": task["taskId"]}))["code"] == -32602

    async def test_a_failed_task_fails_as_its_call_would_have(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            task = await begun(line, fail=True)
            error = await line.error("tasks/result", {"taskId": task["taskId"]})
            assert error == {"code": -32050, "message": "scripted failure", "data": {"k": 1}}

    async def test_progress_goes_on_after_the_call_was_answered(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            task = await begun(line, meta={"progressToken": "mine"}, steps=3)
            await line.result("tasks/result", {"taskId": task["taskId"]})
            seen = line.notices("notifications/progress")
            assert [each["progress"] for each in seen] == [1, 2, 3]
            assert all(each["progressToken"] == "mine" for each in seen)
            assert all(each["_meta"][RELATED] == {"taskId": task["taskId"]} for each in seen)

    async def test_a_task_can_ask_its_client(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), capabilities={"elicitation": {}}) as line:
            task = await begun(line, ask=True)
            waiting = line.send("tasks/result", {"taskId": task["taskId"]})
            question = await line.asked("elicitation/create")
            assert question["params"]["_meta"][RELATED] == {"taskId": task["taskId"]}
            line.write({"id": question["id"], "result": ANSWER})
            assert json.loads(text((await line.reply(waiting))["result"])) == ANSWER

    async def test_the_tasks_of_all_plugins_are_listed_page_by_page(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            assert await line.result("tasks/list") == {"tasks": []}
            mine = [(await begun(line, f"{name}__job"))["taskId"] for name in ("one", "one", "one", "two")]
            assert await listed(line) == mine
            assert (await line.error("tasks/list", {"cursor": "nobody:1"}))["code"] == -32602

    @pytest.mark.parametrize("id", ["one:made-up", "bare:made-up", "nobody:x", "made-up", "", "one:", 7])
    @pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
    async def test_an_id_nobody_gave_is_refused(self, tmp_path: Path, method: str, id: Any) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            await line.names()
            error = await line.error(method, {"taskId": id})
            assert error["code"] == (-32601 if id == "bare:made-up" else -32602)

    async def test_a_result_is_found_by_a_client_that_was_started_anew(self, tmp_path: Path) -> None:
        kept = tmp_path / "jobs"
        kept.mkdir()
        async with opened(home(tmp_path, "legacy", jobs=str(kept))) as line:
            task = await begun(line, text="kept")
            await line.result("tasks/result", {"taskId": task["taskId"]})
        async with opened(home(tmp_path, "legacy", jobs=str(kept))) as line:
            assert text(await line.result("tasks/result", {"taskId": task["taskId"]})) == "kept"
            assert task["taskId"] in await listed(line)

    async def test_one_that_is_passed_through_has_its_own_ids(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy", "--passthrough", "one")) as line:
            task = await begun(line, "job", meta={"progressToken": 5}, steps=2)
            assert "one" not in task["taskId"]
            result = await line.result("tasks/result", {"taskId": task["taskId"]})
            assert result["_meta"][RELATED] == {"taskId": task["taskId"]}
            assert [each["progress"] for each in line.notices("notifications/progress")] == [1, 2]
            assert (await line.result("tasks/list"))["tasks"][0]["taskId"] == task["taskId"]
            assert (await line.error("tools/call", {"name": "must", "arguments": {}}))["code"] == -32601


def says(message: Json, id: str, status: str) -> bool:
    params = message.get("params", {})
    about = message.get("method") == "notifications/tasks/status"
    return about and params["taskId"] == id and params["status"] == status


async def listed(line: Line) -> list[str]:
    found: list[str] = []
    params: Json = {}
    while True:
        page = await line.result("tasks/list", params)
        found += [task["taskId"] for task in page["tasks"]]
        if "nextCursor" not in page:
            return found
        params = {"cursor": page["nextCursor"]}


class TestRequired:
    """A tool that its server runs only as a task, called by who knows no tasks."""

    @pytest.mark.parametrize("era", ERAS)
    async def test_it_is_run_as_one_and_its_result_waited_for(self, tmp_path: Path, era: str) -> None:
        async with opened(home(tmp_path, "legacy"), era) as line:
            tools = {tool["name"]: tool for tool in (await line.result("tools/list"))["tools"]}
            if era == "legacy":
                assert tools["one__must"]["execution"] == {"taskSupport": "optional"}
            token = {"progressToken": "mine"}
            result = await line.call("one__must", {"text": "hi", "steps": 2}, meta=token)
            assert text(result) == "hi" and RELATED not in str(result)
            seen = line.notices("notifications/progress")
            assert [each["progress"] for each in seen] == [1, 2] and RELATED not in str(seen)
            assert line.notices("notifications/tasks/status") == [], "it knows no tasks"

    @pytest.mark.parametrize("era", ERAS)
    async def test_its_failure_is_the_failure_of_the_call(self, tmp_path: Path, era: str) -> None:
        async with opened(home(tmp_path, "legacy"), era) as line:
            error = await line.error("tools/call", {"name": "one__must", "arguments": {"fail": True}})
            assert error["code"] == -32050

    async def test_its_questions_reach_a_modern_client_as_results(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy"), "modern", {"elicitation": {}}) as line:
            params: Json = {"name": "one__must", "arguments": {"ask": True}}
            first = await line.result("tools/call", params)
            given = {"inputResponses": dict.fromkeys(first["inputRequests"], ANSWER)}
            last = await line.result("tools/call", {**params, **given, "requestState": first["requestState"]})
            assert json.loads(text(last)) == ANSWER

    async def test_a_call_taken_back_cancels_the_task(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "legacy")) as line:
            call = line.send(
                "tools/call",
                {"name": "one__must", "arguments": {"wait": True}},
                meta={"progressToken": 1},
            )
            await line.notice("notifications/progress")
            line.cancel(call)
            (task,) = (await line.result("tasks/list"))["tasks"]
            while task["status"] != "cancelled":
                task = await line.result("tasks/get", {"taskId": task["taskId"]})

    @pytest.mark.parametrize("era", ERAS)
    async def test_one_of_a_modern_server_is_waited_for_too(self, tmp_path: Path, era: str) -> None:
        async with opened(home(tmp_path, "modern"), era, {"elicitation": {}}) as line:
            if era == "modern":  # what it did not declare is not declared for it
                error = await line.error("tools/call", {"name": "one__must", "arguments": {}})
                assert error["code"] == -32021
                return
            assert text(await line.call("one__must", {"text": "hi", "steps": 2})) == "hi"
            assert (await line.error("tools/call", {"name": "one__job", "arguments": {"fail": True}}))["code"] == -32050
            call = line.send("tools/call", {"name": "one__must", "arguments": {"ask": True}})
            question = await line.asked("elicitation/create")
            line.write({"id": question["id"], "result": ANSWER})
            assert json.loads(text((await line.reply(call))["result"])) == {"who": ANSWER}
            assert not [each for each in line.said if each.get("method") == "elicitation/create"][1:], "asked once"


class TestRealPrograms:
    """server-everything, and the client of the SDK that knows tasks."""

    def home(self, folder: Path) -> Home:
        return Home.of(folder, {"every": BY_NAME["everything"].entry(folder), "one": scripted("--jobs", "")})

    async def test_a_client_without_tasks_gets_the_result(self, tmp_path: Path) -> None:
        async with opened(self.home(tmp_path)) as line:
            result = await line.call("every__simulate-research-query", {"topic": "brokers"})
            assert "Research Report: brokers" in text(result) and RELATED not in str(result)

    async def test_a_client_with_tasks_follows_one_that_asks(self, tmp_path: Path) -> None:
        query = {"topic": "brokers", "ambiguous": True}
        report = await self.report(tmp_path, "stream", "every__simulate-research-query", query)
        assert report["offered"]["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        assert report["seen"][0] == "taskCreated" and report["seen"][-1] == "result", report
        assert report["created"]["taskId"].startswith("every:")
        assert len(report["asked"]) == 1 and "technical" in text(report["result"])
        assert report["created"]["taskId"] in [task["taskId"] for task in report["listed"]]

    async def test_a_client_that_asks_for_the_result_of_one_gets_it(self, tmp_path: Path) -> None:
        report = await self.report(tmp_path, "plain", "one__must", {"text": "hi"})
        assert text(report["result"]) == "hi"

    async def report(self, folder: Path, mode: str, tool: str, arguments: Json) -> Json:
        call = json.dumps({"name": tool, "arguments": arguments})
        return await driven(self.home(folder), Path(__file__).parent / "node" / "tasks.mjs", mode, CALL=call)


class TestExtension:
    """Modern client, modern server."""

    async def test_a_client_is_told_of_it_if_a_plugin_has_it(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern") as line:
            await line.names()
            told = (await line.result("server/discover"))["capabilities"]
            assert told["extensions"] == {EXTENSION: {}} and "tasks" not in told
        async with opened(home(tmp_path, "modern"), initialized=False) as line:
            told = (await line.initialize())["capabilities"]
            assert "extensions" not in told and "tasks" not in told

    async def test_a_task_is_relayed_to_who_declared_it_and_to_nobody_else(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern", DECLARED) as line:
            one, two = await begun(line, text="a"), await begun(line, "two__job", text="b")
            for task, said in ((one, "a"), (two, "b")):
                last = await ended(line, task["taskId"])
                assert last["taskId"] == task["taskId"] and text(last["result"]) == said
                assert last["resultType"] == "complete"
        async with opened(home(tmp_path, "modern"), "modern") as line:
            assert await line.text("one__job") == "done plainly"
            for method in ("tasks/get", "tasks/cancel", "tasks/update"):
                error = await line.error(method, {"taskId": one["taskId"]})
                needed = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
                assert error["code"] == -32021 and error["data"] == needed

    async def test_a_task_asks_and_is_answered(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern", {**DECLARED, "elicitation": {}}) as line:
            id = (await begun(line, ask=True))["taskId"]
            task: Json = {}
            while task.get("status") != "input_required":
                task = await line.result("tasks/get", {"taskId": id})
            assert task["inputRequests"]["who"]["method"] == "elicitation/create"
            answers = {"who": ANSWER}
            done = await line.result("tasks/update", {"taskId": id, "inputResponses": answers})
            assert done["resultType"] == "complete"
            assert json.loads(text((await ended(line, id))["result"])) == answers

    async def test_a_task_is_cancelled_or_fails(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern", DECLARED) as line:
            id = (await begun(line, wait=True))["taskId"]
            assert (await line.result("tasks/cancel", {"taskId": id}))["resultType"] == "complete"
            assert (await ended(line, id))["status"] == "cancelled"
            failed = await ended(line, (await begun(line, fail=True))["taskId"])
            assert failed["status"] == "failed" and failed["error"]["code"] == -32050
            assert (await line.error("tasks/get", {"taskId": "one:made-up"}))["code"] == -32602

    async def test_news_of_a_task_come_to_who_listens_for_it(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern", DECLARED) as line:
            one, two = await begun(line, text="a", wait=True), await begun(line, "two__job", wait=True)
            wanted = {"notifications": {"taskIds": [one["taskId"], "nobody:x"], "toolsListChanged": True}}
            listening = line.send("subscriptions/listen", wanted)
            honoured = await line.notice("notifications/subscriptions/acknowledged")
            assert honoured["notifications"] == {"toolsListChanged": True, "taskIds": [one["taskId"]]}
            await line.text("two__finish")
            await ended(line, two["taskId"])
            await line.text("one__finish")
            news = await line.until(lambda message: "completed" in str(message) and "method" in message)
            assert news["method"] == "notifications/tasks"
            assert news["params"]["taskId"] == one["taskId"] and text(news["params"]["result"]) == "a"
            assert news["params"]["_meta"][META + "subscriptionId"] == listening
            assert two["taskId"] not in str(line.notices("notifications/tasks"))

    async def test_who_did_not_declare_it_cannot_listen(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern"), "modern") as line:
            wanted = {"notifications": {"taskIds": ["one:x"]}}
            assert (await line.error("subscriptions/listen", wanted))["code"] == -32021

    async def test_one_that_is_passed_through_has_its_own_ids(self, tmp_path: Path) -> None:
        async with opened(home(tmp_path, "modern", "--passthrough", "one"), "modern", DECLARED) as line:
            id = (await begun(line, "job", text="a"))["taskId"]
            assert "one" not in id and text((await ended(line, id))["result"]) == "a"
