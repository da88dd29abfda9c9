"""Whether every message a broker wrote is one its client can understand, by the schemas of the client's version.

`mcp-types`, the official SDK's own tables, says what exists in which version and what it looks like. It has one schema
for all of the legacy era, that of 2025-11-25; what came later than an older version is checked here (`_TooNew`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal

from mcp_types import methods
from pydantic import TypeAdapter, ValidationError

Json = dict[str, Any]
Said = tuple[Literal["client", "broker"], Any]  # who, and the message

META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
CONTENT = {"text": LEGACY[0], "image": LEGACY[0], "resource": LEGACY[0], "audio": LEGACY[1], "resource_link": LEGACY[2]}
HINTS = ("resultType", "ttlMs", "cacheScope")
ONLY_LEGACY = {-32002: LEGACY[0], -32042: LEGACY[3]}  # error code -> the first version that has it
ONLY_MODERN = {-32020, -32021, -32022}
NEEDS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
TABLES = (methods.CLIENT_REQUESTS, methods.SERVER_REQUESTS, methods.SERVER_NOTIFICATIONS)
KNOWN = {method for table in TABLES for method, _ in table}
MOST = 20  # faults that are told


def check(conversation: Iterable[Said]) -> None:
    """Raise `AssertionError` with every fault in what a broker wrote."""
    faults = Oracle().faults(conversation)
    assert not faults, "\n".join([f"{len(faults)} faults in what the broker wrote:", *faults[:MOST]])


class Oracle:
    """One conversation, followed from its beginning."""

    def __init__(self) -> None:
        self.version = LEGACY[-1]  # of requests without an envelope
        self.capabilities: Json = {}
        self._versions: set[str] = set()  # in use
        self._asked: dict[tuple[str, Any], list[Json]] = {}  # requests of the client's without an answer
        self._tasks: list[Json] = []  # requests answered with a task, whose progress goes on
        self._tokens: list[Any] = []

    def faults(self, conversation: Iterable[Said]) -> list[str]:
        """What is wrong with each message of the broker's."""
        found: list[str] = []
        for who, said in conversation:
            for message in said if isinstance(said, list) else [said]:
                if who == "client":
                    self._hear(message)
                else:
                    found += [f"{fault}\n  in {_short(message)}" for fault in self._judge(message)]
        return found

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict) or "method" not in message or not isinstance(message.get("id"), int | str):
            return
        self._asked.setdefault(_key(message["id"]), []).append(message)
        self._versions.add(self._version_of(message))
        if message["method"] == "initialize":
            params = message.get("params")
            self.capabilities = params.get("capabilities") or {} if isinstance(params, dict) else {}

    def _version_of(self, request: Json) -> str:
        return MODERN if META + "protocolVersion" in _meta(request) else self.version  # whatever it names

    def _judge(self, message: Any) -> Iterator[str]:
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            yield "no JSON-RPC 2.0"
        elif "method" not in message:
            yield from self._reply(message)
        elif "id" in message:
            yield from self._request(message)
        else:
            yield from self._notice(message)

    # replies

    def _reply(self, message: Json) -> Iterator[str]:
        if ("result" in message) == ("error" in message):
            yield "neither a result nor an error, or both"
            return
        waiting = self._asked.get(_key(message.get("id")), [])
        if not waiting and (message.get("id") is not None or "result" in message):
            yield "an answer to nothing that was asked"
            return
        request = waiting.pop(0) if waiting else {}
        version = self._version_of(request)
        if "error" in message:
            yield from error_faults(message["error"], version)
            return
        method, result = request["method"], message["result"]
        if method == "initialize" and isinstance(result, dict):
            self.version = version = str(result.get("protocolVersion"))
            self._versions = {version, *(self._versions & {MODERN})}
        if not _is_task(request, result):
            yield from result_faults(method, version, result)
        else:
            self._tasks.append(request)
        if isinstance(result, dict) and result.get("resultType") == "input_required":
            declared = _meta(request).get(META + "clientCapabilities") or {}
            for question in result.get("inputRequests", {}).values():
                yield from question_faults(question.get("method"), MODERN, question.get("params"), declared)

    # what is said unasked

    def _request(self, message: Json) -> Iterator[str]:
        method, version = message["method"], self.version
        if method in KNOWN:
            yield from question_faults(method, version, message.get("params"), self.capabilities)
            yield from _shape(methods.SERVER_REQUESTS, method, version, message)

    def _notice(self, message: Json) -> Iterator[str]:
        method = message["method"]
        if method not in KNOWN:
            return  # of an extension, passed as it came
        versions = {MODERN} if META + "subscriptionId" in _meta(message) else self._versions or {self.version}
        tried = [list(_shape(methods.SERVER_NOTIFICATIONS, method, version, message)) for version in versions]
        yield from min(tried, key=len)
        if method == "notifications/progress":
            token = (message.get("params") or {}).get("progressToken")
            waiting = [request for each in self._asked.values() for request in each]
            asked = (_meta(request).get("progressToken") for request in (*waiting, *self._tasks))
            if not any(type(token) is type(other) and token == other for other in asked):
                yield "progress of no request that is open"


