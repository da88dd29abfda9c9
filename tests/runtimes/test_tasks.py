"""What is kept of the tasks a server works at, and waiting for one as if it were a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.core.ports import Call, Reply
from broker.core.tasks import RELATED
from broker.errors import PluginFailed, RemoteError
from broker.runtimes.progress import Progress
from broker.runtimes.tasks import MOST, Tasks, finished
from broker.wire.eras import Members
from tests.pretend import PretendFace, raw
from tests.travel import travel


class Way:
    """The tasks of one server, and two clients that call it."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.tasks = Tasks(self.progress)
        self.faces = [PretendFace("first"), PretendFace("second")]
        self.calls = [Call(face, face.identity, "tools/call", {}, token=raw("t")) for face in self.faces]

    def begin(self, number: int, own: str, **task: Any) -> int:
        """The server answered with a task; the token the call began with."""
        call = self.calls[number]
        token = self.progress.begin(call)
        answer = raw({"task": {"taskId": own, "status": "working", **task}})
        assert self.tasks.answered(call, {"task": raw({})}, answer, token) == 0
        return token


def about(own: str, **more: Any) -> Any:
    return raw({"taskId": own, **more})


async def test_what_belongs_to_a_task_belongs_to_who_began_it() -> None:
    way = Way()
    tokens = way.begin(0, "a"), way.begin(1, "b")
    assert way.tasks.whose(about("a")) is way.calls[0]
    assert way.tasks.whose(raw({"message": "Who?", "_meta": {RELATED: {"taskId": "b"}}})) is way.calls[1]
    assert way.tasks.whose(about("c")) is way.tasks.whose(raw({})) is None
    way.progress.take(raw({"progressToken": tokens[1], "progress": 1}))
    assert way.faces[0].told == [] and len(way.faces[1].told) == 1


async def test_progress_of_a_task_ends_with_it() -> None:
    way = Way()
    token = way.begin(0, "a")
    assert way.tasks.changed(about("a", status="working")) is way.calls[0] and way.tasks.working
    assert way.tasks.changed(about("a", status="completed")) is way.calls[0]
    assert way.progress.take(raw({"progressToken": token, "progress": 1})) is None
    assert way.tasks.changed(about("a", status="completed")) is None and not way.tasks.working


async def test_a_task_is_over_when_its_result_is_fetched_or_it_is_seen_to_be() -> None:
    way = Way()
    for method, answer in (("tasks/result", {"content": []}), ("tasks/get", {"status": "failed"})):
        way.begin(0, "a")
        call = Call(way.faces[0], way.faces[0].identity, method, {})
        way.tasks.answered(call, {"taskId": raw("b")}, raw(answer), 0)
        assert way.tasks.working
        way.tasks.answered(call, {"taskId": raw("a")}, raw(answer), 0)
        assert not way.tasks.working


async def test_what_is_kept_is_bounded() -> None:
    way = Way()
    for number in range(MOST + 5):
        way.begin(0, str(number))
    assert way.tasks.whose(about("4")) is None and way.tasks.whose(about("5")) is way.calls[0]


def test_a_task_nobody_asks_about_keeps_its_server_no_longer_than_it_is_kept() -> None:
    async def story() -> None:
        way = Way()
        way.begin(0, "a", ttl=60_000)
        way.begin(0, "b", ttl=None)
        way.begin(0, "c", ttl="soon")
        way.tasks.over("c")
        await asyncio.sleep(59)
        way.tasks.over("b")
        assert way.tasks.working
        await asyncio.sleep(2)
        assert not way.tasks.working

    travel(story())


class Server:
    """Answers by a script: method -> its answers in order, the last again and again."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {f"tasks/{name}": values for name, values in answers.items()}
        self.asked: list[str] = []
        self.forsaken: list[Any] = []
        self.lived = 0

    async def exchange(self, call: Call, params: Members, method: str = "") -> Reply:
        name = method or "tasks/create"
        self.asked.append(name)
        values = self.answers[name]
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, Exception):
            raise value
        return raw(value)

    def forsake(self, task: Members) -> None:
        self.forsaken.append(json.loads(bytes(task["taskId"])))

    def progressed(self, call: Call) -> None:
        self.lived += 1


def story_of(work: Callable[[Way, Server], Any], server: Server) -> Any:
    async def story() -> Any:
        return json.loads(bytes(await work(Way(), server)))

    return travel(story())


def run(way: Way, server: Any) -> Any:
    return way.tasks.run(way.calls[0], server, server.exchange, server.forsake)


def poll(way: Way, server: Any) -> Any:
    created = raw({"resultType": "task", "taskId": "x", "status": "working", "pollIntervalMs": 1000})
    return finished("notes", way.calls[0], server, created, server.exchange, server.forsake)


TASK = {"task": {"taskId": "x", "status": "working"}}
SAID: dict[str, Any] = {"content": [{"type": "text", "text": "hi"}]}


def test_a_server_that_refuses_its_result_until_the_end_is_asked_again() -> None:
    refusal = RemoteError(-32602, "not yet")
    server = Server(create=[TASK], result=[refusal, refusal, SAID], get=[{"status": "working", "pollInterval": 10}])
    assert story_of(run, server) == SAID and server.lived == 2 and server.forsaken == []


def test_a_server_that_answers_at_once_is_believed() -> None:
    assert story_of(run, Server(create=[SAID])) == SAID


def test_a_failed_task_is_a_failed_call() -> None:
    server = Server(create=[TASK], result=[RemoteError(-7, "broken")], get=[{"status": "failed"}])
    with pytest.raises(RemoteError, match="broken"):
        story_of(run, server)


def test_a_task_of_the_extension_is_looked_at_until_it_is_over() -> None:
    working = {"status": "working", "pollIntervalMs": 1}
    server = Server(get=[working, working, {"status": "completed", "result": SAID}])
    assert story_of(poll, server) == SAID and server.lived == 3


@pytest.mark.parametrize("state", [{"status": "cancelled"}, {"status": 7}, {}, {"status": "completed", "result": None}])
def test_a_task_that_comes_to_nothing_says_so(state: Any) -> None:
    server = Server(get=[state])
    if state.get("status") == "completed":
        assert story_of(poll, server) is None  # which is no result, and is told so where results are read
        return
    with pytest.raises(PluginFailed, match="notes"):
        story_of(poll, server)
    assert server.forsaken == ["x"]


@pytest.mark.parametrize("error", [{"code": -5, "message": "m", "data": {"k": 1}}, {"code": "x"}, None, [1]])
def test_the_error_of_a_failed_task_is_handed_on(error: Any) -> None:
    with pytest.raises(RemoteError) as failed:
        story_of(poll, Server(get=[{"status": "failed", "error": error}]))
    good = isinstance(error, dict) and error["code"] == -5
    assert failed.value.code == (-5 if good else -32603)
    assert failed.value.data == (raw({"k": 1}) if good else None)
