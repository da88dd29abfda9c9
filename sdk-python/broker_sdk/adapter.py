"""The host API for a server that exists already, made with FastMCP or the official SDK's `MCPServer`.

```python
mcp = FastMCP("todos")
host = mount(mcp)

@mcp.tool
async def count(path: str) -> int:
    host.ctx().toast("Counting")
    ...

@host.command("refresh", title="Refresh")
async def refresh(ctx: Ctx) -> str: ...
```

The server stays what it is and speaks MCP by itself. Only the channel to broker is ours, and it is open as long as the
server's lifespan: without broker, or outside of it, everything degrades as `Ctx` says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal

from broker_sdk.calls import Call, Retry
from broker_sdk.ctx import Ctx
from broker_sdk.eras import RequestMeta
from broker_sdk.errors import Misdeclared
from broker_sdk.host import socket_given
from broker_sdk.plugin import Decorator, Plugin
from broker_sdk.server import Server

Json = dict[str, Any]
_INNER = ("_lowlevel_server", "_mcp_server")  # where MCPServer and FastMCP have the SDK's low-level server


class MountedCall(Call):
    """A request that the other server answers: broker knows it by its id, and asks for us."""

    def __init__(self, server: Server, id: int | str, method: str) -> None:
        super().__init__(server, id, method, RequestMeta(capabilities={}, token=id), (method, "", b""), Retry())

    def tell(self, method: str, params: Json) -> None:
        if method == "notifications/progress":
            told = {name: value for name, value in params.items() if name != "progressToken"}
            self.server.ctx(self).host.tell("progress", told)


class Mounted:
    """The host API beside another server. `command`, `on` are those of `Plugin`."""

    def __init__(self, name: str, version: str) -> None:
        self._plugin = Plugin(name, version=version)
        self._server: Server | None = None
        self._request: ContextVar[MountedCall | None] = ContextVar("request", default=None)

    def command(self, name: Any = None, /, **options: Any) -> Any:
        """See `Plugin.command`."""
        return self._plugin.command(name, **options)

    def on(
        self,
        event: Literal["document.opened", "document.saved", "document.closed", "workspace.changed", "config.changed"]
        | str,
        /,
        **wanted: Any,
    ) -> Decorator[Any]:
        """See `Plugin.on`."""
        return self._plugin.on(event, **wanted)

    def ctx(self) -> Ctx:
        """What the function that runs now may do besides returning. RuntimeError while the server does not run."""
        if self._server is None:
            raise RuntimeError("the server does not run yet, or no more; call `ctx()` inside a tool")
        return Ctx(self._server, self._request.get())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """The channel to broker is open inside."""
        server = self._server = Server(self._plugin, _unheard)
        channel = socket_given()
        if channel is not None:
            await server.host.connect(channel)
            await server.host.ready()
        await server.beside.start()
        try:
            yield
        finally:
            self._server = None
            await server.close()

    async def around(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        """As middleware of the other server: remembers which request runs."""
        server, id = self._server, context.request_id
        if server is None or id is None:
            return await call_next(context)
        token = self._request.set(MountedCall(server, id, context.method))
        try:
            return await call_next(context)
        finally:
            self._request.reset(token)


def mount(server: Any) -> Mounted:
    """Put the host API beside a FastMCP or `MCPServer` object, before it runs."""
    inner = next((getattr(server, name) for name in _INNER if hasattr(server, name)), None)
    if inner is None or not hasattr(inner, "middleware") or not hasattr(inner, "lifespan"):
        raise Misdeclared(f"mount takes a FastMCP (4 or later) or MCPServer object, not {type(server).__name__}")
    mounted = Mounted(str(inner.name), str(getattr(inner, "version", None) or "0.0.0"))
    lifespan = inner.lifespan

    @asynccontextmanager
    async def both(of: Any) -> AsyncGenerator[Any, None]:
        async with mounted.running(), lifespan(of) as state:
            yield state

    inner.lifespan = both
    inner.middleware.append(mounted.around)
    return mounted


def _unheard(line: bytes) -> None:
    """MCP is the other server's to speak."""
