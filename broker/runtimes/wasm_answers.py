"""What a WASM plugin answers, read with suspicion: its bytes may be anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker.model import About
from broker.runtimes.served import GuestError, Offer, Offers

MOST = 1000  # of each kind
MOST_SAID = 64 << 10  # bytes of what it says of itself, and of the schema of its configuration
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


class Lists(Struct, kw_only=True):
    """Its answers to the lists; `{}` for those that it was not asked for."""

    tools: bytes = b"{}"
    prompts: bytes = b"{}"
    resources: bytes = b"{}"


class _Tools(Struct):
    tools: list[Raw] = []


class _Tool(Struct):
    name: str
    inputSchema: dict[str, Any] | UnsetType = UNSET


class _Prompts(Struct):
    prompts: list[Raw] = []


class _Argument(Struct):
    name: str
    required: bool = False


class _Prompt(Struct):
    name: str
    arguments: list[_Argument] = []


class _Resources(Struct):
    resources: list[Raw] = []


class _Resource(Struct):
    uri: str
    name: str = ""


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


def offers(lists: Lists, description: Description, schema: bytes = b"{}") -> tuple[Offers, bool]:
    """What it lists, and whether `observe` was made one of its tools. Raises `GuestError` for a bad list."""
    tools = _named((_tool(bytes(each)) for each in decoded(lists.tools, _Tools).tools), "tool")
    prompts = _named((_prompt(bytes(each)) for each in decoded(lists.prompts, _Prompts).prompts), "prompt")
    resources = _named((_resource(bytes(each)) for each in decoded(lists.resources, _Resources).resources), "resource")
    observes = OBSERVE in description.capabilities and OBSERVE not in tools
    if observes:
        tools[OBSERVE] = _observing(description)
    offered = [kind for kind, each in (("tools", tools), ("prompts", prompts), ("resources", resources)) if each]
    about = About(
        name=description.name,
        version=description.version,
        description=description.description,
        capabilities=tuple(dict.fromkeys((*description.capabilities, *offered))),
        schema=Raw(schema if schema != b"{}" else b"null"),
    )
    instructions = description.instructions
    return Offers(tools=tools, prompts=prompts, resources=resources, instructions=instructions, about=about), observes


def _named(offers: Iterable[tuple[str, Offer]], what: str) -> dict[str, Offer]:
    """By their names, which must be there and differ."""
    found: dict[str, Offer] = {}
    for name, offer in offers:
        if not name or name in found:
            raise GuestError(f"It lists a {what} without a name, or {name[:60]!r} twice.")
        if len(found) == MOST:
            raise GuestError(f"It lists too many {what}s; the most is {MOST}.")
        found[name] = offer
    return found


def _observing(description: Description) -> Offer:
    """`observe` as a tool, by which clients reach it."""
    schema = {"type": "object"}
    about = f"What {description.name or 'the plugin'} observes: evidence, or an error."
    shown = {"name": OBSERVE, "description": about, "inputSchema": schema, "annotations": {"readOnlyHint": True}}
    return Offer(shown=Raw(_encode(shown)), schema=schema)


def _tool(shown: bytes) -> tuple[str, Offer]:
    tool = decoded(shown, _Tool)
    if isinstance(tool.inputSchema, dict):
        return tool.name, Offer(shown=Raw(shown), schema=tool.inputSchema)
    members = decoded(shown, dict[str, Raw])  # MCP wants one
    whole = Raw(_encode({**members, "inputSchema": {"type": "object"}}))
    return tool.name, Offer(shown=whole, schema={"type": "object"})


def _prompt(shown: bytes) -> tuple[str, Offer]:
    """Its arguments are texts, as MCP has it."""
    prompt = decoded(shown, _Prompt)
    required = [each.name for each in prompt.arguments if each.required]
    properties = {each.name: {"type": "string"} for each in prompt.arguments}
    return prompt.name, Offer(
        shown=Raw(shown), schema={"type": "object", "properties": properties, "required": required}
    )


def _resource(shown: bytes) -> tuple[str, Offer]:
    resource = decoded(shown, _Resource)
    if resource.name:
        return resource.uri, Offer(shown=Raw(shown))
    return resource.uri, Offer(shown=Raw(_encode({**decoded(shown, dict[str, Raw]), "name": resource.uri})))


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
