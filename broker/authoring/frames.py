"""Fifty odd frames, and whether each is owed an answer.

`@ID@` stands for the id of the frame. A request in order is owed exactly one answer with it; one whose envelope is
wrong is owed an error, with that id or without one. What has no id that can be read is owed nothing.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Owed = Literal["answer", "error", "nothing", "anything"]  # error: also one without an id


class Frame(Struct, frozen=True):
    """One frame, without the newline that ends it."""

    name: str
    data: bytes
    owed: Owed

    def bytes(self, id: int) -> bytes:
        return self.data.replace(b"@ID@", str(id).encode()) + b"\n"


PING = b'{"jsonrpc":"2.0","id":@ID@,"method":"ping"}'


def _envelope(id: bytes = b"@ID@", method: bytes = b'"ping"', more: bytes = b"") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (id, method, more)


def _params(params: bytes, method: bytes = b'"ping"') -> bytes:
    return _envelope(method=method, more=b',"params":' + params)


def _call(params: bytes) -> bytes:
    return _params(params, b'"tools/call"')


FRAMES: tuple[Frame, ...] = (
    # bytes that are no JSON
    Frame("half an object", b'{"jsonrpc":"2.0","id":1,', "anything"),
    Frame("a word", b"hello", "anything"),
    Frame("an open list", b"[1,2", "anything"),
    Frame("an open text", b'{"jsonrpc":"2.0","method":"pi', "anything"),
    Frame("a NUL character", b"\x00", "anything"),
    Frame("bytes that are no UTF-8", b'{"jsonrpc":"2.0","id":@ID@,"method":"\xff\xfe"}', "anything"),
    Frame("half a surrogate pair", _envelope(method=b'"\\ud800"'), "anything"),
    Frame("single quotes", b"{'jsonrpc':'2.0'}", "anything"),
    Frame("a comma too many", b'{"jsonrpc":"2.0","id":@ID@,"method":"ping",}', "anything"),
    Frame("NaN as a value", _params(b'{"a":NaN}'), "anything"),
    Frame("two objects in a line", PING + PING, "anything"),
    # JSON that is no message
    Frame("a number", b"5", "anything"),
    Frame("a text", b'"ping"', "anything"),
    Frame("null", b"null", "anything"),
    Frame("true", b"true", "anything"),
    Frame("an empty object", b"{}", "anything"),
    Frame("an empty batch", b"[]", "anything"),
    Frame("a batch", b"[" + PING + b"]", "anything"),
    # odd whitespace around a request in order
    Frame("CRLF", PING + b"\r", "answer"),
    Frame("blank lines before", b"\n\n" + PING, "answer"),
    Frame("blanks around", b"  \t" + PING + b"  ", "answer"),
    Frame("a byte order mark", b"\xef\xbb\xbf" + PING, "anything"),
    # envelopes
    Frame("no version", b'{"id":@ID@,"method":"ping"}', "error"),
    Frame("version 1.0", b'{"jsonrpc":"1.0","id":@ID@,"method":"ping"}', "error"),
    Frame("version as a number", b'{"jsonrpc":2.0,"id":@ID@,"method":"ping"}', "error"),
    Frame("id null", _envelope(b"null"), "anything"),
    Frame("id true", _envelope(b"true"), "anything"),
    Frame("id a fraction", _envelope(b"@ID@.5"), "anything"),
    Frame("id a list", _envelope(b"[@ID@]"), "anything"),
    Frame("id an object", _envelope(b'{"a":@ID@}'), "anything"),
    Frame("method a number", _envelope(method=b"5"), "error"),
    Frame("method null", _envelope(method=b"null"), "error"),
    Frame("no method", b'{"jsonrpc":"2.0","id":@ID@}', "error"),
    Frame("an empty method", _envelope(method=b'""'), "error"),
    Frame("an unknown method", _envelope(method=b'"no/such/method"'), "answer"),
    Frame("params a text", _params(b'"a"'), "error"),
    Frame("params a list", _params(b"[1]"), "error"),
    Frame("an unknown member", _envelope(more=b',"extra":1'), "answer"),
    Frame("params 500 levels deep", _params(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), "answer"),
    Frame("params of 1 MiB", _params(b'{"a":"%b"}' % (b"x" * (1 << 20))), "answer"),
    # answers nobody asked for, and notifications
    Frame("an answer to nothing", b'{"jsonrpc":"2.0","id":@ID@,"result":{}}', "nothing"),
    Frame("an error to nothing", b'{"jsonrpc":"2.0","id":@ID@,"error":{"code":1,"message":"x"}}', "nothing"),
    Frame("an unknown notification", b'{"jsonrpc":"2.0","method":"notifications/nonsense"}', "nothing"),
    Frame(
        "the end of a call there was not",
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":@ID@}}',
        "nothing",
    ),
    Frame("the end of no call", b'{"jsonrpc":"2.0","method":"notifications/cancelled"}', "nothing"),
    # requests in order that ask for nonsense
    Frame("a call of nothing", _call(b"{}"), "answer"),
    Frame("a call of a number", _call(b'{"name":5}'), "answer"),
    Frame("a call of what is not there", _call(b'{"name":"no such tool"}'), "answer"),
    Frame("a call with a list", _call(b'{"name":"no such tool","arguments":[1]}'), "answer"),
    Frame("a resource that is a number", _params(b'{"uri":5}', b'"resources/read"'), "answer"),
)
