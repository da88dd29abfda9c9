"""The moving half of a JSON-RPC conversation: pumps a `Peer` over a `Stream`.

Rule 1: one place turns an exception into an error on the wire: `_settle`.
Rule 2: a request whose handler answers at once gets no task; one that waits gets exactly one, an eager one.
Rule 3: a caller that stops waiting (cancelled or timed out) tells the other side, once, and a late answer is dropped.
Rule 4: when the other side ends, every caller is woken; what still runs for it may finish within `linger`.
Rule 5: what one other side makes us hold is bounded: requests in work by number and bytes, answers it does not read by
        serving nothing more of its until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.eager import EagerTask, Waiter
from broker.errors import BrokerError, Closed, FrameTooLarge, Overloaded, RemoteError, WireError
from broker.stream import Stream
from broker.wire.framing import Frame
from broker.wire.peer import NOTHING, Answered, Asked, Event, Id, Peer, Told, Unreadable

log = logging.getLogger("broker.link")

Reply = bytes | Raw
OnAsk = Callable[[Asked], Reply | Coroutine[Any, Any, Reply]]
OnTell = Callable[[Told], None]

MAX_OWED = 4096  # requests of one other side in work; one more is refused
MAX_LOAD = 64 << 20  # bytes of the frames they came in
DOUBT = 1.0  # seconds for the true answer to come after a line that seems to hold it and cannot be read


class Dialect(Struct, frozen=True):
    """How the protocol on top cancels: MCP leaves a cancelled request unanswered, LSP answers -32800."""

    method: str
    member: str
    answers: bool


MCP = Dialect("notifications/cancelled", "requestId", False)
LSP = Dialect("$/cancelRequest", "id", True)


class Link:
    """A conversation over `stream`. `on_ask` returns the result, or a coroutine that will.

    `linger`: seconds that requests in work may take when the other side has ended. `max_unsent`: bytes the other side
    has not read, above which we serve and read nothing more of its. `max_frame`: bytes of the longest message we write.
    `max_owed`: requests of its in work. `on_room` is told when everything written was read, `on_read` of every piece of
    input before its events, `on_stray` of every answer that nobody waits for.
    """

    def __init__(
        self,
        peer: Peer,
        stream: Stream,
        *,
        on_ask: OnAsk,
        on_tell: OnTell,
        on_end: Callable[[], None],
        on_junk: Callable[[Unreadable], None] | None = None,
        dialect: Dialect = MCP,
        linger: float = 0,
        max_unsent: int | None = None,
        max_frame: int | None = None,
        max_owed: int = MAX_OWED,
        on_read: Callable[[bytes], None] | None = None,
        on_stray: Callable[[], None] | None = None,
        on_far_end: Callable[[], None] | None = None,
        on_room: Callable[[], None] | None = None,
    ) -> None:
        self._linger, self._on_far_end, self._on_room = linger, on_far_end, on_room
        self._max_unsent, self._max_frame, self._max_owed = max_unsent, max_frame, max_owed
        self._on_read, self._on_stray = on_read, on_stray
        self._peer, self._stream, self._dialect = peer, stream, dialect
        self._on_ask, self._on_tell, self._on_end, self._on_junk = on_ask, on_tell, on_end, on_junk
        self._waiters: dict[Id, Waiter[Reply]] = {}
        self._running: dict[Id, EagerTask] = {}
        self._load = 0  # bytes of the frames that requests in work came in
        self._held: list[Event] = []  # what came before reading was paused, and is not served yet
        self._loop = asyncio.get_running_loop()
        self._paused = self._closed = False
        self.open = True
        self.received = 0  # pieces of input so far: a sign of life

    def start(self) -> None:
        """Begin to read."""
        self._stream.on_drained = self._drained
        self._stream.start(self._receive, self._far_end)

    @property
    def unsent(self) -> int:
        """Bytes queued that the other side has not read."""
        return self._stream.unsent

    def ask(self, method: str, params: Reply = NOTHING) -> tuple[int, Waiter[Reply]]:
        """Send a request: its id and the waiter of its result.

        The waiter ends with the result, a `RemoteError`, or `Closed`. Who stops waiting calls `give_up`.
        """
        if not self.open:
            raise Closed("the connection is closed")
        id, frame = self._peer.ask(method, params)
        waiter: Waiter[Reply] = Waiter()
        self._waiters[id] = waiter
        self._stream.send(*frame)
        return id, waiter

    def give_up(self, id: int, reason: str = "") -> None:
        """Stop waiting for `id` and tell the other side."""
        if self._waiters.pop(id, None) is None or not self.open:
            return
        self._peer.forget(id)
        note = {self._dialect.member: id, **({"reason": reason} if reason else {})}
        self.tell(self._dialect.method, msgspec.json.encode(note))

    def tell(self, method: str, params: Reply = NOTHING) -> None:
        """Send a notification."""
        if not self.open:
            return
        frame = self._peer.tell(method, params)
        if self._fits(frame):
            self._stream.send(*frame)
        else:
            log.warning("a %s is left out: it passes the limit of %s bytes", method, self._max_frame)

    def close(self) -> None:
        """End the conversation. Safe to call twice."""
        if self._closed:
            return
        self._far_end()
        self._closed = True
        for key in list(self._running):
            self._stop(key)
        self._peer.hang_up()
        self._stream.close()
        self._on_end()

    def _receive(self, data: bytes) -> None:
        self.received += 1
        if self._on_read is not None:
            self._on_read(data)
        try:
            events = self._peer.receive(data)
        except WireError as error:
            log.warning("hanging up: %s", error)
            self.close()
            return
        if self._max_unsent is None:
            for event in events:
                self._dispatch(event)
        elif self._paused:
            self._held += events
        elif not self._serve_while_read(events, self._max_unsent):
            self._paused = True
            self._stream.pause()

    def _serve_while_read(self, events: list[Event], bound: int) -> bool:
        """Whether all `events` were served; if the other side does not read, what is left is held."""
        for at, event in enumerate(events, 1):
            self._dispatch(event)
            if self._stream.unsent > bound:
                self._held = events[at:]
                self._loop.call_soon(self._look_for_room)
                return False
        return True

    def _look_for_room(self) -> None:
        """What is written in one go, as to a file, has no draining to be told of."""
        if self._paused and not self._stream.unsent:
            self._drained()

    def _drained(self) -> None:
        if self._paused and self._max_unsent is not None:
            held, self._held = self._held, []
            if self._serve_while_read(held, self._max_unsent):
                self._paused = False
                self._stream.resume()
        if self._on_room is not None:
            self._on_room()
        self._close_if_over()

    def _close_if_over(self) -> None:
        """The other side has ended, and everything owed to it is said."""
        if not (self.open or self._running or self._held or self._stream.unsent):
            self.close()

    def _fits(self, frame: Frame) -> bool:
        return self._max_frame is None or sum(map(len, frame)) <= self._max_frame

    def _dispatch(self, event: Event) -> None:
        if type(event) is Asked:
            self._serve(event)
        elif type(event) is Answered:
            self._wake(event)
        elif type(event) is Told:
            if event.method == self._dialect.method:
                self._cancelled(event)
            else:
                self._contain(event)
        elif type(event) is Unreadable:
            self._unreadable(event)

    def _unreadable(self, event: Unreadable) -> None:
        if event.reply is not None:
            self._stream.send(*event.reply)
        if event.about is not None:
            self._loop.call_later(DOUBT, self._fail, event.about, event.error)
        if event.stray and self._on_stray is not None:
            self._on_stray()
        if event.line and self._on_junk is not None:
            self._on_junk(event)

    def _fail(self, id: Id, error: BrokerError) -> None:
        """No other answer came."""
        waiter = self._waiters.pop(id, None)
        if waiter is not None:
            self._peer.forget(id)
            waiter.wake(None, error)

    def _serve(self, asked: Asked) -> None:
        try:
            if self._peer.owes > self._max_owed:
                raise Overloaded(f"{self._max_owed} requests are in work already")
            if self._load + asked.size > MAX_LOAD:
                raise Overloaded(f"requests of {self._load} bytes are in work already")
            reply = self._on_ask(asked)
        except Exception as error:
            self._settle(asked, error)
            return
        if isinstance(reply, (bytes, Raw)):
            self._send(self._peer.answer(asked.id, reply))
        else:
            self._load += asked.size
            task = EagerTask(reply, self._done, asked, self._loop)
            if not task.done():
                self._running[asked.id] = task

    def _done(self, asked: Asked, result: Reply, error: BaseException | None) -> None:
        self._load -= asked.size
        task = self._running.get(asked.id)
        if task is not None and task.key is asked:  # its id may be in use again since it was cancelled
            del self._running[asked.id]
        if error is None:
            self._send(self._peer.answer(asked.id, result))
        elif isinstance(error, Exception):
            self._settle(asked, error)
        if not self.open:
            self._loop.call_soon(self._close_if_over)

    def _settle(self, asked: Asked, error: Exception) -> None:
        if not isinstance(error, BrokerError):
            log.error("%s failed", asked.method, exc_info=error)
            error = BrokerError("internal error in broker; its log has the traceback")
        frame = self._peer.refuse(asked.id, error)
        if frame is not None and not self._fits(frame):
            self._peer.take_back(asked.id)
            limit = FrameTooLarge(f"the error of {asked.method[:80]} passes the limit of {self._max_frame} bytes")
            frame = self._peer.refuse(asked.id, limit)
        self._send(frame)

    def _send(self, frame: Frame | None) -> None:
        if frame is not None:
            self._stream.send(*frame)

    def _wake(self, answer: Answered) -> None:
        waiter = self._waiters.pop(answer.id, None)
        if waiter is not None:
            waiter.wake(answer.result, answer.error)

    def _contain(self, event: Told) -> None:
        try:
            self._on_tell(event)
        except (BrokerError, msgspec.MsgspecError) as error:
            log.debug("%s dropped: %s", event.method, error)
        except Exception as error:
            log.error("%s failed", event.method, exc_info=error)

    def _cancelled(self, event: Told) -> None:
        try:
            id = msgspec.json.decode(event.params, type=dict[str, Raw]).get(self._dialect.member)
            key: Id = msgspec.json.decode(id if id is not None else b"", type=Id)
        except msgspec.MsgspecError:
            return
        self.cancel(key)

    def cancel(self, key: Id) -> None:
        """Stop the work at a request of the other side, as if that had cancelled it; nothing if it is over."""
        if key not in self._running:
            return
        if self._dialect.answers:
            self._send(self._peer.refuse(key, RemoteError(-32800, "cancelled")))
        self._peer.drop(key)
        self._stop(key)

    def _stop(self, key: Id) -> None:
        self._running.pop(key).cancel()

    def _far_end(self) -> None:
        """The other side says nothing more."""
        if not self.open:
            return
        self.open = False
        for waiter in self._waiters.values():
            waiter.wake_later(Closed("the connection is closed"))
        self._waiters.clear()
        if self._on_far_end is not None:
            self._on_far_end()
        self._loop.call_soon(self._linger_on)  # who was woken just now has its turn first

    def _linger_on(self) -> None:
        if (self._running or self._held or self._stream.unsent) and self._linger:
            self._loop.call_later(self._linger, self.close)
        else:
            self.close()
