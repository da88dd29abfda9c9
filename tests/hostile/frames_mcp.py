"""More bad frames: those that are JSON-RPC in order, and against the rules of MCP. See `frames`."""

from __future__ import annotations

from tests.hostile.frames import (
    CANCEL,
    ERROR,
    HOLD,
    ID,
    METHOD,
    OK,
    PARAMS,
    PARSE,
    REQUEST,
    RESULT,
    SCALARS,
    VERSION,
    add,
    answer,
    asked,
    call,
    each,
    request,
    told,
)

NOT_FOUND = -32002  # a resource, before 2026-07-28
KEY = b'"io.modelcontextprotocol/'
NO_OBJECTS = {**SCALARS, "array": b"[]", "array-of-object": b"[{}]"}
NO_TEXTS = {"number": b"1", "true": b"true", "array": b"[]", "object": b"{}", "float": b"0.5"}


# -- the envelope of MCP 2026-07-28


def stamped(version: bytes | None = b'"2026-07-28"', capabilities: bytes | None = b"{}", more: bytes = b"") -> bytes:
    parts = [KEY + b'clientInfo":{"name":"x","version":"1"}']
    if version is not None:
        parts.append(KEY + b'protocolVersion":' + version)
    if capabilities is not None:
        parts.append(KEY + b'clientCapabilities":' + capabilities)
    return b'{"_meta":{%b%b},"name":"two__echo"}' % (b",".join(parts), more)


def marked(meta: bytes) -> bytes:
    return request(method=b'"tools/call"', params=meta)


add("meta", each(lambda value: request(params=b'{"_meta":%b}' % value), NO_OBJECTS), (ID, PARAMS))
VERSIONS = {
    "too-old": b'"2025-11-25"',
    "oldest": b'"2024-11-05"',
    "too-new": b'"2099-01-01"',
    "empty": b'""',
    "null": b"null",
    "word": b'"latest"',
    "blank-behind": b'"2026-07-28 "',
    "long": b'"%b"' % (b"v" * 5000),
}
add("meta-version", each(lambda value: marked(stamped(value)), VERSIONS), (ID, VERSION))
add("meta-version", each(lambda value: marked(stamped(value)), NO_TEXTS), (ID, PARAMS))
add("meta-capabilities", each(lambda value: marked(stamped(capabilities=value)), NO_OBJECTS), (ID, PARAMS))
add("meta-capabilities", {"missing": marked(stamped(capabilities=None))}, (ID, PARAMS))
add(
    "meta-half",
    {"info-only": marked(stamped(None, None)), "no-version": marked(stamped(None))},
    (ID, PARAMS),
    legacy=((ID, OK),),
)
add(
    "meta-log-level",
    each(lambda value: marked(stamped(more=b"," + KEY + b'logLevel":' + value)), NO_TEXTS),
    (ID, PARAMS),
)
add("meta-log-level", {"unknown": marked(stamped(more=b"," + KEY + b'logLevel":"loud"'))}, (ID, OK))
add(
    "meta-token",
    each(lambda value: marked(stamped(more=b',"progressToken":' + value)), {**NO_TEXTS, "null": b"null", "zero": b"0"}),
    (ID, OK),
)
add(
    "meta-other",
    {
        "unknown": marked(stamped(more=b',"x/y":[1]')),
        "version-twice": marked(stamped(more=b"," + KEY + b'protocolVersion":"2026-07-28"')),
    },
    (ID, OK),
)

# -- openings, on a connection that has had one


def initialize(params: bytes) -> bytes:
    return request(method=b'"initialize"', params=params)


