"""The server the conformance suite judges, in both eras on one pipe; what it offers is in `offers.py` and `jobs.py`.

On the standard library alone: every legacy session of the suite starts one, so it has to start in a blink, and it
shares no mistakes with the SDKs or with broker. A thread reads, and every call runs in a thread of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

# Found beside this file, because the server is started by path.
import jobs
import offers
from offers import Json, RpcError, ToolError

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
INFO = {"name": "conformance-fixture", "version": "1.0"}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
CACHEABLE = {*LISTS, "resources/read", "server/discover"}
LISTEN_FLAGS = {"tools": "toolsListChanged", "prompts": "promptsListChanged"}
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
CAPABILITY = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}


class Call:
    """One request of the client, and what its handler may say while it is answered."""

    def __init__(self, server: Server, id: Any, method: str, params: Json) -> None:
        self.server, self.id, self.method, self.params = server, id, method, params
        self.meta: Json = params.get("_meta") or {}
        self.modern = META + "protocolVersion" in self.meta or method == "server/discover"
        self.args: Json = params.get("arguments") or {}

    @property
    def capabilities(self) -> Json:
        """What the client says it can answer."""
        return self.meta[META + "clientCapabilities"] if self.modern else self.server.client.get("capabilities", {})

    @property
    def answers(self) -> Json:
        """The answers to an earlier `input_required`; whatever is no object is no answer."""
        found = self.params.get("inputResponses")
        return {key: value for key, value in found.items() if isinstance(value, dict)} if found else {}

    def log(self, text: str) -> None:
        level = self.meta.get(META + "logLevel") if self.modern else self.server.level
        if level in LEVELS and LEVELS.index("info") >= LEVELS.index(level):
            self.server.say({"method": "notifications/message", "params": {"level": "info", "data": text}})

    def progress(self, done: int, total: int) -> None:
        if "progressToken" in self.meta:
            params = {"progressToken": self.meta["progressToken"], "progress": done, "total": total}
            self.server.say({"method": "notifications/progress", "params": params})

    def ask(self, method: str, params: Json) -> Json:
        """The client's answer to a request in the middle of the call, as servers before 2026-07-28 could ask."""
        if self.modern or CAPABILITY[method] not in self.capabilities:
            raise ToolError(f"this client cannot be asked {method}")
        reply = self.server.ask(method, params)
        if "error" in reply:
            raise ToolError(reply["error"]["message"])
        return reply["result"]

    def required(self, asks: Json, state: str | None = None) -> Json:
        """An `input_required` result, with those of `asks` that the client can answer."""
        if not self.modern:
            raise ToolError("this tool needs MCP 2026-07-28")
        wanted = {key: ask for key, ask in asks.items() if CAPABILITY[ask["method"]] in self.capabilities}
        if not wanted:
            self.need(*(CAPABILITY[ask["method"]] for ask in asks.values()))
        sealed = {"requestState": offers.sealed(state)} if state is not None else {}
        return {"resultType": "input_required", "inputRequests": wanted, **sealed}

    def need(self, *capabilities: str) -> None:
        """Refuse a client that lacks one of them."""
        lacking = {name: {} for name in capabilities if name not in self.capabilities}
        if lacking:
            raise RpcError(-32021, f"the client lacks {', '.join(lacking)}", {"requiredCapabilities": lacking})

    @property
    def state(self) -> str | None:
        """What an earlier round sealed; an error when somebody changed it."""
        found = self.params.get("requestState")
        return offers.unsealed(found) if found is not None else None


