"""What a server says while nobody asks: changed lists, updated resources, log lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.harness import EACH_KIND, ERAS, KINDS, META, Home, Line, opened, same_id
from tests.servers import scripted

pytestmark = pytest.mark.matrix

SUBSCRIPTION = META + "subscriptionId"
UPDATED = "notifications/resources/updated"
PAUSE = 150  # milliseconds at the server: longer than the broker gathers changes before it tells
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
LIST_FLAGS = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
every_pair = [pytest.mark.parametrize("kind", EACH_KIND), pytest.mark.parametrize("era", ERAS)]


def home(folder: Path, kind: str) -> Home:
    return Home.of(folder, {"one": KINDS[kind]})


def of(line: Line, method: str, id: int | str) -> list[dict[str, object]]:
    """The notices of one `subscriptions/listen`."""
    return [params for params in line.notices(method) if same_id(params.get("_meta", {}).get(SUBSCRIPTION), id)]


class TestLists:
    pytestmark = every_pair

    async def test_a_changed_list_is_told_and_is_the_new_one(self, tmp_path: Path, kind: str, era: str) -> None:
        async with opened(home(tmp_path, kind), era) as line:
            for what in LIST_FLAGS:
                assert not any(name.endswith("extra") for name in await line.names(what))
            if era == "modern":
                filters = dict.fromkeys(LIST_FLAGS.values(), True)
                line.send("subscriptions/listen", {"notifications": filters}, id="listen")
                acknowledged = await line.notice(ACKNOWLEDGED)
                assert acknowledged == {"notifications": filters, "_meta": {SUBSCRIPTION: "listen"}}
            await line.text("one__sleep", {"ms": PAUSE})  # what belongs to the start is over
            for what in LIST_FLAGS:
                so_far = len(line.said)
                await line.text("one__change", {"what": what})
                told = await line.notice(f"notifications/{what}/list_changed", after=so_far)
                assert told.get("_meta", {}) == ({SUBSCRIPTION: "listen"} if era == "modern" else {})
                assert sum(name.endswith("extra") for name in await line.names(what)) == 1
            assert await line.text("one__extra") == "extra"
            read = await line.result("resources/read", {"uri": "demo://extra"})
            assert read["contents"][0]["text"] == "text of demo://extra"


@pytest.mark.parametrize("era", ERAS)
async def test_meeting_a_server_is_no_change_of_a_list(tmp_path: Path, era: str) -> None:
    """A client that pipelines its openings, as Claude Code does, and gets lists that are complete."""
    async with opened(home(tmp_path, "dual"), era) as line:
        if era == "modern":
            filters = dict.fromkeys(LIST_FLAGS.values(), True)
            line.send("subscriptions/listen", {"notifications": filters}, id="listen")
        asked = [line.send(f"{what}/list") for what in LIST_FLAGS]
        for each in asked:
            await line.reply(each)
        await line.text("one__sleep", {"ms": PAUSE})
        for what in LIST_FLAGS:
            assert line.notices(f"notifications/{what}/list_changed") == []


class TestUpdates:
    pytestmark = every_pair

    async def test_a_subscribed_resource_tells_of_its_updates(self, tmp_path: Path, kind: str, era: str) -> None:
        async with opened(home(tmp_path, kind), era) as line:
            await line.result("resources/list")
            if era == "legacy":
                assert await line.result("resources/subscribe", {"uri": "demo://a"}) == {}
            else:
                uris = {"resourceSubscriptions": ["demo://a"]}
                line.send("subscriptions/listen", {"notifications": uris}, id=0)
                assert await line.notice(ACKNOWLEDGED) == {"notifications": uris, "_meta": {SUBSCRIPTION: 0}}
            await line.text("one__touch", {"uri": "demo://b"})
            await line.text("one__touch", {"uri": "demo://a"})
            stamp = {"_meta": {SUBSCRIPTION: 0}} if era == "modern" else {}
            assert await line.notice(UPDATED) == {"uri": "demo://a", **stamp}

            if era == "legacy":
                assert await line.result("resources/unsubscribe", {"uri": "demo://a"}) == {}
            else:
                line.cancel(0)
            await line.text("one__touch", {"uri": "demo://a"})
            await line.settled()
            assert len(line.notices(UPDATED)) == 1


class TestLogs:
    pytestmark = every_pair

    async def test_log_lines_come_from_the_level_that_was_asked_for(self, tmp_path: Path, kind: str, era: str) -> None:
        async with opened(home(tmp_path, kind), era) as line:
            level = {META + "logLevel": "warning"} if era == "modern" else None
            if era == "legacy":
                assert await line.result("logging/setLevel", {"level": "warning"}) == {}
            for each in ("debug", "info", "error", "notice", "emergency"):
                await line.text("one__log", {"level": each}, meta=level)
            await line.settled()
            told = line.notices("notifications/message")
            assert [params["level"] for params in told] == ["error", "emergency"]
            assert told[0] == {"level": "error", "logger": "scripted", "data": "a line at error"}


@pytest.mark.parametrize("era", ERAS)
async def test_a_resource_of_a_server_never_met_can_be_subscribed_to(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "dual"), era) as line:
        if era == "legacy":
            assert await line.result("resources/subscribe", {"uri": "demo://a"}) == {}
        else:
            uris = {"resourceSubscriptions": ["demo://a"]}
            line.send("subscriptions/listen", {"notifications": uris})
            assert (await line.notice(ACKNOWLEDGED))["notifications"] == uris
        await line.text("one__touch", {"uri": "demo://a"})
        assert (await line.notice(UPDATED))["uri"] == "demo://a"


@pytest.mark.parametrize("kind", EACH_KIND)
async def test_a_modern_request_that_asks_for_no_log_gets_none(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind), "modern") as line:
        await line.text("one__log", {"level": "emergency"})
        await line.settled()
        assert line.notices("notifications/message") == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_level_that_is_none_is_refused(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "dual"), era) as line:
        if era == "legacy":
            assert (await line.error("logging/setLevel", {"level": "loud"}))["code"] == -32602
        else:
            assert (await line.error("logging/setLevel", {"level": "debug"}))["code"] == -32601


async def test_two_listens_each_hear_what_they_asked_for(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "modern"), "modern") as line:
        await line.result("resources/list")
        line.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="1")
        line.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["demo://a"]}}, id=1)
        await line.until(lambda _: len(line.notices(ACKNOWLEDGED)) == 2)
        await line.text("one__touch", {"uri": "demo://a"})
        await line.text("one__change", {"what": "tools"})
        await line.notice("notifications/tools/list_changed")
        await line.notice(UPDATED)
        assert of(line, UPDATED, "1") == [] and len(of(line, UPDATED, 1)) == 1
        assert len(of(line, "notifications/tools/list_changed", "1")) == 1
        assert of(line, "notifications/tools/list_changed", 1) == []


async def test_a_subscription_and_a_listen_on_one_pipe_are_two_things(tmp_path: Path) -> None:
    uris = {"notifications": {"resourceSubscriptions": ["demo://a"]}}
    async with opened(home(tmp_path, "legacy")) as line:
        await line.result("resources/list")
        line.era = "modern"
        line.send("subscriptions/listen", uris, id="listen")
        await line.notice(ACKNOWLEDGED)
        await line.text("one__touch", {"uri": "demo://a"})
        await line.notice(UPDATED)
        await line.settled()
        assert len(line.notices(UPDATED)) == len(of(line, UPDATED, "listen")) == 1

        line.era = "legacy"
        await line.result("resources/subscribe", {"uri": "demo://a"})
        line.cancel("listen")
        await line.settled()
        so_far = len(line.said)
        await line.text("one__touch", {"uri": "demo://a"})
        assert await line.notice(UPDATED, after=so_far) == {"uri": "demo://a"}


async def test_the_acknowledgement_is_the_first_a_listener_hears(tmp_path: Path) -> None:
    servers = {"one": KINDS["dual"], "slow": scripted("--era", "dual", "--slow-start", "0.3")}
    async with opened(Home.of(tmp_path, servers), "modern") as line:
        asked = [line.send(f"{what}/list") for what in LIST_FLAGS]
        wanted = {**dict.fromkeys(LIST_FLAGS.values(), True), "resourceSubscriptions": ["broker://slow/demo://a"]}
        line.send("subscriptions/listen", {"notifications": wanted}, id="listen")
        assert await line.notice(ACKNOWLEDGED) == {"notifications": wanted, "_meta": {SUBSCRIPTION: "listen"}}
        for each in asked:
            await line.reply(each)
        told = [message["method"] for message in line.said if "method" in message]
        assert told[0] == ACKNOWLEDGED


async def test_one_of_two_listens_that_ends_leaves_the_other(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "modern"), "modern") as line:
        await line.result("resources/list")
        for id in ("first", "second"):
            line.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["demo://a"]}}, id=id)
        await line.until(lambda _: len(line.notices(ACKNOWLEDGED)) == 2)
        line.cancel("first")
        await line.settled()
        await line.text("one__touch", {"uri": "demo://a"})
        await line.notice(UPDATED)
        await line.settled()
        assert of(line, UPDATED, "first") == [] and len(of(line, UPDATED, "second")) == 1
        assert not any(message.get("id") in ("first", "second") for message in line.said)


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_an_open_listen_is_ended_in_order_when_the_client_leaves(tmp_path: Path, kind: str) -> None:
    """It is no call in flight that the end has to wait for."""
    async with opened(home(tmp_path, kind), "modern") as line:
        line.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="listen")
        await line.notice(ACKNOWLEDGED)
        assert await line.leave() == 0
        [end] = [message for message in line.said if message.get("id") == "listen"]
        assert end["result"]["resultType"] == "complete"


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_a_subscription_lives_on_when_the_server_is_started_again(tmp_path: Path, kind: str) -> None:
    async with opened(home(tmp_path, kind)) as line:
        await line.result("resources/list")
        await line.result("resources/subscribe", {"uri": "demo://a"})
        assert (await line.call("one__die"))["isError"]
        await line.text("one__touch", {"uri": "demo://a"})
        assert await line.notice(UPDATED) == {"uri": "demo://a"}


async def test_the_level_is_kept_when_the_server_is_started_again(tmp_path: Path) -> None:
    async with opened(home(tmp_path, "legacy")) as line:
        await line.result("logging/setLevel", {"level": "error"})
        assert (await line.call("one__die"))["isError"]
        await line.text("one__log", {"level": "info"})
        await line.text("one__log", {"level": "alert"})
        await line.settled()
        assert [params["level"] for params in line.notices("notifications/message")] == ["alert"]
