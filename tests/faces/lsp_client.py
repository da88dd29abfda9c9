"""An editor in memory: what it writes and reads, as JSON, and how it answers what it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.core.router import Router
from broker.faces.lsp import Opening, Session
from broker.model import Problem
from broker.stream import MemoryStream, Stream
from broker.wire.framing import Headers
from tests.pretend import House

Json = dict[str, Any]
BOUND = 20.0  # seconds of every wait
PROFILES = sorted((Path(__file__).parent / "editor_profiles").glob("*.json"))
EVERYTHING: Json = {
    "window": {"workDoneProgress": True, "showDocument": {"support": True}},
    "workspace": {
        "applyEdit": True,
        "configuration": True,
        "executeCommand": {"dynamicRegistration": True},
        "didChangeConfiguration": {"dynamicRegistration": True},
        "workspaceEdit": {"documentChanges": True},
    },
    "textDocument": {"codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["quickfix"]}}}},
}
OURS = ("status", "commands", "results", "pick", "input", "active")  # what a client of broker's own asks for

_SILENCE = object()


def frame(message: Json) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Inside:
    """The house of a session, over a pretended one."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.openings: list[Opening] = []
        self.configured: list[Mapping[str, Any]] = []
        self.trusted: list[bool] = []
        self.wrong: list[Problem] = []
        self.fails: Exception | None = None

    def open(self, opening: Opening) -> Router:
        if self.fails is not None:
            raise self.fails
        self.openings.append(opening)
        return self.house.router

    def problems(self) -> Sequence[Problem]:
        return self.wrong

    def configure(self, plugins: Mapping[str, Any]) -> None:
        self.configured.append(plugins)

    def trust(self, trusted: bool) -> None:
        self.trusted.append(trusted)


class Wire:
    """The editor's end of a stream. `answers`: what it answers to a method, or a function of its params."""

    SILENT = _SILENCE

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.got: list[Json] = []
        self.answers: dict[str, Any] = {}
        self.arrived, self.left = asyncio.Event(), asyncio.Event()
        self._framing, self._last = Headers(64 << 20), 0
        self.stream.start(self._read, self.left.set)

    def _read(self, data: bytes) -> None:
        for body in self._framing.feed(data):
            message = json.loads(body)
            self.got.append(message)
            if "method" in message and "id" in message:
                self._answer(message)
        self.arrived.set()

    def _answer(self, asked: Json) -> None:
        answer = self.answers.get(asked["method"])
        if callable(answer):
            answer = answer(asked.get("params"))
        if isinstance(answer, Exception):
            self.write(id=asked["id"], error={"code": -32601, "message": str(answer)})
        elif answer is not _SILENCE:
            self.write(id=asked["id"], result=answer)

    def write(self, **message: Any) -> None:
        self.stream.send(frame({"jsonrpc": "2.0", **message}))

    async def until(self, wanted: Callable[[Json], bool], bound: float = BOUND) -> Json:
        async with asyncio.timeout(bound):
            while True:
                for message in self.got:
                    if wanted(message):
                        return message
                self.arrived.clear()
                await self.arrived.wait()

    async def eventually(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(BOUND):
            while not true():
                await asyncio.sleep(0)

    async def said(self, method: str, **members: Any) -> Json:
        """The params of the first message of this method that has these members."""

        def fits(message: Json) -> bool:
            return message.get("method") == method and members.items() <= message["params"].items()

        return (await self.until(fits))["params"]

    def all(self, method: str) -> list[Json]:
        return [message["params"] for message in self.got if message.get("method") == method]

    def send(self, method: str, params: Any) -> int:
        self._last += 1
        self.write(id=self._last, method=method, params=params)
        return self._last

    async def reply(self, id: Any) -> Json:
        return await self.until(lambda message: message.get("id") == id and "method" not in message)

    async def ask(self, method: str, params: Any) -> Json:
        return await self.reply(self.send(method, params))

    async def result(self, method: str, params: Any) -> Any:
        reply = await self.ask(method, params)
        assert "error" not in reply, reply
        return reply["result"]

    async def run(self, command: str, *arguments: Any) -> Any:
        return await self.result("workspace/executeCommand", {"command": command, "arguments": list(arguments)})

    async def initialize(self, capabilities: Json | None = None, **params: Any) -> Json:
        """Open the session as an editor that can all of it, unless `capabilities` say otherwise."""
        can = EVERYTHING if capabilities is None else capabilities
        given = {"processId": None, "rootUri": None, "capabilities": can, "clientInfo": {"name": "test"}, **params}
        found = await self.result("initialize", given)
        self.write(method="initialized", params={})
        return found

    async def ours(self, **more: Any) -> Json:
        """Open it as a client of broker's own."""
        return await self.initialize(initializationOptions={"broker": {**dict.fromkeys(OURS, True), **more}})


class Client(Wire):
    """An editor and its session in this process."""

    def __init__(self, house: House, max_frame: int = 8 << 20) -> None:
        self.inside = Inside(house)
        near, far = MemoryStream.pair()
        self.ended = asyncio.Event()
        self.session = Session(self.inside, far, key="editor", max_frame=max_frame, on_end=self.ended.set)
        self.session.start()
        super().__init__(near)


def profile(path: Path) -> Json:
    """The params of `initialize` of a recorded editor."""
    found = json.loads(path.read_text())
    capabilities = {name: found[name] for name in ("window", "workspace", "general")}
    return {"clientInfo": found["client"], "capabilities": capabilities}
