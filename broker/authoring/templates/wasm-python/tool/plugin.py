"""my-plugin: one tool for models."""

from broker_guest import Plugin, config, log

plugin = Plugin()
Guest = plugin.guest  # what broker calls


@plugin.tool(read_only=True)
def greet(name: str) -> str:
    """Greets somebody.

    Args:
        name: Whom
    """
    log("greeting")
    return f"{config('greeting')}, {name}!"