WHO = b'"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}'
ODD = {
    "again": b"{%b}" % WHO,
    "no-params": b"{}",
    "no-capabilities": b'{"protocolVersion":"2025-06-18"}',
    "unknown-member": b'{%b,"x":[]}' % WHO,
    **{f"version-{name}": b'{"protocolVersion":%b}' % value for name, value in VERSIONS.items()},
    "info-array": b'{"clientInfo":[]}',
    "info-number": b'{"clientInfo":5}',
    "name-number": b'{"clientInfo":{"name":5}}',
}
add("handshake", each(initialize, ODD), (ID, OK))
BAD = {
    **{f"version-{name}": b'{"protocolVersion":%b}' % value for name, value in NO_TEXTS.items()},
    **{f"capabilities-{name}": b'{"capabilities":%b}' % value for name, value in NO_OBJECTS.items()},
}
add("handshake", each(initialize, BAD | {"array": b"[]", "null": b"null"}), (ID, PARAMS))
add(
    "handshake",
    {
        "as-notice": told("initialize", "{}"),
        "ready-twice": told("notifications/initialized", "{}") + b"\n" + told("notifications/initialized", "{}"),
    },
)
add(
    "handshake",
    {
        "cancelled": initialize(b"{}") + b"\n" + CANCEL,
        "ready-with-null": told("notifications/initialized", "null") + b"\n" + initialize(b"{}"),
    },
    (ID, OK),
)
add(
    "handshake",
    {"during-a-call": HOLD + b"\n" + initialize(b"{}").replace(b"@ID@", b'"i@ID@"') + b"\n" + CANCEL},
    ('"i@ID@"', OK),
)
add("handshake", {"discover-without-meta": b'{"jsonrpc":"2.0","id":@ID@,"method":"server/discover"}'}, (ID, PARAMS))
add("handshake", {"discover-as-notice": told("server/discover", "{}")})

# -- requests of MCP

add("call", {"no-name": asked("tools/call", '"arguments":{}'), "nothing": asked("tools/call", "")}, (ID, PARAMS))
add("call", {f"name-{name}": call(value) for name, value in {**NO_TEXTS, "null": b"null"}.items()}, (ID, PARAMS))
NAMES = {
    "empty": b'""',
    "unknown": b'"two__nope"',
    "no-prefix": b'"echo"',
    "blank": b'" two__echo"',
    "upper": b'"TWO__ECHO"',
    "nul": b'"two__echo\\u0000"',
    "1-mib": b'"two__%b"' % (b"n" * (1 << 20)),
    "long": b'"%b"' % (b"two__" * 2000),
    "path": b'"../two__echo"',
    "fullwidth": '"two__ｅcho"'.encode(),
    "prefix-only": b'"two__"',
    "underscores": b'"__"',
    "cyrillic": '"twо__echo"'.encode(),
}
add("call", {f"name-{name}": call(value) for name, value in NAMES.items()}, (ID, PARAMS))
add("call", {"name-surrogate": call(b'"\\ud800"')}, (ID, PARSE))
add(
    "call",
    {f"arguments-{name}": call(arguments=value) for name, value in NO_OBJECTS.items() if name != "null"},
    (ID, PARAMS),
)
add(
    "call",
    {"arguments-null": call(arguments=b"null"), "arguments-missing": asked("tools/call", '"name":"two__echo"')},
    (ID, OK),
)
add(
    "call",
    {
        "name-twice": asked("tools/call", '"name":"nope","name":"two__echo"'),
        "escaped-key": asked("tools/call", r'"n\u0061me":"two__echo"'),
    },
    (ID, OK),
)
add("call", {"as-notice": told("tools/call", '{"name":"two__echo"}')})
add(
    "prompt",
    {
        "no-name": asked("prompts/get", ""),
        "name-number": asked("prompts/get", '"name":1'),
        "unknown": asked("prompts/get", '"name":"x"'),
    },
    (ID, PARAMS),
)
add("prompt", {"arguments-array": asked("prompts/get", '"name":"x","arguments":[]')}, (ID, PARAMS))
URIS = {
    "empty": '""',
    "blank": '" "',
    "relative": '"a/b"',
    "nul": r'"x://\u0000"',
    "unknown": '"x://nope"',
    "1-mib": f'"x://{"u" * (1 << 20)}"',
    "file": '"file:///etc/passwd"',
}
for _name, _uri in URIS.items():
    add("read", {_name: asked("resources/read", f'"uri":{_uri}')}, (ID, PARAMS), legacy=((ID, NOT_FOUND),))
    add("subscribe", {_name: asked("resources/subscribe", f'"uri":{_uri}')}, (ID, METHOD), legacy=((ID, PARAMS),))
