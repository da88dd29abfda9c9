"""What the Python servers of the cross-era suite do, whatever SDK speaks for them; the data is in `offers.json`.

A server makes one `Offers`, gives the requests of its SDK to it, and lends it `Hands` for each of them: the things only
an SDK can do. Where the era knows no requests to clients, `Hands.modern` is true and questions leave as `Asking`.
Nothing is imported but the standard library and anyio, which every version of the SDK brings.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Protocol

import anyio

Json = dict[str, Any]

TOLD: Json = json.loads(Path(__file__).with_name("offers.json").read_text(encoding="utf-8"))
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
BOUND = 5  # seconds that a cancellation may take to arrive


class Refused(Exception):
    """An error of the protocol."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Asking(Exception):
    """A result that asks: what, and the state that comes back with the answers."""

    def __init__(self, questions: Json, state: str) -> None:
        super().__init__("input required")
        self.result = {"resultType": "input_required", "inputRequests": questions, "requestState": state}


class Hands(Protocol):
    """One request, as an SDK sees it."""

    modern: bool
    meta: Json
    answers: Json  # of a retry
    state: str | None  # of a retry

    async def ask(self, method: str, params: Json | None) -> Json: ...
    async def progress(self, done: float, total: float, message: str) -> None: ...
    async def log(self, level: str, data: Any, logger: str) -> None: ...
    async def visited(self, elicitation: str) -> None: ...
    async def updated(self, uri: str) -> None: ...
    async def changed(self, what: str) -> None: ...


