"""A client of MCP for tests: it writes and reads lines, in either era, and answers what the plugin asks."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from broker_sdk.eras import LEGACY, META, MODERN
from broker_sdk.errors import ToolError

Json = dict[str, Any]
BOUND = 30.0  # seconds for any answer; a first one may wait for slow imports
ROUNDS = 10  # of questions in one call
CAPABILITIES: Json = {"elicitation": {}, "sampling": {}, "roots": {}}
INFO = {"name": "broker-sdk-testing", "version": "1"}


class Failed(Exception):
    """The plugin answered with an error of the protocol."""

    def __init__(self, error: Json) -> None:
        super().__init__(error.get("message", ""))
        self.code, self.data = error.get("code"), error.get("data")


class Reply:
    """What a tool returned. `data`: what it structured, without the wrapping of what is no object."""

    def __init__(self, raw: Json, progress: list[Json]) -> None:
        self.raw, self.progress = raw, progress
        self.content: list[Json] = raw.get("content", [])
        self.is_error = bool(raw.get("isError"))
        self.text = "\n".join(each["text"] for each in self.content if each["type"] == "text")

    @property
    def data(self) -> Any:
        found = self.raw.get("structuredContent")
        return found["result"] if isinstance(found, dict) and [*found] == ["result"] else found


class Pending:
    """A request that has not been answered."""

    def __init__(self, client: Client, id: int, method: str, params: Json) -> None:
        self._client, self.id, self._method, self._params = client, id, method, params

    def cancel(self) -> None:
        """Say that nobody waits any more. No answer comes then."""
        self._client.tell("notifications/cancelled", {"requestId": self.id})

    def result(self) -> Json:
        """The answer, once what the plugin asks has been answered. Raises `Failed`."""
        for _ in range(ROUNDS):
            found = self._client.wait(self.id)
            if "error" in found:
                raise Failed(found["error"])
            if found["result"].get("resultType") != "input_required":
                return found["result"]
            self.id = self._client.retry(self._method, self._params, found["result"])
        raise AssertionError(f"{self._method} asks on after {ROUNDS} rounds")


class Client:
    """On two descriptors. `answer` gives what a person, a model or the roots say: method, params -> result."""

    def __init__(self, reading: int, writing: int, era: str, answer: Callable[[str, Json], Json]) -> None:
        self._in, self._out, self._answer = reading, writing, answer
        self.modern = era == "modern"
        self.told: list[Json] = []
        """Every notification, in order."""
        self._ids = itertools.count(1)
        self._replies: dict[int, Json] = {}
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()
        if not self.modern:
            opening = {"protocolVersion": LEGACY[-1], "capabilities": CAPABILITIES, "clientInfo": INFO}
            self.request("initialize", opening)
            self.tell("notifications/initialized", {})

    def request(self, method: str, params: Json) -> Json:
        """The result. Raises `Failed`."""
        return self.begin(method, params).result()

    def begin(self, method: str, params: Json) -> Pending:
        """Ask, and wait later."""
        id = next(self._ids)
        meta: Json = {"progressToken": id}
        if self.modern:
            said = {"protocolVersion": MODERN[-1], "clientCapabilities": CAPABILITIES, "clientInfo": INFO}
            meta.update({META + name: value for name, value in said.items()}, **{META + "logLevel": "debug"})
        self._write({"id": id, "method": method, "params": {**params, "_meta": meta}})
        return Pending(self, id, method, params)

    def retry(self, method: str, params: Json, asked: Json) -> int:
        """The same request with the answers to what was asked; its id."""
        requests: Json = asked.get("inputRequests", {})
        answers = {key: self._answer(each["method"], each["params"]) for key, each in requests.items()}
        more: Json = {"inputResponses": answers}
        if "requestState" in asked:
            more["requestState"] = asked["requestState"]
        return self.begin(method, {**params, **more}).id

    def tell(self, method: str, params: Json) -> None:
        self._write({"method": method, "params": params})

    def wait(self, id: int) -> Json:
        """The whole answer to a request."""
        with self._news:
            came = self._news.wait_for(lambda: id in self._replies or self._ended, BOUND)
            assert id in self._replies, "the plugin ended" if came else f"no answer within {BOUND:g} s"
            return self._replies.pop(id)

    def progress_of(self, id: int) -> list[Json]:
        """What was reported under a request's id."""
        reports = [each["params"] for each in self.told if each["method"] == "notifications/progress"]
        return [each for each in reports if each["progressToken"] == id]

    def _write(self, body: Json) -> None:
        data = memoryview(msgspec.json.encode({"jsonrpc": "2.0", **body}) + b"\n")
        while data:
            data = data[os.write(self._out, data) :]

    def _read(self) -> None:
        try:
            with os.fdopen(os.dup(self._in), "rb") as lines:
                for line in lines:
                    self._take(msgspec.json.decode(line))
        except OSError:
            pass
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _take(self, message: Json) -> None:
        if "method" in message and "id" in message:
            result = self._answer(message["method"], message.get("params") or {})
            self._write({"id": message["id"], "result": result})
            return
        with self._news:
            if "method" in message:
                self.told.append(message)
            else:
                self._replies[message.get("id", 0)] = message
            self._news.notify_all()


def checked(reply: Reply) -> Reply:
    """A reply that is no failure. Raises `ToolError` with the tool's text."""
    if reply.is_error:
        raise ToolError(reply.text)
    return reply