for _name, _value in {**NO_TEXTS, "null": b"null"}.items():
    add("read", {_name: asked("resources/read", f'"uri":{_value.decode()}')}, (ID, PARAMS))
    add(
        "subscribe",
        {_name: asked("resources/subscribe", f'"uri":{_value.decode()}')},
        (ID, METHOD),
        legacy=((ID, PARAMS),),
    )
add("read", {"missing": asked("resources/read", "")}, (ID, PARAMS))
add("unsubscribe", {"unknown": asked("resources/unsubscribe", '"uri":"x://nope"')}, (ID, METHOD), legacy=((ID, OK),))
REFS = {
    "missing": "",
    "text": '"ref":"x"',
    "null": '"ref":null',
    "no-type": '"ref":{}',
    "type-unknown": '"ref":{"type":"x"}',
    "type-array": '"ref":{"type":[]}',
    "no-name": '"ref":{"type":"ref/prompt"}',
    "name-number": '"ref":{"type":"ref/prompt","name":1}',
    "uri-number": '"ref":{"type":"ref/resource","uri":1}',
}
add("complete", {name: asked("completion/complete", ref) for name, ref in REFS.items()}, (ID, PARAMS))
for _list in ("tools", "prompts", "resources", "resources/templates"):
    for _name, _value in NO_TEXTS.items():
        add("cursor", {f"{_list}-{_name}": asked(f"{_list}/list", f'"cursor":{_value.decode()}')}, (ID, PARAMS))
add(
    "cursor",
    {"unknown": asked("tools/list", '"cursor":"nope"'), "negative": asked("tools/list", '"cursor":"-1"')},
    (ID, PARAMS),
)
add(
    "cursor",
    {"huge": asked("tools/list", f'"cursor":"{"9" * 5000}"'), "superscript": asked("tools/list", '"cursor":"²"')},
    (ID, PARAMS),
)
add("cursor", {"null": asked("tools/list", '"cursor":null')}, (ID, OK))
for _name, _value in {**NO_TEXTS, "null": b"null", "unknown": b'"loud"', "upper": b'"ERROR"'}.items():
    add("level", {_name: asked("logging/setLevel", f'"level":{_value.decode()}')}, (ID, METHOD), legacy=((ID, PARAMS),))
add("level", {"missing": asked("logging/setLevel", "")}, (ID, METHOD), legacy=((ID, PARAMS),))
add(
    "listen",
    {name: asked("subscriptions/listen", f'"notifications":{value.decode()}') for name, value in NO_OBJECTS.items()},
    (ID, PARAMS),
    legacy=((ID, METHOD),),
)

# -- notices