class Offers:
    """One server's state. One that runs tasks is of 2025-11-25, where a page to visit first is an error.

    `modern`: it speaks nothing else, so it may offer what only 2026-07-28 has.
    """

    def __init__(self, *, tasks: bool = False, modern: bool = False) -> None:
        self.lists: dict[str, list[Json]] = {name: list(TOLD[name]) for name in ("tools", "resources", "prompts")}
        self.lists["resourceTemplates"] = list(TOLD["templates"])
        if tasks:
            shown = {"execution": {"taskSupport": "optional"}}
            self.lists["tools"] = [{**tool, **shown} if tool["name"] == "job" else tool for tool in TOLD["tools"]]
        self.lists["tools"] += TOLD["modern"] if modern else []
        self.level = "debug"  # of a legacy session
        self.subscribed: set[str] = set()  # of a legacy session
        self.roots_changed = 0
        self._cancelled = anyio.Event()
        self._refuses_unpaid = tasks
        self._paid = False

    def page(self, kind: str, cursor: str | None) -> Json:
        """One page of a list; a cursor is the number of its first entry."""
        start = int(cursor or 0)
        end = start + TOLD["page"]
        more = {"nextCursor": str(end)} if end < len(self.lists[kind]) else {}
        return {kind: self.lists[kind][start:end], **more}

    async def call(self, name: str, arguments: Json, hands: Hands) -> Json:
        told = TOLD["calls"].get(name, {})
        if "error" in told:
            raise Refused(**told["error"])
        if "result" in told:
            return told["result"]
        if "rounds" in told:
            return texts(await asked(told["rounds"], hands))
        job = getattr(self, f"_{name}", None)
        if job is None:
            raise Refused(-32602, f"Unknown tool: {name}")
        return await job(arguments, hands)

    async def read(self, uri: str, hands: Hands) -> Json:
        if uri in TOLD["reads"]:
            return TOLD["reads"][uri]
        if uri == "demo://ask":
            text = json.dumps(await asked(TOLD["calls"]["ask_form"]["rounds"], hands))
            return {"contents": [{"uri": uri, "mimeType": "application/json", "text": text}]}
        item = re.fullmatch(r"demo://item/(\w+)", uri)
        if item is None:
            raise Refused(-32602 if hands.modern else -32002, "Resource not found", {"uri": uri})
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": f"item {item[1]}"}]}

    async def get(self, name: str, arguments: Json, hands: Hands) -> Json:
        if name == "ask":
            text = json.dumps(await asked(TOLD["calls"]["ask_form"]["rounds"], hands))
            return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
        if name not in TOLD["gets"]:
            raise Refused(-32602, f"Unknown prompt: {name}")
        return json.loads(json.dumps(TOLD["gets"][name]).replace("{name}", arguments.get("name", "")))

    def complete(self, argument: Json, others: Json) -> Json:
        if argument["name"] == "style":
            values = [f"as {others.get('name')} likes it"]
        else:
            values = [each for each in TOLD["completions"][argument["name"]] if each.startswith(argument["value"])]
        return {"completion": {"values": values, "total": len(values), "hasMore": False}}

    async def _add(self, arguments: Json, hands: Hands) -> Json:
        found = {"sum": arguments["a"] + arguments["b"]}
        return {**texts(found), "structuredContent": found}

    async def _meta(self, arguments: Json, hands: Hands) -> Json:
        return {**texts(hands.meta), "_meta": {"example.org/answer": True}}

    async def _pay(self, arguments: Json, hands: Hands) -> Json:
        if not self._refuses_unpaid:
            await asked(TOLD["calls"]["ask_page"]["rounds"], hands)
        elif not self._paid:
            self._paid = True
            raise Refused(**TOLD["required"])
        return texts({"paid": True})

    async def _log(self, arguments: Json, hands: Hands) -> Json:
        for level in ("info", "error"):
            if hands.modern or LEVELS.index(level) >= LEVELS.index(self.level):
                await hands.log(level, {"line": [level]}, "offers")
        return texts({})

    async def _wait(self, arguments: Json, hands: Hands) -> Json:
        for step in (1, 2, 3):
            await hands.progress(step, 4, f"step {step}")
        try:
            await anyio.sleep_forever()
        finally:
            self._cancelled.set()
        return {}

    async def _heard(self, arguments: Json, hands: Hands) -> Json:
        with anyio.move_on_after(BOUND):
            await self._cancelled.wait()
        return texts({"cancelled": self._cancelled.is_set(), "roots": self.roots_changed})

    async def _touch(self, arguments: Json, hands: Hands) -> Json:
        if hands.modern or arguments["uri"] in self.subscribed:
            await hands.updated(arguments["uri"])
        return texts({})

    async def _change(self, arguments: Json, hands: Hands) -> Json:
        what = arguments["what"]
        self.lists[what] = [*self.lists[what], TOLD["extra"][what]]
        await hands.changed(what)
        return texts({})

    async def _ping(self, arguments: Json, hands: Hands) -> Json:
        return texts({} if hands.modern else await hands.ask("ping", None))


async def asked(rounds: list[Json], hands: Hands) -> Json:
    """The answers to the questions of all rounds, the questions of a round together."""
    answers: Json = json.loads(hands.state) if hands.state else {}
    answers.update(hands.answers)
    for questions in rounds:
        open_ = {key: question for key, question in questions.items() if key not in answers}
        if open_ and hands.modern:
            raise Asking({key: _modern(question) for key, question in open_.items()}, json.dumps(answers))
        await _push(open_, answers, hands)
    return answers


async def _push(questions: Json, answers: Json, hands: Hands) -> None:
    async def one(key: str, method: str, params: Json | None) -> None:
        answers[key] = await hands.ask(method, params)
        if params and "elicitationId" in params:
            await hands.visited(params["elicitationId"])

    async with anyio.create_task_group() as tasks:
        for key, question in questions.items():
            tasks.start_soon(one, key, question["method"], question.get("params"))


def _modern(question: Json) -> Json:
    """A question as 2026-07-28 has it: a page to visit has no id."""
    params = {name: value for name, value in question.get("params", {}).items() if name != "elicitationId"}
    return {"method": question["method"], **({"params": params} if params else {})}


def texts(value: Any) -> Json:
    return {"content": [{"type": "text", "text": json.dumps(value)}]}
