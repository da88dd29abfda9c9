"""FastMCP: a proxy over each server of an mcpServers file, mounted under its name.

Each proxy is given a client that is connected already and stays so; otherwise FastMCP opens a session per request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastmcp import Client, FastMCP
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


async def main(servers: dict[str, dict[str, Any]]) -> None:
    front = FastMCP("mounted")
    async with AsyncExitStack() as stack:
        clients = {name: Client(StdioTransport(entry["command"], entry["args"])) for name, entry in servers.items()}
        await asyncio.gather(*[stack.enter_async_context(client) for client in clients.values()])
        for name, client in clients.items():
            front.mount(create_proxy(client), namespace=name)
        await front.run_async(show_banner=False)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_bytes())["mcpServers"]))