add(
    "notice",
    {"unknown": told("notifications/nope", "{}"), "not-a-notice": told("nope", "{}"), "empty-method": told("", "{}")},
)
add(
    "notice",
    {
        "no-params": b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
        "roots-array": told("notifications/roots/list_changed", "[1]"),
    },
)
add("notice", {"1-mib": told("notifications/nope", '{"x":"%s"}' % ("y" * (1 << 20)))})
add("notice", {"method-too-long": told("n" * 5000, "{}")}, (None, REQUEST))
CANCELS = {
    "unknown": "999999",
    "finished": "1",
    "text": '"@ID@"',
    "null": "null",
    "float": "@ID@.5",
    "object": "{}",
    "array": "[@ID@]",
    "true": "true",
    "2^70": str(2**70),
}
add("cancel", {name: told("notifications/cancelled", f'{{"requestId":{id}}}') for name, id in CANCELS.items()})
add("cancel", {f"params-{name}": told("notifications/cancelled", value.decode()) for name, value in NO_OBJECTS.items()})
add(
    "cancel",
    {
        "no-params": b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
        "no-id": told("notifications/cancelled", "{}"),
    },
)
add(
    "cancel",
    {"reason-number": told("notifications/cancelled", '{"requestId":5,"reason":5}'), "twice": CANCEL + b"\n" + CANCEL},
)
add("cancel", {"in-flight": HOLD + b"\n" + CANCEL, "in-flight-twice": HOLD + b"\n" + CANCEL + b"\n" + CANCEL})
add(
    "cancel",
    {
        "in-line": HOLD.replace(b"@ID@", b'"a@ID@"')
        + b"\n"
        + HOLD
        + b"\n"
        + CANCEL
        + b"\n"
        + CANCEL.replace(b"@ID@", b'"a@ID@"')
    },
)
add("cancel", {"answered": request() + b"\n" + CANCEL, "before-the-request": CANCEL + b"\n" + request()}, (ID, OK))
add(
    "cancel",
    {"text-for-number": HOLD + b"\n" + CANCEL.replace(b"@ID@", b'"@ID@"') + b"\n" + request() + b"\n" + CANCEL},
    (None, REQUEST),
)
TOKENS = {
    "unknown": "999999",
    "text": '"x"',
    "null": "null",
    "zero": "0",
    "object": "{}",
    "float": "1.5",
    "30-digits": "9" * 30,
    "negative": "-1",
    "true": "true",
}
add(
    "progress",
    {
        f"token-{name}": told("notifications/progress", f'{{"progressToken":{token},"progress":1}}')
        for name, token in TOKENS.items()
    },
)
VALUES = {"text": '"x"', "null": "null", "true": "true", "array": "[]", "1e999": "1e999", "2^70": str(2**70)}
add(
    "progress",
    {
        f"value-{name}": told("notifications/progress", f'{{"progressToken":1,"progress":{value}}}')
        for name, value in VALUES.items()
    },
)
add(
    "progress",
    {
        "no-token": told("notifications/progress", '{"progress":1}'),
        "no-value": told("notifications/progress", '{"progressToken":1}'),
    },
)
add("progress", {"empty": told("notifications/progress", "{}"), "array": told("notifications/progress", "[]")})
UPDATES = {
    "no-uri": "{}",
    "uri-number": '{"uri":1}',
    "uri-null": '{"uri":null}',
    "unknown": '{"uri":"x://y"}',
    "array": "[]",
    "1-mib": '{"uri":"%s"}' % ("u" * (1 << 20)),
}
add("update", {name: told("notifications/resources/updated", params) for name, params in UPDATES.items()})
LOGS = {
    "empty": "{}",
    "no-level": '{"data":1}',
    "level-number": '{"level":1}',
    "level-unknown": '{"level":"loud"}',
    "array": "[]",
    "null": "null",
    "data-deep": '{"level":"error","data":%s}' % ("[" * 90 + "]" * 90),
}
add("log", {name: told("notifications/message", params) for name, params in LOGS.items()})
SAID = {
    "lists": "notifications/tools/list_changed",
    "logs": "notifications/message",
    "updates": "notifications/resources/updated",
    "unknown": "notifications/vendor",
}
for _name, _method in SAID.items():
    add("flood", {_name: (told(_method, '{"level":"info","data":"d","uri":"x://y"}') + b"\n") * 50})
add(
    "flood",
    {"words": b"word\n" * 300, "objects": b"{}\n" * 300, "answers": (answer(id=b"999") + b"\n") * 50},
    anything=True,
)
add("flood", {"pings": b"\n".join(request(id=b'"p%d"' % n, method=b'"ping"') for n in range(50))}, anything=True)

# -- answers that nobody asked for, or that are none

