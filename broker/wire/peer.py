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
from itertools import accumulate
from typing import Final, Literal, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker.errors import BadRequest, BrokerError, RemoteError, WireError
from broker.wire.framing import HEAD, Frame, TooLong

Id = int | str
MAX_DEPTH: Final = 128  # of a frame; the official Python SDK's parser stops at 200
MAX_ID: Final = 64 << 10  # characters; it is kept for as long as its request, and written back
MAX_METHOD: Final = 1 << 10  # characters
MAX_DIGITS: Final = 4300  # of one whole number; Python's own parser stops there, and with it many a reader
MAX_MEMBERS: Final = 32  # of an envelope, which has six; more would make looking at each too slow
MAX_FORGOTTEN: Final = 1024  # requests given up whose late answer is expected
NOTHING: Final = Raw(b"{}")
_NULL = Raw(b"null")


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
    error: Fault | UnsetType | None = UNSET


class Asked(Struct, gc=False):
    """A request of the other side; it is owed exactly one reply. `size`: bytes of the frame it came in, and keeps."""

    id: Id
    method: str
    params: Raw
    size: int


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

    `line` is empty for a good message that came too late or unasked (`stray`): its content is nobody's business.
    `about`: a request of ours that the line seems to answer, though it does not begin like a message.
    """

    error: BrokerError
    reply: Frame | None
    line: bytes
    stray: bool = False
    about: Id | None = None


Event = Asked | Told | Answered | Unreadable
_decode = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode
_VALUE = rb'(-?\d{1,30}|"(?:[^"\\]|\\.){0,256}")(?:\.0{1,9})?'
_VERSION = rb'"jsonrpc"\s*:\s*"2\.0"'
_ID_FIRST = re.compile(rb'\s*\{\s*(?:%b\s*,\s*)?"id"\s*:\s*%b\s*,' % (_VERSION, _VALUE))
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*%b\s*(?:,\s*%b\s*)?\}\s*$' % (_VALUE, _VERSION))
_ID = re.compile(rb'"id"\s*:\s*%b\s*[,}]' % _VALUE)
_DIGITS = re.compile(rb"\d\d")
_ENDLESS = re.compile(rb"(?<![\d.])\d{%d,}(?![\d.eE])" % (MAX_DIGITS + 1))
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_PAIRS = bytes.maketrans(b"[]{}", b"()()")
_STEPS = bytes.maketrans(b"()", b"\x01\xff")  # up one, down one
_BEFORE = b"\xef\xbb\xbf\0 \t\r"  # what may stand before a message that is one but for that


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
        self._forgotten: dict[Id, None] = {}
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
                if line.startswith(b"\xef\xbb\xbf"):
                    line = type(line)(line[3:])  # a `TooLong` stays one
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
        """Stop waiting for a reply: a late one is `Unreadable`, not a leak, and no stray."""
        self._waiting.discard(id)
        self._forgotten[id] = None
        if len(self._forgotten) > MAX_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

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
            if len(message.method) > MAX_METHOD:
                return self._unreadable(line, BadRequest(f"method is longer than {MAX_METHOD} characters"))
            params = NOTHING if message.params is UNSET else message.params
            if id is UNSET:
                return Told(message.method, params)
            return self._asked(line, id, message.method, params)
        if isinstance(id, (int, str)) and id in self._waiting:
            return self._answered(line, id, message)
        if message.result is not UNSET or message.error is not UNSET:
            return self._unasked(id)
        return self._unreadable(line, BadRequest("a message needs a method, a result or an error"))

    def _unasked(self, id: Id | UnsetType | None) -> Event:
        late = id in self._forgotten
        if isinstance(id, (int, str)):
            self._forgotten.pop(id, None)
        shown = id if isinstance(id, int) else repr(id)[:80]
        return Unreadable(BadRequest(f"nobody waits for the answer to {shown}"), None, b"", stray=not late)

    def _asked(self, line: bytes, id: Id | None, method: str, params: Raw) -> Event:
        if id is None:
            return self._unreadable(line, BadRequest("id must be a string or an integer, not null"))
        if type(id) is str and len(id) > MAX_ID:
            return self._unreadable(line, BadRequest(f"id is longer than {MAX_ID} characters"))
        if id in self._owed:
            error = BadRequest(f"id {id!r} is in flight already")
            return Unreadable(error, self._fault(None, error), line)
        self._owed.add(id)
        return Asked(id, method, params, len(line))

    def _answered(self, line: bytes, id: Id, message: Envelope) -> Event:
        fault = None if message.error is UNSET else message.error
        failed = fault is not None and (message.result is UNSET or message.result == _NULL)
        if not failed and (message.result is UNSET or fault is not None):
            return self._unreadable(line, BadRequest("a response has either a result or an error"))
        self._waiting.discard(id)
        if fault is not None:
            data = None if fault.data is UNSET else fault.data
            return Answered(id, None, RemoteError(fault.code, fault.message, data))
        assert message.result is not UNSET
        return Answered(id, message.result, None)

    def _unreadable(self, line: bytes, error: BrokerError) -> Event:
        id = _recovered_id(line)
        if id is not None and id in self._waiting and _answers(line[:HEAD_OF_REPLY]):
            if not line.lstrip(_BEFORE).startswith(b"{"):
                return Unreadable(error, None, line, about=id)
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


def _answers(head: bytes) -> bool:
    """Whether a message that cannot be read begins like a reply, though another message may have got into it."""
    method = head.find(b'"method"')
    said = [at for at in (head.find(b'"result"'), head.find(b'"error"')) if at >= 0]
    return method < 0 or (bool(said) and min(said) < method)


def _explanation(error: BrokerError) -> Raw | UnsetType:
    """The `data` of an error: its own, or for one of ours its name and the way out."""
    if error.data is not None:
        return error.data
    if isinstance(error, RemoteError):
        return UNSET
    return Raw(_encode({"name": error.name, "hint": error.hint, **error.facts}))


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
    except (ValueError, RecursionError) as error:
        raise _refusal(line, error) from None
    if twice:
        raise BadRequest("the message has the same key twice")
    if len(line) > MAX_DIGITS and _may_be_endless(line) and _has_endless_number(line):
        raise WireError(f"the message is not JSON that everybody reads: a number has more than {MAX_DIGITS} digits")
    if _may_be_deep(line) and _depth(line) > MAX_DEPTH:
        raise BadRequest(_TOO_DEEP)
    return message


_TOO_DEEP = f"the message is nested deeper than {MAX_DEPTH}"


def _refusal(line: bytes, error: Exception) -> BrokerError:
    """What a decoder's error means for the sender. The decoder may tell of a wrong type before it has read on."""
    if isinstance(error, msgspec.ValidationError):
        try:
            msgspec.json.decode(line, type=Raw)
        except (ValueError, RecursionError) as worse:
            return _refusal(line, worse)
        return BadRequest(_explained(line, str(error)))
    if isinstance(error, RecursionError):
        return BadRequest(_TOO_DEEP)
    if isinstance(error, UnicodeDecodeError):
        return WireError("the message is not UTF-8")
    return WireError(_not_json(line, str(error)))


