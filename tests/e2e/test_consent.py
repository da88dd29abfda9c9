"""A plugin asks for more than it was granted: its client's user is asked in the middle of a call, by real clients."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult

from tests.confine.jailed import native
from tests.e2e.harness import ERAS, Home, Json, opened
from tests.hostile.evil import evil

READING = """
def on_call(m):
    try:
        said = open(m["params"]["arguments"]["path"]).read()
    except OSError as error:
        said = f"refused: {error}"
    send(id=m["id"], result=text(said))
"""
YES: Json = {"action": "accept", "content": {"decision": "always"}}
FORMS: Json = {"elicitation": {"form": {}}}

pytestmark = [pytest.mark.matrix, native]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with a note, and a secret beside it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "note").write_text("a note")
    (tmp_path / "secret").write_text("canary")
    return tmp_path / "docs"


@pytest.fixture
def home(tmp_path: Path, docs: Path) -> Home:
    """A broker with a plugin folder that asks to read that folder."""
    folder = tmp_path / "reader"
    evil(folder, READING)
    (source,) = folder.glob("*.py")
    (folder / "plugin.toml").write_text(
        f'name = "reader"\nversion = "1.0.0"\napi = 1\nentry = "{source.name}"\n[permissions]\nread = ["{docs}/**"]\n'
    )
    return Home.of_toml(tmp_path / "home", f'[plugins.reader]\npath = "{folder}"\n')


async def read(call: Any, path: Path) -> str:
    return (await call("reader__echo", {"path": str(path)}))["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
async def test_after_a_yes_the_same_call_reads_what_was_granted_and_nothing_else(
    home: Home, docs: Path, era: str
) -> None:
    async with opened(home, era, FORMS) as line:
        (tool,) = (await line.result("tools/list"))["tools"]
        assert f"broker grant reader read:{docs}" in tool["description"]
        call = line.send("tools/call", {"name": "reader__echo", "arguments": {"path": str(docs / "note")}})
        if era == "legacy":
            question = await line.asked("elicitation/create")
            assert f"read:{docs}" in question["params"]["message"]
            line.write({"id": question["id"], "result": YES})
            result = (await line.reply(call))["result"]
        else:
            first = (await line.reply(call))["result"]
            ((key, question),) = first["inputRequests"].items()
            assert f"read:{docs}" in question["params"]["message"]
            again = {"requestState": first["requestState"], "inputResponses": {key: YES}}
            result = await line.result(
                "tools/call", {"name": "reader__echo", "arguments": {"path": str(docs / "note")}, **again}
            )
        assert result["content"][0]["text"] == "a note"
        for path in (docs.parent / "secret", Path("/etc/shadow"), Path.home()):
            assert (await read(line.call, path)).startswith("refused: ")
    async with opened(home, era) as later:
        assert await read(later.call, docs / "note") == "a note"


@pytest.mark.parametrize("era", ERAS)
async def test_who_cannot_be_asked_gets_the_command_that_grants_it(home: Home, docs: Path, era: str) -> None:
    async with opened(home, era) as line:
        await line.names()
        result = await line.call("reader__echo", {"path": str(docs / "note")})
        said = json.dumps(result)
        assert result["isError"] and f"broker grant reader read:{docs}" in said and "a note" not in said
        assert result["_meta"]["plugin-broker/error"]["code"] == -31004


@asynccontextmanager
async def person(home: Home, mode: str, answer: Json, asked: list[str]) -> AsyncGenerator[Client]:
    """The official Python client, whose user answers so."""

    async def elicit(context: object, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(**answer)

    server = StdioServerParameters(command=home.command, args=home.args, env={**os.environ, **home.env})
    async with Client(server, mode=mode, elicitation_callback=elicit) as client:
        yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (YES, "a note"),
        ({"action": "accept", "content": {"decision": "once"}}, "a note"),
        ({"action": "accept", "content": {"decision": "no"}}, "not granted"),
        ({"action": "decline"}, "not granted"),
    ],
    ids=["always", "once", "no", "declined"],
)
async def test_the_official_client_asks_its_user_once(
    home: Home, docs: Path, mode: str, answer: Json, said: str
) -> None:
    asked: list[str] = []
    async with person(home, mode, answer, asked) as client:
        await client.list_tools()
        for _ in range(2):
            result = await client.call_tool("reader__echo", {"path": str(docs / "note")})
            assert said in str(result.content)
    assert len(asked) == 1