STRAYS = {
    "unknown": b"999999",
    "text": b'"@ID@"',
    "null": b"null",
    "negative": b"-@ID@",
    "zero": b"0",
    "2^70": str(2**70).encode(),
    "first": b"1",
}
add("stray", {name: answer(id=value) for name, value in STRAYS.items()} | {"no-id": b'{"jsonrpc":"2.0","result":{}}'})
add(
    "stray",
    {
        f"error-{name}": b'{"jsonrpc":"2.0","id":%b,"error":{"code":1,"message":"m"}}' % value
        for name, value in STRAYS.items()
    },
)
add(
    "stray",
    {
        "unknown-twice": answer(id=b"999998") + b"\n" + answer(id=b"999998"),
        "error-no-id": b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}',
    },
)
NO_IDS = {
    "float": b"@ID@.5",
    "exponent": b"@ID@e0",
    "true": b"true",
    "object": b'{"id":1}',
    "array": b"[@ID@]",
    "leading-zero": b"0@ID@",
    "plus": b"+@ID@",
    "nothing": b"",
}
add("stray", {f"id-{name}": answer(id=value) for name, value in NO_IDS.items()}, anything=True)
add("answer", {"whole-float-id": answer(id=b"@ID@.0")}, anything=True, server=ERROR)
add("answer", {f"result-{name}": answer(value) for name, value in NO_OBJECTS.items()}, server=ERROR)
ERRORS = {
    "text": b'"boom"',
    "number": b"5",
    "array": b"[]",
    "code-text": b'{"code":"x","message":"m"}',
    "code-float": b'{"code":1.5,"message":"m"}',
    "message-number": b'{"code":1,"message":1}',
}
add(
    "answer",
    {f"error-{name}": b'{"jsonrpc":"2.0","id":@ID@,"error":%b}' % value for name, value in ERRORS.items()},
    anything=True,
    server=ERROR,
)
FINE = {
    "empty": b"{}",
    "code-2^70": b'{"code":%d,"message":"m"}' % 2**70,
    "no-code": b'{"message":"m"}',
    "data-deep": b'{"code":1,"message":"m","data":[[[1]]]}',
    "unknown": b'{"code":1,"message":"m","x":1}',
}
add(
    "answer",
    {f"error-{name}": b'{"jsonrpc":"2.0","id":@ID@,"error":%b}' % value for name, value in FINE.items()},
    server=ERROR,
)
ERRED = b'{"jsonrpc":"2.0","id":@ID@,"error":{"code":1,"message":"m"}}'
add(
    "answer",
    {"both": answer(extra=b',"error":{"code":1,"message":"m"}'), "error-and-null": ERRED[:-1] + b',"result":null}'},
    server=ERROR,
)
add("answer", {"neither": b'{"jsonrpc":"2.0","id":@ID@,"error":null}'}, anything=True, server=ERROR)
add(
    "answer",
    {
        "null-error": answer(extra=b',"error":null'),
        "unknown-member": answer(extra=b',"x":{"id":5}'),
        "twice": answer() + b"\n" + answer(),
    },
    server=RESULT,
)
add(
    "answer",
    {
        "then-error": answer() + b"\n" + ERRED,
        "thrice": b"\n".join([answer()] * 3),
        "spaced": b'{ "jsonrpc" : "2.0" , "id" : @ID@ , "result" : { "content" : [ ] } }',
    },
    server=RESULT,
)
add(
    "answer",
    {
        "then-unreadable": answer() + b"\n" + answer(b"NaN"),
        "key-order": b'{"result":{"content":[]},"id":@ID@,"jsonrpc":"2.0"}',
    },
    anything=True,
    server=RESULT,
)
add("answer", {"error-then-result": ERRED + b"\n" + answer()}, server=ERROR)

# -- requests of a server: of a client they are requests without sense

PUSHES = (
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "ping",
    "nope/nope",
    "tools/list",
    "tools/call",
    "initialize",
    "server/discover",
    "subscriptions/listen",
    "logging/setLevel",
)
add(
    "push",
    {method: request(id=b'"push"', method=b'"%b"' % method.encode(), params=b"{}") for method in PUSHES},
    anything=True,
)
add(
    "push",
    {f"our-id-{method}": request(method=b'"%b"' % method.encode(), params=b"{}") for method in PUSHES},
    anything=True,
)
add(
    "push",
    {
        "twice": b"\n".join([request(id=b"1", method=b'"roots/list"', params=b"{}")] * 2),
        "no-params": b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}',
    },
    anything=True,
)
add(
    "push",
    {
        "params-array": request(id=b'"q"', method=b'"elicitation/create"', params=b"[]"),
        "2^70": request(id=str(2**70).encode(), method=b'"roots/list"', params=b"{}"),
    },
    anything=True,
)
add(
    "push",
    {"many": b"\n".join(request(id=b'"m%d"' % n, method=b'"roots/list"', params=b"{}") for n in range(30))},
    anything=True,
)
add(
    "push",
    {"1-mib": request(id=b'"q"', method=b'"elicitation/create"', params=b'{"message":"%b"}' % (b"m" * (1 << 20)))},
    anything=True,
)
