"""Plugins for broker, and for any other client of MCP, in a few lines. See `Plugin` and `Ctx`."""

from __future__ import annotations

from msgspec import Meta

from broker_sdk.content import Content, Message, Result, assistant, audio, embedded, image, link, text, user
from broker_sdk.errors import CannotAsk, HostError, HostUnavailable, Misdeclared, Refusal, ToolError
from broker_sdk.plugin import Change, Deny, Plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from broker_sdk.ctx import Ctx

__version__ = "0.1.0"
__all__ = [
    "CannotAsk",
    "Change",
    "Content",
    "Ctx",
    "Deny",
    "HostError",
    "HostUnavailable",
    "Message",
    "Meta",
    "Misdeclared",
    "Plugin",
    "Refusal",
    "Result",
    "ToolError",
    "assistant",
    "audio",
    "embedded",
    "image",
    "link",
    "text",
    "user",
]


def __getattr__(name: str) -> object:
    if name == "Ctx":  # with the event loop behind it, which a plugin needs only once it runs
        from broker_sdk.ctx import Ctx

        globals()["Ctx"] = Ctx
        return Ctx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
