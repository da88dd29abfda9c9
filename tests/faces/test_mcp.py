"""The MCP face in memory: both eras on one connection, several clients at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.faces.mcp import Session
from broker.stream import MemoryStream
from broker.wire import eras
from tests.pretend import SHORT, House, raw, tools

META = {eras.VERSION: "2026-07-28", eras.CLIENT_INFO: {"name": "m", "version": "1"}, eras.CLIENT_CAPABILITIES: {}}
Json = dict[str, Any]


class Client:
    """What a client writes and reads, as JSON."""

    def __init__(self, house: House, key: str = "client", max_frame: int = 8 << 20, **more: Any) -> None:
        self.stream, far = MemoryStream.pair()
        self.got: list[Json] = []
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()
        self.session = Session(house.router, far, key=key, max_frame=max_frame, on_end=self.ended.set, **more)
        self.session.start()
        self.stream.start(self._read, lambda: None)
        self._last = 0

    def _read(self, data: bytes) -> None:
        self.got += [json.loads(line) for line in data.splitlines()]
        self.arrived.set()

    def write(self, **message: Any) -> None:
        self.stream.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def until(self, wanted: Callable[[Json], bool]) -> Json:
        async with asyncio.timeout(5):
            while True:
                for message in self.got:
                    if wanted(message):
                        return message
                self.arrived.clear()
                await self.arrived.wait()

    def send(self, method: str, meta: Json | None = None, **params: Any) -> int:
        self._last += 1
        self.write(id=self._last, method=method, params={**params, **({"_meta": meta} if meta else {})})
        return self._last

    async def reply(self, id: int) -> Json:
        return await self.until(lambda message: message.get("id") == id and "method" not in message)

    async def ask(self, method: str, meta: Json | None = None, **params: Any) -> Json:
        return await self.reply(self.send(method, meta, **params))

    async def result(self, method: str, meta: Json | None = None, **params: Any) -> Json:
        return (await self.ask(method, meta, **params))["result"]

    async def error(self, method: str, meta: Json | None = None, **params: Any) -> Json:
        return (await self.ask(method, meta, **params))["error"]

    async def initialize(self, version: str = "2025-06-18", **capabilities: Any) -> Json:
        info = {"name": "test", "version": "1"}
        found = await self.result("initialize", protocolVersion=version, capabilities=capabilities, clientInfo=info)
        self.write(method="notifications/initialized")
        return found


@pytest.mark.parametrize("version", eras.LEGACY_VERSIONS)
async def test_a_legacy_version_is_echoed(version: str) -> None:
    assert (await Client(House("a")).initialize(version))["protocolVersion"] == version


@pytest.mark.parametrize("version", ["2026-07-28", "1999-01-01", ""])
async def test_any_other_version_is_answered_with_the_latest_legacy_one(version: str) -> None:
    assert (await Client(House("a")).initialize(version))["protocolVersion"] == "2025-11-25"


async def test_both_openings_work_on_one_connection_in_any_order() -> None:
    client = Client(House("a"))
    assert (await client.result("server/discover", META))["supportedVersions"] == ["2026-07-28"]
    assert (await client.result("tools/list", META))["resultType"] == "complete"
    await client.initialize()
    legacy = await client.result("tools/list")
    assert set(legacy) == {"tools"}
    modern = await client.result("tools/list", META)
    assert modern["tools"] == legacy["tools"] and modern["ttlMs"] == 0 and modern["cacheScope"] == "private"
    assert (await client.result("ping")) == {}


async def test_the_openings_are_answered_while_no_plugin_has_started() -> None:
    house = House("a")
    house.runtime.slow.add("a")
    client = Client(house)
    await client.initialize()
    await client.result("server/discover", META)
    assert house.runtime.instances == []


async def test_after_modern_requests_one_without_its_envelope_is_refused() -> None:
    client = Client(House("a"))
    assert (await client.error("server/discover"))["code"] == -32602
    await client.result("server/discover", META)
    assert (await client.error("tools/list"))["code"] == -32602
    without = {key: value for key, value in META.items() if key != eras.CLIENT_CAPABILITIES}
    assert (await client.error("tools/list", without))["code"] == -32602


async def test_an_unknown_modern_version_is_refused_with_those_that_are_known() -> None:
    error = await Client(House("a")).error("tools/list", {**META, eras.VERSION: "2030-01-01"})
    assert error["code"] == -32022 and error["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe", "nonsense/x"])
async def test_methods_of_the_other_era_or_of_none_do_not_exist(method: str) -> None:
    assert (await Client(House("a")).error(method, META))["code"] == -32601
    assert (await Client(House("a")).error("subscriptions/listen"))["code"] == -32601


@pytest.mark.parametrize("params", [[], "x", 7, None])
async def test_params_that_are_no_object_are_refused_with_the_id(params: Any) -> None:
    client = Client(House("a"))
    client.write(id=1, method="tools/call", params=params)
    assert (await client.reply(1))["error"]["code"] == -32602


@pytest.mark.parametrize("meta", [None, META])
async def test_a_plugin_that_fails_is_told_to_the_model(meta: Json | None) -> None:
    client = Client(House("a", limits=SHORT))
    for tool, name in (("a__die", "plugin-crashed"), ("a__wait", "plugin-timeout")):
        result = await client.result("tools/call", meta, name=tool)
        assert result["isError"] is True and result["_meta"]["plugin-broker/error"]["name"] == name
        assert result["content"][0]["text"].startswith("a ")
        assert ("resultType" in result) == (meta is not None)
        assert result["_meta"].get(eras.SERVER_INFO, {}).get("name") == ("broker" if meta else None)


async def test_a_wrong_name_is_an_error_and_not_a_result() -> None:
    house = House("a", "b")
    client = Client(house)
    assert (await client.error("tools/call", name="a__ech"))["code"] == -32602
    assert (await client.error("prompts/get", name="x"))["code"] == -32602
    assert (await client.error("resources/read", uri="x://y"))["code"] == -32002
    assert (await client.error("resources/read", META, uri="x://y"))["code"] == -32602
    await client.initialize()
    assert (await client.error("completion/complete", ref={"type": "ref/x"}))["code"] == -32602


async def test_a_result_past_the_frame_limit_is_replaced_by_a_sentence_that_names_it() -> None:
    client = Client(House("a"), max_frame=1000)
    result = await client.result("tools/call", name="a__echo", arguments={"text": "x" * 2000})
    assert result["isError"] and "limit is 1000" in result["content"][0]["text"]
    assert not (await client.result("tools/call", name="a__echo", arguments={})).get("isError")


async def test_a_call_to_a_plugin_never_met_learns_it_first() -> None:
    client = Client(House("a", "b"))
    assert (await client.result("tools/call", name="b__echo"))["plugin"] == "b"


async def test_a_call_to_a_plugin_that_cannot_start_says_so_instead_of_no_such_name() -> None:
    house = House("a", "b")
    house.runtime.broken.add("b")
    result = await Client(house).result("tools/call", name="b__echo")
    assert result["isError"] and "cannot be started" in result["content"][0]["text"]


async def test_a_call_waits_for_its_own_plugin_only() -> None:
    house = House("a", "b")
    house.runtime.slow.add("b")
    assert (await Client(house).result("tools/call", name="a__echo"))["plugin"] == "a"


async def test_a_cancelled_request_is_never_answered_and_the_plugin_hears_it() -> None:
    house = House("a")
    client = Client(house)
    await client.result("tools/list")
    id = client.send("tools/call", name="a__wait")
    await asyncio.wait_for(house.runtime.started.wait(), 5)
    client.write(method="notifications/cancelled", params={"requestId": id})
    assert (await client.result("tools/call", name="a__echo"))["plugin"] == "a"
    assert house.runtime.of("a")[0].cancelled == 1
    assert [message for message in client.got if message.get("id") == id] == []


async def test_a_client_that_leaves_takes_only_its_own_calls_with_it() -> None:
    house = House("a", concurrency=2)
    leaving, staying = Client(house, "one"), Client(house, "two")
    await leaving.result("tools/list")
    leaving.send("tools/call", name="a__wait")
    kept = staying.send("tools/call", name="a__wait")
    (a,) = house.runtime.of("a")
    async with asyncio.timeout(5):
        while len(a.running) < 2:
            await asyncio.sleep(0)
    leaving.stream.close()
    await asyncio.wait_for(leaving.ended.wait(), 5)
    async with asyncio.timeout(5):
        while a.cancelled < 1:
            await asyncio.sleep(0)
    a.release.set()
    assert (await staying.reply(kept))["result"]["plugin"] == "a"
    assert a.cancelled == 1


async def test_two_clients_with_the_same_ids_get_their_own_answers() -> None:
    house = House("a")
    one, two = Client(house, "one"), Client(house, "two")
    ids = [
        (client, client.send("tools/call", name="a__echo", arguments={"n": f"{name}{n}"}), f"{name}{n}")
        for n in range(50)
        for name, client in (("one", one), ("two", two))
    ]
    for client, id, text in ids:
        assert (await client.reply(id))["result"]["params"]["arguments"] == {"n": text}


async def test_a_change_is_told_once_to_a_legacy_client_that_listed_and_to_each_listen() -> None:
    house = House("a")
    old, new = Client(house, "old"), Client(house, "new")
    await old.initialize()
    await old.result("tools/list")
    new.write(
        id="listen", method="subscriptions/listen", params={"notifications": {"toolsListChanged": True}, "_meta": META}
    )
    acknowledged = await new.until(lambda message: message.get("method") == "notifications/subscriptions/acknowledged")
    assert acknowledged["params"] == {
        "notifications": {"toolsListChanged": True},
        "_meta": {eras.SUBSCRIPTION_ID: "listen"},
    }
    await new.result("tools/list", META)
    (a,) = house.runtime.of("a")
    before = len([message for message in new.got if message.get("method") == "notifications/tools/list_changed"])
    a.listing = tools("echo", "new")
    a.host.changed({"tools"})
    a.host.changed({"tools"})
    await old.until(lambda message: message.get("method") == "notifications/tools/list_changed")
    notice = await new.until(
        lambda message: message.get("method") == "notifications/tools/list_changed" and new.got.index(message) >= before
    )
    assert notice["params"]["_meta"] == {eras.SUBSCRIPTION_ID: "listen"}
    assert [tool["name"] for tool in (await old.result("tools/list"))["tools"]] == ["a__echo", "a__new"]
    told = [message for message in old.got if message.get("method") == "notifications/tools/list_changed"]
    assert len(told) == 1


async def test_a_question_reaches_only_a_legacy_client_that_declared_it() -> None:
    house = House("a")

    async def asking(instance: Any, call: Any) -> Any:
        try:
            return raw({"answer": json.loads(bytes(await instance.host.ask([call], "roots/list", b"{}")))})
        except Exception as error:
            return raw({"refused": str(error)})

    house.runtime.behaviours["echo"] = asking
    able, unable, modern = Client(house, "able"), Client(house, "unable"), Client(house, "modern")
    await able.initialize(roots={})
    await unable.initialize()
    asked = able.send("tools/call", name="a__echo")
    question = await able.until(lambda message: message.get("method") == "roots/list")
    able.write(id=question["id"], result={"roots": []})
    assert (await able.reply(asked))["result"] == {"answer": {"roots": []}}
    assert "did not declare" in (await unable.result("tools/call", name="a__echo"))["refused"]
    assert "cannot be asked" in (await modern.result("tools/call", META, name="a__echo"))["refused"]


async def test_a_plugin_alone_speaks_for_itself() -> None:
    house = House("a", "b", alone="a")
    house.runtime.listings["a"] = tools("echo", info=raw({"name": "itself", "version": "9"}), instructions="Be kind.")

    async def own(instance: Any, call: Any) -> Awaitable[Any]:
        return raw({"method": call.method})  # type: ignore[return-value]

    house.runtime.behaviours[""] = own
    client = Client(house)
    opened = await client.initialize()
    assert opened["serverInfo"] == {"name": "itself", "version": "9"} and opened["instructions"] == "Be kind."
    assert opened["capabilities"] == {"tools": {}, "resources": {"subscribe": True}}
    assert [tool["name"] for tool in (await client.result("tools/list"))["tools"]] == ["echo"]
    assert (await client.result("vendor/method", x=1)) == {"method": "vendor/method"}
    assert house.runtime.of("b") == []


async def test_instructions_of_known_plugins_are_handed_on_under_their_names() -> None:
    house = House("a", "b")
    house.runtime.listings["b"] = tools("echo", instructions="Use with care.")
    client = Client(house)
    await client.result("tools/list")
    assert (await client.initialize())["instructions"] == "# b\nUse with care."


@pytest.mark.parametrize(("version", "known"), [("2025-06-18", False), ("2025-11-25", True), (None, False)])
async def test_what_only_the_latest_legacy_version_tells_is_told_to_nobody_else(
    version: str | None, known: bool
) -> None:
    house = House("a")
    client = Client(house)
    if version is not None:
        await client.initialize(version)
    meta = META if version is None else None
    await client.result("tools/list", meta)
    for method in eras.LATEST_LEGACY_NOTICES:
        client.session.tell(method, raw({"elicitationId": "1"}))
    await client.result("tools/list", meta)
    told = {message.get("method") for message in client.got}
    assert (told >= eras.LATEST_LEGACY_NOTICES) is known and (known or not told & eras.LATEST_LEGACY_NOTICES)


async def test_log_messages_of_nobody_reach_legacy_clients_from_their_level_up() -> None:
    house = House("a")
    client = Client(house)
    await client.initialize()
    await client.result("tools/list")
    await client.result("logging/setLevel", level="warning")
    assert (await client.error("logging/setLevel", level="loud"))["code"] == -32602
    (a,) = house.runtime.of("a")
    for level in ("info", "error"):
        a.host.logged(raw({"level": level, "data": level}))
    await client.result("ping")
    told = [message["params"]["level"] for message in client.got if message.get("method") == "notifications/message"]
    assert told == ["error"] and a.levels == ["warning"]
