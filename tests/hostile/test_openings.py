"""Openings that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.harness import Home, opened
from tests.hostile.evil import evil

NO_CAPABILITIES = '{"protocolVersion": "2025-06-18", "capabilities": None}'


@pytest.mark.parametrize("answer", ["None", "[]", "{'supportedVersions': '2026-07-28'}"])
async def test_a_discover_that_cannot_be_read_is_followed_by_initialize(tmp_path: Path, answer: str) -> None:
    """A lax legacy server answers any method with something; a modern client must still reach it."""
    source = f"""
polite = send

def send(**body):
    if "error" in body:
        body = {{"id": body["id"], "result": {answer}}}
    polite(**body)
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)}), "modern") as line:
        assert await line.names() == ["one__echo"], line.stderr


@pytest.mark.parametrize("result", ["None", '{"protocolVersion": 5}', NO_CAPABILITIES])
async def test_an_opening_that_cannot_be_read_is_explained_without_a_traceback(tmp_path: Path, result: str) -> None:
    source = f"""
def on_initialize(m):
    send(id=m["id"], result={result})
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        await line.names()
        assert "Traceback" not in line.stderr
