"""Does one of everything a plugin can do with its editor. Standard library only, no SDK: the protocol as it is."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]


class HostError(Exception):
    """What the host answered; `args` are its name and its message."""


class Host:
    """The channel beside MCP: one line, one message."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=int(os.environ["BROKER_HOST_FD"]))
        self._ids = itertools.count(1)
        self._waiting: dict[int, queue.Queue[Json]] = {}
        self._lock = threading.Lock()
        self.hello: Json = {}
        self.heard: list[Json] = []
        self.news = threading.Condition()
        self.cancelled: set[Any] = set()
        self.greeted = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, op: str, of: Any = None, request: Any = None, **params: Any) -> Any:
        """The result of an operation, in the course of the command `of`, or of a request of MCP."""
        id, answers = next(self._ids), queue.Queue[Json]()
        self._waiting[id] = answers
        meta = {"_meta": {key: each for key, each in (("commandId", of), ("requestId", request)) if each is not None}}
        self._send({"jsonrpc": "2.0", "id": id, "method": op, "params": {**params, **meta}})
        answer = answers.get()
        if "error" in answer:
            raise HostError(answer["error"]["data"]["name"], answer["error"]["message"])
        return answer["result"]

    def _send(self, message: Json) -> None:
        with self._lock:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        for line in self._lines():
            message = json.loads(line)
            if message.get("method") == "command/run":
                threading.Thread(target=self._run, args=(message["id"], message["params"]), daemon=True).start()
            elif "method" in message:
                self._told(message["method"], message["params"])
            else:
                self._waiting.pop(message["id"]).put(message)

    def _lines(self) -> Iterator[bytes]:
        """What the host says, until it or the channel ends."""
        with contextlib.suppress(OSError):
            yield from self._socket.makefile("rb")

    def _told(self, method: str, params: Json) -> None:
        if method == "hello":
            self.hello = params
            self.greeted.set()
        elif method == "event" and params["name"] == "progress.cancelled":
            self.cancelled.add(params["params"]["id"])
        elif method == "event":
            with self.news:
                self.heard.append(params)
                self.news.notify_all()
        elif method == "cancel":
            self.cancelled.add(params["id"])

    def _run(self, id: Any, params: Json) -> None:
        try:
            result = {"result": COMMANDS[params["name"]](id, *params["arguments"])}
        except HostError as error:
            result = {"error": {"code": -31000, "message": ": ".join(error.args), "data": {"name": error.args[0]}}}
        except Exception as error:
            result = {"error": {"code": -32603, "message": repr(error)}}
        self._send({"jsonrpc": "2.0", "id": id, **result})


host = Host()


def hello(of: Any, who: str = "you") -> Json:
    greeting = host.ask("config.get", key="greeting")
    host.ask("toast", of, title=f"{greeting}, {who}", message="from desk")
    return {"greeted": who}


def ask(of: Any) -> Json:
    colour = host.ask("pick", of, message="Which colour?", items=["red", "green", "blue"])["value"]
    name = host.ask("input", of, message="What name?", default="desk")["value"]
    return {"pick": colour, "input": name, "confirm": host.ask("confirm", of, message="Sure?")["confirmed"]}


def status(of: Any, text: str = "at work") -> Json:
    return host.ask("set_status", of, key="desk", value=text)


def work(of: Any, steps: int = 5, seconds: float = 0.05) -> Json:
    name = f"work-{of}"
    host.ask("progress.begin", of, id=name, title="Working", cancellable=True)
    done, ended = 0, threading.Event()
    while done < steps and of not in host.cancelled and name not in host.cancelled:
        ended.wait(seconds)
        done += 1
        if host.ask("progress.report", of, id=name, message=f"step {done}", percentage=100 * done / steps)["cancelled"]:
            break
    host.ask("progress.end", of, id=name, message="done")
    return {"done": done, "cancelled": done < steps}


def show(of: Any, uri: str, line: int = 0) -> Json:
    start = {"line": line, "character": 0}
    return host.ask("show", of, uri=uri, range={"start": start, "end": start})


def active(of: Any) -> Any:
    return host.ask("editor.active", of)


def read(of: Any, uri: str) -> str:
    return host.ask("editor.read", of, uri=uri)["text"]


def upper(of: Any, uri: str) -> Json:
    first = read(of, uri).split("\n", 1)[0]
    width = len(first.encode("utf-16-le")) // 2
    where = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": width}}
    return host.ask("editor.edit", of, changes={uri: [{"range": where, "newText": first.upper()}]}, label="Upper case")


def lint(of: Any, uri: str) -> Json:
    found = [
        {"start": {"line": number, "character": at.start()}, "end": {"line": number, "character": at.end()}}
        for number, line in enumerate(read(of, uri).split("\n"))
        for at in re.finditer("TODO", line)
    ]
    fix = {"title": "Call it DONE"}
    marks = [
        {"range": where, "message": "Something is to do", "severity": "warning", "code": "todo",
         "fixes": [{**fix, "edits": [{"range": where, "newText": "DONE"}]}]}
        for where in found
    ]  # fmt: skip
    host.ask("editor.diagnostics", of, uri=uri, diagnostics=marks)
    return {"marked": len(found)}


def heard(of: Any, least: int = 0) -> list[Json]:
    with host.news:
        host.news.wait_for(lambda: len(host.heard) >= least, 5)
    return host.heard


COMMANDS: dict[str, Callable[..., Any]] = {
    "hello": hello,
    "ask": ask,
    "status": status,
    "work": work,
    "open": show,
    "active": active,
    "read": read,
    "upper": upper,
    "lint": lint,
    "heard": heard,
}


def begin() -> None:
    """Register everything, and listen to what is saved."""
    host.greeted.wait()
    for name in COMMANDS:
        host.ask("register_command", name=name)
    host.ask("events.subscribe", names=["document.opened", "document.saved", "progress.cancelled"])


def tool(id: Any, name: str, given: Json) -> Json:
    """`greet` says hello; `try` asks the host for anything, in the course of this call."""
    if name == "greet":
        return {"content": [{"type": "text", "text": f"Hello, {given.get('who', 'nobody')}, from a tool of desk"}]}
    try:
        found: Json = {"result": host.ask(given["op"], request=id, **given.get("params", {}))}
    except HostError as error:
        found = {"error": list(error.args)}
    return {"content": [{"type": "text", "text": json.dumps(found)}], "structuredContent": found}


def answer(id: Any, method: str, params: Json) -> Json:
    """The MCP side."""
    if method == "initialize":
        info = {"name": "desk", "version": "0.1.0"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        who = {"type": "object", "properties": {"who": {"type": "string"}}}
        op = {"type": "object", "properties": {"op": {"type": "string"}, "params": {"type": "object"}}}
        greet = {"name": "greet", "description": "Says hello.", "inputSchema": who}
        return {
            "tools": [
                greet,
                {"name": "try", "description": "Asks its host.", "inputSchema": {**op, "required": ["op"]}},
            ]
        }
    return tool(id, params["name"], params.get("arguments") or {}) if method == "tools/call" else {}


def serve(request: Json) -> None:
    if request["method"] == "server/discover":
        reply: Json = {"error": {"code": -32601, "message": "only the older MCP is spoken here"}}
    else:
        reply = {"result": answer(request["id"], request["method"], request.get("params") or {})}
    with writing:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **reply}), flush=True)


writing = threading.Lock()
threading.Thread(target=begin, daemon=True).start()
for line in map(json.loads, sys.stdin):
    if line.get("id") is not None and "method" in line:
        threading.Thread(target=serve, args=(line,), daemon=True).start()