def result_faults(method: str, version: str, result: Any) -> Iterator[str]:
    """What is wrong with the result of a client's request."""
    if method not in KNOWN:
        return
    if not isinstance(result, dict):
        yield "a result that is no object"
        return
    yield from _shape(methods.SERVER_RESULTS, method, version, result)
    if version == MODERN:
        return
    yield from (f"{name} in a result of {version}" for name in HINTS if name in result)
    if META + "serverInfo" in (result.get("_meta") or {}):
        yield f"a server's stamp in a result of {version}"
    too_new = _TOO_NEW.get(method)
    if too_new is not None:
        yield from too_new(result, version)


def error_faults(error: Any, version: str) -> Iterator[str]:
    """What is wrong with the error that answers a client's request."""
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        yield "an error without a whole number as its code and a text as its message"
        return
    code = error["code"]
    if version == MODERN:
        if code in ONLY_LEGACY:
            yield f"an error code that {version} does not have: {code}"
    elif version < ONLY_LEGACY.get(code, version) or code in ONLY_MODERN:
        yield f"an error code that {version} does not have: {code}"


def question_faults(method: Any, version: str, params: Any, declared: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with asking a client, with these capabilities, this."""
    given = params if isinstance(params, dict) else {}
    need = NEEDS.get(method)
    if need is None:
        if method != "ping":
            yield f"a request no client of {version} answers: {method}"
        return
    if need not in declared:
        yield f"the client did not declare {need}"
        return
    settings = declared[need] or {}
    if method == "elicitation/create":
        mode = given.get("mode", "form")
        allowed = mode == "form" if version < LEGACY[3] else mode in (settings or {"form": {}})
        if not allowed:
            yield f"the client did not declare that it answers elicitations of mode {mode}"
        if version == LEGACY[2]:
            yield from _flat(given.get("requestedSchema"))
    elif method == "sampling/createMessage":
        if ("tools" in given or "toolChoice" in given) and (version < LEGACY[3] or "tools" not in settings):
            yield "sampling with tools, which the client did not declare"
        for message in given.get("messages", []):
            yield from _blocks([message.get("content")] if version < LEGACY[3] else message.get("content"), version)


# what came later than a version


def _tools(result: Json, version: str) -> Iterator[str]:
    for tool in result.get("tools", []):
        given, output = tool.get("inputSchema"), tool.get("outputSchema")
        if isinstance(given, dict) and not all(isinstance(each, dict) for each in given.get("properties", {}).values()):
            yield f"an argument of {tool.get('name')} is described by true or false, which {version} does not have"
        if output is not None and version < LEGACY[2]:
            yield f"an outputSchema in {version}"


def _called(result: Json, version: str) -> Iterator[str]:
    yield from _blocks(result.get("content"), version)
    if "structuredContent" in result and version < LEGACY[2]:
        yield f"structuredContent in {version}"


def _prompted(result: Json, version: str) -> Iterator[str]:
    yield from _blocks([message.get("content") for message in result.get("messages", [])], version)


def _blocks(blocks: Any, version: str) -> Iterator[str]:
    for block in blocks if isinstance(blocks, list) else [blocks]:
        if not isinstance(block, dict):
            yield f"content that is no block of {version}"
        elif version < CONTENT.get(block.get("type", ""), LEGACY[0]):
            yield f"content of type {block.get('type')} in {version}"


def _flat(schema: Any) -> Iterator[str]:
    """What MCP 2025-06-18 lets a form ask for: texts, numbers, yes or no, and one of several texts."""
    for name, field in (schema or {}).get("properties", {}).items():
        if field.get("type") not in ("string", "number", "integer", "boolean") or field.keys() & {"oneOf", "anyOf"}:
            yield f"the form's field {name} is none that 2025-06-18 has"


_TOO_NEW: dict[str, Callable[[Json, str], Iterator[str]]] = {
    "tools/list": _tools,
    "tools/call": _called,
    "prompts/get": _prompted,
}


# the tables of mcp-types


def _shape(table: Mapping[tuple[str, str], Any], method: str, version: str, body: Json) -> Iterator[str]:
    kind = table.get((method, version))
    if kind is None:
        yield f"{method} does not exist in {version}"
        return
    try:
        _adapter(kind).validate_python(body, by_name=False, strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False)[:5]:
            yield f"{method} of {version}: {'.'.join(map(str, each['loc']))}: {each['msg']}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _meta(message: Json) -> Json:
    params = message.get("params")
    found = params.get("_meta") if isinstance(params, dict) else None
    return found if isinstance(found, dict) else {}


def _is_task(request: Json, result: Any) -> bool:
    """Whether the answer to a call is that it goes on: of an extension, and for who asked for that in 2025-11-25."""
    extension = isinstance(result, dict) and result.get("resultType") == "task"
    return extension or "task" in (request.get("params") or {})


def _key(id: Any) -> tuple[str, Any]:
    """1 and "1" are two ids."""
    return type(id).__name__, id


def _short(message: Any) -> str:
    text = str(message)
    return text if len(text) < 600 else f"{text[:300]} ... {text[-300:]}"
