"""What a server does for its callers after it answered them: the tasks it works at, and waiting for one as a call.

Rule 1: what belongs to a task (progress, questions, news) reaches whoever began it, whoever else has calls in work.
Rule 2: a caller that wants a result gets one: a tool that runs only as a task is waited for within the call's time,
        and what shows that its task is alive starts that time anew.
Rule 3: a task nobody waits for any more is cancelled; what is kept of tasks is bounded, in number and time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call, Host, Reply
from broker.core.tasks import OVER, is_task, own_of
from broker.errors import PluginFailed, RemoteError
from broker.runtimes.progress import Progress
from broker.runtimes.rounds import QUESTIONS, Question, answered
from broker.wire import eras

MOST = 1000  # tasks of one server whose beginners are remembered
LONGEST = 86_400.0  # seconds they are remembered
PACE = (0.05, 5.0)  # seconds between two looks at a task, at least and at most
USUAL_PACE = 1000  # milliseconds, if the server suggests none

_encode = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(float | None).decode

Forsake = Callable[[eras.Members], None]


class Exchange(Protocol):
    """One request of a call, and what the server answers."""

    def __call__(self, call: Call, params: eras.Members, method: str = "") -> Awaitable[Reply]: ...


class Begun(Struct):
    """One task: the call that began it, its progress token at the server (or 0), and until when it is remembered."""

    call: Call
    token: int
    until: float


class State(Struct, rename="camel"):
    """A task of the extension, as `tasks/get` tells it."""

    status: str
    poll_interval_ms: float = USUAL_PACE
    status_message: str = ""
    input_requests: dict[str, Question] = {}
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


class Fault(Struct):
    """Why a task failed."""

    code: int = -32603
    message: str = "the task failed"
    data: Raw = Raw(b"")


class Tasks:
    """Those that one server works at."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._begun: OrderedDict[str, Begun] = OrderedDict()  # by the server's own id

    @property
    def working(self) -> bool:
        """Whether any of them may not be over."""
        now = self._loop.time()
        return any(begun.until > now for begun in self._begun.values())

    def answered(self, call: Call, params: eras.Members, result: Reply, token: int) -> int:
        """Take note of an answer that may be about a task; the progress token, or 0 if it is the task's now."""
        if "taskId" in params:
            if call.method == "tasks/result" or _status(result) in OVER:
                self.over(_own(params))
            return token
        own = own_of(result)
        if own is None or not ("task" in params or is_task(result)):
            return token
        self.over(own)
        self._begun[own] = Begun(call, token, self._loop.time() + _lifetime(result))
        while len(self._begun) > MOST:
            self.over(next(iter(self._begun)))
        return 0

    def whose(self, params: Raw) -> Call | None:
        """The call that began the task these params are about."""
        own = own_of(params) if self._begun else None
        begun = self._begun.get(own) if own is not None else None
        return None if begun is None else begun.call

    def changed(self, params: Raw) -> Call | None:
        """Take note of a notification about a task's status; the call that began it."""
        call = self.whose(params)
        if call is not None and not call.as_task and _status(params) in OVER:
            self.over(own_of(params) or "")
        return call

    def over(self, own: str) -> None:
        """Nothing more comes of this task."""
        begun = self._begun.pop(own, None)
        if begun is not None and begun.token:
            self._progress.end(begun.token)

    async def run(self, call: Call, host: Host, exchange: Exchange, forsake: Forsake) -> Reply:
        """The result of a tool that a legacy server runs only as a task."""
        created = await exchange(call, {**call.params, "task": Raw(b"{}")})
        own = own_of(created)
        if own is None:
            return created  # it needed none
        task = {"taskId": Raw(_encode(own))}
        try:
            return await _result(call, host, task, exchange)
        except asyncio.CancelledError:
            forsake(task)
            raise
        finally:
            self.over(own)


async def finished(plugin: str, call: Call, host: Host, result: Reply, exchange: Exchange, forsake: Forsake) -> Reply:
    """The result of a modern server's task, for a client that knows no tasks; any other result as it is."""
    own = own_of(result) if is_task(result) else None
    if own is None:
        return result
    task = {"taskId": Raw(_encode(own))}
    try:
        return await _polled(plugin, call, host, result, exchange, task)
    except (asyncio.CancelledError, PluginFailed):
        forsake(task)
        raise


async def _polled(plugin: str, call: Call, host: Host, result: Reply, exchange: Exchange, task: eras.Members) -> Reply:
    state, given = _state(plugin, result), set[str]()
    while state.status not in ("completed", "failed", "cancelled"):
        await asyncio.sleep(_pace(state.poll_interval_ms))
        state = _state(plugin, await exchange(call, task, "tasks/get"))
        host.progressed(call)
        asked = {key: each for key, each in state.input_requests.items() if key not in given}
        if state.status == "input_required" and asked:
            if len(given) + len(asked) > QUESTIONS:
                raise PluginFailed(f"{plugin} asked more than {QUESTIONS} questions in one task")
            answers = await answered(plugin, call, host, asked)
            await exchange(call, {**task, "inputResponses": Raw(_encode(answers))}, "tasks/update")
            given |= asked.keys()
    if state.status == "failed":
        raise _fault(state.error)
    if state.status == "cancelled":
        raise PluginFailed(f"{plugin} cancelled the task: {state.status_message or 'it does not say why'}")
    return Raw(bytes(state.result) or b"null")


async def _result(call: Call, host: Host, task: eras.Members, exchange: Exchange) -> Reply:
    """By specification `tasks/result` waits for the end; some servers refuse it until then."""
    while True:
        try:
            return await exchange(call, task, "tasks/result")
        except RemoteError as refusal:
            state = await exchange(call, task, "tasks/get")
            if _status(state) in OVER:
                raise refusal from None
            host.progressed(call)
            await asyncio.sleep(_pace(_member(state, "pollInterval") or USUAL_PACE))


def _state(plugin: str, said: Reply) -> State:
    try:
        return msgspec.json.decode(said, type=State)
    except msgspec.MsgspecError as error:
        raise PluginFailed(f"{plugin} tells of a task in a way that cannot be read: {error}") from None


def _fault(said: Raw) -> RemoteError:
    try:
        fault = msgspec.json.decode(said, type=Fault)
    except msgspec.MsgspecError:
        fault = Fault()
    return RemoteError(fault.code, fault.message, fault.data if bytes(fault.data) else None)


def _status(said: Reply) -> bytes:
    try:
        return bytes(eras.members(said).get("status", b""))
    except msgspec.MsgspecError:
        return b""


def _own(params: eras.Members) -> str:
    try:
        return msgspec.json.decode(params["taskId"], type=str)
    except msgspec.MsgspecError:
        return ""


def _member(said: Reply, *names: str) -> float | None:
    """The first of these numbers that an object has."""
    try:
        members = eras.members(said)
        return next((_number(members[name]) for name in names if name in members), None)
    except msgspec.MsgspecError:
        return None


def _lifetime(result: Reply) -> float:
    """Seconds that a new task is kept by its server."""
    try:
        task = eras.members(result).get("task", result)
    except msgspec.MsgspecError:
        return LONGEST
    ttl = _member(task, "ttl", "ttlMs")
    return LONGEST if ttl is None else min(max(0.0, ttl / 1000), LONGEST)


def _pace(milliseconds: float) -> float:
    return min(max(milliseconds / 1000, PACE[0]), PACE[1])
