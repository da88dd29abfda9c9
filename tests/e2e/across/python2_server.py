"""The offers in the official Python SDK 2: `python2_server.py dual`, or `modern`, which refuses `initialize`.

The SDK locks the era of a connection at its first message, also at one that is refused.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from offers import TOLD, Asking, Json, Offers, Refused  # beside this file, because the server is started by path
from pydantic import BaseModel

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
REQUESTS: dict[str, tuple[Any, Any]] = {
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResultWithTools),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
    "ping": (types.PingRequest, types.EmptyResult),
}
CHANGES: dict[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}

Context = ServerRequestContext[Any, Any]

MODE = sys.argv[1]
offers, bus = Offers(modern=MODE == "modern"), InMemorySubscriptionBus()


class Hand:
    """What a request can do through this SDK."""

    def __init__(self, context: Context, params: BaseModel) -> None:
        self.session, self.modern = context.session, context.protocol_version == MODERN
        own = ("progressToken", "progress_token")
        self.meta = {k: v for k, v in (context.meta or {}).items() if not k.startswith(META) and k not in own}
        raw = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        self.answers: Json = raw.get("inputResponses", {})
        self.state: str | None = raw.get("requestState")

    async def ask(self, method: str, params: Json | None) -> Json:
        request, result = REQUESTS[method]
        return plain(
            await self.session.send_request(request.model_validate({"method": method, "params": params}), result)
        )

    async def progress(self, done: float, total: float, message: str) -> None:
        await self.session.report_progress(done, total, message)

    async def log(self, level: str, data: Any, logger: str) -> None:
        await self.session.send_log_message(level, data, logger)  # pyright: ignore

    async def visited(self, elicitation: str) -> None:
        await self.session.send_elicit_complete(elicitation)

    async def updated(self, uri: str) -> None:
        await (bus.publish(ResourceUpdated(uri)) if self.modern else self.session.send_resource_updated(uri))

    async def changed(self, what: str) -> None:
        if self.modern:
            await bus.publish(CHANGES[what])
        else:
            await getattr(self.session, f"send_{what.removesuffix('s')}_list_changed")()


def plain(model: BaseModel) -> Json:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def add(server: Server[Any], method: str, kind: type[BaseModel], result: type[BaseModel], handler: Any) -> None:
    """Answer a method with what `handler(params, hand)` gives."""

    async def handled(context: Context, params: BaseModel) -> HandlerResult:
        try:
            return result.model_validate(await handler(params, Hand(context, params)))
        except Asking as asking:
            return asking.result
        except Refused as refused:
            raise MCPError(refused.code, refused.message, refused.data) from None

    server.add_request_handler(method, kind, handled)


async def set_level(params: Any, hand: Hand) -> Json:
    offers.level = params.level
    return {}


async def subscribe(params: Any, hand: Hand) -> Json:
    offers.subscribed.add(params.uri)
    return {}


async def unsubscribe(params: Any, hand: Hand) -> Json:
    offers.subscribed.discard(params.uri)
    return {}


def lists(kind: str) -> Any:
    async def listed(params: Any, hand: Hand) -> Json:
        return offers.page(kind, params.cursor)

    return listed


async def call(params: Any, hand: Hand) -> Json:
    return await offers.call(params.name, params.arguments or {}, hand)


async def read(params: Any, hand: Hand) -> Json:
    return await offers.read(str(params.uri), hand)


async def get(params: Any, hand: Hand) -> Json:
    return await offers.get(params.name, params.arguments or {}, hand)


async def complete(params: Any, hand: Hand) -> Json:
    others = (params.context.arguments if params.context else None) or {}
    return offers.complete(plain(params.argument), others)


async def roots_changed(context: Context, params: types.NotificationParams) -> None:
    offers.roots_changed += 1


async def refuse_initialize(ctx: Context, call_next: CallNext) -> HandlerResult:
    if ctx.method == "initialize":
        data = {"supported": [MODERN], "requested": (ctx.params or {}).get("protocolVersion")}
        raise MCPError(-32022, "Unsupported protocol version", data)
    return await call_next(ctx)


def served() -> Server[Any]:
    info = TOLD["info"]
    server = Server[Any](info["name"], version=info["version"], title=info["title"], instructions=TOLD["instructions"])
    page = types.PaginatedRequestParams
    add(server, "tools/list", page, types.ListToolsResult, lists("tools"))
    add(server, "resources/list", page, types.ListResourcesResult, lists("resources"))
    add(server, "resources/templates/list", page, types.ListResourceTemplatesResult, lists("resourceTemplates"))
    add(server, "prompts/list", page, types.ListPromptsResult, lists("prompts"))
    add(server, "tools/call", types.CallToolRequestParams, types.CallToolResult, call)
    add(server, "resources/read", types.ReadResourceRequestParams, types.ReadResourceResult, read)
    add(server, "prompts/get", types.GetPromptRequestParams, types.GetPromptResult, get)
    add(server, "completion/complete", types.CompleteRequestParams, types.CompleteResult, complete)
    add(server, "logging/setLevel", types.SetLevelRequestParams, types.EmptyResult, set_level)
    add(server, "resources/subscribe", types.SubscribeRequestParams, types.EmptyResult, subscribe)
    add(server, "resources/unsubscribe", types.UnsubscribeRequestParams, types.EmptyResult, unsubscribe)
    server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, ListenHandler(bus))
    server.add_notification_handler("notifications/roots/list_changed", types.NotificationParams, roots_changed)
    if MODE == "modern":
        server.middleware.append(refuse_initialize)
    return server


async def main() -> None:
    server = served()
    options = server.create_initialization_options(NotificationOptions(True, True, True))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, options)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the SDK, about what the modern era has not
    anyio.run(main)
