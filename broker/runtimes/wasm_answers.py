"""What a WASM plugin answers, read with suspicion: its bytes may be anything."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker.runtimes.served import GuestError, Offer, Offers

MOST_TOOLS = 1000
MOST_TEXT = 4096  # characters of an error's message
OBSERVE = "observe"  # a capability, and the tool that it becomes unless the plugin lists one of that name
UNKNOWN = "unknown-op"  # the code by which it says that it has no such operation

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Problem(Struct):
    code: str = ""
    message: str = ""


class _Answer(Struct):
    result: Raw | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class Description(Struct):
    """What a plugin says of itself."""

    name: str = ""
    version: str = ""
    description: str = ""
    instructions: str | None = None
    capabilities: list[str] = []


class _Observation(Struct):
    evidence: Raw | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class _Tools(Struct):
    tools: list[Raw] = []


class _Tool(Struct):
    name: str
    inputSchema: dict[str, Any] | UnsetType = UNSET


class UnknownOp(GuestError):
    """It has no such operation."""


def result_of(answer: bytes) -> bytes:
    """The result in an answer. Raises `GuestError`: with its own words, or because it is none."""
    try:
        answer.decode()  # msgspec passes undecoded parts on without looking
    except UnicodeDecodeError as error:
        raise GuestError(f"It answered with what is no UTF-8: {error.reason}.") from None
    found = decoded(answer, _Answer)
    if (found.result is UNSET) == (found.error is UNSET):
        raise GuestError("It must answer with a result or an error, and not with both or neither.")
    if isinstance(found.error, Problem):
        text = _words(found.error)
        raise UnknownOp(text) if found.error.code == UNKNOWN else GuestError(text)
    assert isinstance(found.result, Raw)
    return bytes(found.result)


def decoded(data: bytes, type: type[T]) -> T:
    """`data` as a `type`. Raises `GuestError`."""
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GuestError(f"It answered with something else than it must: {error}.") from None
    except RecursionError:
        raise GuestError("It answered with something nested too deeply.") from None


def offers(tools: bytes, description: Description) -> tuple[Offers, bool]:
    """The tools of a `tools/list`, and whether `observe` was made one of them. Raises `GuestError` for a bad list."""
    listed = decoded(tools, _Tools).tools
    if len(listed) > MOST_TOOLS:
        raise GuestError(f"It lists {len(listed)} tools; the most is {MOST_TOOLS}.")
    found: dict[str, Offer] = {}
    for each in listed:
        tool = decoded(bytes(each), _Tool)
        if not tool.name or tool.name in found:
            raise GuestError(f"It lists a tool without a name, or {tool.name[:60]!r} twice.")
        found[tool.name] = _offer(bytes(each), tool)
    observes = OBSERVE in description.capabilities and OBSERVE not in found
    if observes:
        found[OBSERVE] = _observing(description)
    return Offers(tools=found, instructions=description.instructions), observes


def _observing(description: Description) -> Offer:
    """`observe` as a tool, by which clients reach it."""
    schema = {"type": "object"}
    about = f"What {description.name or 'the plugin'} observes: evidence, or an error."
    shown = {"name": OBSERVE, "description": about, "inputSchema": schema, "annotations": {"readOnlyHint": True}}
    return Offer(shown=Raw(_encode(shown)), schema=schema)


def _offer(shown: bytes, tool: _Tool) -> Offer:
    if isinstance(tool.inputSchema, dict):
        return Offer(shown=Raw(shown), schema=tool.inputSchema)
    members = decoded(shown, dict[str, Raw])  # MCP wants one
    return Offer(shown=Raw(_encode({**members, "inputSchema": {"type": "object"}})), schema={"type": "object"})


def evidence(observation: bytes) -> bytes:
    """What `observe` found. Raises `GuestError`: with its error, or because it is not exactly one of the two."""
    seen = decoded(observation, _Observation)
    if (seen.evidence is UNSET) == (seen.error is UNSET):
        raise GuestError("It must observe one evidence or one error, and not both or neither.")
    if isinstance(seen.error, Problem):
        raise GuestError(_words(seen.error))
    assert isinstance(seen.evidence, Raw)
    return bytes(seen.evidence)


def _words(problem: Problem) -> str:
    return (problem.message or problem.code or "It failed and did not say why.")[:MOST_TEXT]
