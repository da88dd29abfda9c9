"""An `MCPServer` of the official SDK with the host API beside it."""

from __future__ import annotations

from broker_sdk.adapter import mount
from mcp.server.mcpserver import MCPServer

mcp = MCPServer("mounted")
host = mount(mcp)


@mcp.tool()
async def greet(name: str) -> str:
    ctx = host.ctx()
    ctx.toast(f"greeting {name}")
    with ctx.progress("greeting", total=2) as progress:
        progress.step()
    return f"{ctx.config.get('greeting', 'Hello')}, {await ctx.ask('Which name?')}!"


@host.command(title="Wave")
async def wave(times: int = 1) -> int:
    return times


if __name__ == "__main__":
    mcp.run()
