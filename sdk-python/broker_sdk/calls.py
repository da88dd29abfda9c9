"""A request in flight: its deadline, what its client is asked meanwhile, and how it waits for the answer.

Rule 1: the function runs once, in one task, whatever the era. In the legacy era a question is a request to the client.
        In the modern one the request is answered with the question and the task is parked; the client repeats the
        request with the answer, and the task goes on.
Rule 2: questions asked at once (`asyncio.gather`) go to a modern client together.
Rule 3: `requestState` is a number nobody can guess, for one round only; what is repeated must be the same request.
Rule 4: a client that starts afresh with answers (no state) has them ready, by their keys, and is asked for the rest.
Rule 5: while a person is asked the deadline stands still. A client that never comes back costs `PARKED` seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker_sdk.eras import NEEDS, TITLED_CHOICES, RequestMeta, asking
from broker_sdk.errors import PARAMS, CannotAsk, Refusal, ToolError

if TYPE_CHECKING:
    from broker_sdk.server import Server
    from broker_sdk.wire import Id

PARKED = 600.0  # seconds that a call waits for its client to come back
MOST_PARKED = 256  # calls; the oldest goes first

Json = dict[str, Any]
Key = tuple[str, str, bytes]  # method, name, arguments: what makes two requests the same


class Retry(Struct, rename="camel"):
    """What a modern client adds when it repeats a request."""

    input_responses: dict[str, Raw] | UnsetType | None = UNSET
    request_state: str | UnsetType | None = UNSET


class Question:
    """Something that a client is asked and has not answered yet."""

    def __init__(self, method: str, params: Json) -> None:
        self.request = {"method": method, "params": params}
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()


class Call:
    """One request of the client, under the id it has now: None while it is parked."""

    def __init__(self, server: Server, id: Id, method: str, meta: RequestMeta | None, key: Key, retry: Retry) -> None:
        self.server, self.method, self.key = server, method, key
        self.id: Id | None = id
        self.meta = meta or RequestMeta()
        self.modern = self.meta.version is not UNSET
        self.cancelled = False
        self.timed_out = False
        self.task: asyncio.Task[Any] | None = None
        self._early = dict(retry.input_responses or {})
        self._open: dict[str, Question] = {}
        self._asked = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._seconds: float | None = None
        self._flushing = False

    # Its life

    def start(self, work: Coroutine[Any, Any, bytes], seconds: float | None) -> None:
        """Run `work`, whose result is the answer; it is cancelled after `seconds`, None: never."""
        self._seconds = seconds
        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(lambda task: self.server.finished(self, task))
        self._wind()

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self.cancelled = True
        self.id = None
        self._stop_clock()
        if self.task is not None:
            self.task.cancel()

    def _wind(self) -> None:
        if self._seconds is not None:
            self._deadline = self.server.clock.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self.timed_out = self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def ended(self) -> None:
        """Its task is done."""
        self._stop_clock()

    # What it says to its client

    @property
    def capabilities(self) -> Json:
        """What the client says it can be asked."""
        if self.meta.capabilities is not UNSET:
            return self.meta.capabilities
        return {} if self.modern else self.server.client.capabilities

    @property
    def titled_choices(self) -> bool:
        """Whether the choices of a form may have titles."""
        return self.modern or self.server.client.version >= TITLED_CHOICES

    def tell(self, method: str, params: Json) -> None:
        """A notification in the course of this request; nothing, once it has been answered."""
        if self.id is not None:
            self.server.notify(method, params)

    async def ask(self, method: str, params: Json, key: str | None = None) -> Json:
        """The client's answer. Raises `CannotAsk` when it cannot be asked, `ToolError` when it refuses."""
        need = NEEDS[method]
        if need not in self.capabilities:
            raise CannotAsk(need)
        self._asked += 1
        key = key or f"question-{self._asked}"
        self._stop_clock()
        try:
            answer = await (self._ask_modern(method, params, key) if self.modern else self._ask_legacy(method, params))
        finally:
            if not self._open and not self.cancelled:
                self._stop_clock()
                self._wind()
        return answer

    async def _ask_legacy(self, method: str, params: Json) -> Json:
        return await self.server.ask_client(method, params)

    async def _ask_modern(self, method: str, params: Json, key: str) -> Json:
        early = self._early.pop(key, None)
        if early is not None and (found := _object(early)) is not None:
            return found
        if key in self._open:
            raise ToolError(f"two questions of one call have the key {key!r}")
        question = self._open[key] = Question(method, params)
        self._flush()
        try:
            return await question.answer
        finally:
            self._open.pop(key, None)

    # Rounds of the modern era

    def _flush(self) -> None:
        """Ask what is open, once everything that is ready to run has had its turn."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._park)

    def _park(self) -> None:
        self._flushing = False
        if self.id is None or not self._open or self.cancelled:
            return
        state, id = secrets.token_urlsafe(24), self.id
        self.server.park(self, state)
        self.id = None
        requests = {key: question.request for key, question in self._open.items()}
        self.server.reply(id, asking(requests, state, self.server.info))

    def resume(self, id: Id, meta: RequestMeta, responses: dict[str, Raw]) -> None:
        """The client came back, under another id. What it did not answer it is asked again."""
        self.id, self.meta = id, meta
        for key, raw in responses.items():
            question = self._open.get(key)
            if question is not None and not question.answer.done() and (found := _object(raw)) is not None:
                question.answer.set_result(found)
        if any(not question.answer.done() for question in self._open.values()):
            self._flush()


class Parked:
    """The calls whose clients have to come back, by the state that was given to each."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[Call, asyncio.TimerHandle]] = {}

    def add(self, call: Call, state: str) -> None:
        while len(self._calls) >= MOST_PARKED:
            self._give_up(next(iter(self._calls)))
        self._calls[state] = call, call.server.clock.call_later(PARKED, self._give_up, state)

    def take(self, state: str, key: Key) -> Call:
        """The call that was given this state. Raises `Refusal` for a state or a request that is another."""
        found = self._calls.get(state)
        if found is None:
            raise Refusal(PARAMS, "no call waits for this requestState: it is over, or was never one of ours")
        call, timer = found
        if call.key != key:
            raise Refusal(PARAMS, "this requestState belongs to another request")
        timer.cancel()
        del self._calls[state]
        return call

    def _give_up(self, state: str) -> None:
        call, timer = self._calls.pop(state)
        timer.cancel()
        call.cancel()

    def close(self) -> None:
        for state in list(self._calls):
            self._give_up(state)


def _object(raw: Raw) -> Json | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return None
