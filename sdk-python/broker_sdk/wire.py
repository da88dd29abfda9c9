"""Lines to messages and back: JSON-RPC 2.0, one message a line, with no I/O.

Rule 1: a bad line costs only itself. Where its id can be recovered it is answered, with the id as it was written.
Rule 2: ids are told apart by type and value, and are never converted.
Rule 3: what two readers could read differently is refused: a key twice, a number without end, what is not UTF-8.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker_sdk.errors import PARSE, REQUEST, Refusal

MAX_LINE = 16 << 20  # bytes; the official TypeScript SDK gives up at 10 MiB
MAX_DEPTH = 128  # of brackets in one message; the official Python SDK's parser stops at 200
MAX_ID = 64 << 10  # characters
MAX_METHOD = 1 << 10  # characters
MAX_DIGITS = 4300  # of one whole number: where Python's own parser stops
MAX_MEMBERS = 32  # of an envelope, which has six
HEAD = 4 << 10  # bytes kept of a line that is too long, from its beginning and from its end

Id = int | str


class Message(Struct, omit_defaults=True):
    """Any JSON-RPC message, its payload undecoded."""

    jsonrpc: Literal["2.0"]
    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Any = UNSET  # small, so it is decoded


class BadLine(Exception):
    """A line that is no message. `id`: the one an answer is owed to; `UNSET` if there is none."""

    def __init__(self, code: int, message: str, id: Id | UnsetType = UNSET) -> None:
        super().__init__(message)
        self.code, self.id = code, id


class Lines:
    """Cuts a stream into lines, and keeps at most `MAX_LINE` bytes of one."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""  # of a line that is too long, once its head is all that `_parts` has

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The lines completed by `data`, and whether each is whole: of one too long there are head and tail."""
        *ended, rest = data.split(b"\n")
        lines = [self._end(piece) for piece in ended]
        if rest:
            self._keep(rest)
        return lines

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._parts.append(piece)
            return
        kept = b"".join((*self._parts, self._tail, piece))
        if not self._tail:
            self._parts = [kept[:HEAD]]
            kept = kept[HEAD:]
        else:
            kept = kept[len(self._parts[0]) :]
        self._tail = kept[-HEAD:]

    def _end(self, piece: bytes) -> tuple[bytes, bool]:
        if not self._parts and len(piece) <= self._limit:
            return piece, True
        self._keep(piece)
        line, whole = b"".join((*self._parts, self._tail)), self._size <= self._limit
        self._parts, self._size, self._tail = [], 0, b""
        return line, whole


def encode_error(id: Id | UnsetType, error: Refusal | BadLine) -> bytes:
    """The line that refuses a request. MCP has no null ids: one that is unknown is left out."""
    fault: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, Refusal) and error.data is not None:
        fault["data"] = error.data
    return encode({"jsonrpc": "2.0", **({} if id is UNSET else {"id": id}), "error": fault}) + b"\n"


encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(Message).decode


def decode(line: bytes, whole: bool = True) -> Message:
    """The message in a line. Raises `BadLine`."""
    try:
        if not whole:
            raise BadLine(REQUEST, f"the message has more than {MAX_LINE >> 20} MiB")
        return _checked(line)
    except BadLine as bad:
        raise BadLine(bad.code, str(bad), _recovered(line)) from None
    except UnicodeDecodeError:
        raise BadLine(PARSE, "the message is not UTF-8", _recovered(line)) from None
    except RecursionError:
        raise BadLine(REQUEST, f"the message is nested deeper than {MAX_DEPTH}", _recovered(line)) from None
    except msgspec.ValidationError as error:
        raise _invalid(line, error) from None
    except ValueError as error:
        raise BadLine(PARSE, f"the message is not JSON: {error}", _recovered(line)) from None


def _checked(line: bytes) -> Message:
    if not line.isascii():
        str(line, "utf-8")  # `Raw` is not checked by the decoder
    message = _decode(line)
    if len(line) > MAX_DIGITS and _may_be_endless(line) and _has_endless_number(line):
        raise BadLine(PARSE, f"the message has a number of more than {MAX_DIGITS} digits")
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _too_deep(line):
        raise BadLine(REQUEST, f"the message is nested deeper than {MAX_DEPTH}")
    if len(encode(message)) != len(line):
        _check_members(line)
    if message.method is not UNSET and len(message.method) > MAX_METHOD:
        raise BadLine(REQUEST, "the method's name is too long")
    if message.id is not UNSET and message.id is not None and len(str(message.id)) > MAX_ID:
        raise BadLine(REQUEST, "the id is too long")
    return _shaped(message)


def _shaped(message: Message) -> Message:
    """A request, a notification or an answer, and only one of them. A request's id is a number or a text."""
    answers = message.result is not UNSET or (message.error is not UNSET and message.error is not None)
    if message.method is UNSET and not answers:
        raise BadLine(REQUEST, "the message has no method and no result")
    if message.method is not UNSET and (answers or message.error is not UNSET):
        raise BadLine(REQUEST, "the message is a request and an answer")
    if message.method is not UNSET and message.id is None:
        raise BadLine(REQUEST, "the id is null")
    return message


