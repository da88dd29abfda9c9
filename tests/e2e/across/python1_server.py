"""The offers in the official Python SDK 1, which knows no era but the legacy one. Runs in `.venv/servers-legacy`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import anyio
from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import McpError
from offers import TOLD, Json, Offers, Refused  # beside this file, because the server is started by path
from pydantic import AnyUrl, BaseModel

RESULTS: dict[str, Any] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResultWithTools,
    "roots/list": types.ListRootsResult,
    "ping": types.EmptyResult,
}
LISTS = {
    "tools": (types.ListToolsRequest, types.ListToolsResult),
    "resources": (types.ListResourcesRequest, types.ListResourcesResult),
    "resourceTemplates": (types.ListResourceTemplatesRequest, types.ListResourceTemplatesResult),
    "prompts": (types.ListPromptsRequest, types.ListPromptsResult),
}

offers = Offers(tasks=True)
server = Server[Any](TOLD["info"]["name"])


class Hand:
    """What a request can do through this SDK."""

    modern = False
    state = None

    def __init__(self) -> None:
        self.answers: Json = {}
        context = server.request_context
        self.session, given = context.session, context.meta
        self.meta = given.model_dump(exclude={"progressToken"}) if given else {}
        self.token = given.progressToken if given else None

    async def ask(self, method: str, params: Json | None) -> Json:
        request = types.ServerRequest.model_validate({"method": method, "params": params})
        return plain(await self.session.send_request(request, RESULTS[method]))

    async def progress(self, done: float, total: float, message: str) -> None:
        if self.token is not None:
            await self.session.send_progress_notification(self.token, done, total, message)

    async def log(self, level: Any, data: Any, logger: str) -> None:
        await self.session.send_log_message(level, data, logger)

    async def visited(self, elicitation: str) -> None:
        await self.session.send_elicit_complete(elicitation)

    async def updated(self, uri: str) -> None:
        await self.session.send_resource_updated(AnyUrl(uri))

    async def changed(self, what: str) -> None:
        await getattr(self.session, f"send_{what.removesuffix('s')}_list_changed")()


def plain(model: BaseModel) -> Json:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def answers(request: Any, result: Any) -> Callable[[Any], Any]:
    """Decorate what answers this kind of request."""

    def register(handler: Any) -> Any:
        async def handled(message: Any) -> types.ServerResult:
            try:
                return types.ServerResult(result.model_validate(await handler(message.params)))
            except Refused as refused:
                raise McpError(types.ErrorData(code=refused.code, message=refused.message, data=refused.data)) from None

        server.request_handlers[request] = handled
        return handler

    return register


@answers(types.ReadResourceRequest, types.ReadResourceResult)
async def read(params: Any) -> Json:
    return await offers.read(str(params.uri), Hand())


@answers(types.GetPromptRequest, types.GetPromptResult)
async def get(params: Any) -> Json:
    return await offers.get(params.name, params.arguments or {}, Hand())


@answers(types.CompleteRequest, types.CompleteResult)
async def complete(params: Any) -> Json:
    others = (params.context.arguments if params.context else None) or {}
    return offers.complete(plain(params.argument), others)


@answers(types.SetLevelRequest, types.EmptyResult)
async def set_level(params: Any) -> Json:
    offers.level = params.level
    return {}


@answers(types.SubscribeRequest, types.EmptyResult)
async def subscribe(params: Any) -> Json:
    offers.subscribed.add(str(params.uri))
    return {}


@answers(types.UnsubscribeRequest, types.EmptyResult)
async def unsubscribe(params: Any) -> Json:
    offers.subscribed.discard(str(params.uri))
    return {}


def lists(kind: str, request: Any, result: Any) -> None:
    @answers(request, result)
    async def listed(params: Any) -> Json:
        return offers.page(kind, params.cursor if params else None)


async def call(message: types.CallToolRequest) -> types.ServerResult:
    """A call; as a task if the client asked for that."""
    hand, params = Hand(), message.params

    async def work(task: Any = None) -> types.CallToolResult:
        return types.CallToolResult.model_validate(await offers.call(params.name, params.arguments or {}, hand))

    experimental = server.request_context.experimental
    try:
        return types.ServerResult(await (experimental.run_task(work) if experimental.is_task else work()))
    except Refused as refused:
        raise McpError(types.ErrorData(code=refused.code, message=refused.message, data=refused.data)) from None


async def roots_changed(message: types.RootsListChangedNotification) -> None:
    offers.roots_changed += 1


async def main() -> None:
    for kind, (request, result) in LISTS.items():
        lists(kind, request, result)
    server.request_handlers[types.CallToolRequest] = call
    server.notification_handlers[types.RootsListChangedNotification] = roots_changed
    server.experimental.enable_tasks()
    capabilities = server.get_capabilities(NotificationOptions(), {})
    changing = {"listChanged": True}
    found = capabilities.model_dump(by_alias=True, exclude_none=True)
    found |= {"tools": changing, "prompts": changing, "resources": {**changing, "subscribe": True}}
    options = InitializationOptions(
        server_name=TOLD["info"]["name"],
        server_version=TOLD["info"]["version"],
        capabilities=types.ServerCapabilities.model_validate(found),
        instructions=TOLD["instructions"],
    )
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, options)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the SDK, about tasks
    anyio.run(main)
