"""my-plugin: has a say in the calls of other plugins' tools."""

from __future__ import annotations

from typing import Any

from broker_sdk import Ctx, Deny, Plugin

plugin = Plugin()  # name and version come from plugin.toml


@plugin.hook("pre_request")
async def guard(event: dict[str, Any], ctx: Ctx) -> Deny | None:
    refused = ctx.config.get("refused", "delete")
    if refused in event.get("tool", ""):
        return Deny(f"tools with {refused} in their names are refused")
    return None  # the call goes on


if __name__ == "__main__":
    plugin.run()
