"""A client of any version gets what newer servers say in its own version's words, and every frame in any language.

Each conversation is judged as it ends (`tests/oracle.py`): what is asserted here is only what a judge cannot know.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import oracle, parsing
from tests.e2e.harness import LATEST_LEGACY, MODERN, Home, Json, Line, driven, opened
from tests.servers import NODE_MODULES, TESTS

pytestmark = pytest.mark.matrix

SAYING = TESTS / "fixtures" / "saying.py"
CALLS = TESTS / "e2e" / "node" / "calls.mjs"
BRAVE = NODE_MODULES / "@modelcontextprotocol/server-brave-search"
OLD_SDK = BRAVE / "node_modules/@modelcontextprotocol/sdk/dist"  # 1.0.1
NEW_SDK = NODE_MODULES / "@modelcontextprotocol/sdk/dist/esm"  # 1.32
VERSIONS = (*oracle.LEGACY, MODERN)
AUDIO = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}
LINK = {"type": "resource_link", "uri": "a://b", "name": "b"}
NUMBERS: Json = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number"}}}
OBJECT: Json = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
TOOLS: dict[str, tuple[Any, Json]] = {  # name -> output schema, result
    "kinds": (None, {"content": [{"type": "text", "text": "hi"}, AUDIO, LINK]}),
    "numbers": (NUMBERS, {"content": [], "structuredContent": [1, 2.5]}),
    "object": (OBJECT, {"content": [{"type": "text", "text": "1"}], "structuredContent": {"n": 1}}),
}
# What a server may write, and every reader must read alike; as the text of a tool's result, and as other members of it.
ODD = [
    r'"\u0000\u001f\u2028\u2029\/\b\ud83d\ude00\uffff é 漢 😀"',
    '"\u2028\u2029\u007f\ufeff\U0010ffff"',
    "[9007199254740993, 18446744073709551617, -0, -0.0, 1E400, 5e-324, 0.1e-7, 1.0, 100000000000000000000000]",
    '{"a": 1, "a": 2, "__proto__": {"b": 1}, "10": 1, "9": 2, "": null, "\\u0061": 3}',
    "[" * 90 + "]" * 90,
    '{ "spaced" :\t[ 1 ,\t2 ] }',
]


def home(folder: Path, era: str, files: dict[str, str]) -> Home:
    said = folder / "said"
    said.mkdir()
    for name, text in files.items():
        (said / f"{name}.json").write_text(text, "utf-8")
    return Home.of(folder, {"one": {"command": sys.executable, "args": ["-S", "-E", str(SAYING), era, str(said)]}})


def shown(era: str) -> dict[str, str]:
    """The files of a server that shows and says all of `TOOLS`."""
    tools = [
        {"name": name, "inputSchema": {"type": "object"}} | ({"outputSchema": output} if output else {})
        for name, (output, _) in TOOLS.items()
    ]
    more = {"resultType": "complete"} if era == "modern" else {}
    said = {name: json.dumps({**result, **more}) for name, (_, result) in TOOLS.items()}
    prompt = {"messages": [{"role": "user", "content": each} for each in (AUDIO, LINK)], **more}
    prompts = [{"name": "say"}]
    return {"tools": json.dumps(tools), "prompts": json.dumps(prompts), "say": json.dumps(prompt), **said}


@pytest.mark.parametrize("server", ["legacy", "modern"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_of_any_version_understands_all_it_gets(tmp_path: Path, server: str, version: str) -> None:
    era = "modern" if version == MODERN else "legacy"
    async with opened(home(tmp_path, server, shown(server)), era, initialized=False) as line:
        if era == "legacy":
            await line.initialize(version)
        tools = {tool["name"]: tool for tool in (await line.result("tools/list"))["tools"]}
        results = {name: await line.call(f"one__{name}") for name in TOOLS}
        prompt = await line.result("prompts/get", {"name": "one__say"})
    assert len(tools) == len(results)
    assert len(prompt["messages"]) == 2
    value = results["numbers"].get("structuredContent")
    if version < "2025-06-18":
        assert value is None
        assert json.loads(results["numbers"]["content"][0]["text"]) == [1, 2.5]
    else:
        assert value == ([1, 2.5] if version == MODERN else {"result": [1, 2.5]})
        assert results["object"]["structuredContent"] == {"n": 1}


async def said_to(sdk: Path, home: Home, *names: str) -> Json:
    """What a client with this SDK makes of the tools and of these calls."""
    return await driven(home, CALLS, str(sdk), CALLS=",".join(names))


@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_the_sdk_of_2024_reads_audio_and_links_of_today(tmp_path: Path, server: str) -> None:
    names = [f"one__{name}" for name in TOOLS]
    found = await said_to(OLD_SDK, home(tmp_path, server, shown(server)), *names)
    assert sorted(tool["name"] for tool in found["tools"]) == sorted(names)
    assert [block["type"] for block in found["results"]["one__kinds"]["content"]] == ["text", "resource", "text"]
    assert found["results"]["one__numbers"]["content"][0]["text"] == "[1, 2.5]"


@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_the_sdk_of_2025_finds_wrapped_output_valid(tmp_path: Path, server: str) -> None:
    names = [f"one__{name}" for name in TOOLS]
    found = await said_to(NEW_SDK, home(tmp_path, server, shown(server)), *names)
    assert found["results"]["one__numbers"]["structuredContent"] == {"result": [1, 2.5]}
    assert found["results"]["one__object"]["structuredContent"] == {"n": 1}


@pytest.mark.parametrize(
    ("version", "asked"),
    [("2025-03-26", False), ("2025-06-18", False), ("2025-11-25", True), (MODERN, True)],
)
async def test_a_page_to_visit_is_shown_only_to_whoever_can(tmp_path: Path, version: str, asked: bool) -> None:
    era = "modern" if version == MODERN else "legacy"
    params = {"mode": "url", "message": "Sign in", "url": "https://a.example", "elicitationId": "1"}
    question = json.dumps({"method": "elicitation/create", "params": params})
    files = {"tools": '[{"name":"visit","inputSchema":{"type":"object"}}]', "visit.ask": question}
    declared = {"elicitation": {"form": {}, "url": {}}}
    async with opened(home(tmp_path, "legacy", files), era, declared, initialized=False) as line:
        if era == "legacy":
            await line.initialize(version)
        call = line.send("tools/call", {"name": "one__visit", "arguments": {}})
        if asked:
            await answered(line, call)
        else:
            text = (await line.reply(call))["result"]["content"][0]["text"]
            assert json.loads(text) == {"action": "decline"}


async def answered(line: Line, call: Any) -> None:
    """The question arrives in the era's way."""
    if line.era == "modern":
        (question,) = (await line.reply(call))["result"]["inputRequests"].values()
        assert "elicitationId" not in question["params"]
        return
    question = await line.asked("elicitation/create")
    line.write({"id": question["id"], "result": {"action": "decline"}})
    assert json.loads((await line.reply(call))["result"]["content"][0]["text"]) == {"action": "decline"}


