"""The brokers of this user that run now, found and asked over their control sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from msgspec import Raw

from broker.core.meeting import opened
from broker.core.status import Here, Status
from broker.errors import BrokerError, Closed, RemoteError, TimedOut
from broker.wire.framing import Lines
from broker.wire.peer import NOTHING, Answered, Peer

QUICK = 3.0  # seconds for a status; a broker answers at once, unless it is stopped or very busy
LONG = 180.0  # seconds for an action; a restart may wait for a start of 120 s and for what is in work
READ = 64 << 10

_T = TypeVar("_T")


class Broker:
    """A connection to one broker. `here` is what it says of itself, None until it has said so."""

    def __init__(self, pid: str, connection: socket.socket) -> None:
        self.pid, self._connection = pid, connection
        self.here: Here | None = None
        self._peer = Peer(Lines(), answers_junk=False)
        self._answers: dict[int | str, Answered] = {}

    @property
    def title(self) -> str:
        """The client it serves, and its pid."""
        return f"{self.here.client if self.here else 'a broker'} (pid {self.pid})"

    def ask(self, method: str, params: bytes | Raw = NOTHING) -> int:
        """Send a request; its id. Raises `Closed`."""
        id, frame = self._peer.ask(method, params)
        try:
            self._connection.sendall(b"".join(frame))
        except OSError:
            raise Closed("it is gone") from None
        return id

    def answer(self, id: int, kind: type[_T], until: float) -> _T:
        """The answer, waited for until a monotonic time. Raises `RemoteError`, `Closed`, `TimedOut`."""
        while id not in self._answers:
            self._read(until)
        answer = self._answers.pop(id)
        if answer.error is not None:
            raise answer.error
        try:
            return msgspec.json.decode(answer.result or b"", type=kind)
        except msgspec.MsgspecError as error:
            raise Closed(f"it answers in another way than this version: {error}") from None

    def close(self) -> None:
        self._connection.close()

    def _read(self, until: float) -> None:
        self._connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            data = self._connection.recv(READ)
        except TimeoutError:
            raise unanswered() from None
        except OSError:
            data = b""
        if not data:
            raise Closed("it is gone")
        for event in self._peer.receive(data):
            if isinstance(event, Answered):
                self._answers[event.id] = event


@contextmanager
def running(environ: Mapping[str, str]) -> Generator[list[Broker]]:
    """Every broker that runs and answers, asked all at once; those that do not answer have no `here`."""
    found: list[Broker] = []
    try:
        for folder in opened(environ):
            connected = ((name, folder.connect(name)) for name in folder.names())
            found += [Broker(name, connection) for name, connection in connected if connection is not None]
        for broker, here in all_answers(found, "status", NOTHING, Here, QUICK):
            if isinstance(here, Here):
                broker.here = here
        yield found
    finally:
        for broker in found:
            broker.close()


def all_answers(
    brokers: Sequence[Broker], method: str, params: bytes | Raw, kind: type[_T], bound: float
) -> Iterator[tuple[Broker, _T | BrokerError]]:
    """Ask every broker at once; their answers, or why there is none, as far as they come in `bound` seconds."""
    asked: list[tuple[Broker, int | BrokerError]] = []
    for broker in brokers:
        try:
            asked.append((broker, broker.ask(method, params)))
        except Closed as error:
            asked.append((broker, error))
    until = time.monotonic() + bound
    for broker, id in asked:
        try:
            yield broker, id if isinstance(id, BrokerError) else broker.answer(id, kind, until)
        except BrokerError as error:
            yield broker, error


def acted(
    brokers: Sequence[Broker], method: str, name: str, bound: float = LONG, count: int | None = None
) -> Iterator[tuple[Broker, Status | BrokerError]]:
    """Have every broker act on the plugin `name`; `count`, if the method wants one, says how much."""
    params = {"name": name} if count is None else {"name": name, "count": count}
    return all_answers(brokers, method, msgspec.json.encode(params), Status, bound)


def unanswered() -> TimedOut:
    """What is said of a broker that does not answer."""
    return TimedOut("it does not answer", hint="It may be stopped, or very busy.")


class Refusal(msgspec.Struct):
    """What an error of a broker says beside its message."""

    name: str = ""
    hint: str = ""


def refusal(error: BrokerError) -> Refusal:
    """The name and the way out of an error, of a broker's or of ours."""
    if not isinstance(error, RemoteError):
        return Refusal(error.name, error.hint)
    try:
        return msgspec.json.decode(error.data or b"{}", type=Refusal)
    except msgspec.MsgspecError:
        return Refusal()
