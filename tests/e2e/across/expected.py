"""What each feature of the offers must come to for a pair, and how two outcomes are compared.

What the two SDKs write differently and means the same is taken away first: the envelope of a result, the order of a
list, the spelling of JSON inside a text, what is absent or null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.across.gaps import NO_OBJECT, UNKNOWN, gap
from tests.e2e.across.offers import TOLD, Json
from tests.e2e.across.pairs import PREFIX, Pair

ENVELOPE = {"resultType", "ttlMs", "cacheScope"}
META = "io.modelcontextprotocol/"
LISTS = ("tools", "resources", "templates", "prompts")
UNKNOWN_NAMES = ("a tool that does not exist is refused", "a prompt that does not exist is refused")


def plain(outcome: Any) -> Any:
    """An outcome as it can be compared."""
    if isinstance(outcome, list):
        return [plain(each) for each in outcome]
    if isinstance(outcome, str):
        return _text(outcome)
    if not isinstance(outcome, dict):
        return outcome
    found = {key: plain(value) for key, value in outcome.items() if value is not None and key not in ENVELOPE}
    meta = {key: value for key, value in found.pop("_meta", {}).items() if not key.startswith(META)}
    meta.pop("progressToken", None)
    found |= {"_meta": meta} if meta else {}
    if found.get("isError") is False:
        del found["isError"]
    found.pop("elicitationId", None)  # whoever asks makes one
    return found


def _text(text: str) -> Any:
    if text.startswith("MCP error "):  # the TypeScript SDK 1 puts it in front
        return text.partition(": ")[2]
    return plain(json.loads(text)) if text.startswith("{") else text.removeprefix(PREFIX)


def comparable(feature: str, outcome: Json) -> Json:
    found = plain(outcome)
    if feature.startswith("list ") and "result" in found:
        found["result"] = sorted((plain(entry) for entry in found["result"]), key=lambda entry: entry["name"])
    if feature in UNKNOWN_NAMES:
        found["error"] = {"code": found["error"]["code"]}  # the words are whoever's that knows all names
    if "asked" in found:
        found["asked"] = sorted(found["asked"], key=str)
    return found


def expected(feature: str, pair: Pair) -> Json:
    """The right outcome."""
    if feature in TOLD["asks"]:
        return comparable(feature, _answer(feature, pair))
    kind = feature.split()[-1]
    if feature.startswith("list "):
        return comparable(feature, {"result": _listed(kind, pair)})
    if feature.startswith("change "):
        return {"result": [TOLD["extra"][kind]["name"]]}
    return comparable(feature, _OTHERS[feature](pair))


def _listed(kind: str, pair: Pair) -> list[Json]:
    entries: list[Json] = TOLD[kind]
    if kind == "prompts" and gap(pair, "list prompts"):
        *first, last = entries[0]["arguments"]
        return [{**entries[0], "arguments": [*first, {"name": last["name"]}]}, *entries[1:]]
    if kind == "tools" and pair.server.eras == "modern":
        entries = [*entries, *(each if pair.client.era == "modern" else _wrapped(each) for each in TOLD["modern"])]
    if pair.server.eras != "legacy":
        return entries
    # Of the era's own servers: tasks are in the core there.
    job = {"execution": {"taskSupport": "optional"}} if pair.client.era == "legacy" else {}
    return [{**entry, **job} if entry["name"] == "job" else entry for entry in entries]


def _wrapped(tool: Json) -> Json:
    """A tool for a version where structured content is an object."""
    schema = {"type": "object", "properties": {"result": tool["outputSchema"]}, "required": ["result"]}
    return {**tool, "outputSchema": schema}


def _answer(feature: str, pair: Pair) -> Json:
    method, params = TOLD["asks"][feature]
    if method == "resources/read":
        return _read(params["uri"], pair)
    if method == "prompts/get":
        return _got(params["name"])
    if method == "completion/complete":
        return _completed(params)
    told = TOLD["calls"].get(params["name"], {})
    if feature == UNKNOWN:
        told = {"result": _known(told["result"], pair)}
    if feature == NO_OBJECT and pair.client.era == "legacy":
        told = {"result": {**told["result"], "structuredContent": {"result": told["result"]["structuredContent"]}}}
    if "rounds" in told:
        return _asked(params["name"], lambda text: {"content": [{"type": "text", "text": text}]})
    if params["name"] == "add":
        return {"result": {"content": [{"type": "text", "text": '{"sum":5}'}], "structuredContent": {"sum": 5}}}
    if params["name"] == "ping":
        return {"result": {"content": [{"type": "text", "text": "{}"}]}}
    return told or {"error": {"code": -32602, "message": f"Unknown tool: {params['name']}"}}


def _known(result: Json, pair: Pair) -> Json:
    """What the SDKs of both ends leave of members nobody knows."""
    found = {**result, "content": [{"type": "text", "text": "hi"}]} if gap(pair, UNKNOWN) else result
    if "python2" in (pair.client.sdk, pair.server.sdk):
        del found["x-result"]
    return found


def _asked(name: str, shown: Callable[[str], Json]) -> Json:
    """The answers to the questions of a tool, and the questions."""
    questions: Json = {key: each for questions in TOLD["calls"][name]["rounds"] for key, each in questions.items()}
    answers = {key: TOLD["answers"][key] for key in questions}
    return {"result": shown(json.dumps(answers)), "asked": list(questions.values())}


def _read(uri: str, pair: Pair) -> Json:
    if uri in TOLD["reads"]:
        return {"result": TOLD["reads"][uri]}
    if uri == "demo://ask":
        kind = "application/json"
        return _asked("ask_form", lambda text: {"contents": [{"uri": uri, "mimeType": kind, "text": text}]})
    if uri == "demo://nowhere":
        return {"error": {"code": _not_found(pair), "message": "Resource not found", "data": {"uri": uri}}}
    return {"result": {"contents": [{"uri": uri, "mimeType": "text/plain", "text": "item 7"}]}}


def _not_found(pair: Pair) -> int:
    """-32002 until 2026-07-28, then -32602; which is all that the TypeScript SDK 2 says and shows, in every era."""
    legacy = pair.client.era == pair.opened == "legacy"
    return -32002 if legacy and "typescript2" not in (pair.client.sdk, pair.server.sdk) else -32602


def _got(name: str) -> Json:
    if name == "ask":
        return _asked(
            "ask_form", lambda text: {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
        )
    if name not in TOLD["gets"]:
        return {"error": {"code": -32602, "message": f"Unknown prompt: {name}"}}
    return {"result": json.loads(json.dumps(TOLD["gets"][name]).replace("{name}", "Ann"))}


def _completed(params: Json) -> Json:
    known = {"name": ["Ann", "Anton"], "id": ["1", "10"], "style": ["as Bob likes it"]}
    values = known[params["argument"]["name"]]
    return {"result": {"completion": {"values": values, "total": len(values), "hasMore": False}}}


def _paid(pair: Pair) -> Json:
    """A legacy server refuses at first, which only a legacy client sees; all others are asked for a visit."""
    page = TOLD["calls"]["ask_page"]["rounds"][0]["page"]
    if pair.server.eras != "legacy":
        return {"result": {"result": {"paid": True}}, "asked": [page]}
    if pair.client.era == "modern":
        return {"result": {"result": {"paid": True}}, "asked": [page]}
    return {"result": {"refused": TOLD["required"], "result": {"paid": True}}}


def _tasked(pair: Pair) -> Json:
    if pair.client.sdk != "typescript1":
        return {"result": {"absent": True}}
    if gap(pair, "task"):
        return {"result": {"offered": False}}
    done = TOLD["calls"]["job"]["result"]
    return {"result": {"seen": ["taskCreated", "result"], "result": done, "listed": ["completed"]}}


_STEPS = [[step, 4, f"step {step}"] for step in (1, 2, 3)]
_OTHERS: dict[str, Callable[[Pair], Json]] = {
    "version": lambda pair: {"result": pair.client.version},
    "meta": lambda pair: {"result": {"arrived": TOLD["meta"], "_meta": {"example.org/answer": True}}},
    "cancel": lambda pair: {"result": {"steps": _STEPS, "cancelled": True}},
    "logs": lambda pair: {"result": [{"level": "error", "logger": "offers", "data": {"line": ["error"]}}]},
    "quiet": lambda pair: {"result": []},
    "updates": lambda pair: {"result": {"first": "demo://text", "ended": True}},
    "visited": lambda pair: {
        "result": not gap(pair, "visited"),
        "asked": [TOLD["calls"]["ask_page"]["rounds"][0]["page"]],
    },
    # A server of 2026-07-28 has no ear for it.
    "roots_changed": lambda pair: {"result": 1 if pair.opened == "legacy" else 0},
    "ping": lambda pair: {"result": {}},
    "pay": _paid,
    "task": _tasked,
}
FEATURES = {
    "version": "the version is the one the client asked for",
    "offered": "what the server offers is told, with its instructions",
    **{f"list {kind}": f"all {kind} are listed whole, page by page" for kind in LISTS},
    **{name: name for name in TOLD["asks"]},
    "meta": "the _meta of a call arrives with its trace, and that of its result returns",
    "cancel": "progress comes in order while a call runs, and its server hears that it is cancelled",
    "logs": "lines of the wanted level are heard and no others",
    "quiet": "a request that wants no lines gets none",
    "updates": "a subscribed resource's updates are told until the end of the subscription",
    "visited": "the end of a visit is told under the id it was asked with",
    "roots_changed": "a change of the roots reaches the server",
    "ping": "a ping is answered",
    "pay": "a page that must be visited first is asked for in the client's own way",
    "task": "a tool runs as a task, is listed and gives its result",
    **{f"change {kind}": f"a change of the {kind} is told and then listed" for kind in LISTS if kind != "templates"},
}