def _not_json(line: bytes, why: str) -> str:
    if line[:15].lower() == b"content-length:":
        return "the message is a header of the language server protocol; MCP has one message a line, and no headers"
    return f"the message is not JSON: {why}"


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


# Of an envelope, as they are written without escapes.
_KEYS = {key: b'"%b"' % key.encode() for key in ("jsonrpc", "id", "method", "params", "result", "error")}


def _repeats_a_key(line: bytes) -> bool:
    """Whether an envelope key stands twice, which readers resolve differently (CVE-2026-27896's class)."""
    members = msgspec.json.decode(line, type=dict[str, Raw])
    if len(members) > MAX_MEMBERS:
        raise BadRequest(f"the message has more than {MAX_MEMBERS} members")
    if b"\\" not in line and all(line.count(_KEYS.get(key, b"")) == 1 for key in members):
        return False  # the usual case, of whoever writes spaces
    for value in sorted(map(bytes, members.values()), key=len, reverse=True):
        if len(value) > 64:
            line = line.replace(value, b"0", 1)
    twice = False

    def see(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal twice
        found = dict(pairs)
        twice = len(found) != len(pairs)  # the envelope is the last that is seen
        return found

    json.loads(line, object_pairs_hook=see)
    return twice


def _may_be_endless(line: bytes) -> bool:
    """Whether two bytes as far apart as a number too long has room for are digits, which costs next to nothing."""
    return _DIGITS.search(line[:: MAX_DIGITS // 2]) is not None


def _has_endless_number(line: bytes) -> bool:
    return _ENDLESS.search(line) is not None and _ENDLESS.search(_TEXT.sub(b'""', line)) is not None


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
    """How deep brackets are nested, those inside strings not counted."""
    if b"\\" in line:
        line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = line.translate(_PAIRS, _OTHERS).replace(b'""', b"")
    if b'"' in left:
        left = b"".join(left.split(b'"')[::2])
    gone = 0
    while left and gone < 3:  # each pass takes the innermost level away, of which most messages consist
        left = left.replace(b"()", b"")
        gone += 1
    return gone + max(accumulate(memoryview(left.translate(_STEPS)).cast("b")), default=0)


def _id_bytes(id: Id) -> bytes:
    return b"%d" % id if type(id) is int else _encode(id)
