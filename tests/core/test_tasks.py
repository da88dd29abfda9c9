"""The ids of tasks on their way between plugins and clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from broker.core import tasks
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


def test_a_result_is_a_task_only_by_its_type() -> None:
    assert tasks.is_task(raw({"resultType": "task", "taskId": "x"}))
    assert tasks.is_task(Raw(b'{ "resultType" : "task" }'))
    for other in ({"resultType": "complete", "k": "task"}, {"task": {}}, ["task"], {"k": {"resultType": "task"}}):
        assert not tasks.is_task(raw(other))
