"""The result of a call as text a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from broker.cli.arguments import array
from broker.core.shape import table


def readable(result: dict[str, Any]) -> str:
    """Every part of a result in its order; what is no text in one line each."""
    parts = [_part(table(part) or {}) for part in array(result.get("content"))]
    if not parts and "structuredContent" in result:
        return json.dumps(result["structuredContent"], indent=2, ensure_ascii=False)
    return "\n".join(parts)


def _part(part: Mapping[str, Any]) -> str:
    if part.get("type") == "text":
        return str(part.get("text", ""))
    return f"[{' '.join(_described(part))}]"


def _described(part: Mapping[str, Any]) -> Iterator[str]:
    yield str(part.get("type", "a part of no type"))
    held = table(part.get("resource")) or part
    for member in ("uri", "title", "mimeType"):
        if held.get(member):
            yield str(held[member])
    text = held.get("text")
    if isinstance(text, str):
        yield f"{len(text)} characters"
    data = held.get("blob", held.get("data"))
    if isinstance(data, str):
        yield _size(len(data) * 3 // 4 - data[-2:].count("="))


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"
