"""The official Python SDK: a low-level server before one `ClientSession` per server of an mcpServers file."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, Tool


class Forward:
    """The tools of all sessions, under `<server>_<tool>`."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._ways: dict[str, tuple[ClientSession, str]] = {}

    async def open(self, stack: AsyncExitStack, name: str, command: StdioServerParameters) -> None:
        read, write = await stack.enter_async_context(stdio_client(command))
        session = await stack.enter_async_context(ClientSession(read, write))
        await session.initialize()
        for tool in (await session.list_tools()).tools:
            shown = f"{name}_{tool.name}"
            self._tools[shown] = tool.model_copy(update={"name": shown})
            self._ways[shown] = session, tool.name

    async def list_tools(self, context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=list(self._tools.values()))

    async def call_tool(self, context: Any, params: CallToolRequestParams) -> CallToolResult:
        session, own = self._ways[params.name]
        result = await session.call_tool(own, params.arguments)
        assert isinstance(result, CallToolResult)
        return result


async def main(servers: dict[str, dict[str, Any]]) -> None:
    forward = Forward()
    async with AsyncExitStack() as stack:
        for name, entry in servers.items():  # cancel scopes nest: one after the other, in one task
            await forward.open(stack, name, StdioServerParameters(command=entry["command"], args=entry["args"]))
        server = Server("forward", on_list_tools=forward.list_tools, on_call_tool=forward.call_tool)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_bytes())["mcpServers"]))
