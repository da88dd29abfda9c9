"""A plugin of the SDK with the tools that the bad frames call."""

from __future__ import annotations

import asyncio

from broker_sdk import Plugin

plugin = Plugin("frames", version="1")


@plugin.tool("two__echo")
async def echo() -> str:
    return "true"


@plugin.tool("hold__hold", timeout=None)
async def hold() -> str:
    await asyncio.Event().wait()
    return "never"


if __name__ == "__main__":
    plugin.run()
