"""A conversation of the official Python SDK 2 with a server of the offers: what came of each feature, as plain JSON.

What was asked for in the middle of a feature stands beside its outcome. The drivers in TypeScript say the same, see
`steps.mjs`; `test_across.py` judges all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from pydantic import BaseModel

from tests.e2e.across.offers import TOLD, Json

BOUND = 30  # seconds for one feature
TRIES = 20  # until it counts that a subscription does not end
META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
LISTS = {"tools": "tools", "resources": "resources", "templates": "resourceTemplates", "prompts": "prompts"}


class Driver:
    """One client, and all it was asked and told."""

    def __init__(self, server: StdioServerParameters, mode: str, prefix: str) -> None:
        self.prefix, self.modern = prefix, mode == MODERN
        self.asked: list[Json] = []
        self.told: list[tuple[str, Json]] = []
        self._news = asyncio.Event()
        self.client = Client(
            server,
            mode=mode,
            cache=None,
            elicitation_callback=self._elicit,
            sampling_callback=self._sample,
            sampling_capabilities=types.SamplingCapability(tools=types.SamplingToolsCapability()),
            list_roots_callback=self._roots,
            message_handler=self._hear,
        )

    # what the server wants

    async def _elicit(self, context: object, params: BaseModel) -> types.ElicitResult:
        asked = plain(params)
        self.asked.append({"method": "elicitation/create", "params": asked})
        return types.ElicitResult(**TOLD["answers"][TOLD["says"][asked["message"]]])

    async def _sample(self, context: object, params: types.CreateMessageRequestParams) -> Any:
        self.asked.append({"method": "sampling/createMessage", "params": plain(params)})
        if params.tools:
            return types.CreateMessageResultWithTools.model_validate(TOLD["answers"]["tools"])
        return types.CreateMessageResult.model_validate(TOLD["answers"]["sample"])

    async def _roots(self, context: object) -> types.ListRootsResult:
        self.asked.append({"method": "roots/list"})
        return types.ListRootsResult.model_validate(TOLD["answers"]["roots"])

    async def _hear(self, message: Any) -> None:
        if isinstance(message, BaseModel):
            said = plain(message)
            self.told.append((said["method"], said.get("params", {})))
            self._news.set()

    async def heard(self, method: str, wanted: Callable[[Json], bool] = lambda _: True) -> Json:
        """The params of the first such notice, which is taken."""
        while True:
            self._news.clear()
            for each in self.told:
                if each[0] == method and wanted(each[1]):
                    self.told.remove(each)
                    return each[1]
            await self._news.wait()

    # what the client wants

    async def ask(self, method: str, params: Json) -> Json:
        """One request, the way this SDK makes it."""
        client = self.client
        if method == "tools/call":
            result = await client.call_tool(self.prefix + params["name"], params["arguments"])
        elif method == "resources/read":
            result = await client.read_resource(params["uri"])
        elif method == "prompts/get":
            result = await client.get_prompt(self.prefix + params["name"], params["arguments"])
        else:
            result = await client.complete(self._reference(params["ref"]), params["argument"], others(params))
        return plain(result)

    def _reference(self, ref: Json) -> Any:
        if ref["type"] == "ref/prompt":
            return types.PromptReference(type="ref/prompt", name=self.prefix + ref["name"])
        return types.ResourceTemplateReference(type="ref/resource", uri=ref["uri"])

    async def call(self, tool: str, arguments: Json | None = None, **more: Any) -> Any:
        """What a tool answers in its text."""
        result = await self.client.call_tool(self.prefix + tool, arguments or {}, **more)
        return json.loads(plain(result)["content"][0]["text"])

    async def list(self, kind: str) -> list[Json]:
        """All pages of a list."""
        method = getattr(self.client, "list_resource_templates" if kind == "templates" else f"list_{kind}")
        found: list[Json] = []
        cursor: str | None = None
        while True:
            page = plain(await method(cursor=cursor))
            found += page[LISTS[kind]]
            cursor = page.get("nextCursor")
            if cursor is None:
                return found

    async def outcome(self, feature: Callable[[], Awaitable[Any]]) -> Json:
        self.asked.clear()
        self.told.clear()
        try:
            async with asyncio.timeout(BOUND):
                found: Json = {"result": await feature()}
        except MCPError as error:
            found = {"error": {"code": error.code, "message": error.message, "data": error.data}}
        except Exception as error:
            found = {"broke": repr(error)}
        return {**found, **({"asked": list(self.asked)} if self.asked else {})}

    # the features that are more than a request

    async def version(self) -> str:
        return self.client.protocol_version

    async def offered(self) -> Json:
        session = self.client.session
        if self.modern:  # with its version given, this client asks nothing by itself
            found = await session.send_discover(MODERN)
            return {"instructions": found.get("instructions"), "capabilities": found["capabilities"]}
        return {"instructions": session.instructions, "capabilities": plain(self.client.server_capabilities)}

    async def meta(self) -> Json:
        result = plain(await self.client.call_tool(self.prefix + "meta", {}, meta=TOLD["meta"]))
        return {"arrived": json.loads(result["content"][0]["text"]), "_meta": result.get("_meta")}

    async def cancel(self) -> Json:
        """Progress comes while the call runs; then it is cancelled."""
        steps: list[Any] = []
        all_came = asyncio.Event()

        async def step(*given: Any) -> None:
            steps.append(list(given))
            if len(steps) == 3:
                all_came.set()

        calling = asyncio.ensure_future(self.call("wait", progress_callback=step))
        await all_came.wait()
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        return {"steps": steps, "cancelled": (await self.call("heard"))["cancelled"]}

    async def logs(self) -> list[Json]:
        meta: Any = {META + "logLevel": "warning"} if self.modern else None
        if not self.modern:
            await self.client.set_logging_level("warning")  # pyright: ignore[reportDeprecated]
        await self.call("log", meta=meta)
        first = await self.heard("notifications/message")
        return [first, *await self._rest("notifications/message")]

    async def quiet(self) -> list[Json]:
        """What is logged for a request that did not want it."""
        await self.call("log")
        return await self._rest("notifications/message")

    async def _rest(self, method: str) -> list[Json]:
        """Those that came until a request that was sent now was answered."""
        await self.call_text()
        rest = [params for each, params in self.told if each == method]
        self.told = [each for each in self.told if each[0] != method]
        return rest

    async def call_text(self) -> None:
        await self.client.call_tool(self.prefix + "text", {})

    async def updates(self) -> Json:
        uri = "demo://text"
        async with self._subscribed(uri):
            await self.call("touch", {"uri": "demo://bytes"})
            await self.call("touch", {"uri": uri})
            first = await self.heard("notifications/resources/updated")
        for _ in range(TRIES):  # the end of a subscription is not answered in the modern era
            await self.call("touch", {"uri": uri})
            if not await self._rest("notifications/resources/updated"):
                return {"first": first["uri"], "ended": True}
        return {"first": first["uri"], "ended": False}

    @asynccontextmanager
    async def _subscribed(self, uri: str) -> AsyncGenerator[None]:
        if self.modern:
            async with self.client.listen(resource_subscriptions=[uri]):
                yield
        else:
            await self.client.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]
            yield
            await self.client.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]

    async def change(self, kind: str) -> list[str]:
        wanted: Any = {f"{kind}_list_changed": True}
        async with self.client.listen(**wanted) if self.modern else contextlib.nullcontext():
            before = {entry["name"] for entry in await self.list(kind)}
            await self.call("change", {"what": kind})
            await self.heard(f"notifications/{kind}/list_changed")
        return [entry["name"] for entry in await self.list(kind) if entry["name"] not in before]

    async def pay(self) -> Any:
        """Call what wants a page visited first; where that is an error, call again."""
        refused = None
        try:
            result = await self.call("pay")
        except MCPError as error:
            refused = {"code": error.code, "message": error.message, "data": error.data}
            result = await self.call("pay")
        return {"refused": refused, "result": result}

    async def task(self) -> Json:
        return {"absent": not hasattr(self.client.session, "experimental")}

    async def visited(self) -> bool:
        """Whether the end of a visit is told under the id it was asked with."""
        await self.call("ask_page")
        told = await self._rest("notifications/elicitation/complete")
        return [each["elicitationId"] for each in told] == [self.asked[0]["params"]["elicitationId"]]

    async def roots_changed(self) -> int:
        await self.client.send_roots_list_changed()  # pyright: ignore[reportDeprecated]
        return (await self.call("heard"))["roots"]

    async def ping(self) -> Json:
        return plain(await self.client.send_ping())  # pyright: ignore[reportDeprecated]


def others(params: Json) -> dict[str, str] | None:
    return params.get("context", {}).get("arguments")


def plain(model: BaseModel) -> Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def report(server: StdioServerParameters, mode: str, prefix: str, skipped: frozenset[str]) -> Json:
    """The outcome of every feature that this SDK has in this mode."""
    driver = Driver(server, mode, prefix)
    found: Json = {}

    async def take(name: str, feature: Callable[[], Awaitable[Any]]) -> None:
        if name not in skipped:
            found[name] = await driver.outcome(feature)

    async with driver.client:
        for name in ("version", "offered"):
            await take(name, getattr(driver, name))
        for kind in LISTS:
            await take(f"list {kind}", lambda kind=kind: driver.list(kind))
        for name, (method, params) in TOLD["asks"].items():
            await take(name, lambda method=method, params=params: driver.ask(method, params))
        for name in ("meta", "cancel", "logs", "updates"):
            await take(name, getattr(driver, name))
        for name in ("quiet",) if driver.modern else ("visited", "roots_changed", "ping"):
            await take(name, getattr(driver, name))
        for name in ("pay", "task"):
            await take(name, getattr(driver, name))
        for kind in ("tools", "resources", "prompts"):
            await take(f"change {kind}", lambda kind=kind: driver.change(kind))
    return found
