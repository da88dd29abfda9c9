"""One end of a JSON-RPC conversation as a value: bytes in, events out; calls in, bytes out.

Rule 1: everything that decides what an id means lives in this file. Ids are told apart by type and value.
Rule 2: this file never waits. Deadlines, tasks and pipes belong to `broker.link`.
Rule 3: exactly one reply per request. `answer`, `refuse` and `drop` settle a request; the first one wins.
Rule 4: payloads stay undecoded (`Raw`, borrowing the line they came in, which is never reused).
Rule 5: a bad frame costs only itself. If its id can be recovered, it is answered, or the call it answers fails.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final, Literal, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker.errors import BadRequest, BrokerError, RemoteError, WireError
from broker.wire.framing import HEAD, Frame, TooLong

Id = int | str
MAX_DEPTH: Final = 128  # of a frame; the official Python SDK's parser stops at 200
NOTHING: Final = Raw(b"{}")


class Framing(Protocol):
    """`wire.framing.Lines` or `Headers`."""

    def feed(self, data: bytes) -> list[bytes]: ...
    @staticmethod
    def wrap(head: bytes, payload: bytes | memoryview, tail: bytes) -> Frame: ...


class Fault(Struct, omit_defaults=True):
    """The `error` member of a response."""

    code: int = -32603
    message: str = ""
    data: Raw | UnsetType = UNSET


class Envelope(Struct):
    """Any JSON-RPC message."""

    jsonrpc: Literal["2.0"]
    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Fault | UnsetType = UNSET


class Asked(Struct, gc=False):
    """A request of the other side; it is owed exactly one reply."""

    id: Id
    method: str
    params: Raw


class Told(Struct, gc=False):
    """A notification."""

    method: str
    params: Raw


class Answered(Struct):
    """The reply to a request of ours; exactly one of `result` and `error` is set."""

    id: Id
    result: Raw | None
    error: BrokerError | None


class Unreadable(Struct):
    """A frame that is not a message we can serve; `reply` is the error owed to its sender, if one is.

    `line` is empty for a good message that came too late or unasked: its content is nobody's business.
    """

    error: BrokerError
    reply: Frame | None
    line: bytes


Event = Asked | Told | Answered | Unreadable
_decode = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode
_VALUE = rb'(-?\d{1,30}|"(?:[^"\\]|\\.){0,256}")'
_VERSION = rb'"jsonrpc"\s*:\s*"2\.0"'
_ID_FIRST = re.compile(rb'\s*\{\s*(?:%b\s*,\s*)?"id"\s*:\s*%b\s*,' % (_VERSION, _VALUE))
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*%b\s*(?:,\s*%b\s*)?\}\s*$' % (_VALUE, _VERSION))
_ID = re.compile(rb'"id"\s*:\s*%b\s*[,}]' % _VALUE)
_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Peer:
    """One end of a conversation over `framing`.

    `answers_junk`: whether a frame that is no message is answered with an error. A server does; a client
    of a plugin skips what the plugin prints on its stdout.
    """

    def __init__(self, framing: Framing, *, answers_junk: bool = True) -> None:
        self._framing = framing
        self._answers_junk = answers_junk
        self._last_id = 0
        self._waiting: set[Id] = set()
        self._owed: set[Id] = set()
        self._first = True

    @property
    def owes(self) -> int:
        """How many requests of the other side are unanswered."""
        return len(self._owed)

    def receive(self, data: bytes) -> list[Event]:
        """The events in `data`. Raises `WireError` only when the framing itself is lost: hang up then."""
        events: list[Event] = []
        for line in self._framing.feed(data):
            if self._first:
                self._first = False
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line and not line.isspace():
                events.append(self._read(line))
        return events

    def ask(self, method: str, params: bytes | Raw) -> tuple[int, Frame]:
        """A new request with an id of ours, as (id, frame)."""
        self._last_id = id = self._last_id + 1
        self._waiting.add(id)
        head = b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":' % (id, _quoted(method))
        return id, self._framing.wrap(head, memoryview(params), b"}")

    def tell(self, method: str, params: bytes | Raw = NOTHING) -> Frame:
        """A notification as a frame."""
        head = b'{"jsonrpc":"2.0","method":%b,"params":' % _encode(method)
        return self._framing.wrap(head, memoryview(params), b"}")

    def answer(self, id: Id, result: bytes | Raw) -> Frame | None:
        """The reply to a request; None when it is settled already."""
        if id not in self._owed:
            return None
        self._owed.discard(id)
        head = b'{"jsonrpc":"2.0","id":%b,"result":' % _id_bytes(id)
        return self._framing.wrap(head, memoryview(result), b"}")

    def refuse(self, id: Id, error: BrokerError) -> Frame | None:
        """The error reply to a request; None when it is settled already."""
        if id not in self._owed:
            return None
        self._owed.discard(id)
        return self._fault(_id_bytes(id), error)

    def take_back(self, id: Id) -> None:
        """The reply just made is not sent: the request is owed one again."""
        self._owed.add(id)

    def drop(self, id: Id) -> None:
        """Settle a request without a reply: the other side gave up on it."""
        self._owed.discard(id)

    def forget(self, id: Id) -> None:
        """Stop waiting for a reply: a late one is `Unreadable`, not a leak."""
        self._waiting.discard(id)

    def hang_up(self) -> list[Id]:
        """End the conversation; the ids of our requests whose callers must be told."""
        lost = list(self._waiting)
        self._waiting.clear()
        self._owed.clear()
        return lost

    def _read(self, line: bytes) -> Event:
        try:
            message = _read_envelope(line)
        except BrokerError as error:
            return self._unreadable(line, error)
        id = message.id
        if message.method is not UNSET:
            if message.result is not UNSET or message.error is not UNSET:
                return self._unreadable(line, BadRequest("a message cannot be a request and a response"))
            params = NOTHING if message.params is UNSET else message.params
            if id is UNSET:
                return Told(message.method, params)
            return self._asked(line, id, message.method, params)
        if isinstance(id, (int, str)) and id in self._waiting:
            return self._answered(line, id, message)
        if message.result is not UNSET or message.error is not UNSET:
            return Unreadable(BadRequest(f"nobody waits for the answer to {id!r}"), None, b"")
        return self._unreadable(line, BadRequest("a message needs a method, a result or an error"))

    def _asked(self, line: bytes, id: Id | None, method: str, params: Raw) -> Event:
        if id is None:
            return self._unreadable(line, BadRequest("id must be a string or an integer, not null"))
        if id in self._owed:
            error = BadRequest(f"id {id!r} is in flight already")
            return Unreadable(error, self._fault(None, error), line)
        self._owed.add(id)
        return Asked(id, method, params)

    def _answered(self, line: bytes, id: Id, message: Envelope) -> Event:
        if (message.result is UNSET) == (message.error is UNSET):
            return self._unreadable(line, BadRequest("a response has either a result or an error"))
        self._waiting.discard(id)
        if message.error is not UNSET:
            fault = message.error
            data = None if fault.data is UNSET else fault.data
            return Answered(id, None, RemoteError(fault.code, fault.message, data))
        assert message.result is not UNSET
        return Answered(id, message.result, None)

    def _unreadable(self, line: bytes, error: BrokerError) -> Event:
        id = _recovered_id(line)
        if id is not None and id in self._waiting and b'"method"' not in line[:HEAD_OF_REPLY]:
            self._waiting.discard(id)
            return Answered(id, None, error)
        if not self._answers_junk:
            return Unreadable(error, None, line)
        known = id is not None and id not in self._owed
        return Unreadable(error, self._fault(_id_bytes(id) if known and id is not None else None, error), line)

    def _fault(self, id: bytes | None, error: BrokerError) -> Frame:
        fault = Fault(error.code, str(error), _explanation(error))
        known = b"" if id is None else b'"id":%b,' % id
        return self._framing.wrap(b'{"jsonrpc":"2.0",%b"error":' % known, _encode(fault), b"}")


def _recovered_id(line: bytes) -> Id | None:
    """The id of a message that cannot be read: where envelopes have it, or the only one there is."""
    first, last, all_ = _ID_FIRST.match(line), _ID_LAST.search(line[-512:]), _ID.findall(line[: 2 * HEAD])
    raw = first[1] if first else last[1] if last else all_[0] if len(all_) == 1 else None
    try:
        return msgspec.json.decode(raw, type=Id) if raw is not None and str(raw, "utf-8") else None
    except ValueError:
        return None


HEAD_OF_REPLY: Final = 256  # where a request would have said its method


def _explanation(error: BrokerError) -> Raw | UnsetType:
    """The `data` of an error: its own, or for one of ours its name and the way out."""
    if error.data is not None:
        return error.data
    return UNSET if isinstance(error, RemoteError) else Raw(_encode({"name": error.name, "hint": error.hint}))


@lru_cache(256)
def _quoted(method: str) -> bytes:
    return _encode(method)


def _read_envelope(line: bytes) -> Envelope:
    """The message in `line`. Raises `WireError` (not JSON) or `BadRequest` (JSON, but no message)."""
    if type(line) is TooLong:
        raise BadRequest("the message passes the size limit")
    try:
        if not line.isascii():
            str(line, "utf-8")  # `Raw` is not checked by the decoder
        message = _decode(line)
        twice = len(line) != _plain_length(message) and _repeats_a_key(line)
    except msgspec.ValidationError as error:
        raise BadRequest(_explained(line, str(error))) from None
    except UnicodeDecodeError:
        raise WireError("the message is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise WireError(f"the message is not JSON: {error}") from None
    if twice:
        raise BadRequest("the message has the same key twice")
    if _may_be_deep(line) and _depth(line) > MAX_DEPTH:
        raise BadRequest(f"the message is nested deeper than {MAX_DEPTH}")
    return message


def _explained(line: bytes, why: str) -> str:
    if line.lstrip().startswith(b"["):
        return "batches were removed in MCP 2025-06-18; send one message a line"
    return f"the message is not JSON-RPC 2.0: {why}"


def _plain_length(message: Envelope) -> int:
    """How long the message is when written without spaces, unknown members or repeated ones."""
    id = message.id
    if message.method is not UNSET:
        size = 29 + len(message.method)
        if message.params is not UNSET:
            size += 10 + len(memoryview(message.params))
        if id is UNSET:
            return size
    elif message.result is not UNSET:
        size = 27 + len(memoryview(message.result))
    else:
        return -1
    if type(id) is int:
        return size + 6 + len(str(id))
    return size if id is UNSET else size + 6 + len(_encode(id))


def _repeats_a_key(line: bytes) -> bool:
    """Whether an envelope key stands twice, which readers resolve differently (CVE-2026-27896's class)."""
    members = msgspec.json.decode(line, type=dict[str, Raw])
    for value in members.values():
        raw = bytes(value)
        if len(raw) > 64:
            line = line.replace(raw, b"0", 1)
    twice = False

    def see(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or (len(found) != len(pairs) and not {"jsonrpc", "id", "method"}.isdisjoint(found))
        return found

    json.loads(line, object_pairs_hook=see)
    return twice


def _may_be_deep(line: bytes) -> bool:
    """Whether there are brackets enough; a long line is hopped through, which is 8 times faster than counting."""
    if len(line) < 2 * MAX_DEPTH:
        return False
    if len(line) < 4096:
        return line.count(b"[") + line.count(b"{") > MAX_DEPTH
    found = 0
    for bracket in (b"[", b"{"):
        at = line.find(bracket)
        while at >= 0:
            found += 1
            if found > MAX_DEPTH:
                return True
            at = line.find(bracket, at + 1)
    return False


def _depth(line: bytes) -> int:
    """Nesting by brackets, those inside strings included: each pass takes the innermost level away."""
    left = line.translate(None, _BRACKETS)
    for depth in range(MAX_DEPTH + 1):
        size = len(left)
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) == size:
            return depth
    return MAX_DEPTH + 1


def _id_bytes(id: Id) -> bytes:
    return b"%d" % id if type(id) is int else _encode(id)
