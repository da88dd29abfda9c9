"""Arguments made of a tool's own schema: edges first, then whatever is allowed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Json = dict[str, Any]
TEXTS = (
    "",
    "a",
    "hello world",
    "ünïcödé 🚀",
    "../../etc/passwd",
    "'; drop table x; --",
    "\n\t",
    "0",
    "null",
    "x" * 300,
)
DEEP = 4  # levels of what contains itself


def examples(schema: Json, count: int, seed: int = 0) -> Iterator[Json]:
    """Arguments that fit a schema, the same ones for a seed."""
    chosen = random.Random(seed)
    for _ in range(count):
        yield example(schema, chosen)


def arguments(tool: Json) -> SearchStrategy[Json]:
    """A strategy of Hypothesis for a tool's definition: `@given(arguments(tool))`."""
    from hypothesis import strategies

    return strategies.randoms(use_true_random=False).map(lambda chosen: example(tool["inputSchema"], chosen))


def example(schema: Json, chosen: random.Random, root: Json | None = None, depth: int = 0) -> Any:
    """One value that fits a schema of the kinds that hints make."""
    root = schema if root is None else root
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rpartition("/")[2]], chosen, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chosen.choice(schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            some = schema[several] if depth < DEEP else sorted(schema[several], key=lambda each: "$ref" in each)[:1]
            return example(chosen.choice(some), chosen, root, depth + 1)
    kind = schema.get("type", "string")
    return _MADE[kind if isinstance(kind, str) else chosen.choice(kind)](schema, chosen, root, depth)


def _object(schema: Json, chosen: random.Random, root: Json, depth: int) -> Json:
    required = schema.get("required", ())
    found: Json = {}
    for name, member in schema.get("properties", {}).items():
        if name in required or (depth < DEEP and chosen.random() < 0.5):
            found[name] = example(member, chosen, root, depth + 1)
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and depth < DEEP:
        found.update({key: example(more, chosen, root, depth + 1) for key in ("a", "b c")[: chosen.randrange(3)]})
    return found


def _array(schema: Json, chosen: random.Random, root: Json, depth: int) -> list[Any]:
    first = [example(each, chosen, root, depth + 1) for each in schema.get("prefixItems", ())]
    least = max(schema.get("minItems", 0), len(first))
    most = min(schema.get("maxItems", least + 3), least + (3 if depth < DEEP else 0))
    items = schema.get("items", {})
    count = chosen.randint(least, max(least, most)) - len(first)
    if not isinstance(items, dict):
        return first
    return first + [example(items, chosen, root, depth + 1) for _ in range(count)]


def _string(schema: Json, chosen: random.Random, root: Json, depth: int) -> str:
    made = _FORMATS.get(schema.get("format", ""))
    if made is not None:
        return made(chosen)
    if "pattern" in schema:
        return _by_pattern(schema["pattern"], chosen)
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1000)
    return (chosen.choice(TEXTS) + "x" * least)[: max(least, most)][:most]


def _integer(schema: Json, chosen: random.Random, root: Json, depth: int) -> int:
    step = schema.get("multipleOf", 1)
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1001) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", max(least, 1000) + 1001) - 1)
    first = -(-least // step) * step
    steps = int((most - first) // step)
    return int(first + step * chosen.choice((0, steps, chosen.randint(0, max(steps, 0)))))


def _number(schema: Json, chosen: random.Random, root: Json, depth: int) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1e6))
    most = schema.get("maximum", schema.get("exclusiveMaximum", max(least, 0) + 1e6))
    return (
        chosen.uniform(least, most)
        if "exclusiveMinimum" in schema
        else chosen.choice((least, chosen.uniform(least, most)))
    )


def _by_pattern(pattern: str, chosen: random.Random) -> str:
    """A text for the simplest patterns; whoever has others tests with values of their own."""
    from re import fullmatch

    for text in (*TEXTS, "abc", "a-b", "1", "2027-01-01", "A1"):
        if fullmatch(pattern, text):
            return text
    raise LookupError(f"no example for the pattern {pattern}")


def _boolean(schema: Json, chosen: random.Random, root: Json, depth: int) -> bool:
    return chosen.random() < 0.5


def _null(schema: Json, chosen: random.Random, root: Json, depth: int) -> None:
    return None


def _moment(chosen: random.Random) -> datetime:
    return datetime.fromtimestamp(chosen.randrange(2**31), timezone.utc)


def _time(chosen: random.Random) -> str:
    return _moment(chosen).timetz().isoformat()


def _date(chosen: random.Random) -> str:
    return _moment(chosen).date().isoformat()


def _date_time(chosen: random.Random) -> str:
    return _moment(chosen).isoformat()


def _uuid(chosen: random.Random) -> str:
    return str(UUID(int=chosen.getrandbits(128)))


def _path(chosen: random.Random) -> str:
    return chosen.choice((".", "/tmp", "a/b.txt", "../x"))


_MADE: dict[str, Callable[[Json, random.Random, Json, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
}
_FORMATS: dict[str, Callable[[random.Random], str]] = {
    "date-time": _date_time,
    "date": _date,
    "time": _time,
    "uuid": _uuid,
    "path": _path,
}