@pytest.mark.parametrize("code", [-32002, -32042, -32020, -32021, -32022, -32050])
@pytest.mark.parametrize("version", ["2024-11-05", LATEST_LEGACY, MODERN])
async def test_an_error_of_a_server_has_a_code_the_client_knows(tmp_path: Path, version: str, code: int) -> None:
    era = "modern" if version == MODERN else "legacy"
    files = {"tools": '[{"name":"no","inputSchema":{"type":"object"}}]'}
    files["no.error"] = json.dumps({"code": code, "message": "no", "data": {"k": 1}})
    async with opened(home(tmp_path, era, files), era, initialized=False) as line:
        if era == "legacy":
            await line.initialize(version)
        error = await line.error("tools/call", {"name": "one__no", "arguments": {}})
    assert error["message"].startswith("no")
    assert error["data"] == {"k": 1}


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("server", ["legacy", "modern"])
async def test_odd_values_are_the_same_in_python_and_node_and_keep_their_digits(
    tmp_path: Path, era: str, server: str
) -> None:
    more = ',"resultType":"complete"' if server == "modern" else ""
    tools = [{"name": f"odd{number}", "inputSchema": {"type": "object"}} for number in range(len(ODD))]
    tools[0] |= {"description": json.loads(ODD[0]), "x-numbers": json.loads(ODD[3])}
    files = {"tools": json.dumps(tools)}
    for number, value in enumerate(ODD):
        text = value if value.startswith('"') else '"x"'
        files[f"odd{number}"] = f'{{"content":[{{"type":"text","text":{text}}}],"x-odd":{value}{more}}}'
    async with opened(home(tmp_path, server, files), era) as line:
        await line.result("tools/list")
        for number, value in enumerate(ODD):
            await line.call(f"one__odd{number}")
            assert value.encode() in line.frames[-1]  # not one byte of it is another
        frames = list(line.frames)
    assert parsing.differences(frames) == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_half_a_character_is_not_passed_on(tmp_path: Path, era: str) -> None:
    files = {"tools": '[{"name":"half","inputSchema":{"type":"object"}}]'}
    files["half"] = r'{"content":[{"type":"text","text":"\ud800"}],"resultType":"complete"}'
    async with opened(home(tmp_path, era, files), era) as line:
        result = await line.call("one__half")
        assert result["isError"]
        assert not any(b"\\ud800" in frame for frame in line.frames)
