"""Greets, on the official Python SDK."""

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("greet-py")


@server.tool()
def greet(name: str) -> str:
    """Says hello."""
    return f"Hello, {name}, from greet-py"


@server.tool()
async def sleep(seconds: float, ctx: Context) -> str:
    """Waits, telling how far it is ten times; cancellation ends it where it waits."""
    for step in range(10):
        await ctx.report_progress(step, 10)
        await anyio.sleep(seconds / 10)
    return f"slept {seconds} s"


if __name__ == "__main__":
    server.run()
