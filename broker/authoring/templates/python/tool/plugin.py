"""my-plugin: one tool for models."""

from __future__ import annotations

from broker_sdk import Ctx, Plugin

plugin = Plugin()  # name and version come from plugin.toml


@plugin.tool(read_only=True)
async def greet(name: str, ctx: Ctx) -> str:
    """Greet somebody.

    Args:
        name: whom
    """
    return f"{ctx.config.get('greeting', 'Hello')}, {name}!"


if __name__ == "__main__":
    plugin.run()