def _check_members(line: bytes) -> None:
    """Refuse an envelope with a key twice, or with too many."""
    import json  # only for lines that are not written as nearly everybody writes them

    raws = msgspec.json.decode(line, type=dict[str, Raw])
    if len(raws) > MAX_MEMBERS:
        raise BadLine(REQUEST, f"the message has more than {MAX_MEMBERS} members")
    for value in sorted(map(bytes, raws.values()), key=len, reverse=True):
        if len(value) > 64:
            line = line.replace(value, b"0", 1)
    twice = False

    def see(pairs: list[tuple[str, Any]]) -> None:
        nonlocal twice
        twice = len({key for key, _ in pairs}) != len(pairs)  # the envelope is the last to be seen

    json.loads(line, object_pairs_hook=see)
    if twice:
        raise BadLine(REQUEST, "the message has the same key twice")


def _invalid(line: bytes, error: msgspec.ValidationError) -> BadLine:
    """What is said of a line that has another shape. The decoder may say so before it has read all of it."""
    id = _recovered(line)
    try:
        msgspec.json.decode(line, type=Raw)
    except RecursionError:
        return BadLine(REQUEST, f"the message is nested deeper than {MAX_DEPTH}", id)
    except ValueError as worse:
        return BadLine(PARSE, f"the message is not JSON: {worse}", id)
    if line.lstrip().startswith(b"["):
        return BadLine(REQUEST, "batches were removed in MCP 2025-06-18; send one message a line", id)
    return BadLine(REQUEST, f"the message is not JSON-RPC 2.0: {error}", id)


_VALUE = rb'(-?(?:0|[1-9]\d{0,29})|"(?:[^"\\]|\\.){0,256}")(?:\.0{1,9})?'
_VERSION = rb'"jsonrpc"\s*:\s*"2\.0"'
_ID_FIRST = re.compile(rb'\s*\{\s*(?:%b\s*,\s*)?"id"\s*:\s*%b\s*,' % (_VERSION, _VALUE))
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*%b\s*(?:,\s*%b\s*)?\}\s*$' % (_VALUE, _VERSION))
_ID_ANY = re.compile(rb'"id"\s*:\s*%b\s*[,}]' % _VALUE)
_TWO = re.compile(rb"\d\d")
_ENDLESS = re.compile(rb"(?<![\d.])\d{%d,}(?![\d.eE])" % (MAX_DIGITS + 1))
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_PAIRS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def _recovered(line: bytes) -> Id | UnsetType:
    """The id of a message that cannot be read: where messages have it, or the only one there is."""
    first, last, every = _ID_FIRST.match(line), _ID_LAST.search(line[-512:]), _ID_ANY.findall(line[: 2 * HEAD])
    raw = first[1] if first else last[1] if last else every[0] if len(every) == 1 else None
    try:
        return msgspec.json.decode(raw, type=Id) if raw is not None and str(raw, "utf-8") else UNSET
    except ValueError:
        return UNSET


def _may_be_endless(line: bytes) -> bool:
    """Whether two bytes as far apart as a number too long has room for are digits, which costs next to nothing."""
    return _TWO.search(line[:: MAX_DIGITS // 2]) is not None


def _has_endless_number(line: bytes) -> bool:
    return _ENDLESS.search(line) is not None and _ENDLESS.search(_TEXT.sub(b'""', line)) is not None


def _too_deep(line: bytes) -> bool:
    """Whether brackets are nested deeper than `MAX_DEPTH`; each pass takes the innermost level away."""
    left = _TEXT.sub(b"", line).translate(_PAIRS, _OTHERS)
    for _ in range(MAX_DEPTH):
        if not left:
            return False
        left = left.replace(b"[]", b"")
    return bool(left)
