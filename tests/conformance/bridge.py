"""Streamable HTTP in front of a stdio command, because the conformance suite speaks nothing else.

    python -m tests.conformance.bridge COMMAND [ARGUMENT ...]

prints the address it serves, and ends at SIGTERM with every process it started.

Rule 1: a legacy session has a process of its own, from `initialize` to DELETE; all requests of 2026-07-28 share one,
        under ids of the bridge's own.
Rule 2: only what HTTP adds is judged here (host, headers, sessions); messages are the process's to judge, and the
        code of its error chooses the status.
Rule 3: what does not say which request it belongs to goes to the newest in flight.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.wire.eras import LEGACY_VERSIONS, SUBSCRIPTION_ID, VERSION

Json = dict[str, Any]

LOCAL = ["127.0.0.1", "localhost"]
HEADER_MISMATCH = -32020
STATUS = {-32700: 400, -32600: 400, -32602: 400, HEADER_MISMATCH: 400, -32021: 400, -32022: 400, -32601: 404}
NAMED = {  # what Mcp-Name repeats
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
UNASKED = (
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
)
MAX_SESSIONS = 4  # the suite's older version never ends one, and each is a process
LINE_LIMIT = 64 << 20  # bytes
END_BOUND = 5.0  # seconds from the end of a process's stdin to its own


class Exchange:
    """A request in flight, known to the process as `key`, and what came for it so far."""

    def __init__(self, key: Any, request: Json) -> None:
        self.key, self.request = key, request
        self.token = meta_of(request).get("progressToken")
        self.arrived: asyncio.Queue[Json | None] = asyncio.Queue()

    def renamed(self) -> Json:
        """The request as the process sees it."""
        params = self.request.get("params", {})
        if self.token is not None:
            params = {**params, "_meta": {**params["_meta"], "progressToken": self.key}}
        return {**self.request, "id": self.key, **({"params": params} if params else {})}

    def restored(self, message: Json) -> Json:
        """A message of the process as the client has to see it."""
        inner = "params" if "method" in message else "result"
        members = message.get(inner)
        if isinstance(members, dict):
            members = dict[str, Any](members)
            if "progressToken" in members:
                members["progressToken"] = self.token
            if SUBSCRIPTION_ID in members.get("_meta", {}):
                members["_meta"] = {**members["_meta"], SUBSCRIPTION_ID: self.request["id"]}
            message = {**message, inner: members}
        return message if "method" in message else {**message, "id": self.request["id"]}


class Pipe:
    """One stdio process, and the requests in flight on it; a `shared` one knows them by names of ours."""

    def __init__(self, process: asyncio.subprocess.Process, shared: bool) -> None:
        self._process, self._shared = process, shared
        self._flying: dict[Any, Exchange] = {}
        self._keys = itertools.count(1)
        self.unasked: asyncio.Queue[Json | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: list[str], *, shared: bool) -> Pipe:
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LINE_LIMIT), shared)

    async def tell(self, message: Json) -> None:
        """Write a message; one that has ended is noticed by who reads."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()

    async def ask(self, request: Json) -> AsyncGenerator[Json]:
        """What comes for a request, its response last; on a shared process, not to wait for that is to cancel it."""
        exchange = Exchange(next(self._keys) if self._shared else request["id"], request)
        self._flying[exchange.key] = exchange
        await self.tell(exchange.renamed() if self._shared else request)
        if self._reading.done():
            exchange.arrived.put_nowait(None)
        try:
            while (message := await exchange.arrived.get()) is not None:
                yield exchange.restored(message) if self._shared else message
                if "method" not in message:
                    return
            yield failure(request["id"], -32603, "the process ended")
        finally:
            if self._flying.pop(exchange.key, None) and self._shared:  # no response came
                await self._cancel(exchange.key)

    async def _cancel(self, key: Any) -> None:
        await self.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": key}})

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_BOUND)
        except TimeoutError:
            self._process.kill()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._take(json.loads(line))
        finally:
            for queue in (self.unasked, *(exchange.arrived for exchange in self._flying.values())):
                queue.put_nowait(None)

    def _take(self, message: Json) -> None:
        exchange = self._owner(message)
        (exchange.arrived if exchange else self.unasked).put_nowait(message)
        if exchange and "method" not in message:
            del self._flying[exchange.key]

    def _owner(self, message: Json) -> Exchange | None:
        if "method" not in message:
            return self._flying.get(message["id"])
        keys = (message.get("params", {}).get("progressToken"), meta_of(message).get(SUBSCRIPTION_ID))
        for key in keys:
            if key in self._flying:
                return self._flying[key]
        if message["method"] in UNASKED:
            return None
        calls = [each for each in self._flying.values() if each.request["method"] != "subscriptions/listen"]
        return calls[-1] if calls else None


