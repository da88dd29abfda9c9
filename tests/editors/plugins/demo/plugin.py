"""Does one of each thing a plugin can do in an editor: commands on the host channel, one tool on MCP.

Standard library only. Messages of MCP come on stdin; those of the host on the socket that `BROKER_HOST_FD` names.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

Json = dict[str, Any]
STEP = 0.05  # seconds between two reports of progress
LONGEST = 30.0  # seconds that `work` works if nobody cancels it


class Refused(Exception):
    """The host said no."""


class Host:
    """The broker, at the other end of the inherited socket."""

    def __init__(self) -> None:
        self._stream = socket.socket(fileno=int(os.environ["BROKER_HOST_FD"]))
        self._ids, self._lock = itertools.count(1), threading.Lock()
        self._answers: dict[int, SimpleQueue[Json]] = {}
        self._mine = threading.local()  # the command that a thread works for
        self.events: list[Json] = []

    def __call__(self, operation: str, **params: Any) -> Any:
        id, answer = next(self._ids), SimpleQueue[Json]()
        self._answers[id] = answer
        if (command := getattr(self._mine, "id", None)) is not None:
            params["_meta"] = {"commandId": command}
        self._send({"id": id, "method": operation, "params": params})
        said = answer.get()
        if "error" in said:
            raise Refused(said["error"]["message"])
        return said["result"]

    def listen(self) -> None:
        for line in self._stream.makefile("rb"):
            message = json.loads(line)
            if message.get("method") == "command/run":
                threading.Thread(target=self._run, args=(message,), daemon=True).start()
            elif message.get("method") == "hello":
                threading.Thread(target=begin, daemon=True).start()
            elif message.get("method") == "event":
                self.events.append(message["params"])
            elif "id" in message:
                self._answers.pop(message["id"]).put(message)

    def _run(self, message: Json) -> None:
        self._mine.id = message["id"]
        name, arguments = message["params"]["name"], message["params"].get("arguments") or []
        try:
            self._send({"id": message["id"], "result": COMMANDS[name](*arguments)})
        except Exception as error:
            self._send({"id": message["id"], "error": {"code": -32000, "message": str(error)}})

    def _send(self, message: Json) -> None:
        with self._lock:
            self._stream.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


host = Host()
cancelled: dict[Any, threading.Event] = {}


def begin() -> None:
    for name in COMMANDS:
        host("register_command", name=name)
    host("events.subscribe", names=["document.opened", "document.saved", "document.closed"])


def greet(name: str = "you", quiet: bool = False) -> str | None:
    host("toast", title=f"Hello {name} from demo")
    return None if quiet else f"greeted {name}"


def sure() -> str:
    return f"sure: {host('confirm', message='Are you sure?', yes='Do it', no='Leave it')['confirmed']}"


def choose() -> str:
    return f"chose {host('pick', message='Which colour?', items=['red', 'green', 'blue'])['value']}"


def type_() -> str:
    return f"typed {host('input', message='Your name?', default='Ada')['value']}"


def open_(path: str) -> str:
    place = {"line": 2, "character": 0}
    return f"shown: {host('show', uri=Path(path).as_uri(), range={'start': place, 'end': place})['shown']}"


def insert(text: str = "inserted\n") -> str:
    uri, start = host("editor.active")["uri"], {"line": 0, "character": 0}
    edit = {"range": {"start": start, "end": start}, "newText": text}
    return f"applied: {host('editor.edit', changes={uri: [edit]})['applied']}"


def length() -> str:
    return f"{len(host('editor.read', uri=host('editor.active')['uri'])['text'])} characters"


def lint() -> str:
    uri = host("editor.active")["uri"]
    found: list[Json] = []
    for number, line in enumerate(host("editor.read", uri=uri)["text"].splitlines()):
        if (at := line.find("TODO")) >= 0:
            place = {"start": {"line": number, "character": at}, "end": {"line": number, "character": at + 4}}
            fix = {"title": "Call it done", "edits": [{"range": place, "newText": "DONE"}]}
            found.append({"range": place, "message": "something is to be done", "fixes": [fix]})
    host("editor.diagnostics", uri=uri, diagnostics=found)
    return f"found {len(found)}"


def busy(text: str = "demo is busy") -> str:
    host("set_status", key="demo", value=text)
    return "status set"


def work() -> str:
    host("progress.begin", id="work", title="Demo works", cancellable=True)
    step = 0
    for step in range(int(LONGEST / STEP)):
        if host("progress.report", id="work", message=f"step {step}", percentage=step % 100)["cancelled"]:
            break
        threading.Event().wait(STEP)
    host("progress.end", id="work")
    return f"stopped at step {step}"


def fail() -> str:
    raise RuntimeError("this never works")


def heard() -> list[Json]:
    return host.events


COMMANDS: dict[str, Callable[..., Any]] = {
    "greet": greet,
    "sure": sure,
    "choose": choose,
    "type": type_,
    "open": open_,
    "insert": insert,
    "length": length,
    "lint": lint,
    "busy": busy,
    "work": work,
    "fail": fail,
    "heard": heard,
}


# MCP: one tool, which reports progress until its call is cancelled.

TOOL = {
    "name": "count",
    "description": "Counts up to a number",
    "inputSchema": {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]},
}


def count(message: Json) -> Json | None:
    params, to = message["params"], message["params"]["arguments"]["to"]
    gone, token = cancelled.setdefault(message["id"], threading.Event()), params.get("_meta", {}).get("progressToken")
    for step in range(to):
        if token is not None:
            say(method="notifications/progress", params={"progressToken": token, "progress": step, "total": to})
        if gone.wait(STEP):
            return None
    return {"content": [{"type": "text", "text": f"counted to {to}"}]}


def answer(message: Json) -> None:
    method, result = message["method"], {}
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "demo", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        result = count(message)
    elif method != "ping":
        say(id=message["id"], error={"code": -32601, "message": f"no method {method}"})
        return
    if result is not None:
        say(id=message["id"], result=result)


def say(**message: Any) -> None:
    with writing:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


writing = threading.Lock()

if __name__ == "__main__":
    threading.Thread(target=host.listen, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            cancelled.setdefault(message["params"]["requestId"], threading.Event()).set()
        elif "id" in message and "method" in message:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
