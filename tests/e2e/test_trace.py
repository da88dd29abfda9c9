"""Trace context (`traceparent`, `tracestate`, `baggage` in `_meta`) passes in both directions, whatever the eras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import ERAS, META, Home, Json, opened
from tests.servers import scripted

pytestmark = pytest.mark.matrix

TRACE: Json = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "vendor=a,other=b",
    "baggage": "user=1,k=v;p",
}
OWN = {name: f"server's {name}" for name in TRACE}
ALL: Json = {"elicitation": {}, "sampling": {}, "roots": {}}
pairs = [pytest.mark.parametrize("server", ERAS), pytest.mark.parametrize("client", ERAS)]


def home(folder: Path, server: str) -> Home:
    return Home.of(folder, {"one": scripted("--era", server), "two": scripted("--era", server)})


class TestTrace:
    pytestmark = pairs

    async def test_it_reaches_the_server_with_the_call(self, tmp_path: Path, client: str, server: str) -> None:
        async with opened(home(tmp_path, server), client) as line:
            seen = json.loads(await line.text("one__meta", meta=TRACE))["_meta"]
            assert {name: seen[name] for name in TRACE} == TRACE

    async def test_it_reaches_the_client_with_progress_and_result(
        self, tmp_path: Path, client: str, server: str
    ) -> None:
        async with opened(home(tmp_path, server), client) as line:
            result = await line.call("one__traced", meta={"progressToken": "mine"})
            (news,) = line.notices("notifications/progress")
            for meta in (result["_meta"], news["_meta"]):
                assert {name: meta[name] for name in TRACE} == OWN

    async def test_it_reaches_the_client_with_a_question(self, tmp_path: Path, client: str, server: str) -> None:
        async with opened(home(tmp_path, server), client, ALL) as line:
            call = line.send("tools/call", {"name": "one__traced", "arguments": {"ask": True}})
            if client == "modern":
                asked = (await line.reply(call))["result"]["inputRequests"]
                (question,) = asked.values()
            else:
                question = await line.asked("roots/list")
                line.write({"id": question["id"], "result": {"roots": []}})
                await line.reply(call)
            assert question["params"]["_meta"] == OWN
            assert META not in str(question)