class Server:
    """One pipe: a legacy session at most, and any number of modern requests."""

    def __init__(self) -> None:
        self.lists = offers.lists()
        self.lists["tools"] += [shown for _, _, shown in jobs.JOBS.values()]
        self.tasks: dict[str, jobs.Task] = {}
        self.client: Json = {}  # the params of `initialize`
        self.level = "info"
        self.subscribed: set[str] = set()
        self.listens: dict[Any, Json] = {}
        self._asked: dict[str, tuple[threading.Event, Json]] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                answered, reply = self._asked.pop(message["id"])
                reply.update(message)
                answered.set()
            elif "id" in message:
                self.request(Call(self, message["id"], message["method"], message.get("params") or {}))
            elif message["method"] == "notifications/cancelled":
                self.listens.pop(message["params"].get("requestId"), None)

    def say(self, body: Json) -> None:
        with self._lock:
            os.write(1, json.dumps({"jsonrpc": "2.0", **body}).encode() + b"\n")

    def ask(self, method: str, params: Json) -> Json:
        """Send the client a request; its whole reply."""
        answered, reply = threading.Event(), Json()
        id = f"ask-{method}-{threading.get_ident()}"
        self._asked[id] = answered, reply
        self.say({"id": id, "method": method, "params": params})
        answered.wait()
        return reply

    def changed(self, what: str) -> None:
        """Tell that a list changed: a legacy session at large, and the listeners that want to hear of it."""
        method = f"notifications/{what}/list_changed"
        if self.client:
            self.say({"method": method})
        for id, wanted in list(self.listens.items()):
            if wanted.get(LISTEN_FLAGS[what]):
                self.say({"method": method, "params": {"_meta": {META + "subscriptionId": id}}})

    def request(self, call: Call) -> None:
        if call.method == "tools/call":
            threading.Thread(target=self.answer, args=(call,), daemon=True).start()
        else:
            self.answer(call)

    def answer(self, call: Call) -> None:
        try:
            result = self.result(call)
        except RpcError as error:
            data = {"data": error.data} if error.data is not None else {}
            self.say({"id": call.id, "error": {"code": error.code, "message": str(error), **data}})
            return
        if result is not None:
            self.say({"id": call.id, "result": self.stamped(call, result) if call.modern else result})

    def stamped(self, call: Call, result: Json) -> Json:
        """A result with what every result of 2026-07-28 carries."""
        hints = {"ttlMs": 0, "cacheScope": "private"} if call.method in CACHEABLE else {}
        return {"resultType": "complete", **hints, **result, "_meta": {META + "serverInfo": INFO}}

    def result(self, call: Call) -> Json | None:
        handlers = MODERN_HANDLERS if call.modern else LEGACY_HANDLERS
        if call.modern:
            check_envelope(call.meta)
        if call.method in LISTS:
            return {LISTS[call.method]: self.lists[LISTS[call.method]]}
        handler = handlers.get(call.method)
        if handler is None:
            raise RpcError(-32601, f"Method not found: {call.method}")
        return handler(call)


def check_envelope(meta: Json) -> None:
    version, capabilities = meta.get(META + "protocolVersion"), meta.get(META + "clientCapabilities")
    if version is None or capabilities is None:
        raise RpcError(-32602, "`_meta` lacks the version of MCP or the capabilities of the client")
    if version != MODERN:
        raise RpcError(-32022, "Unsupported protocol version", {"supported": [MODERN], "requested": version})


def initialize(call: Call) -> Json:
    call.server.client = call.params
    version = call.params["protocolVersion"]
    return {
        "protocolVersion": version if version in LEGACY_VERSIONS else LEGACY_VERSIONS[-1],
        "capabilities": CAPABILITIES,
        "serverInfo": INFO,
    }


def discover(call: Call) -> Json:
    capabilities = {**CAPABILITIES, "extensions": {jobs.EXTENSION: {}}}
    return {"supportedVersions": [MODERN], "capabilities": capabilities}


def ping(call: Call) -> Json:
    return {}


def call_tool(call: Call) -> Json:
    return jobs.call_job(call) if call.params["name"] in jobs.JOBS else offers.call_tool(call)


def set_level(call: Call) -> Json:
    call.server.level = call.params["level"]
    return {}


def subscribe(call: Call) -> Json:
    call.server.subscribed.add(call.params["uri"])
    return {}


def unsubscribe(call: Call) -> Json:
    call.server.subscribed.discard(call.params["uri"])
    return {}


def listen(call: Call) -> None:
    """Stays open until it is cancelled; what comes meanwhile carries its id."""
    wanted: Json = call.params.get("notifications") or {}
    call.server.listens[call.id] = wanted
    params = {"notifications": wanted, "_meta": {META + "subscriptionId": call.id}}
    call.server.say({"method": "notifications/subscriptions/acknowledged", "params": params})


Handlers = dict[str, Callable[[Call], "Json | None"]]
HANDLERS: Handlers = {
    "tools/call": call_tool,
    "prompts/get": offers.get_prompt,
    "resources/read": offers.read_resource,
    "completion/complete": offers.complete,
}
LEGACY_HANDLERS: Handlers = {
    **HANDLERS,
    "initialize": initialize,
    "ping": ping,
    "logging/setLevel": set_level,
    "resources/subscribe": subscribe,
    "resources/unsubscribe": unsubscribe,
}
MODERN_HANDLERS: Handlers = {
    **HANDLERS,
    "server/discover": discover,
    "subscriptions/listen": listen,
    "tasks/get": jobs.get_task,
    "tasks/update": jobs.update_task,
    "tasks/cancel": jobs.cancel_task,
}


if __name__ == "__main__":
    Server().run()
