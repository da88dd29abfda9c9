"""Names: whose they are, which are refused, and what a filter hides."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ERAS, Home, opened
from tests.servers import SCRIPTED, scripted

pytestmark = [pytest.mark.matrix, pytest.mark.parametrize("era", ERAS)]


async def test_names_that_are_not_listed_cannot_be_called(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()}), era) as line:
        for name in ("add", "one__extra", "one__nothing", "two__add", ""):
            assert (await line.error("tools/call", {"name": name, "arguments": {}}))["code"] == -32602
        missing = await line.error("tools/call", {"name": "one__ad", "arguments": {}})
        assert "one__add" in missing["message"]
        assert (await line.error("prompts/get", {"name": "hello", "arguments": {"name": "x"}}))["code"] == -32602
        assert (await line.error("tools/call", {"arguments": {}}))["code"] == -32602


async def test_a_cursor_nobody_handed_out_is_refused(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted()}), era) as line:
        assert (await line.error("tools/list", {"cursor": "nonsense"}))["code"] == -32602


async def test_two_servers_with_the_same_names_stay_apart(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted(), "two": scripted()}), era) as line:
        assert await line.text("one__whoami") != await line.text("two__whoami")
        uris = [entry["uri"] for entry in (await line.result("resources/list"))["resources"]]
        assert len({*uris}) == len(uris) == 4
        texts = [(await line.result("resources/read", {"uri": uri}))["contents"][0]["text"] for uri in uris]
        assert sorted(texts) == ["text of demo://a"] * 2 + ["text of demo://b"] * 2
        assert await line.names("prompts") == ["one__hello", "two__hello"]


async def test_every_server_of_a_shared_uri_can_be_subscribed_to(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": scripted(), "two": scripted()}), era) as line:
        uris = [entry["uri"] for entry in (await line.result("resources/list"))["resources"]]
        of_two = next(uri for uri in uris if uri.endswith("two/demo://a"))
        if era == "legacy":
            await line.result("resources/subscribe", {"uri": of_two})
        else:
            line.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": [of_two]}})
            await line.notice("notifications/subscriptions/acknowledged")
        await line.text("one__touch", {"uri": "demo://a"})
        await line.text("two__touch", {"uri": "demo://a"})
        assert (await line.notice("notifications/resources/updated"))["uri"] == of_two
        await line.settled()
        assert len(line.notices("notifications/resources/updated")) == 1


async def test_a_filter_hides_tools_from_the_list_and_from_calls(tmp_path: Path, era: str) -> None:
    text = f"""
        [servers.one]
        command = {json.dumps(sys.executable)}
        args = ["-S", "-E", {json.dumps(str(SCRIPTED))}]
        tools = ["add", "e*", "!env"]

        [servers.two]
        command = {json.dumps(sys.executable)}
        args = ["-S", "-E", {json.dumps(str(SCRIPTED))}]
        tools = []
        """
    async with opened(Home.of_toml(tmp_path, text), era) as line:
        assert await line.names() == ["one__add", "one__echo", "one__elicit", "one__error"]
        assert await line.text("one__echo", {"text": "hi"}) == "hi"
        for hidden in ("one__env", "one__whoami", "two__echo"):
            error = await line.error("tools/call", {"name": hidden, "arguments": {}})
            assert error["code"] == -32602
        assert await line.names("prompts") == ["one__hello", "two__hello"]
