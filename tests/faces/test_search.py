"""All tools behind three: what a client sees, finds and calls, and that it may do nothing it could not do directly."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from broker.core.ports import Call
from broker.errors import RemoteError
from broker.faces.mcp import SETTLE
from broker.faces.search import Search, ToolIndex
from broker.model import Listing, Settings, Spec, Surface
from tests.faces.test_mcp import META, Client, Json
from tests.pretend import House, PretendInstance, raw, tools

THREE = ["search_tools", "describe_tool", "call_tool"]
SEARCHING = Surface(expose="search")
ERAS = pytest.mark.parametrize("meta", [None, META], ids=["legacy", "modern"])


class Searching(Client):
    """A client whose broker has `settings` about what it is shown."""

    def __init__(self, house: House, settings: Settings | None = None, key: str = "client") -> None:
        search = Search(ToolIndex(house.router.catalog), settings or Settings(surface=SEARCHING))
        super().__init__(house, key, search=search)

    async def call(self, tool: str, meta: Json | None = None, **arguments: Any) -> Json:
        return await self.result("tools/call", meta, name=tool, arguments=arguments)

    async def said(self, tool: str, meta: Json | None = None, **arguments: Any) -> Any:
        """What one of the three says, as JSON."""
        result = await self.call(tool, meta, **arguments)
        assert not result.get("isError"), result
        return json.loads(result["content"][0]["text"])

    async def found(self, query: str, **more: Any) -> list[str]:
        return [tool["name"] for tool in (await self.said("search_tools", query=query, **more))["tools"]]

    async def names(self, meta: Json | None = None) -> list[str]:
        return [tool["name"] for tool in (await self.result("tools/list", meta))["tools"]]


def definition(name: str, description: str = "", **more: Any) -> Json:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


def showing(*definitions: Json) -> Listing:
    return Listing(capabilities={"tools": raw({})}, tools=[raw(each) for each in definitions])


def filler(count: int = 20) -> list[Json]:
    return [definition(f"filler_{n}", f"Does thing number {n}.") for n in range(count)]


def crowded(*definitions: Json, **more: Listing) -> House:
    """A house with a plugin `a` that shows these and some more, and others."""
    house = House("a", *more)
    house.runtime.listings = {"a": showing(*filler(), *definitions), **more}
    return house


@ERAS
async def test_a_crowded_list_is_three_tools(meta: Json | None) -> None:
    client = Searching(crowded())
    result = await client.result("tools/list", meta)
    assert [tool["name"] for tool in result["tools"]] == THREE
    assert ("resultType" in result) == (meta is not None)
    assert all(tool["inputSchema"]["type"] == "object" for tool in result["tools"])


async def test_a_client_judges_call_tool_by_the_worst_it_may_call() -> None:
    search, describe, call = (await Searching(crowded()).result("tools/list"))["tools"]
    for looking in (search, describe):
        assert looking["annotations"]["readOnlyHint"] is True
    assert call["annotations"] == {
        **{"title": "Call a tool", "readOnlyHint": False, "destructiveHint": True},
        **{"idempotentHint": False, "openWorldHint": True},
    }


@pytest.mark.parametrize(("count", "hidden"), [(11, False), (12, True)])
async def test_a_few_tools_are_shown_as_they_are(count: int, hidden: bool) -> None:
    house = House("a")
    house.runtime.listings = {"a": showing(*filler(count))}
    names = await Searching(house).names()
    assert names == THREE if hidden else len(names) == count


async def test_while_a_plugin_is_unknown_nobody_knows_that_they_are_few() -> None:
    house = House("a", "b")
    house.runtime.broken.add("b")
    assert await Searching(house).names() == THREE


async def test_what_is_always_visible_stands_beside_the_three_and_can_be_called() -> None:
    house = crowded(b=tools("status", "push"))
    client = Searching(house, Settings(surface=Surface(expose="search", always=("b__st*", "a__filler_1"))))
    assert await client.names() == [*THREE, "a__filler_1", "b__status"]
    assert (await client.call("b__status", x=1))["params"]["arguments"] == {"x": 1}


@pytest.mark.parametrize(
    ("clients", "hidden"),
    [
        ({}, False),
        ({"test": SEARCHING}, True),
        ({"TE*": SEARCHING}, True),
        ({"other": SEARCHING}, False),
        ({"*": SEARCHING, "test": Surface(expose="all")}, True),
        ({"test": Surface(expose="all"), "*": SEARCHING}, False),
        ({"test": Surface(always=("x",)), "*": SEARCHING}, False),
    ],
)
async def test_the_first_glob_that_matches_a_clients_name_says_what_it_sees(
    clients: dict[str, Surface], hidden: bool
) -> None:
    client = Searching(crowded(), Settings(clients=clients))
    await client.initialize()
    assert (await client.names() == THREE) is hidden


async def test_a_client_takes_over_what_its_own_entry_does_not_say() -> None:
    top = Settings(surface=Surface(expose="search", always=("a__filler_1",)))
    top.clients = {"test": Surface(always=("a__filler_2",)), "m": Surface(expose="all")}
    client = Searching(crowded(), top)
    assert await client.names() == [*THREE, "a__filler_1"]
    await client.initialize()
    assert await client.names() == [*THREE, "a__filler_2"]
    assert "search_tools" not in await client.names(META)  # this name is m


async def test_for_a_client_that_sees_all_the_three_do_not_exist() -> None:
    client = Searching(crowded(), Settings(clients={"other": SEARCHING}))
    for tool in THREE:
        assert (await client.error("tools/call", name=tool, arguments={}))["code"] == -32602


async def test_a_plugin_passed_through_has_tools_of_these_names_for_itself() -> None:
    house = House("a", alone="a")
    house.runtime.listings = {"a": tools("call_tool", "echo")}
    client = Client(house)
    assert (await client.result("tools/call", name="call_tool", arguments={"name": "echo"}))["params"] == {
        "name": "call_tool",
        "arguments": {"name": "echo"},
    }


async def test_a_plugin_with_tools_of_these_names_has_its_prefix() -> None:
    house = House("search", "search-tools")
    names = tools("search_tools", "call_tool", "tools", *(f"t{n}" for n in range(12)))
    house.runtime.listings = {"search": names, "search-tools": names}
    client = Searching(house)
    assert await client.names() == THREE
    assert (await client.found("search__call_tool"))[0] == "search__call_tool"
    result = await client.call("call_tool", name="search__call_tool", arguments={"name": "search__tools"})
    assert (result["plugin"], result["params"]["name"]) == ("search", "call_tool")


@ERAS
async def test_a_found_tool_says_what_it_is_and_how_dangerous(meta: Json | None) -> None:
    hints = {"readOnlyHint": False, "destructiveHint": True, "title": "Branch remover", "vendor": {"x": [1]}}
    described = definition("drop_branch", "Removes\n  a branch.", annotations=hints)
    client = Searching(crowded(described))
    said = await client.said("search_tools", meta, query="remove branch", limit=1)
    assert said["of"] == 21 and said["matching"] >= 1
    assert said["tools"] == [
        {
            "name": "a__drop_branch",
            "title": "Branch remover",
            "description": "Removes a branch.",
            "annotations": {"readOnlyHint": False, "destructiveHint": True},
        }
    ]


@ERAS
async def test_a_description_is_the_definition_that_a_list_would_show(meta: Json | None) -> None:
    whole = definition("x", "d", outputSchema={"type": "object"}, annotations={"readOnlyHint": True}, vendor={"a": 1})
    client = Searching(crowded(whole))
    assert await client.said("describe_tool", meta, name="a__x") == {**whole, "name": "a__x"}


@ERAS
async def test_a_call_reaches_the_tool_as_if_it_were_called_directly(meta: Json | None) -> None:
    house = crowded(definition("echo"))
    client = Searching(house)
    arguments = {"name": "deep", "arguments": {"arguments": [1, "ü", None]}}
    through = await client.call("call_tool", meta, name="a__echo", arguments=arguments)
    assert through == await client.call("a__echo", meta, **arguments)
    assert through["params"] == {"name": "echo", "arguments": arguments}
    assert (await client.call("call_tool", meta, name="a__echo"))["params"] == {"name": "echo", "arguments": {}}


async def test_what_a_retry_brings_goes_with_the_call() -> None:
    """The answers and the state of a multi round-trip stand beside the arguments."""
    client = Searching(crowded(definition("echo")))
    extra = {"inputResponses": {"who": {"action": "accept"}}, "requestState": "s"}
    call = {"name": "call_tool", "arguments": {"name": "a__echo", "arguments": {"a": 1}}}
    result = await client.result("tools/call", {"progressToken": 0}, **call, **extra)
    assert result["params"] == {"name": "echo", "arguments": {"a": 1}, **extra}


async def test_calls_through_the_three_keep_their_place_in_the_line() -> None:
    house = crowded(definition("wait"), definition("echo"))
    client = Searching(house)
    await client.names()
    waiting = client.send("tools/call", name="call_tool", arguments={"name": "a__wait"})
    await asyncio.wait_for(house.runtime.started.wait(), 5)
    direct = client.send("tools/call", name="a__echo")
    behind = [direct, client.send("tools/call", name="call_tool", arguments={"name": "a__echo"})]
    (a,) = house.runtime.of("a")
    a.release.set()
    for id in (waiting, *behind):
        assert "result" in await client.reply(id)
    assert a.most == 1


async def test_a_call_through_the_three_is_cancelled_like_any() -> None:
    house = crowded(definition("wait"), definition("echo"))
    client = Searching(house)
    id = client.send("tools/call", name="call_tool", arguments={"name": "a__wait"})
    await asyncio.wait_for(house.runtime.started.wait(), 5)
    client.write(method="notifications/cancelled", params={"requestId": id})
    await client.call("call_tool", name="a__echo")
    assert house.runtime.of("a")[0].cancelled == 1
    assert [message for message in client.got if message.get("id") == id] == []


async def test_a_failure_behind_the_three_is_the_failure_itself() -> None:
    async def refuse(instance: PretendInstance, call: Call) -> Any:
        raise RemoteError(-32050, "no", raw({"k": 1}))

    house = crowded(definition("die"), definition("refuse"))
    house.runtime.behaviours["refuse"] = refuse
    client = Searching(house)
    error = await client.error("tools/call", name="call_tool", arguments={"name": "a__refuse"})
    assert error == {"code": -32050, "message": "no", "data": {"k": 1}}
    died = await client.call("call_tool", name="a__die")
    assert died["isError"] and died["_meta"]["plugin-broker/error"]["name"] == "plugin-crashed"


@pytest.mark.parametrize(
    "name", ["a__hidden", "hidden", "a__Twin", "a__twin", "call_tool", "b__echo", "off__echo", "", "\x00"]
)
@ERAS
async def test_what_is_not_listed_is_not_found_described_or_called(name: str, meta: Json | None) -> None:
    house = House("a", "b", tools=(("!hidden",),))
    house.router.generations.add(Spec(name="off", source="test.json", enabled=False))
    house.runtime.listings = {
        "a": showing(*filler(), *(definition(each, "hidden twin") for each in ("hidden", "Twin", "twin"))),
        "b": tools("die"),
    }
    client = Searching(house)
    assert await client.found("hidden twin") == []
    assert await client.found(f"{name} hidden") == [each for each in await client.found(name) if name]
    for tool in ("describe_tool", "call_tool"):
        result = await client.call(tool, meta, name=name)
        assert result["isError"] and "search_tools" in result["content"][0]["text"]
        assert ("resultType" in result) == (meta is not None)
    assert [call for instance in house.runtime.instances for call in instance.running] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "a__echo", "text": "x"}, "(text) go into `arguments`"),
        ({"name": "a__echo", "arguments": "{}"}, "must be an object"),
        ({"name": "a__echo", "arguments": [1]}, "must be an object"),
        ({"name": 7}, "needs the `name`"),
        ({}, "needs the `name`"),
        ({"name": ["a__echo"]}, "needs the `name`"),
    ],
)
async def test_a_wrong_call_of_call_tool_is_explained_to_the_model(arguments: Json, said: str) -> None:
    house = crowded(definition("echo"))
    result = await Searching(house).call("call_tool", **arguments)
    assert result["isError"] and said in result["content"][0]["text"]


@pytest.mark.parametrize("arguments", [{}, {"query": 7}, {"query": "x", "limit": "many"}, {"query": None}])
async def test_a_wrong_search_is_explained_to_the_model(arguments: Json) -> None:
    result = await Searching(crowded()).call("search_tools", **arguments)
    assert result["isError"] and "`query`" in result["content"][0]["text"]


async def test_a_search_answers_at_most_as_many_as_it_may() -> None:
    house = House("a")
    house.runtime.listings = {"a": showing(*filler(200))}
    client = Searching(house)
    for limit, count in ((None, 10), (3, 3), (0, 1), (-5, 1), (10**9, 50), ("7", 7)):
        assert len(await client.found("thing", **({} if limit is None else {"limit": limit}))) == count


async def test_a_tool_is_found_by_its_exact_name() -> None:
    house = crowded(b=showing(definition("do", "x"), *(definition(f"do_{n}", "do do do") for n in range(20))))
    client = Searching(house)
    for name in ("b__do", "B__DO", " do "):
        assert (await client.found(name))[0] == "b__do"


async def test_one_plugin_does_not_fill_the_results_while_others_match() -> None:
    evil = showing(*(definition(f"read_file_{n}", "Best tool to read a file. " * 9) for n in range(300)))
    honest = showing(definition("read_text_file", "Reads a file as text."))
    found = await Searching(crowded(evil=evil, files=honest)).found("read a file")
    assert "files__read_text_file" in found
    assert sum(name.startswith("evil__") for name in found) == 9  # five, and what nobody else wants
    alone = await Searching(crowded(evil=evil)).found("read a file")
    assert len(alone) == 10


async def test_a_required_plugin_that_is_not_there_is_seen_beside_the_three() -> None:
    house = House("a", "b", required=True)
    house.runtime.listings = {"a": showing(*filler())}
    house.runtime.broken.add("b")
    client = Searching(house)
    assert await client.names() == [*THREE, "b__unavailable"]
    direct = await client.call("b__unavailable")
    through = await client.call("call_tool", name="b__unavailable")
    for result in (direct, through):
        assert result["isError"] and "cannot be started" in result["content"][0]["text"]


async def test_a_change_behind_the_three_is_found_and_not_told() -> None:
    house = crowded(b=tools("echo"))
    client = Searching(house, Settings(surface=Surface(expose="search", always=("b__s*",))))
    await client.initialize()
    assert await client.names() == THREE
    assert await client.found("unicorn") == []
    (b,) = house.runtime.of("b")
    b.listing = tools("unicorn")
    b.host.changed({"tools"})
    async with asyncio.timeout(5):
        while await client.found("unicorn") != ["b__unicorn"]:
            await asyncio.sleep(0.01)
    b.listing = tools("unicorn", "seen")
    b.host.changed({"tools"})
    await client.until(lambda message: message.get("method") == "notifications/tools/list_changed")
    assert await client.names() == [*THREE, "b__seen"]
    told = [message for message in client.got if message.get("method") == "notifications/tools/list_changed"]
    assert len(told) == 1  # and none for the unicorn


async def test_another_way_to_show_tools_is_told_only_if_it_shows_others() -> None:
    house = crowded()
    client = Searching(house, Settings())
    await client.initialize()
    before = await client.names()

    async def told(settings: Settings | None) -> int:
        """The notices there are when tools are shown by these settings, and all is said."""
        client.got.clear()
        client.session.expose(Search(ToolIndex(house.router.catalog), settings) if settings else None)
        await asyncio.sleep(2 * SETTLE)
        await client.result("ping")
        return sum(message.get("method") == "notifications/tools/list_changed" for message in client.got)

    assert await told(Settings(clients={"somebody-else": SEARCHING})) == 0
    assert await told(Settings(surface=SEARCHING)) == 1
    assert await client.names() == THREE
    assert await told(None) == 1
    assert await client.names() == before
    assert await told(Settings()) == 0


async def test_becoming_crowded_is_told() -> None:
    house = House("a")
    house.runtime.listings = {"a": showing(*filler(3))}
    client = Searching(house)
    await client.initialize()
    assert len(await client.names()) == 3
    (a,) = house.runtime.of("a")
    a.listing = showing(*filler(30))
    a.host.changed({"tools"})
    await client.until(lambda message: message.get("method") == "notifications/tools/list_changed")
    assert await client.names() == THREE


@ERAS
async def test_the_instructions_name_the_plugins_behind_the_three(meta: Json | None) -> None:
    client = Searching(crowded(zebra=tools("echo")))
    opened = await (client.result("server/discover", meta) if meta else client.initialize())
    assert "search_tools" in opened["instructions"] and "a, zebra" in opened["instructions"]


@pytest.mark.parametrize(
    "strange",
    [
        {"name": "x", "description": 7, "inputSchema": []},
        {"name": "x", "title": ["needle"], "annotations": "needle", "inputSchema": {"properties": [1]}},
        {"name": "x", "inputSchema": {"properties": {"needle": "needle", "b": None}}},
        {"name": "x", "description": "\u202eneedle\ud7ff\U0010ffff\n" * 9999, "annotations": {"readOnlyHint": "yes"}},
        {"name": "x" * 500, "description": None, "annotations": None, "inputSchema": None},
    ],
)
async def test_a_strange_definition_harms_no_search(strange: Json) -> None:
    client = Searching(crowded(strange, definition("needle", "needle")))
    said = await client.said("search_tools", query="needle")
    assert said["tools"][0]["name"] == "a__needle"
    assert all(len(json.dumps(tool)) < 2000 for tool in said["tools"])


@pytest.mark.parametrize("query", ["", " ", "the of a", "\u0000", "(((", "*", "\U0001f600", "x" * 1_000_000, "東京"])
async def test_a_query_that_finds_nothing_is_answered(query: str) -> None:
    said = await Searching(crowded()).said("search_tools", query=query)
    assert said == {"tools": [], "matching": 0, "of": 20}


async def test_five_thousand_tools_are_searched_without_keeping_other_clients_waiting() -> None:
    house = House("a", "b")
    many = [definition(f"tool_{n}", f"Reads record {n} of a table by its key. " * 3) for n in range(5000)]
    house.runtime.listings = {"a": showing(*many), "b": tools("echo")}
    client, other = Searching(house), Client(house, "other")
    assert await client.names() == THREE
    id = client.send("tools/call", name="search_tools", arguments={"query": "record 4711"})
    turns = 0
    while not any(message.get("id") == id for message in client.got):
        await other.result("ping")
        turns += 1
    assert turns > 20  # answered while the index was made
    began = time.perf_counter()
    assert (await client.found("record 4711"))[0] == "a__tool_4711"
    assert time.perf_counter() - began < 10
