"""A legacy server asks its client in the middle of a call; a modern client can only be asked by a call's result.

Rule 1: such a call is parked: it goes on at its server, and its client gets an `input_required` result with the
        questions (MCP 2026-07-28, "multi round-trip requests"). The retry with the answers resumes the same call.
Rule 2: the state a client hands back is the attacker's: it is sealed (HMAC of this process), bound to client, plugin,
        method and arguments, good for one retry and for some minutes.
Rule 3: a client that never comes back costs a timeout: the call is cancelled at its server, and forgotten.
Rule 4: what a client did not declare, in this very request, it is never asked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw

from broker.core.ports import Call, Reply
from broker.eager import EagerTask
from broker.errors import BadArguments, Closed, NoSuchMethod, Overloaded
from broker.model import Era
from broker.wire import eras, questions

METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})  # that may answer with questions
PATIENCE = 300.0  # seconds a parked call waits for its client
MOST = 64  # parked calls of one client
QUIET = 0.01  # seconds in which questions asked at the same time become one result
PREFIX = b"broker1."

_text = msgspec.json.Decoder(str).decode

Execute = Callable[[Call], Coroutine[Any, Any, Reply]]


class Parked:
    """One call that may ask, from its first request to its last."""

    def __init__(self, call: Call, execute: Execute, info: Raw) -> None:
        self.call, self.info = call, info
        self._loop = asyncio.get_running_loop()
        self._questions: dict[str, tuple[str, Reply]] = {}
        self._answers: dict[str, asyncio.Future[Reply]] = {}
        self._asked = 0
        self._news = asyncio.Event()
        self._outcome: tuple[Reply, BaseException | None] | None = None
        call.asked = self.ask
        self._task = EagerTask(execute(call), self._ended, call, self._loop)

    @property
    def over(self) -> bool:
        return self._outcome is not None

    async def ask(self, method: str, params: Reply) -> Reply:
        """Put a question to the client. Raises `NoSuchMethod`, `Closed`."""
        identity = self.call.identity
        if questions.refused(identity.version, identity.capabilities, method, params):
            what = questions.named(method, params)
            raise NoSuchMethod(f"{self.call.caller.title} did not declare that it answers {what}")
        params, _ = questions.asked(identity.version, method, params)
        self._asked += 1
        key = f"{method.partition('/')[0]}-{self._asked}"
        self._questions[key] = method, Raw(bytes(params))
        answer = self._answers[key] = self._loop.create_future()
        self._news.set()
        try:
            return await answer
        finally:
            self._questions.pop(key, None)
            self._answers.pop(key, None)

    def answered(self, responses: eras.Members) -> None:
        """Hand over what the client answered; what it left out is asked again."""
        for key, response in responses.items():
            answer = self._answers.get(key)
            if answer is not None and not answer.done():
                self._questions.pop(key, None)
                answer.set_result(Raw(bytes(response)))

    async def outcome(self) -> Reply | None:
        """The result, or None when questions are open. Raises what the call raises; cancelled, it cancels the call."""
        try:
            while not self.over:
                if self._questions:
                    await asyncio.sleep(QUIET)
                    if not self.over:
                        return None
                else:
                    self._news.clear()
                    await self._news.wait()
        except asyncio.CancelledError:
            self.forget()
            raise
        assert self._outcome is not None
        result, error = self._outcome
        if error is not None:
            raise error
        return result

    def questions(self) -> dict[str, dict[str, Any]]:
        """As `inputRequests` has them."""
        return {key: {"method": method, "params": params} for key, (method, params) in self._questions.items()}

    def forget(self) -> None:
        """Nobody waits for it any more."""
        self._refuse(Closed("the client did not answer"))
        self._task.cancel()

    def _refuse(self, error: Closed) -> None:
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(error)

    def _ended(self, _: object, result: Reply, error: BaseException | None) -> None:
        self._outcome = result, error
        self._news.set()
        self._refuse(Closed("the call has ended"))


class Parking:
    """All parked calls of one broker."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._parked: dict[str, tuple[Parked, asyncio.TimerHandle]] = {}

    @property
    def count(self) -> int:
        """Calls that wait for their clients now."""
        return len(self._parked)

    def may_ask(self, call: Call) -> bool:
        """Whether `call` can be asked anything, in the way of the modern era."""
        return (
            call.identity.era is Era.MODERN
            and call.method in METHODS
            and not call.identity.capabilities.keys().isdisjoint(questions.NEEDS.values())
        )

    def resumes(self, call: Call) -> bool:
        """Whether `call` is the retry of a parked one."""
        return bytes(call.params.get("requestState", b""))[1:].startswith(PREFIX)

    async def begin(self, call: Call, execute: Execute, info: Raw) -> Reply:
        """Run `call`; its result, or the questions of its server, which calls itself `info`."""
        if sum(parked.call.caller.key == call.caller.key for parked, _ in self._parked.values()) >= MOST:
            raise Overloaded(f"{MOST} calls of this client wait for its answers already")
        return await self._settled(Parked(call, execute, info), call)

    async def resume(self, call: Call) -> Reply:
        """Go on with a parked call, given its client's answers. Raises `BadArguments` for a state that is not good."""
        parked = self._unsealed(call)
        responses = call.params.get("inputResponses")
        try:
            given = eras.members(responses) if responses is not None else {}
        except msgspec.MsgspecError:
            raise BadArguments("`inputResponses` must be an object") from None
        parked.call.token, parked.call.log_level = call.token, call.log_level
        parked.answered(given)
        return await self._settled(parked, call)

    def close(self) -> None:
        """Forget all of them."""
        for parked, timer in self._parked.values():
            timer.cancel()
            parked.forget()
        self._parked.clear()

    def leave(self, key: str) -> None:
        """A client is gone."""
        for id, (parked, timer) in list(self._parked.items()):
            if parked.call.caller.key == key:
                del self._parked[id]
                timer.cancel()
                parked.forget()

    async def _settled(self, parked: Parked, call: Call) -> Reply:
        result = await parked.outcome()
        if result is not None:
            return result
        parked.call.token = parked.call.log_level = None  # nothing more for the request that is answered now
        asked = {"inputRequests": parked.questions(), "requestState": self._sealed(parked, call)}
        return eras.asking(asked, parked.info)

    # the state

    def _sealed(self, parked: Parked, call: Call) -> str:
        """Park it under a new id, and what the client is to bring back."""
        id = base64.urlsafe_b64encode(os.urandom(18)).decode()
        loop = asyncio.get_running_loop()
        self._parked[id] = parked, loop.call_later(PATIENCE, self._expired, id)
        return f"{PREFIX.decode()}{id}.{self._seal(id, call)}"

    def _unsealed(self, call: Call) -> Parked:
        try:
            _, id, seal = _text(call.params["requestState"]).split(".")
        except (ValueError, msgspec.MsgspecError):  # also for one that is no string
            raise BadArguments("`requestState` is not one of ours") from None
        if not hmac.compare_digest(seal.encode(), self._seal(id, call).encode()):
            raise BadArguments("`requestState` belongs to another request: send the same method and params again")
        parked, timer = self._parked.pop(id, (None, None))
        if parked is None or timer is None:
            raise BadArguments("`requestState` was used already, or its time is over; make the call again without it")
        timer.cancel()
        return parked

    def _seal(self, id: str, call: Call) -> str:
        """For this client and this very request, without what a retry adds to it."""
        found = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in (id, call.caller.key, *call.chain, call.method):
            found.update(b"%d:%b" % (len(part), part.encode()))
        for member in sorted(call.params.keys() - {"requestState", "inputResponses"}):
            value = bytes(call.params[member])
            found.update(b"%d:%b%d:" % (len(member), member.encode(), len(value)) + value)
        return base64.urlsafe_b64encode(found.digest()).decode()

    def _expired(self, id: str) -> None:
        parked, _ = self._parked.pop(id)
        parked.forget()
