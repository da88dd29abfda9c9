"""What stock pygls does to a broker, each cured: the eight rows were all met with pygls 2.1."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from broker.core.ports import Call
from broker.faces.lsp import LAGGING, Session
from broker.model import Command
from broker.stream import FdStream
from tests.faces.lsp_client import Client, Inside, frame
from tests.pretend import House, PretendInstance, raw

HELLO = (Command("hello", "Say hello"),)


def house(**spec: Any) -> House:
    """A plugin `a` whose command `hello` gives back its arguments."""
    found = House("a", commands=HELLO, **spec)
    found.runtime.behaviours["hello"] = echo
    return found


async def echo(instance: PretendInstance, call: Call) -> Any:
    return raw({"value": json.loads(bytes(call.params["arguments"]))})


@pytest.mark.parametrize(
    "odd",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "textDocument/hover", "params": {}},
        {"jsonrpc": "2.0", "id": 1, "result": None},
        {"deep": [{"jsonrpc": "2.0", "method": "initialize"}]},
    ],
)
async def test_1_an_argument_that_looks_like_a_message_stays_an_argument(odd: Any) -> None:
    client = Client(house())
    await client.initialize()
    assert await client.run("broker.run", "a.hello", odd) == [odd]


async def test_2_members_that_are_no_names_of_python_are_kept() -> None:
    client, odd = Client(house()), {"my-key": 1, "class": 2, "_x": 3, "type_name": "T", "": 4}
    await client.initialize()
    assert await client.run("a.hello", odd) == [odd]
    client.write(method="broker/trust", params={"my-key": 1, "trusted": False})
    await client.run("a.hello")
    assert client.inside.trusted == [False]


@pytest.mark.parametrize("answer", [None, [], 7, "x", {}, {"success": "yes"}, Client.SILENT, RuntimeError("no")])
async def test_3_an_answer_that_is_none_is_a_no_and_no_toast(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.faces.lsp_editor.ANSWER", 0.05)
    client = Client(house())
    client.answers["window/showDocument"] = answer
    await client.initialize()
    shown = await asyncio.wait_for(client.session.perform("show", "a", b'{"uri":"file:///x"}'), 5)
    assert bytes(shown) == b'{"shown":false}'
    assert await client.run("a.hello", 1) == [1]
    assert client.all("window/showMessage") == []


async def test_4_a_cancelled_command_is_cancelled_in_its_plugin() -> None:
    inside = house(concurrency=2)
    inside.runtime.behaviours["hello"] = endless
    client = Client(inside)
    await client.initialize()
    id = client.send("workspace/executeCommand", {"command": "a.hello"})
    async with asyncio.timeout(5):
        await inside.runtime.started.wait()
    client.write(method="$/cancelRequest", params={"id": id})
    assert (await client.reply(id))["error"]["code"] == -32800
    await asyncio.sleep(0)
    assert [instance.cancelled for instance in inside.runtime.instances] == [1]


async def endless(instance: PretendInstance, call: Call) -> Any:
    await asyncio.get_running_loop().create_future()


async def test_5_exit_ends_the_session_and_not_the_process() -> None:
    client = Client(house())
    await client.initialize()
    assert await client.result("shutdown", None) is None
    client.write(method="exit", params=None)
    async with asyncio.timeout(5):
        await client.ended.wait()
    assert client.session.said_goodbye


async def test_6_an_editor_that_does_not_read_stops_nobody_but_itself() -> None:
    to_us, to_editor = os.pipe(), os.pipe()
    inside, ended = house(), asyncio.Event()
    stream = FdStream(to_us[0], to_editor[1])
    session = Session(Inside(inside), stream, key="deaf", max_frame=1 << 20, on_end=ended.set)
    session.start()
    os.write(to_us[1], frame({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}))
    async with asyncio.timeout(5):
        while not inside.router.attended:
            await asyncio.sleep(0)
        for _ in range(5000):
            session.logged(raw({"level": "info", "logger": "a", "data": "x" * 1000}))
            session.tell("notifications/progress", raw({"progressToken": "none", "progress": 1}))
            await asyncio.sleep(0)  # the loop goes on
        assert LAGGING < stream.unsent < 2 * LAGGING
        os.close(to_us[1])
        await ended.wait()
    os.close(to_editor[0])


async def test_7_commands_come_twice_and_go() -> None:
    inside = house()
    client = Client(inside)
    found = await client.initialize()
    assert found["capabilities"]["executeCommandProvider"]["commands"] == ["broker.run", "broker.call", "a.hello"]
    for _ in range(2):
        inside.router.generations.register("a", Command("later", "Later"))
    registered = await client.said("client/registerCapability", registrations=[later()])
    assert registered["registrations"][0]["registerOptions"] == {"commands": ["a.later"]}
    inside.router.generations.unregister("a", "later")
    gone = await client.said("client/unregisterCapability")
    assert gone == {"unregisterations": [{"id": "a.later", "method": "workspace/executeCommand"}]}
    assert (await client.ask("workspace/executeCommand", {"command": "a.later"}))["error"]["code"] == -32602
    registrations = [each for each in client.all("client/registerCapability") if each["registrations"] == [later()]]
    assert len(registrations) == 1


def later() -> dict[str, Any]:
    options = {"commands": ["a.later"]}
    return {"id": "a.later", "method": "workspace/executeCommand", "registerOptions": options}


def test_8_only_the_language_server_pays_for_pygls() -> None:
    code = (
        "import sys, broker.cli, broker.app, broker.faces.mcp, broker.core.reloading\n"
        "print(sorted({'pygls', 'lsprotocol', 'attrs', 'cattrs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
