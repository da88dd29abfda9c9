"""Bad frames, by name, and what is owed to whoever sends each: to a client, and to the call in flight at a server.

A frame has holes: `@ID@` is an id that whoever drives it picks (a server puts the id of the call in flight there), and
`@META@` is the `_meta` member of a request in the era that is spoken. Only the standard library: a server reads it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ID = "@ID@"  # the reply has the id of the frame
OK = 0  # the reply is a result
PARSE, REQUEST, METHOD, PARAMS, VERSION = -32700, -32600, -32601, -32602, -32022
Reply = tuple[str | None, int]  # id as JSON, None: left out; code of the error
Bytes = bytes | Callable[[], bytes]

# What becomes of the call in flight at a server that writes the frame.
IGNORED = "ignored"  # nothing: its answer is awaited
ERROR = "error"  # it fails at once: the frame is its answer, and cannot be read
DOUBTED = "doubted"  # it fails a moment later, if no other answer comes: the frame may be a log of one
RESULT = "result"  # the frame is an answer in order, however odd

META = {
    "legacy": b'"_meta":{}',
    "modern": b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientInfo":{"name":"frames","version":"1"},'
    b'"io.modelcontextprotocol/clientCapabilities":{}}',
}
MIB = 1 << 20


@dataclass(frozen=True)
class Frame:
    """`client`: the replies owed to a client in each era; None: at most one for each line."""

    name: str
    family: str
    data: Bytes
    client: Mapping[str, tuple[Reply, ...] | None]
    server: str

    def bytes(self, id: str, era: str) -> bytes:
        """The whole frame with its holes filled."""
        data = self.data if isinstance(self.data, bytes) else self.data()
        return data.replace(b"@ID@", id.encode()).replace(b"@META@", META[era]) + b"\n"


FRAMES: dict[str, Frame] = {}


def add(
    family: str,
    frames: Mapping[str, Bytes],
    *client: Reply,
    server: str = IGNORED,
    legacy: tuple[Reply, ...] | None = None,
    anything: bool = False,
) -> None:
    """Frames of one family that are answered alike; `legacy` where that era differs."""
    for short, data in frames.items():
        name = f"{family}/{short}"
        assert name not in FRAMES, name
        modern = None if anything else client
        FRAMES[name] = Frame(
            name, family, data, {"modern": modern, "legacy": modern if legacy is None else legacy}, server
        )


def request(
    *,
    version: bytes = b'"2.0"',
    id: bytes = b"@ID@",
    method: bytes = b'"tools/list"',
    params: bytes = b"{@META@}",
    extra: bytes = b"",
) -> bytes:
    return b'{"jsonrpc":%b,"id":%b,"method":%b,"params":%b%b}' % (version, id, method, params, extra)


def call(tool: bytes = b'"two__echo"', arguments: bytes = b"{}", id: bytes = b"@ID@") -> bytes:
    return request(id=id, method=b'"tools/call"', params=b'{"name":%b,"arguments":%b,@META@}' % (tool, arguments))


def asked(method: str, members: str) -> bytes:
    params = b"{%b%b@META@}" % (members.encode(), b"," if members else b"")
    return request(method=b'"%b"' % method.encode(), params=params)


def told(method: str, params: str) -> bytes:
    return b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), params.encode())


def holding(value: bytes) -> bytes:
    return request(params=b'{@META@,"x":%b}' % value)


def answer(result: bytes = b'{"content":[]}', id: bytes = b"@ID@", extra: bytes = b"") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b%b}' % (id, result, extra)


def answering(value: bytes) -> bytes:
    return answer(b'{"content":[],"x":%b}' % value)


def each(wrap: Callable[[bytes], bytes], values: Mapping[str, bytes]) -> dict[str, Bytes]:
    return {name: wrap(value) for name, value in values.items()}


# -- not JSON at all

GARBAGE: dict[str, Bytes] = {
    "word": b"nonsense",
    "log-line": b"[INFO] server started {ok}",
    "ansi": b"\x1b[32mready\x1b[0m",
    "html": b"<!doctype html><html></html>",
    "http": b"GET / HTTP/1.1\r",
    "yaml": b"jsonrpc: 2.0",
    "python-dict": b"{'jsonrpc': '2.0'}",
    "javascript": b"{jsonrpc:'2.0'}",
    "base64": b"eyJqc29ucnBjIjoiMi4wIn0=",
    "open-brace": b"{",
    "close-brace": b"}",
    "open-bracket": b"[",
    "half-key": b'{"jsonr',
    "half-string": b'"half',
    "only-comma": b",",
    "only-colon": b":",
    "undefined": b"undefined",
    "nan": b"NaN",
    "comment": b"// hello",
    "hash": b"# hello",
    "nul": b"\x00",
    "nuls": b"\x00" * 5000,
    "binary": bytes(sorted(set(range(256)) - {10})),
    "utf-16": '{"jsonrpc":"2.0"}'.encode("utf-16"),
    "utf-32": '{"jsonrpc":"2.0"}'.encode("utf-32-le"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "prompt": b"$ ",
    "emoji": "🚀 ready".encode(),
    "escape-first": b"\\{}",
    "quotes": b'"' * 999,
    "true-and-more": b"true false",
    "two-empty-objects": b"{}{}",
}
add("garbage", GARBAGE, (None, PARSE))
add("lsp", {"header": b"Content-Length: 45\r\n\r", "lower": b"content-length:45\r\n\r"}, (None, PARSE))
add("lsp", {"content-type": b"Content-Type: application/vscode-jsonrpc\r\n\r"}, (None, PARSE))
add("lsp", {"header-and-body": b"Content-Length: 99\r\n\r\n" + request()}, (None, PARSE), (ID, OK))
add(
    "blank",
    {"nothing": b"", "lines": b"\n\n\n", "blanks": b"   \t  ", "cr": b"\r", "crcr": b"\r\r\r", "feed": b"\x0c\x0b"},
)
add("half", {"after-method": request()[:55], "in-params": request()[:-2], "one-brace": request()[:-1]}, (ID, PARSE))
add("half", {"after-id": b'{"jsonrpc":"2.0","id":@ID@,'}, (ID, PARSE), server=ERROR)
add("half", {"in-key": b'{"jsonrpc":"2.0","id":@ID@,"meth'}, (ID, PARSE), server=ERROR)
add("half", {"in-result": answer()[:-8]}, (ID, PARSE), server=ERROR)
add("half", {"before-id-ends": b'{"jsonrpc":"2.0","id":@ID@'}, (None, PARSE))
add("half", {"second-half": b'@ID@,"method":"tools/list"}'}, (None, PARSE))

# -- JSON, but no object

SCALARS = {
    "number": b"1",
    "negative": b"-1",
    "zero": b"0",
    "float": b"1.5",
    "true": b"true",
    "false": b"false",
    "null": b"null",
    "text": b'"text"',
    "empty-text": b'""',
}
add("scalar", dict(SCALARS), (None, REQUEST))
add(
    "batch",
    {"empty": b"[]", "of-numbers": b"[1,2]", "nested": b"[[]]", "of-notices": b"[%b]" % told("n", "{}")},
    (None, REQUEST),
)
add("batch", {"of-one": b"[%b]" % request()}, (ID, REQUEST))
add("batch", {"of-two": b"[%b,%b]" % (request(), request(id=b'"x"'))}, (None, REQUEST))
add("batch", {"mixed": b"[%b,1,%b]" % (request(), answer(id=b"77"))}, (None, REQUEST))
add("batch", {"blank-first": b"  [%b]" % request()}, (ID, REQUEST))
add("batch", {"of-the-answer": b"[%b]" % answer()}, (ID, REQUEST), server=DOUBTED)

# -- the envelope

VERSIONS = {
    "1.0": b'"1.0"',
    "number": b"2.0",
    "int": b"2",
    "null": b"null",
    "2": b'"2"',
    "2.00": b'"2.00"',
    "empty": b'""',
    "array": b"[]",
    "object": b"{}",
    "blank-behind": b'"2.0 "',
    "blank-before": b'" 2.0"',
    "3.0": b'"3.0"',
}
add("version", each(lambda value: request(version=value), VERSIONS), (ID, REQUEST))
add("version", {"missing": b'{"id":@ID@,"method":"tools/list","params":{@META@}}'}, (ID, REQUEST))
add("version", {"missing-in-answer": b'{"id":@ID@,"result":{}}'}, (ID, REQUEST), server=ERROR)
add("version", {"1.0-in-answer": b'{"jsonrpc":"1.0","id":@ID@,"result":{}}'}, (ID, REQUEST), server=ERROR)
add("empty", {"object": b"{}", "version-only": b'{"jsonrpc":"2.0"}', "blanks-inside": b"{ \t }"}, (None, REQUEST))
add("empty", {"params-only": b'{"jsonrpc":"2.0","params":{}}'}, (None, REQUEST))
add("empty", {"id-only": b'{"jsonrpc":"2.0","id":@ID@}'}, (ID, REQUEST), server=ERROR)
add("empty", {"id-and-params": b'{"jsonrpc":"2.0","id":@ID@,"params":{}}'}, (ID, REQUEST), server=ERROR)

METHODS = {
    "null": b"null",
    "number": b"7",
    "array": b"[]",
    "object": b"{}",
    "true": b"true",
    "float": b"1.5",
    "too-long": b'"%b"' % (b"m" * 2000),
    "64-kib": b'"%b"' % (b"m" * 65536),
}
add("method", each(lambda value: request(method=value), METHODS), (ID, REQUEST))
UNKNOWN = {
    "empty": b'""',
    "unknown": b'"nope/nope"',
    "blank-before": b'" tools/list"',
    "upper": b'"TOOLS/LIST"',
    "rpc": b'"rpc.discover"',
    "proto": b'"__proto__"',
    "nul": b'"tools/list\\u0000"',
    "path": b'"../tools/list"',
    "newline": b'"tools/list\\n"',
    "quote": b'"\\""',
    "unicode": '"инструменты"'.encode(),
    "long": b'"%b"' % (b"m" * 1000),
    "notice-with-id": b'"notifications/initialized"',
    "cancel-with-id": b'"notifications/cancelled"',
    "push": b'"sampling/createMessage"',
    "roots": b'"roots/list"',
}
add("method", each(lambda value: request(method=value), UNKNOWN), (ID, METHOD))
add("method", {"surrogate": request(method=b'"\\ud800"'), "control": request(method=b'"a\tb"')}, (ID, PARSE))
add("method", {"escaped": request(method=b'"tools\\/l\\u0069st"')}, (ID, OK))
add("method", {"ping": request(method=b'"ping"')}, (ID, METHOD), legacy=((ID, OK),))

add("params", {"array": request(params=b"[]"), "array-of-one": request(params=b"[1]")}, (ID, PARAMS))
add("params", each(lambda value: request(params=value), SCALARS), (ID, PARAMS))
add("params", {"missing": b'{"jsonrpc":"2.0","id":@ID@,"method":"nope"}'}, (ID, PARAMS), legacy=((ID, METHOD),))
add("params", {"null-notice": told("notifications/nope", "null"), "array-notice": told("notifications/nope", "[]")})

# -- ids

NO_IDS = {
    "null": b"null",
    "float": b"1.5",
    "exponent": b"1e0",
    "true": b"true",
    "false": b"false",
    "object": b"{}",
    "array": b"[]",
    "array-of-id": b"[@ID@]",
    "too-large": b"1e400",
    "5000-digits": b"9" * 5000,
    "deep": b"[" * 500 + b"]" * 500,
    "too-long": b'"%b"' % (b"i" * 70000),
}
add("id", each(lambda value: request(id=value), NO_IDS), (None, REQUEST))
add("id", {"float-without-rest": request(id=b"@ID@.0"), "object-of-id": request(id=b'{"id":@ID@}')}, (ID, REQUEST))
UNREADABLE_IDS = {
    "leading-zero": b"007",
    "plus": b"+1",
    "surrogate": b'"\\ud800"',
    "bad-escape": b'"\\q"',
    "not-utf8": b'"\xff"',
    "control": b'"a\tb"',
    "nan": b"NaN",
    "bare": b"abc",
    "single-quoted": b"'a'",
    "minus": b"-",
    "nothing": b"",
}
add("id", each(lambda value: request(id=value), UNREADABLE_IDS), (None, PARSE))
GOOD_IDS = {
    "zero": "0",
    "negative": "-1",
    "2^53+1": str(2**53 + 1),
    "2^63": str(2**63),
    "2^70": str(2**70),
    "-2^70": str(-(2**70)),
    "empty": '""',
    "text": '"a"',
    "number-as-text": '"1"',
    "blank": '" "',
    "quote": '"\\""',
    "slash": '"\\\\"',
    "nul": '"\\u0000"',
    "newline": '"\\n"',
    "e-acute": '"é"',
    "emoji": '"🚀"',
    "64-kib": '"%s"' % ("i" * 65536),
    "html": '"<script>"',
    "json": '"{\\"id\\":1}"',
    "separator": '"\u2028"',
    "30-digits": "9" * 30,
    "100-digits": "9" * 100,
}
for _name, _id in GOOD_IDS.items():
    add("good-id", {_name: request(id=_id.encode())}, (_id, OK))
add("good-id", {"minus-zero": request(id=b"-0")}, ("0", OK))
add("good-id", {"escaped-surrogates": request(id=b'"\\ud83d\\ude00"')}, ('"😀"', OK))
add("good-id", {"number-and-text": request() + b"\n" + request(id=b'"@ID@"')}, (ID, OK), ('"@ID@"', OK))
HOLD = call(b'"hold__hold"')
CANCEL = told("notifications/cancelled", '{"requestId":@ID@}')
add("in-flight", {"same-id": HOLD + b"\n" + request() + b"\n" + CANCEL}, (None, REQUEST))
add(
    "in-flight",
    {"same-id-thrice": HOLD + b"\n" + HOLD + b"\n" + HOLD + b"\n" + CANCEL},
    (None, REQUEST),
    (None, REQUEST),
)
add("in-flight", {"same-id-unreadable": HOLD + b"\n" + request(params=b"NaN") + b"\n" + CANCEL}, (None, PARSE))
add("in-flight", {"text-for-number": HOLD + b"\n" + request(id=b'"@ID@"') + b"\n" + CANCEL}, ('"@ID@"', OK))

# -- keys

TWICE = {
    "id": b',"id":5',
    "same-id": b',"id":@ID@',
    "method": b',"method":"ping"',
    "version": b',"jsonrpc":"2.0"',
    "params": b',"params":{}',
    "unknown": b',"x":1,"x":2',
    "escaped-id": b',"\\u0069d":5',
    "escaped-method": b',"m\\u0065thod":"x"',
    "long-params": b',"params":{"x":"%b"}' % (b"y" * 5000),
}
for _name, _extra in TWICE.items():
    add("twice", {_name: request(extra=_extra)}, (ID, REQUEST))
add("twice", {"in-params": holding(b'1,"x":2'), "id-in-params": holding(b'{"id": 1, "id": 2}')}, (ID, OK))
add("twice", {"in-meta": request(params=b'{"_meta":{},@META@}')}, (ID, OK))
add(
    "twice",
    {"result": answer(extra=b',"result":{}'), "id-of-answer": answer(extra=b',"id":@ID@')},
    anything=True,
    server=ERROR,
)
add("case", {"id": b'{"jsonrpc":"2.0","ID":@ID@,"method":"tools/list","params":{@META@}}'})
add("case", {"Id": b'{"jsonrpc":"2.0","Id":@ID@,"method":"tools/list","params":{@META@}}'})
add(
    "case",
    {"method": b'{"jsonrpc":"2.0","id":@ID@,"Method":"tools/list","params":{@META@}}'},
    (ID, REQUEST),
    server=ERROR,
)
add("case", {"version": b'{"JSONRPC":"2.0","id":@ID@,"method":"tools/list","params":{@META@}}'}, (ID, REQUEST))
add(
    "case", {"params": b'{"jsonrpc":"2.0","id":@ID@,"method":"tools/call","Params":{"name":"two__echo"}}'}, (ID, PARAMS)
)
add("case", {"result": b'{"jsonrpc":"2.0","id":@ID@,"Result":{}}'}, (ID, REQUEST), server=ERROR)
add("case", {"id-of-answer": b'{"jsonrpc":"2.0","ID":@ID@,"result":{}}'})
add(
    "unknown-member",
    {"one": request(extra=b',"x":1'), "twenty": request(extra=b"".join(b',"x%d":[]' % n for n in range(20)))},
    (ID, OK),
)
add("unknown-member", {"forty": request(extra=b"".join(b',"x%d":[]' % n for n in range(40)))}, (ID, REQUEST))
add(
    "unknown-member",
    {"100k": lambda: request(extra=b"".join(b',"x%d":"%064d"' % (n, n) for n in range(100_000)))},
    (ID, REQUEST),
)
add("unknown-member", {"empty-name": request(extra=b',"":1'), "proto": request(extra=b',"__proto__":{}')}, (ID, OK))
BOTH = {"result": b',"result":{}', "error": b',"error":{"code":1,"message":"m"}', "null-result": b',"result":null'}
add("request-and-answer", each(lambda extra: request(extra=extra), BOTH), (ID, REQUEST))
