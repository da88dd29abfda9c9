"""The ids of tasks on their way between plugins and clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from broker.core import tasks
from broker.core.ports import Reply
from broker.errors import BadArguments, PluginFailed
from broker.model import Listing
from tests.pretend import raw

META = {tasks.RELATED: {"taskId": "x"}, "traceparent": "00-a"}
SEEN = {tasks.RELATED: {"taskId": "p:x"}, "traceparent": "00-a"}


def outward(said: Any) -> Any:
    return json.loads(bytes(tasks.outward("p", raw(said))))


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"task": {"taskId": "x", "ttl": None}}, {"task": {"taskId": "p:x", "ttl": None}}),
        ({"taskId": "x", "status": "working"}, {"taskId": "p:x", "status": "working"}),
        ({"tasks": [{"taskId": "x"}, {"taskId": "y"}]}, {"tasks": [{"taskId": "p:x"}, {"taskId": "p:y"}]}),
        ({"content": [], "_meta": META}, {"content": [], "_meta": SEEN}),
        ({"structuredContent": {"taskId": "x"}}, {"structuredContent": {"taskId": "x"}}),
        ({"content": [{"text": '"taskId"'}]}, {"content": [{"text": '"taskId"'}]}),
        ({"taskId": 7}, {"taskId": 7}),
        ({"tasks": "taskId", "task": ["taskId"]}, {"tasks": "taskId", "task": ["taskId"]}),
        (["taskId"], ["taskId"]),
    ],
)
def test_an_id_is_renamed_where_the_protocol_has_one_and_nowhere_else(said: Any, seen: Any) -> None:
    assert outward(said) == seen


def test_an_id_leads_back_whatever_a_plugin_puts_into_it() -> None:
    for own in ("x", "a:b", ":", "", "\u2028\ud83d\ude00", "p:x"):
        assert tasks.own_id(tasks.shown_id("some-plugin", own)) == ("some-plugin", own)


def test_the_task_that_something_is_about_is_found() -> None:
    for said in ({"task": {"taskId": "x"}}, {"taskId": "x"}, {"_meta": META}):
        assert tasks.own_of(raw(said)) == "x"
    for odd in ({"task": 7, "k": "taskId"}, {"taskId": 7}, {"_meta": {"taskId": "x"}}, [{"taskId": "x"}], {}):
        assert tasks.own_of(raw(odd)) is None


def test_what_a_caller_without_tasks_is_told_mentions_none() -> None:
    assert json.loads(bytes(tasks.unrelated(raw({"content": [], "_meta": META})))) == {
        "content": [],
        "_meta": {"traceparent": "00-a"},
    }
    assert json.loads(bytes(tasks.unrelated(raw({"_meta": {tasks.RELATED: {}}})))) == {}


def test_only_a_capability_that_says_so_makes_tools_run_as_tasks() -> None:
    def runs(capability: Any) -> bool:
        return tasks.runs_tools(Listing(capabilities={"tasks": raw(capability)}))

    assert runs({"requests": {"tools": {"call": {}}}})
    assert not any(map(runs, ({}, {"requests": {}}, {"requests": {"tools": {}}}, {"requests": 7}, None, True)))
    assert not tasks.runs_tools(Listing())


class Plugins:
    """Some with pages of tasks, one that fails."""

    def __init__(self, **pages: list[list[str]]) -> None:
        self.pages = pages

    async def ask(self, cursor: str) -> Reply:
        name, own = tasks.own_id(cursor)
        if name == "broken":
            raise PluginFailed("it is not there")
        at = int(own or 0)
        page: dict[str, Any] = {"tasks": [{"taskId": tasks.shown_id(name, id)} for id in self.pages[name][at]]}
        if at + 1 < len(self.pages[name]):
            page["nextCursor"] = str(at + 1)
        return raw(page)

    async def all(self) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = json.loads(bytes(await tasks.page(self.pages, cursor, self.ask)))
            found += [task["taskId"] for task in page["tasks"]]
            if "nextCursor" not in page:
                return found
            cursor = page["nextCursor"]


async def test_the_pages_of_all_plugins_follow_one_another() -> None:
    assert await Plugins(b=[["3"], ["4", "5"]], a=[["1"], [], ["2"]], c=[[]]).all() == [
        "a:1",
        "a:2",
        "b:3",
        "b:4",
        "b:5",
    ]
    assert await Plugins().all() == [] == await Plugins(a=[[]], b=[[]]).all()


async def test_a_plugin_that_fails_hides_nobody_elses_tasks() -> None:
    assert await Plugins(a=[["1"]], broken=[[]], c=[["2"]]).all() == ["a:1", "c:2"]
    assert await Plugins(broken=[[]]).all() == []


@pytest.mark.parametrize("cursor", ["nobody:", "x", "", "a"])
async def test_a_cursor_nobody_gave_is_refused_or_begins_a_list(cursor: str) -> None:
    plugins = Plugins(a=[["1"]])
    if cursor == "a":
        assert json.loads(bytes(await tasks.page(plugins.pages, cursor, plugins.ask)))["tasks"]
        return
    with pytest.raises(BadArguments, match="cursor"):
        await tasks.page(plugins.pages, cursor, plugins.ask)


def test_a_result_is_a_task_only_by_its_type() -> None:
    assert tasks.is_task(raw({"resultType": "task", "taskId": "x"}))
    assert tasks.is_task(Raw(b'{ "resultType" : "task" }'))
    for other in ({"resultType": "complete", "k": "task"}, {"task": {}}, ["task"], {"k": {"resultType": "task"}}):
        assert not tasks.is_task(raw(other))
