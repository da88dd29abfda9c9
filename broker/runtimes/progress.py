"""Progress of the calls in flight at one plugin, on its way to who asked for it.

Rule 1: a token of ours stands for one call, while the call is in flight; a caller gets its own token back.
Rule 2: only what goes up is passed on. A burst passes as it is; a flood becomes its newest news, `RATE` times a second.
Rule 3: the last news of a call is passed on before its result.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call
from broker.wire import eras

RATE = 100.0  # notices a second of one call
BURST = 1000.0  # notices of one call that pass at once

_encode = msgspec.json.Encoder().encode
_number = msgspec.json.Decoder(float).decode


class Course(Struct, eq=False):
    """How far one call is."""

    call: Call
    reached: float = float("-inf")
    allowance: float = BURST
    since: float = 0.0  # loop time of the allowance
    held: eras.Members | None = None  # the newest news, while it waits


class Progress:
    """Of all calls in flight."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._courses: dict[int, Course] = {}
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Call) -> int:
        """The token that stands for `call`."""
        self._last += 1
        self._courses[self._last] = Course(call)
        return self._last

    def hush(self, number: int) -> None:
        """Nobody waits for its call any more."""
        if number in self._courses:
            self._courses[number].held = None

    def end(self, number: int) -> None:
        """Its call has its outcome."""
        course = self._courses.pop(number)
        if course.held is not None:
            self._say(course, course.held)

    def take(self, params: Raw) -> Call | None:
        """Pass on a notice; the call it is of, None if that is over.

        Raises `MsgspecError` if it cannot be read, `KeyError` if its token was never given.
        """
        found = eras.members(params)
        token = bytes(found.get("progressToken", Raw(b"")))
        number = int(token) if token.isdigit() and len(token) < 20 else 0
        if not 0 < number <= self._last:
            raise KeyError(token)
        course = self._courses.get(number)
        if course is None:
            return None
        value = _number(found.get("progress", Raw(b"")))
        if value > course.reached:
            course.reached = value
            self._pass_on(course, found)
        return course.call

    def _pass_on(self, course: Course, found: eras.Members) -> None:
        now = self._loop.time()
        course.allowance = min(BURST, course.allowance + (now - course.since) * RATE)
        course.since = now
        if course.held is None and course.allowance >= 1:
            course.allowance -= 1
            self._say(course, found)
            return
        course.held = {name: Raw(bytes(value)) for name, value in found.items()}
        if self._timer is None:
            self._timer = self._loop.call_later(1 / RATE, self._say_held)

    def _say_held(self) -> None:
        self._timer = None
        for course in list(self._courses.values()):
            if course.held is not None:
                found, course.held = course.held, None
                course.allowance = max(0.0, course.allowance - 1)
                self._say(course, found)

    def _say(self, course: Course, found: eras.Members) -> None:
        if course.call.token is None:
            return  # its request was answered with questions, and is not made again yet
        found["progressToken"] = course.call.token
        said = _encode(found)
        outward = course.call.outward
        course.call.caller.tell("notifications/progress", said if outward is None else outward(said))
