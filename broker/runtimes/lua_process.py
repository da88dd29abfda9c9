"""A script in a process of its own, confined to nothing at all: what it may do, it does by asking the broker.

Rule 1: it has until the end of its time and `GRACE` more; then the process is killed. Waiting for its host is not its
        own time.
Rule 2: what it says is bounded and checked; a frame that cannot be read ends it.
"""

from __future__ import annotations

import asyncio
import math

from broker.confine.tree import Child, describe_exit
from broker.eager import Waiter
from broker.errors import BrokerError
from broker.runtimes import lua_frames as frames
from broker.runtimes.lua_inprocess import GRACE, Ask, Wedged
from broker.runtimes.lua_sandbox import Killed, Refused, ScriptError
from broker.runtimes.overdue import Overdue
from broker.runtimes.plugin_log import PluginLog
from broker.stream import FdStream

BOOT = 10.0  # seconds until the interpreter runs; it takes 0.05, and more where everything starts at once


class InWorker:
    """One state in one worker."""

    def __init__(self, child: Child, ask: Ask, log: PluginLog) -> None:
        self._child, self._ask = child, ask
        self._loop = asyncio.get_running_loop()
        self._frames = frames.Frames()
        self._waiting: Waiter[bytes | str] | None = None
        self._asked: asyncio.Task[None] | None = None
        self._deadline = math.inf
        self._overdue = Overdue()
        self._stream = FdStream(child.stdout, child.stdin)
        self._stream.start(self._heard, self._gone)
        self._errors = FdStream(child.stderr, child.stderr)
        self._errors.start(log.write, _nothing)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def load(self, source: bytes, seconds: float) -> bytes:
        """Run the script once; what it registered. Raises `ScriptError`, `Killed`, `Wedged`."""
        registered = await self._said(frames.frame(frames.LOAD, source, seconds=seconds), seconds + BOOT)
        if isinstance(registered, str):
            raise Killed("it wrote what is no answer")
        return registered

    async def invoke(self, kind: str, name: str, arguments: bytes, seconds: float) -> bytes | str:
        """Call what it registered; `seconds` 0: as long as it takes. Raises `ScriptError`, `Killed`, `Wedged`."""
        asked = frames.frame(frames.INVOKE, kind.encode(), name.encode(), arguments, seconds=seconds)
        return await self._said(asked, seconds)

    async def cancel(self, reason: str) -> bool:
        """End it. It cannot be told: it reads nothing while it works."""
        await self.close()
        return True

    async def close(self) -> None:
        """End the process."""
        self._overdue.close()
        if self._asked is not None:
            self._asked.cancel()
        self._stream.close_output()
        await self._child.end(grace=0)
        self._stream.close()
        self._errors.close()

    async def _said(self, asked: bytes, seconds: float) -> bytes | str:
        answer: Waiter[bytes | str] = Waiter()
        self._waiting = answer
        self._deadline = self._loop.time() + (seconds or math.inf)
        self._stream.send_now(asked)
        if not seconds:
            return await answer
        self._overdue.begin(self._deadline + GRACE, lambda: self._look(answer))
        try:
            return await answer
        finally:
            self._overdue.end()

    def _look(self, answer: Waiter[bytes | str]) -> None:
        if answer.done():
            return
        late = self._loop.time() - self._deadline
        if self._asked is None and late >= GRACE:
            answer.wake(None, Wedged())
        else:
            self._overdue.begin(self._loop.time() + max(GRACE - late, GRACE / 5), lambda: self._look(answer))

    def _heard(self, data: bytes) -> None:
        try:
            for kind, _, parts in self._frames.feed(data):
                self._take(kind, parts)
        except (frames.Torn, ValueError):
            self._fail(Killed("it wrote what is no answer"))

    def _take(self, kind: bytes, parts: list[bytes]) -> None:
        if kind == frames.ASK and self._asked is None:
            op, params = parts
            self._asked = self._loop.create_task(self._answer(op, params))
            return
        (text,) = parts
        if self._waiting is None or self._waiting.done():
            raise frames.Torn
        if kind == frames.RESULT:
            self._waiting.wake(text)
        elif kind == frames.TEXT:
            self._waiting.wake(text.decode())
        elif kind == frames.FAILURE:
            self._fail(ScriptError(text.decode("utf-8", "replace")))
        elif kind == frames.KILLED:
            self._fail(Killed(text.decode("utf-8", "replace")))
        else:
            raise frames.Torn

    async def _answer(self, op: bytes, params: bytes) -> None:
        began = self._loop.time()
        try:
            said = frames.frame(frames.ANSWER, await self._ask(op, params))
        except (BrokerError, Refused) as error:
            said = frames.frame(frames.REFUSAL, str(error).encode("utf-8", "replace"))
        except Exception as error:  # a bug of ours: its script must not wait for ever
            said = frames.frame(frames.REFUSAL, f"broker could not do that ({type(error).__name__})".encode())
        self._deadline += self._loop.time() - began
        self._asked = None
        self._stream.send_now(said)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None:
            self._waiting.wake(None, error)

    def _gone(self) -> None:
        code = self._child.code
        how = "its process ended" if code is None else f"its process ended with {describe_exit(code)}"
        self._fail(Killed(how))


def _nothing() -> None:
    """Its last words are in the log already."""
