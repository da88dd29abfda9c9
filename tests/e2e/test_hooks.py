"""Hooks of a subprocess plugin: real brokers, a real plugin folder, clients of both eras."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import BOUND, ERAS, Home, opened
from tests.servers import scripted

# It refuses whoever says "secret", writes down all it is asked, and goes silent at "stuck".
PLUGIN = """
import json, sys

def answer(id, **found):
    print(json.dumps({"jsonrpc": "2.0", "id": id, **found}), flush=True)

for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message["method"], message.get("id"), message.get("params", {})
    if method == "initialize":
        info = {"name": "guard", "version": "1"}
        version = params["protocolVersion"]
        answer(id, result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        answer(id, result={"tools": []})
    elif method == "ping":
        answer(id, result={})
    elif method == "plugin-broker/hook":
        print("asked", json.dumps(params), file=sys.stderr, flush=True)
        text = json.dumps(params.get("arguments"))
        if "secret" in text:
            answer(id, result={"allow": False, "reason": "it says secret"})
        elif "stuck" in text:
            continue
        elif "shout" in text:
            loud = {"text": params["arguments"]["text"].upper()}
            answer(id, result={"modified": True, "arguments": loud, "meta": {"loud": True}, "status": 7})
        else:
            answer(id, result={})
    elif id is not None:
        answer(id, error={"code": -32601, "message": method})
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A broker with the guard, and a server that it guards."""
    folder = tmp_path / "guard"
    folder.mkdir()
    (folder / "plugin.py").write_text(PLUGIN)
    hooks = "".join(f'[[hooks]]\non = "{on}"\n' for on in ("pre_request", "on_connect", "on_close"))
    manifest = f'name = "guard"\nversion = "1.0.0"\napi = 1\nentry = "plugin.py"\n{hooks}'
    (folder / "plugin.toml").write_text(manifest)
    entry = scripted()
    served = f"[servers.a]\ncommand = {json.dumps(entry['command'])}\nargs = {json.dumps(entry['args'])}\n"
    guard = f"[plugins.guard]\npath = {json.dumps(str(folder))}\nunconfined = true\n"
    home = Home.of_toml(tmp_path / "home", served + guard)
    granting = [home.command, "grant", *home.flags, "guard", "--yes"]
    subprocess.run(granting, env=home.env, cwd=home.folder, check=True, capture_output=True, timeout=BOUND)
    return home


def asked(home: Home) -> list[Any]:
    """The events the guard was told of."""
    lines = (home.folder / "home" / "logs" / "plugins" / "guard.log").read_text().splitlines()
    return [json.loads(line.removeprefix("asked ")) for line in lines if line.startswith("asked ")]


@pytest.mark.parametrize("era", ERAS)
async def test_a_hook_refuses_one_call_changes_another_and_lets_the_rest_pass(home: Home, era: str) -> None:
    async with opened(home, era) as line:
        await line.names()
        refused = await line.call("a__echo", {"text": "a secret"})
        assert refused["isError"] and "guard refused tools/call echo" in refused["content"][0]["text"]
        assert refused["_meta"]["plugin-broker/error"]["name"] == "denied-by-hook"
        loud = await line.call("a__echo", {"text": "shout"})
        assert loud["content"][0]["text"] == "SHOUT"
        assert loud["_meta"]["plugin-broker/hooks"] == {"meta": {"loud": True}, "status": 7}
        assert await line.text("a__echo", {"text": "hello"}) == "hello"


@pytest.mark.parametrize("era", ERAS)
async def test_a_hook_that_does_not_answer_refuses_and_the_next_call_goes_on(home: Home, era: str) -> None:
    async with opened(home, era) as line:
        await line.names()
        refused = await line.call("a__echo", {"text": "stuck"})
        assert refused["isError"] and "did not answer within 1 s" in refused["content"][0]["text"]
        assert await line.text("a__echo", {"text": "hello"}) == "hello"


async def test_a_client_is_told_of_when_it_connects_and_when_it_leaves(home: Home) -> None:
    async with opened(home) as line:
        await line.names()
        await line.text("a__echo", {"text": "hello"})
        client = asked(home)[0]["client"]
        assert await line.leave() == 0
    assert [(event["type"], event["client"]) for event in asked(home)] == [
        ("on_connect", client),
        ("pre_request", client),
        ("on_close", client),
    ]


async def test_hooks_that_nobody_granted_hear_nothing(home: Home) -> None:
    shutil.rmtree(home.folder / "home" / "state")
    async with opened(home) as line:
        await line.names()
        assert await line.text("a__echo", {"text": "a secret"}) == "a secret"
    assert not (home.folder / "home" / "logs" / "plugins" / "guard.log").exists() or asked(home) == []
