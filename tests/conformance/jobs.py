"""Calls that become tasks (extension io.modelcontextprotocol/tasks): the tools the suite runs so, and `tasks/*`.

A job runs in a thread of its own while the client asks after it; what it asks of the client waits in the task.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from offers import Json, RpcError, ToolError, ask_name, elicitation, schema, strings, text

if TYPE_CHECKING:
    from server import Call

EXTENSION = "io.modelcontextprotocol/tasks"
TTL_MS = 600_000
POLL_MS = 100

Job = Callable[["Task"], str]
JOBS: dict[str, tuple[Job, bool, Json]] = {}
"""Each job, whether it only runs as a task, and how it is listed."""


class Cancelled(Exception):
    """The client wants no result any more."""


class Task:
    """One running job."""

    def __init__(self, job: Job, args: Json) -> None:
        self.id, self.args = uuid.uuid4().hex, args
        self.created = self.updated = now()
        self.outcome: Json = {"status": "working"}
        self._job = job
        self._open: Json = {}  # what it asked of the client and has no answer to
        self._answers: Json = {}
        self._news = threading.Condition()
        self._started = self._cancelled = False

    def run(self) -> Json:
        """Do the job; how it ended."""
        try:
            return {"status": "completed", "result": {"content": [text(self._job(self))]}}
        except ToolError as error:
            return {"status": "completed", "result": {"content": [text(str(error))], "isError": True}}
        except RpcError as error:
            return {"status": "failed", "error": {"code": error.code, "message": str(error)}}
        except Cancelled:
            return {"status": "cancelled"}

    def start(self) -> Json:
        """Do it in a thread; the result of the call that wanted it."""

        def work() -> None:
            self.outcome, self.updated = self.run(), now()

        self._started, shown = True, self.shown()
        threading.Thread(target=work, daemon=True).start()
        return {"resultType": "task", **shown}

    def shown(self) -> Json:
        stamps = {"createdAt": self.created, "lastUpdatedAt": self.updated}
        asks = {"status": "input_required", "inputRequests": dict(self._open)} if self._open else {}
        return {"taskId": self.id, **stamps, "ttlMs": TTL_MS, "pollIntervalMs": POLL_MS, **self.outcome, **asks}

    def pause(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._cancelled, seconds)
        if self._cancelled:
            raise Cancelled

    def ask(self, asks: Json) -> Json:
        """The client's answers to all of `asks`, however many updates bring them."""
        if not self._started:
            raise ToolError("a client that does not know tasks cannot be asked")
        with self._news:
            self._open = dict(asks)
            self._news.wait_for(lambda: self._cancelled or not self._open)
            self._open = {}
        if self._cancelled:
            raise Cancelled
        return self._answers

    def update(self, answers: Json) -> None:
        with self._news:
            self._answers |= {key: answer for key, answer in answers.items() if self._open.pop(key, None)}
            self._news.notify_all()

    def cancel(self) -> None:
        with self._news:
            self._cancelled = True
            self._news.notify_all()


def now() -> str:
    return datetime.now(UTC).isoformat()


def job(description: str, input_schema: Json, *, required: bool = False) -> Callable[[Job], Job]:
    def register(function: Job) -> Job:
        shown = {"name": function.__name__, "description": description, "inputSchema": input_schema}
        JOBS[function.__name__] = function, required, shown
        return function

    return register


@job("Greets", strings("name"))
def greet(task: Task) -> str:
    return f"Hello, {task.args['name']}!"


@job("Takes its time", schema({"seconds": {"type": "number"}}))
def slow_compute(task: Task) -> str:
    task.pause(task.args["seconds"])
    return f"Computed for {task.args['seconds']} s."


@job("Fails as a tool", schema({}), required=True)
def failing_job(task: Task) -> str:
    raise ToolError("This job always fails")


@job("Fails as a request", schema({}))
def protocol_error_job(task: Task) -> str:
    raise RpcError(-32603, "This job never ends well")


@job("Asks before it deletes", strings("filename"))
def confirm_delete(task: Task) -> str:
    answers = task.ask({"confirm": elicitation("Delete it?", schema({"confirm": {"type": "boolean"}}))})
    return f"The answer was {answers['confirm']['action']}."


@job("Asks two things at once", schema({}))
def multi_input(task: Task) -> str:
    answers = task.ask({"name": ask_name(), "color": elicitation("Which color?", strings("color"))})
    return f"Answered: {', '.join(sorted(answers))}."


@job("Requires a name, and becomes a task when it has it", schema({}), required=True)
def test_tool_with_task(task: Task) -> str:
    return f"Hello, {task.args['user_name']}!"


def call_job(call: Call) -> Json:
    """A call of a tool in `JOBS`: a task where the client knows tasks, else a plain result if need be."""
    name: str = call.params["name"]
    function, required, _ = JOBS[name]
    if name == "greet" or not (required or knows_tasks(call)):
        return Task(function, call.args).run()["result"]
    need_tasks(call)
    if name == "test_tool_with_task":
        if "user_name" not in call.answers:
            return call.required({"user_name": ask_name()}, "asked")
        call.args["user_name"] = call.answers["user_name"]["content"]["name"]
    task = Task(function, call.args)
    call.server.tasks[task.id] = task
    return task.start()


def get_task(call: Call) -> Json:
    return the_task(call).shown()


def update_task(call: Call) -> Json:
    the_task(call).update(call.answers)
    return {}


def cancel_task(call: Call) -> Json:
    the_task(call).cancel()
    return {}


def the_task(call: Call) -> Task:
    need_tasks(call)
    task = call.server.tasks.get(call.params["taskId"])
    if task is None:
        raise RpcError(-32602, f"there is no task {call.params['taskId']}")
    return task


def knows_tasks(call: Call) -> bool:
    return call.modern and EXTENSION in call.capabilities.get("extensions", {})


def need_tasks(call: Call) -> None:
    if not knows_tasks(call):
        data: Any = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        raise RpcError(-32021, "this needs a client that knows tasks", data)
