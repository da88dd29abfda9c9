"""my-plugin: one command for people, in their editors."""

from __future__ import annotations

from broker_sdk import Ctx, Plugin

plugin = Plugin()  # name and version come from plugin.toml


@plugin.command(title="Say hello")
async def hello(ctx: Ctx, name: str = "you") -> str:
    ctx.toast(f"Hello, {name}!")
    return f"greeted {name}"


if __name__ == "__main__":
    plugin.run()
