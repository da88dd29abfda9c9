"""Two clients on one server, ten thousand calls in between each other: nobody ever sees what is the other's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.core.listings import Listings
from broker.core.router import Router
from broker.faces.mcp import Session
from broker.model import Limits, Spec
from broker.runtimes.process import ProcessRuntime
from broker.stream import MemoryStream
from tests.e2e.harness import META, MODERN, Json
from tests.hostile.evil import evil

AT_ONCE = 16  # of each client
ASKS = 10  # one call in so many has a question

# Says whose call it is in everything it says of it.
GOSSIP = r"""
CAPS = {"tools": {}, "logging": {}}
_last = 0
asked = {}

def on_call(m):
    global _last
    args, meta = m["params"]["arguments"], m["params"].get("_meta", {})
    send(method="notifications/message", params={"level": "info", "data": args["who"]})
    if "progressToken" in meta:
        send(method="notifications/progress", params={"progressToken": meta["progressToken"], "progress": 1,
                                                      "message": args["who"]})
    if not args["ask"]:
        return send(id=m["id"], result=text(args["who"]))
    _last += 1
    asked["q%d" % _last] = m
    send(id="q%d" % _last, method="elicitation/create", params={"message": args["who"], "requestedSchema": {}})

def on_other(m):
    if m.get("id") in asked and "method" not in m:
        call = asked.pop(m["id"])
        answer = m.get("result", {}).get("content", {}).get("who", "refused")
        send(id=call["id"], result=text(call["params"]["arguments"]["who"] + "/" + answer))
    elif "id" in m and "method" in m:
        send(id=m["id"], result={})
"""


class Client:
    """One session of the broker; remembers what it heard that is not its own."""

    def __init__(self, router: Router, era: str, number: int) -> None:
        self.name, self.era = f"client-{number}", era
        self.foreign: list[Json] = []
        self.heard = {"logs": 0, "progress": 0, "questions": 0}
        self._replies: dict[int, asyncio.Future[Json]] = {}
        self._last = 0
        self._rest = b""
        self.stream, far = MemoryStream.pair()
        self.session = Session(router, far, key=self.name, max_frame=8 << 20, on_end=lambda: None)
        self.session.start()
        self.stream.start(self._read, lambda: None)

    def write(self, **message: Any) -> None:
        self.stream.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def ask(self, method: str, params: Json) -> Json:
        self._last += 1
        if self.era == "modern":
            info = {META + "protocolVersion": MODERN, META + "clientCapabilities": {"elicitation": {"form": {}}}}
            params = {**params, "_meta": {**info, META + "logLevel": "debug", "progressToken": f"{self._last}"}}
        elif method == "tools/call":
            params = {**params, "_meta": {"progressToken": self._last}}
        reply = self._replies[self._last] = asyncio.get_running_loop().create_future()
        self.write(id=self._last, method=method, params=params)
        return await reply

    async def open(self) -> None:
        if self.era == "legacy":
            capabilities = {"elicitation": {}}
            info = {"name": self.name, "version": "1"}
            params = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info}
            await self.ask("initialize", params)
            self.write(method="notifications/initialized")
        await self.ask("tools/list", {})

    async def calls(self, count: int) -> None:
        """All of its calls, some at once."""
        numbers = iter(range(count))
        await asyncio.gather(*(self._some(numbers) for _ in range(AT_ONCE)))

    async def _some(self, numbers: Any) -> None:
        for number in numbers:
            await self._one(f"{self.name} {number}", asks=number % ASKS == 0)

    async def _one(self, who: str, asks: bool) -> None:
        params: Json = {"name": "one__echo", "arguments": {"who": who, "ask": asks}}
        result = (await self.ask("tools/call", params))["result"]
        while result.get("resultType") == "input_required":
            answers: Json = {}
            for key, question in result["inputRequests"].items():
                self._mine("questions", question["params"]["message"], question)
                answers[key] = {"action": "accept", "content": {"who": question["params"]["message"]}}
            retry = {**params, "inputResponses": answers, "requestState": result["requestState"]}
            result = (await self.ask("tools/call", retry))["result"]
        said = result["content"][0]["text"]
        assert said in ((f"{who}/{who}", f"{who}/refused") if asks else (who,)), result

    def _read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: Json) -> None:
        params = message.get("params", {})
        if "method" not in message:
            self._replies.pop(message["id"]).set_result(message)
        elif message["method"] == "elicitation/create":
            self._mine("questions", params["message"], message)
            self.write(id=message["id"], result={"action": "accept", "content": {"who": params["message"]}})
        elif message["method"] == "notifications/message":
            self._mine("logs", params["data"], message)
        elif message["method"] == "notifications/progress":
            self._mine("progress", params["message"], message)
            if str(params["progressToken"]) not in map(str, self._replies):
                self.foreign.append(message)

    def _mine(self, what: str, who: str, message: Json) -> None:
        self.heard[what] += 1
        if not who.startswith(self.name + " "):
            self.foreign.append(message)


@asynccontextmanager
async def clients(folder: Path, *eras: str, concurrency: int) -> AsyncGenerator[list[Client]]:
    entry = evil(folder, GOSSIP)
    limits = Limits(timeout=60)
    spec = Spec(
        name="one", source="test", command=(entry["command"], *entry["args"]), concurrency=concurrency, limits=limits
    )
    router = Router([spec], ProcessRuntime(folder), Listings(None))
    found = [Client(router, era, number) for number, era in enumerate(eras)]
    try:
        for client in found:
            await client.open()
        yield found
    finally:
        await router.stop(0.5)


BOTH = ("legacy", "modern")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("eras", "concurrency", "count"),
    [
        pytest.param(BOTH, 1, 5_000, marks=pytest.mark.long),
        (BOTH, 1, 500),
        (BOTH, 8, 500),
        (("legacy", "legacy"), 1, 500),
        (("modern", "modern"), 1, 500),
    ],
)
async def test_two_clients_never_see_each_others(
    tmp_path: Path, eras: tuple[str, str], concurrency: int, count: int
) -> None:
    """`count` calls of each."""
    async with clients(tmp_path, *eras, concurrency=concurrency) as (one, two):
        await asyncio.gather(one.calls(count), two.calls(count))
        for client in (one, two):
            assert client.foreign == []
            assert client.heard["progress"] == count
            if concurrency == 1:  # else nobody can tell whose a question or a log line is, unless one client is alone
                assert client.heard["logs"] == count and client.heard["questions"] == count // ASKS