class Bridge:
    """The one endpoint, `/mcp`."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._sessions: dict[str, Pipe] = {}
        self._shared: asyncio.Task[Pipe] | None = None
        self._headed: Json | None = None  # schemas of the tools whose arguments are repeated in headers
        self._stopping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        yield
        for session in list(self._sessions):
            self._end(session)
        if self._shared is not None:
            self._stop(await self._shared)
        await asyncio.gather(*self._stopping)

    async def get(self, request: Request) -> Response:
        """What a session's process says unasked."""
        pipe = self._sessions.get(request.headers.get("mcp-session-id", ""))
        return EventSourceResponse(events(until_none(pipe.unasked))) if pipe else Response(status_code=405)

    async def delete(self, request: Request) -> Response:
        return Response(status_code=200 if self._end(request.headers.get("mcp-session-id", "")) else 404)

    async def post(self, request: Request) -> Response:
        try:
            message: Json = await request.json()
        except ValueError:
            return JSONResponse(failure(None, -32700, "this is not JSON"), 400)
        session, version = request.headers.get("mcp-session-id"), request.headers.get("mcp-protocol-version")
        if session is not None:
            return await self._in_session(session, message)
        if message.get("method") == "initialize" and version in (None, *LEGACY_VERSIONS):
            return await self._initialize(message)
        if version in LEGACY_VERSIONS:
            return JSONResponse(failure(message.get("id"), -32600, "Mcp-Session-Id is missing"), 400)
        return await self._modern(request, message)

    async def _initialize(self, message: Json) -> Response:
        session, pipe = uuid.uuid4().hex, await Pipe.start(self._command, shared=False)
        self._sessions[session] = pipe
        if len(self._sessions) > MAX_SESSIONS:
            self._end(next(iter(self._sessions)))
        return JSONResponse(await anext(pipe.ask(message)), headers={"mcp-session-id": session})

    async def _in_session(self, session: str, message: Json) -> Response:
        pipe = self._sessions.get(session)
        if pipe is None:
            return JSONResponse(failure(message.get("id"), -32001, "there is no such session"), 404)
        if "method" in message and "id" in message:
            return EventSourceResponse(events(pipe.ask(message)))
        await pipe.tell(message)
        return Response(status_code=202)

    async def _modern(self, request: Request, message: Json) -> Response:
        refusal = header_mismatch(request, message)
        if refusal is None and message["method"] == "initialize":  # it opens a session, and there are none any more
            refusal = failure(message["id"], -32601, "Method not found: initialize")
        if refusal is not None:
            return JSONResponse(refusal, status(refusal))
        if self._shared is None:
            self._shared = asyncio.create_task(Pipe.start(self._command, shared=True))
        pipe = await asyncio.shield(self._shared)
        refusal = await self._argument_mismatch(pipe, request, message)
        if refusal is not None:
            return JSONResponse(refusal, status(refusal))
        answers = pipe.ask(message)
        first = await anext(answers)
        if "method" not in first:
            return JSONResponse(first, status(first))
        return EventSourceResponse(events(answers, first))

    async def _argument_mismatch(self, pipe: Pipe, request: Request, message: Json) -> Json | None:
        """The error for `Mcp-Param-*` headers that do not repeat the arguments of a call."""
        if message["method"] != "tools/call":
            return None
        if self._headed is None:
            self._headed = await headed_tools(pipe, message)
        schema = self._headed.get(message["params"]["name"])
        if schema is None:
            return None
        from mcp.shared.inbound import validate_mcp_param_headers  # it takes a second, and few runs need it

        found = validate_mcp_param_headers(schema, message["params"].get("arguments", {}), request.headers)
        return failure(message["id"], found.code, found.message) if found is not None else None

    def _end(self, session: str) -> bool:
        pipe = self._sessions.pop(session, None)
        if pipe is not None:
            self._stop(pipe)
        return pipe is not None

    def _stop(self, pipe: Pipe) -> None:
        stopping = asyncio.create_task(pipe.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)


async def headed_tools(pipe: Pipe, call: Json) -> Json:
    """The schemas of those tools that want arguments repeated in headers."""
    params = {"_meta": call["params"].get("_meta", {})}
    listed = await anext(pipe.ask({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": params}))
    schemas = {tool["name"]: tool["inputSchema"] for tool in listed.get("result", {}).get("tools", [])}
    return {name: schema for name, schema in schemas.items() if "x-mcp-header" in json.dumps(schema)}


def header_mismatch(request: Request, message: Json) -> Json | None:
    """The error for headers that do not repeat the body, or not once."""
    said = {
        "mcp-protocol-version": meta_of(message).get(VERSION),
        "mcp-method": message["method"],
        "mcp-name": message.get("params", {}).get(NAMED.get(message["method"])),
    }
    for header, value in said.items():
        if value is not None and request.headers.getlist(header) != [value]:
            return failure(message["id"], HEADER_MISMATCH, f"{header} does not repeat the body")
    return None


def failure(id: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def status(response: Json) -> int:
    return STATUS.get(response["error"]["code"], 200) if "error" in response else 200


def meta_of(message: Json) -> Mapping[str, Any]:
    return message.get("params", {}).get("_meta", {})


async def until_none(queue: asyncio.Queue[Json | None]) -> AsyncGenerator[Json]:
    while (message := await queue.get()) is not None:
        yield message


async def events(messages: AsyncGenerator[Json], *first: Json) -> AsyncGenerator[Json]:
    try:
        for message in first:
            yield {"data": json.dumps(message)}
        async for message in messages:
            yield {"data": json.dumps(message)}
    finally:
        await messages.aclose()


def main(command: list[str]) -> None:
    bridge = Bridge(command)
    routes = [Route("/mcp", getattr(bridge, method.lower()), methods=[method]) for method in ("GET", "POST", "DELETE")]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL)
    app = Starlette(routes=routes, middleware=[hosts], lifespan=bridge.lifespan)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(settings).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1:])
