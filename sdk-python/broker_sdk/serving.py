"""What broker asks of a plugin and tells it beside MCP: commands, events and hooks; and its start and its end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from broker_sdk.definitions import Offered, positional
from broker_sdk.errors import METHOD, PARAMS, HostError, Refusal, ToolError
from broker_sdk.plugin import Change, Deny
from broker_sdk.schema import encode

if TYPE_CHECKING:
    from broker_sdk.server import Server
    from broker_sdk.wire import Id

COMMAND = "command/run"
MOST_HEARD = 64  # events that wait for their listeners; more are dropped

Json = dict[str, Any]


class Beside:
    """Of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._hearing = 0
        self._to_end: list[AsyncGenerator[Any, None]] = []

    # Start and end

    async def start(self) -> None:
        """Run what the plugin starts with, then tell broker what it offers beside tools."""
        if self._server.plugin.starts:
            await self._server.host.ready()
        for function in self._server.plugin.starts:
            if inspect.isasyncgenfunction(function):
                generator = function(**self._with_ctx(Offered(function, None, None, None)))
                await anext(generator)
                self._to_end.append(generator)
            else:
                await self._server.run(function, self._with_ctx(Offered(function, None, None, None)))
        self._server.spawn(self._introduce())

    async def stop(self) -> None:
        """Run what it ends with; a failure there keeps nothing else from it."""
        for generator in reversed(self._to_end):
            await self._tried("on_start", self._finish(generator))
        for function in self._server.plugin.stops:
            arguments = self._with_ctx(Offered(function, None, None, None))
            await self._tried("on_stop", self._server.threads.run(function, arguments))

    async def _finish(self, generator: AsyncGenerator[Any, None]) -> None:
        async for _ in generator:
            break

    async def _tried(self, what: str, work: Any) -> None:
        try:
            await work
        except Exception as error:
            self._server.failed(what, error)

    async def _introduce(self) -> None:
        await self._server.host.ready()
        await self.register()
        for name in sorted({listener.event for listener in self._server.plugin.listeners} | {"config.changed"}):
            await self._ask("events.subscribe", {"names": [name]})  # one by one, for each may be refused

    async def register(self) -> None:
        """Offer the plugin's commands to the person."""
        for command in list(self._server.plugin.commands.values()):
            told = {"name": command.name, "title": command.title or "", "description": command.description[:1000]}
            await self._ask("register_command", told)

    async def _ask(self, operation: str, params: Json) -> None:
        host = self._server.host
        if not host.available or operation not in host.operations:
            return
        try:
            await host.request(operation, params)
        except HostError as error:
            self._server.complain(f"{operation}: {error}")

    def _with_ctx(self, offered: Offered) -> Json:
        return {offered.signature.ctx: self._server.ctx()} if offered.signature.ctx else {}

    # Commands

    async def serve(self, method: str, params: Json, id: Id) -> bytes:
        """The result of a request of broker, as JSON. Raises `Refusal`, `ToolError`."""
        if method != COMMAND:
            raise Refusal(METHOD, f"there is no {method}")
        name, commands = str(params.get("name", "")), self._server.plugin.commands
        command = commands.get(name) or commands.get(name.removeprefix(f"{self._server.plugin.name}."))
        if command is None:
            raise Refusal(PARAMS, f"there is no command {name!r}")
        try:
            arguments = command.arguments(params.get("arguments"))
        except ValueError as error:
            raise Refusal(PARAMS, f"command {name}: {error}") from None
        ctx = {command.signature.ctx: self._server.ctx(command=id)} if command.signature.ctx else {}
        try:
            return encode(await self._server.run(command.function, {**arguments, **ctx}))
        except (ToolError, Refusal):
            raise
        except Exception as error:
            self._server.failed(f"command {name}", error)
            raise ToolError(f"Error in command {name}") from None

    # Events

    def hear(self, event: str, params: Json) -> None:
        """Tell the listeners of an event, each in its own time; of a flood some are dropped."""
        if event == "config.changed":
            self._server.spawn(self._reconfigure(params))
            return
        self._tell(event, params)

    def _tell(self, event: str, params: Json) -> None:
        for listener in self._server.plugin.listeners:
            if listener.hears(event, params) and self._hearing < MOST_HEARD:
                self._hearing += 1
                self._server.spawn(self._heard(listener, event, params))

    async def _reconfigure(self, params: Json) -> None:
        host = self._server.host
        try:
            found = await host.request("config.get", {})
            host.hello.config = found if isinstance(found, dict) else {}
        except HostError as error:
            self._server.complain(f"config.get: {error}")
        self._tell("config.changed", params)

    async def _heard(self, listener: Offered, event: str, params: Json) -> None:
        try:
            arguments = {**positional(listener, params), **self._with_ctx(listener)}
            await self._server.run(listener.function, arguments)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._server.failed(f"the listener of {event}", error)
        finally:
            self._hearing -= 1

    # Hooks

    async def hook(self, event: Json) -> Json:
        """What the plugin says to a call of somebody else's. The first no ends it."""
        said: Json = {}
        for hook in self._server.plugin.hooks:
            if hook.on != event.get("type"):
                continue
            answer = await self._server.run(hook.function, {**positional(hook, event), **self._with_ctx(hook)})
            if isinstance(answer, Deny):
                return {"allow": False, "reason": answer.reason}
            if isinstance(answer, Change):
                said.update(_changed(answer))
                if answer.arguments is not None:
                    event = {**event, "arguments": answer.arguments}
        return said


def _changed(answer: Change) -> Json:
    said: Json = {"meta": answer.meta} if answer.meta else {}
    if answer.status is not None:
        said["status"] = answer.status
    return said if answer.arguments is None else {**said, "modified": True, "arguments": answer.arguments}
