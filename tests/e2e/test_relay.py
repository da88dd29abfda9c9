"""What a server shows and says reaches the client whole, whichever eras the two speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import EACH_KIND, ERAS, KINDS, META, Home, Json, opened, same_id
from tests.fixtures.scripted_tools import lists

pytestmark = [pytest.mark.matrix, pytest.mark.parametrize("kind", EACH_KIND), pytest.mark.parametrize("era", ERAS)]

SHOWN = lists(read_only=False)
ENVELOPE = ("resultType", "ttlMs", "cacheScope")


def home(folder: Path, kind: str, *flags: str) -> Home:
    return Home.of(folder, {"one": KINDS[kind]}, *flags)


def bare(result: Json, era: str) -> Json:
    """A result without what the modern era wraps around it, which must be there in that era and in no other."""
    found = dict(result)
    if era == "modern":
        assert found.pop("resultType") == "complete"
    meta = found.get("_meta", {})
    assert (META + "serverInfo" in meta) == (era == "modern")
    meta.pop(META + "serverInfo", None)
    assert era == "modern" or not {*ENVELOPE} & {*found}
    for name in ENVELOPE:
        found.pop(name, None)
    if not meta:
        found.pop("_meta", None)
    return found


async def test_definitions_keep_every_field(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        tools = bare(await line.result("tools/list"), era)["tools"]
        prompts = bare(await line.result("prompts/list"), era)["prompts"]
        resources = bare(await line.result("resources/list"), era)["resources"]
        templates = bare(await line.result("resources/templates/list"), era)["resourceTemplates"]
    wanted = [{**tool, "name": f"one__{tool['name']}"} for tool in SHOWN["tools"]]
    assert tools == sorted(wanted, key=lambda tool: tool["name"])
    assert prompts == [{**prompt, "name": f"one__{prompt['name']}"} for prompt in SHOWN["prompts"]]
    assert resources == SHOWN["resources"]
    assert templates == SHOWN["resourceTemplates"]


async def test_modern_results_say_which_server_made_them(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        made = {
            "tools/list": await line.result("tools/list"),
            "tools/call": await line.call("one__echo"),
            "resources/read": await line.result("resources/read", {"uri": "demo://a"}),
        }
    names = {
        method: result.get("_meta", {}).get(META + "serverInfo", {}).get("name") for method, result in made.items()
    }
    told = {"tools/list": "broker", "tools/call": "scripted", "resources/read": "scripted"}
    assert names == (told if era == "modern" else dict.fromkeys(made))


async def test_modern_lists_say_how_long_they_keep(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            result = await line.result(method)
            assert ("ttlMs" in result, result.get("cacheScope")) == (
                (True, "private") if era == "modern" else (False, None)
            )
        read = await line.result("resources/read", {"uri": "demo://a"})
        assert ("ttlMs" in read, "cacheScope" in read) == (era == "modern", era == "modern")


async def test_a_result_keeps_structured_content_and_vendor_fields(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        assert bare(await line.call("one__add", {"a": 2, "b": 3}), era) == {
            "content": [{"type": "text", "text": "5"}],
            "structuredContent": {"sum": 5},
            "_meta": {"vendor/result": True},
            "x-result": 7,
        }
        failed = bare(await line.call("one__fail"), era)
        assert failed["isError"] is True and failed["content"][0]["text"] == "scripted failure"


async def test_an_error_keeps_code_message_and_data(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        error = await line.error("tools/call", {"name": "one__error", "arguments": {}})
        assert error == {"code": -32050, "message": "scripted error", "data": {"k": 1}}


async def test_unknown_params_and_meta_reach_the_server(tmp_path: Path, kind: str, era: str) -> None:
    vendor = {"vendor/id": ["ü", None, 1.5], "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad-01"}
    params = {"name": "one__meta", "arguments": {}, "x-top": {"a": [1]}, "another": None}
    async with opened(home(tmp_path, kind), era) as line:
        arrived = await line.result("tools/call", params, meta=vendor)
    found = json.loads(arrived["content"][0]["text"])
    assert found["params"] == {"x-top": {"a": [1]}, "another": None}
    assert {key: value for key, value in found["_meta"].items() if not key.startswith(META)} == vendor
    assert "progressToken" not in found["_meta"]


async def test_the_server_learns_who_the_client_is(tmp_path: Path, kind: str, era: str) -> None:
    capabilities = {"sampling": {}, "experimental": {"vendor/x": {"y": 1}}}
    async with opened(home(tmp_path, kind), era, capabilities) as line:
        who = json.loads(await line.text("one__client"))
    assert who["clientInfo"] == {"name": "line", "version": "1"}
    assert who["capabilities" if "capabilities" in who else "clientCapabilities"] == capabilities
    speaks = {"legacy": ("legacy",), "old": ("legacy",), "modern": ("modern",)}.get(kind, ERAS)
    in_modern = who["protocolVersion"] == "2026-07-28"
    assert in_modern == (era == "modern" if era in speaks else speaks == ("modern",))


async def test_progress_comes_in_order_with_the_clients_own_token(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        for token in (0, 7, 2**53, "", "7", "tök"):
            begun = len(line.said)
            await line.text("one__progress", {"n": 5}, meta={"progressToken": token})
            *steps, answer = line.said[begun:]
            told = [step["params"] for step in steps if step["method"] == "notifications/progress"]
            assert [step["progress"] for step in told] == [1, 2, 3, 4, 5]
            assert all(same_id(step["progressToken"], token) for step in told)
            assert told[0] == {"progressToken": token, "progress": 1, "total": 5, "message": "step 1"}
            assert "result" in answer, "progress came after the answer"


async def test_resources_are_read_by_name_and_by_template(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        for uri in ("demo://a", "demo://item/7"):
            read = bare(await line.result("resources/read", {"uri": uri}), era)
            assert read == {"contents": [{"uri": uri, "mimeType": "text/plain", "text": f"text of {uri}"}]}
        missing = await line.error("resources/read", {"uri": "demo://nowhere"})
    code = -32002 if era == "legacy" and kind != "modern" else -32602
    assert missing["code"] == code and missing["data"] == {"uri": "demo://nowhere"}


async def test_prompts_and_completions(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        prompt = bare(await line.result("prompts/get", {"name": "one__hello", "arguments": {"name": "Ann"}}), era)
        assert prompt["messages"][0]["content"]["text"] == "Say hello to Ann"
        assert (await line.error("prompts/get", {"name": "one__hello"}))["code"] == -32602
        by_prompt = {
            "ref": {"type": "ref/prompt", "name": "one__hello"},
            "argument": {"name": "name", "value": "b"},
        }
        completion = bare(await line.result("completion/complete", by_prompt), era)["completion"]
        assert completion == {"values": ["bert", "bob"], "total": 2, "hasMore": False}
        by_template: dict[str, Any] = {
            "ref": {"type": "ref/resource", "uri": "demo://item/{id}"},
            "argument": {"name": "id", "value": "1"},
        }
        completion = bare(await line.result("completion/complete", by_template), era)["completion"]
        assert completion["values"] == ["1", "10"]


async def test_a_paged_list_arrives_whole(tmp_path: Path, kind: str, era: str) -> None:
    paged = Home.of(tmp_path, {"one": {**KINDS[kind], "args": [*KINDS[kind]["args"], "--page", "2"]}})
    async with opened(paged, era) as line:
        listed = await line.result("tools/list")
        assert "nextCursor" not in listed
        assert {tool["name"] for tool in listed["tools"]} == {f"one__{tool['name']}" for tool in SHOWN["tools"]}
        assert len(listed["tools"]) == len(SHOWN["tools"])
