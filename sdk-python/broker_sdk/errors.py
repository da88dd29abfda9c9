"""What a plugin may raise, and what may be raised at it."""

from __future__ import annotations

from typing import Any


class ToolError(Exception):
    """A failure whose text is for the model and the person: say what went wrong and what to do.

    Of any other exception nobody but the author learns more than that it happened.
    """


class CannotAsk(ToolError):
    """The client of this call has no way to ask what was to be asked. `capability`: what it lacks, as MCP names it."""

    def __init__(self, capability: str) -> None:
        super().__init__(f"this client cannot be asked: it has no {capability}")
        self.capability = capability


class HostError(ToolError):
    """The broker refused or failed what the plugin asked of it.

    `code`: the error's name in the table of host operations (`permission-missing`, `not-in-client`, ...);
    `hint`: what the person can do about it, or nothing.
    """

    def __init__(self, message: str, code: str = "host-failed", hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.code, self.hint = code, hint


class HostUnavailable(HostError):
    """The plugin runs in a client that is not broker, and this has no replacement there."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"`{operation}` needs broker, and this plugin runs without it", "host-unavailable")


class Misdeclared(TypeError):
    """A tool, resource, prompt or command that cannot be described to a client; says where it is and what to change."""


class Refusal(Exception):
    """Becomes a JSON-RPC error. For authors of resources and completions: `ToolError` is enough nearly always."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


PARSE, REQUEST, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32021, -32022  # MCP 2026-07-28
NOT_FOUND = -32002  # a resource, before 2026-07-28
