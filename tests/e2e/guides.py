"""The walk of the Python clients through one broker: the same steps as in node/shared.mjs, the same report.

A report is plain JSON: `version`, `pinned`, and for each server what every feature came to. `broke` holds the
traceback of a step that could not be taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import fastmcp
from fastmcp.client.elicitation import ElicitResult as FastElicitResult
from fastmcp.client.transports import StdioTransport
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.session import ClientSession
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    PromptReference,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
    Root,
    TextContent,
    ToolListChangedNotification,
)
from pydantic import BaseModel, FileUrl

from tests.e2e.harness import BOUND, META, MODERN, Home, Json

ROOTS: Json = {"roots": [{"uri": "file:///somewhere", "name": "somewhere"}]}
ANSWER: Json = {"action": "accept", "content": {"name": "Ann"}}
SAMPLED: Json = {"role": "assistant", "content": {"type": "text", "text": "sampled"}, "model": "fake"}


class OnProgress(Protocol):
    async def __call__(self, progress: float, total: float | None, message: str | None) -> None: ...


class Heard:
    """What a client was told while it did not ask."""

    def __init__(self) -> None:
        self.updated: list[str] = []
        self.changed = 0
        self.logged: list[str] = []
        self._news = asyncio.Event()

    async def message(self, message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.updated.append(str(message.params.uri))
        elif isinstance(message, ToolListChangedNotification):
            self.changed += 1
        self._news.set()

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.logged.append(params.level)
        self._news.set()

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND):
            while not wanted():
                self._news.clear()
                await self._news.wait()


class Guide(Protocol):
    """A client in the shape the walk needs."""

    session: ClientSession
    heard: Heard

    async def lists(self) -> dict[str, list[str]]: ...
    async def call(self, name: str, arguments: Json, on_progress: OnProgress | None, meta: Json | None) -> Json: ...
    async def read(self, uri: str) -> Json: ...
    async def prompt(self, name: str, arguments: dict[str, str]) -> Json: ...


async def walk(guide: Guide, servers: Sequence[str]) -> Json:
    session = guide.session
    modern = session.protocol_version == MODERN
    report: Json = {"version": session.protocol_version, "pinged": None, "servers": {}}
    if not modern:
        report["pinged"] = plain(await session.send_ping()) == {}  # pyright: ignore[reportDeprecated]
    lists = await guide.lists()
    for name in servers:
        prefixes = {"tools": f"{name}__", "prompts": f"{name}__"}
        own = {
            what: [
                each
                for each in found
                if each.startswith(prefixes.get(what, f"broker://{name}/"))
                or (name == servers[0] and each.startswith("demo:"))
            ]
            for what, found in lists.items()
        }
        try:
            report["servers"][name] = await visit(guide, name, own, modern)
        except Exception:
            report["servers"][name] = {"broke": traceback.format_exc()}
    return report


async def visit(guide: Guide, name: str, lists: dict[str, list[str]], modern: bool) -> Json:
    session, heard = guide.session, guide.heard
    found: Json = dict(lists)

    async def call(
        tool: str, arguments: Json | None = None, on_progress: OnProgress | None = None, meta: Json | None = None
    ) -> Json:
        async with asyncio.timeout(BOUND):
            return await guide.call(f"{name}__{tool}", arguments or {}, on_progress, meta)

    found["echo"] = text(await call("echo", {"text": "hi"}))
    found["add"] = (await call("add", {"a": 2, "b": 3}))["structuredContent"]
    found["failed"] = (await call("fail"))["isError"]
    try:
        found["error"] = await call("error")
    except MCPError as error:
        found["error"] = {"code": error.code, "message": error.message, "data": error.data}

    found["progress"] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        found["progress"].append([progress, total, message])

    await call("progress", {"n": 3}, on_progress)
    found["cancelled"] = await cancelled(call)
    found["heard"] = json.loads(text(await call("heard")))

    found["read"] = (await guide.read(lists["resources"][0]))["contents"][0]["text"]
    template = lists["templates"][0]
    found["readItem"] = (await guide.read(template.replace("{id}", "7")))["contents"][0]["text"]
    prompt = await guide.prompt(f"{name}__hello", {"name": "Ann"})
    found["prompt"] = prompt["messages"][0]["content"]["text"]
    reference = PromptReference(type="ref/prompt", name=f"{name}__hello")
    found["completion"] = (await session.complete(reference, {"name": "name", "value": "b"})).completion.values
    of_item = ResourceTemplateReference(type="ref/resource", uri=template)
    found["itemCompletion"] = (await session.complete(of_item, {"name": "id", "value": "1"})).completion.values

    uri = lists["resources"][0]
    async with subscribed(session, uri, modern):
        await call("touch", {"uri": "demo://a"})
        await heard.until(lambda: uri in heard.updated)
    found["updated"] = heard.updated.count(uri)

    async with listening(session, modern):
        so_far = heard.changed
        await call("change", {"what": "tools"})
        await heard.until(lambda: heard.changed > so_far)
        found["extra"] = f"{name}__extra" in (await guide.lists())["tools"]

    if not modern:
        await session.set_logging_level("warning")  # pyright: ignore[reportDeprecated]
    heard.logged.clear()
    for level in ("info", "error"):
        await call("log", {"level": level}, None, {META + "logLevel": "warning"} if modern else None)
    found["logged"] = list(heard.logged)

    for tool in ("elicit", "sample", "roots"):
        try:
            answer = text(await call(tool))
        except MCPError as error:
            answer = json.dumps({"error": error.message})
        found[tool] = json.loads(answer) if answer.startswith("{") else answer
    return found


async def cancelled(call: Callable[..., Awaitable[Json]]) -> bool:
    """Whether a call that began at the server can be taken back."""
    begun = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    running = asyncio.ensure_future(call("forever", None, on_progress))
    async with asyncio.timeout(BOUND):
        await begun.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return running.cancelled()


@asynccontextmanager
async def subscribed(session: ClientSession, uri: str, modern: bool) -> AsyncGenerator[None]:
    if modern:
        from mcp.client.subscriptions import listen

        async with listen(session, resource_subscriptions=[uri]):
            yield
    else:
        await session.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]
        yield
        await session.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]


def listening(session: ClientSession, modern: bool) -> AbstractAsyncContextManager[Any]:
    from mcp.client.subscriptions import listen

    return listen(session, tools_list_changed=True) if modern else contextlib.nullcontext()


# the two clients


class SdkGuide:
    """The official SDK's Client."""

    def __init__(self, client: Client, heard: Heard) -> None:
        self.client, self.heard, self.session = client, heard, client.session

    async def lists(self) -> dict[str, list[str]]:
        return {
            "tools": [each.name for each in (await self.client.list_tools(cache_mode="bypass")).tools],
            "prompts": [each.name for each in (await self.client.list_prompts()).prompts],
            "resources": [str(each.uri) for each in (await self.client.list_resources()).resources],
            "templates": [
                each.uri_template for each in (await self.client.list_resource_templates()).resource_templates
            ],
        }

    async def call(self, name: str, arguments: Json, on_progress: OnProgress | None, meta: Json | None) -> Json:
        found = await self.client.call_tool(
            name,
            arguments,
            progress_callback=on_progress,
            meta=cast(Any, meta),
        )
        return plain(found)

    async def read(self, uri: str) -> Json:
        return plain(await self.client.read_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> Json:
        return plain(await self.client.get_prompt(name, arguments))


class FastGuide:
    """FastMCP's Client."""

    def __init__(self, client: fastmcp.Client[Any], heard: Heard) -> None:
        self.client, self.heard, self.session = client, heard, client.session

    async def lists(self) -> dict[str, list[str]]:
        return {
            "tools": [each.name for each in await self.client.list_tools()],
            "prompts": [each.name for each in await self.client.list_prompts()],
            "resources": [str(each.uri) for each in await self.client.list_resources()],
            "templates": [each.uri_template for each in await self.client.list_resource_templates()],
        }

    async def call(self, name: str, arguments: Json, on_progress: OnProgress | None, meta: Json | None) -> Json:
        return plain(await self.client.call_tool_mcp(name, arguments, progress_handler=on_progress, meta=meta))

    async def read(self, uri: str) -> Json:
        return plain(await self.client.read_resource_mcp(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> Json:
        return plain(await self.client.get_prompt_mcp(name, arguments))


@asynccontextmanager
async def sdk(home: Home, mode: str) -> AsyncGenerator[SdkGuide]:
    heard = Heard()

    async def elicit(context: object, params: object) -> ElicitResult:
        return ElicitResult(**ANSWER)

    async def sample(context: object, params: object) -> CreateMessageResult:
        content = TextContent(type="text", text="sampled")
        return CreateMessageResult(role="assistant", content=content, model="fake")

    async def roots(context: object) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl("file:///somewhere"), name="somewhere")])

    server = StdioServerParameters(command=home.command, args=home.args, env=home.env)
    client = Client(
        server,
        mode=mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        logging_callback=heard.log,
        message_handler=heard.message,
    )
    async with client:
        yield SdkGuide(client, heard)


@asynccontextmanager
async def fast(home: Home, mode: str) -> AsyncGenerator[FastGuide]:
    heard = Heard()

    async def elicit(message: str, kind: object, params: object, context: object) -> FastElicitResult[Json]:
        return FastElicitResult(action="accept", content=ANSWER["content"])

    async def sample(messages: object, params: object, context: object) -> CreateMessageResult:
        content = TextContent(type="text", text="sampled")
        return CreateMessageResult(role="assistant", content=content, model="fake")

    transport = StdioTransport(home.command, home.args, env=home.env, keep_alive=False)
    client = fastmcp.Client(
        transport,
        mode=mode,
        elicitation_handler=elicit,
        sampling_handler=sample,
        roots=[Root(uri=FileUrl("file:///somewhere"), name="somewhere")],
        log_handler=heard.log,
        message_handler=heard.message,
    )
    async with client:
        yield FastGuide(client, heard)


def plain(model: BaseModel) -> Json:
    """A model of an SDK as the JSON it stands for, without what the modern era wraps around a result."""
    found: Json = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in ("resultType", "_meta", "ttlMs", "cacheScope"):
        found.pop(name, None)
    return found


def text(result: Json) -> str:
    return result["content"][0]["text"]
