"""A stand-in for broker on the host channel: grants what a test says, keeps what it is told, answers questions."""

from __future__ import annotations

import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

Json = dict[str, Any]

UI = ("toast", "set_status", "register_command", "ask", "pick", "input", "confirm", "show", "progress")
OPERATIONS = (
    *UI,
    *("log", "progress.begin", "progress.report", "progress.end", "config.get", "config.set"),
    *("secrets.get", "secrets.set", "secrets.delete", "state.get", "state.set", "fs.read", "fs.write", "http.fetch"),
    *("exec", "call", "editor.active", "editor.read", "editor.edit", "editor.diagnostics", "events.subscribe"),
)
BOUND = 10.0  # seconds for any answer of the plugin


class Refused(Exception):
    """What the host says no to. `code`: the name of the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RecordingHost:
    """Broker as far as a plugin sees it. All it was told is here to look at; nothing is shown to anybody.

    `grant`: operations, or groups of them (`ui`, `secrets`, `state`, ...); None grants all. `replies`: what operations
    that need a real editor or machine return (`{"http.fetch": {...}}`), or functions of their params. `tools`: what
    `ctx.call("plugin", "tool")` returns, under `"plugin.tool"`.
    """

    def __init__(
        self,
        *,
        grant: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        answers: Iterable[Any] = (),
        replies: Mapping[str, Any] | None = None,
        tools: Mapping[str, Any] | None = None,
    ) -> None:
        self.operations = [each for each in OPERATIONS if grant is None or _granted(each, set(grant))]
        self.config: Json = dict(config or {})
        self.secrets = dict(secrets or {})
        self.answers: deque[Any] = deque(answers)
        self.replies, self.tools = dict(replies or {}), dict(tools or {})
        self.state: Json = {}
        self.toasts: list[str] = []
        self.log: list[str] = []
        self.status: dict[str, str] = {}
        self.commands: dict[str, Json] = {}
        self.events: list[str] = []
        self.asked: list[str] = []
        self.denied: list[str] = []
        self.requests: list[tuple[str, Json]] = []
        """Every operation with its params, in order."""
        self._news = threading.Condition()
        self._answered: dict[int, Json] = {}
        self._numbers = itertools.count(1)
        self._ours: socket.socket | None = None

    # The channel

    def open(self, name: str) -> socket.socket:
        """The plugin's end of a new channel."""
        self._ours, theirs = socket.socketpair()
        hello = {"version": 1, "plugin": name, "operations": self.operations, "config": self.config}
        self._write({"method": "hello", "params": hello})
        threading.Thread(target=self._read, args=(self._ours,), daemon=True).start()
        return theirs

    def close(self) -> None:
        if self._ours is not None:
            with suppress(OSError):  # the plugin has closed it already
                self._ours.shutdown(socket.SHUT_RDWR)
            self._ours.close()

    def run(self, command: str, arguments: Any) -> Json:
        """The plugin's whole answer to a command."""
        id = next(self._numbers)
        self._write({"id": id, "method": "command/run", "params": {"name": command, "arguments": arguments}})
        self.until(lambda: id in self._answered, f"no answer to command {command}")
        return self._answered.pop(id)

    def emit(self, event: str, params: Json) -> None:
        """Tell the plugin of an event, whether it subscribed or not."""
        self._write({"method": "event", "params": {"name": event, "params": params}})

    def until(self, so: Callable[[], bool], otherwise: str = "it did not come about") -> None:
        """Wait until something is so that the plugin brings about; AssertionError after 10 seconds."""
        with self._news:
            assert self._news.wait_for(so, BOUND), otherwise

    def _write(self, body: Json) -> None:
        assert self._ours is not None
        self._ours.sendall(msgspec.json.encode({"jsonrpc": "2.0", **body}) + b"\n")

    def _read(self, ours: socket.socket) -> None:
        with suppress(OSError), ours.makefile("rb") as lines:  # the plugin has ended, perhaps without reading all
            for line in lines:
                message: Json = msgspec.json.decode(line)
                with self._news:
                    if "method" not in message:
                        self._answered[message["id"]] = message
                    elif "id" in message and not self._reply(message):  # without one it does not wait any more
                        return
                    self._news.notify_all()

    def _reply(self, message: Json) -> bool:
        params: Json = dict(message.get("params") or {})
        params.pop("_meta", None)
        try:
            body: Json = {"result": self._do(message["method"], params)}
        except Refused as refused:
            body = {"error": {"code": -32000, "message": str(refused), "data": {"code": refused.code, "hint": ""}}}
        try:
            self._write({"id": message["id"], **body})
        except OSError:  # the plugin has ended
            return False
        return True

    # What it does

    def _do(self, operation: str, params: Json) -> Any:
        self.requests.append((operation, params))
        if operation not in self.operations:
            self.denied.append(operation)
            raise Refused("permission-missing", f"`{operation}` was not granted")
        if operation in self.replies:
            reply = self.replies[operation]
            return reply(params) if callable(reply) else reply
        does = getattr(self, "_" + operation.replace(".", "_"), None)
        if does is None:
            raise Refused("not-in-client", f"`{operation}` has no reply here; give one in `replies`")
        return does(**params)

    def _log(self, message: str, level: str = "info") -> None:
        self.log.append(message)

    def _toast(self, title: str, message: str = "", kind: str = "info") -> Json:
        self.toasts.append(f"{title}: {message}" if message else title)
        return {"shown": True}

    def _set_status(self, key: str, value: str) -> Json:
        self.status[key] = value
        if not value:
            del self.status[key]
        return {"shown": True}

    def _register_command(self, name: str, title: str = "", description: str = "", handler: str = "") -> Json:
        self.commands[name] = {"title": title, "description": description}
        return {"shown": True}

    def _progress(self, **params: Any) -> Json:
        return {"shown": True}

    def _progress_begin(self, **params: Any) -> Json:
        return {"shown": True}

    def _progress_report(self, **params: Any) -> Json:
        return {"shown": True, "cancelled": False}

    def _progress_end(self, **params: Any) -> Json:
        return {"shown": True}

    def _config_get(self, key: str | None = None) -> Any:
        return self.config if key is None else self.config.get(key)

    def _config_set(self, key: str, value: Any) -> None:
        self.config[key] = value

    def _secrets_get(self, name: str) -> Json:
        return {"value": self.secrets.get(name)}

    def _secrets_set(self, name: str, value: str) -> None:
        self.secrets[name] = value

    def _secrets_delete(self, name: str) -> Json:
        return {"deleted": self.secrets.pop(name, None) is not None}

    def _state_get(self, key: str) -> Any:
        return self.state.get(key)

    def _state_set(self, key: str, value: Any) -> None:
        self.state[key] = value

    def _events_subscribe(self, names: list[str]) -> Json:
        self.events = sorted({*self.events, *names})
        return {"names": self.events}

    def _call(self, plugin: str, tool: str, arguments: Json) -> Json:
        name = f"{plugin}.{tool}"
        if name not in self.tools:
            raise Refused("not-found", f"there is no {name}; give it in `tools`")
        made = self.tools[name]
        value = made(**arguments) if callable(made) else made
        if isinstance(value, str):
            return {"content": [{"type": "text", "text": value}]}
        return {"content": [], "structuredContent": value}

    def _pick(self, message: str, items: list[str]) -> Json:
        return {"value": self.answer(message)}

    def _input(self, message: str, default: str = "", secret: bool = False) -> Json:
        return {"value": self.answer(message)}

    def _confirm(self, message: str, yes: str = "Yes", no: str = "No") -> Json:
        return {"confirmed": bool(self.answer(message))}

    def _ask(self, message: str, schema: Json | None = None, choices: Iterable[str] = ()) -> Json:
        return elicited(self.answer(message), schema or {})

    def answer(self, message: str) -> Any:
        """The next of the test's answers; None is a person who closes the question."""
        self.asked.append(message)
        return self.answers.popleft() if self.answers else None


def elicited(answer: Any, schema: Json) -> Json:
    """A test's answer as a client gives it: a value alone is that of the only field."""
    if answer is None:
        return {"action": "cancel"}
    if isinstance(answer, dict):
        return {"action": "accept", "content": answer}
    fields = [*schema.get("properties", {"value": {}})]
    return {"action": "accept", "content": {fields[0]: answer}}


def _granted(operation: str, names: set[str]) -> bool:
    always = operation in ("log", "config.get", "state.get", "state.set", "progress", "events.subscribe")
    groups = {operation, operation.partition(".")[0], "ui" if operation in UI else operation}
    return always or not names.isdisjoint(groups)
