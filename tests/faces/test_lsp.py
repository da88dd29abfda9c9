"""The editor face in memory: what an editor runs, is shown and is asked."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call
from broker.errors import ConfigError, PluginFailed
from broker.model import Command, Problem, Spec
from tests.faces.lsp_client import EVERYTHING, PROFILES, Client, profile
from tests.pretend import House, PretendInstance, raw

Json = dict[str, Any]
HELLO = (Command("hello", "Say hello", "It greets"),)


def house(*, value: Any = None, granted: tuple[str, ...] = ()) -> House:
    """A plugin `a` with a command `hello` that returns `value`, and tools."""
    found = House("a", commands=HELLO, granted=granted, concurrency=1000)

    async def hello(instance: PretendInstance, call: Call) -> Any:
        return raw({"value": value})

    found.runtime.behaviours["hello"] = hello
    return found


def behave(inside: House, run: Any) -> None:
    inside.runtime.behaviours["hello"] = run


# openings


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
async def test_each_recorded_editor_gets_the_same_commands(path: Path) -> None:
    client = Client(house(value="hi"))
    found = await client.initialize(**profile(path))
    assert found["capabilities"]["executeCommandProvider"]["commands"] == ["broker.run", "broker.call", "a.hello"]
    assert found["capabilities"]["positionEncoding"] == "utf-16"
    assert "textDocumentSync" not in found["capabilities"]
    assert await client.run("broker.run", "a.hello") == "hi"
    assert (await client.said("window/showMessage"))["message"] == "hi"
    extra = {"broker/status", "broker/commands", "textDocument/publishDiagnostics"}
    assert not extra & {message.get("method") for message in client.got}


@pytest.mark.parametrize("odd", [None, 7, [], {"window": 3}, {"workspace": {"applyEdit": "yes", "symbol": 7}}])
async def test_an_editor_that_says_nonsense_of_itself_is_served_all_the_same(odd: Any) -> None:
    client = Client(house(value="hi"))
    params = {"capabilities": odd, "processId": "x", "workspaceFolders": 7, "clientInfo": []}
    await client.result("initialize", params)
    assert await client.run("a.hello") == "hi"


async def test_nothing_is_served_before_initialize_and_after_shutdown() -> None:
    client = Client(house())
    assert (await client.ask("workspace/executeCommand", {"command": "a.hello"}))["error"]["code"] == -32002
    await client.initialize()
    assert (await client.ask("initialize", {"capabilities": {}}))["error"]["code"] == -32600
    assert (await client.ask("textDocument/hover", {}))["error"]["code"] == -32601
    await client.result("shutdown", None)
    assert (await client.ask("workspace/executeCommand", {"command": "a.hello"}))["error"]["code"] == -32600


async def test_a_configuration_that_cannot_be_used_is_told_to_the_editor() -> None:
    client = Client(house())
    client.inside.fails = ConfigError("the file is gone", hint="Write one.")
    error = (await client.ask("initialize", {"capabilities": {}}))["error"]
    assert error["code"] == -31010 and error["data"]["hint"] == "Write one."


async def test_the_workspace_is_the_folders_the_root_or_where_it_was_started(tmp_path: Path) -> None:
    other = {"uri": "vscode-remote://x/y", "name": "far"}
    for params, wanted in (
        ({"workspaceFolders": [other, {"uri": (tmp_path / "a b").as_uri(), "name": "a"}]}, [tmp_path / "a b"]),
        ({"workspaceFolders": None, "rootUri": tmp_path.as_uri()}, [tmp_path]),
        ({"rootPath": str(tmp_path)}, [tmp_path]),
        ({}, [Path.cwd()]),
    ):
        client, given = Client(house()), {"capabilities": {}, **params}
        await client.result("initialize", given)
        assert client.inside.openings[0].folders == wanted


async def test_a_workspace_is_trusted_unless_its_editor_says_no() -> None:
    client = Client(house())
    await client.initialize()
    assert client.inside.openings[0].trusted
    careful = Client(house())
    await careful.ours(trusted=False)
    assert not careful.inside.openings[0].trusted
    careful.write(method="broker/trust", params={"trusted": True})
    await careful.result("broker/list", {})
    assert careful.inside.trusted == [True]


async def test_what_is_wrong_in_the_users_files_is_in_the_log_of_the_editor() -> None:
    client = Client(house())
    client.inside.wrong = [Problem("config.toml:3", "there is no such key.", "Remove it.")]
    await client.initialize()
    said = await client.said("window/logMessage")
    assert said == {"type": 2, "message": "config.toml:3: there is no such key. Remove it."}


# what is run


async def test_a_tool_is_called_with_its_arguments_and_gives_what_it_gives_an_ai_client() -> None:
    client = Client(house())
    await client.initialize()
    found = await client.run("broker.call", "a__echo", {"x": [1, {"y": None}]})
    assert found == {"plugin": "a", "params": {"name": "echo", "arguments": {"x": [1, {"y": None}]}}}


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("broker.run", [], "a.hello"),
        ("broker.run", ["a.helo"], "a.hello"),
        ("broker.run", [7], "needs the name"),
        ("b.none", [], "b.none"),
        ("broker.call", ["a__none"], "a__none"),
        ("broker.call", ["a__echo", 7], "an object"),
        ("broker.call", [], "the name of a tool"),
        ("a.hello", {}, "must be a list"),
    ],
)
async def test_what_cannot_be_run_says_what_can(command: str, arguments: Any, says: str) -> None:
    client = Client(house())
    await client.initialize()
    error = (await client.ask("workspace/executeCommand", {"command": command, "arguments": arguments}))["error"]
    assert error["code"] == -32602 and says in error["message"] + error["data"]["hint"]


async def test_a_crash_in_a_command_is_an_error_that_names_the_plugin_and_the_next_one_works() -> None:
    inside = house()

    async def crash(instance: PretendInstance, call: Call) -> Any:
        instance.die()
        raise PluginFailed("a ended")

    behave(inside, crash)
    client = Client(inside)
    await client.initialize()
    error = (await client.ask("workspace/executeCommand", {"command": "a.hello"}))["error"]
    assert error["code"] == -31001 and error["message"].startswith("a ended")
    assert (await client.run("broker.call", "a__echo"))["plugin"] == "a"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("one", {"type": 3, "message": "one"}),
        ("one\ntwo\n", {"type": 3, "message": "one (and 1 more lines, in the log)"}),
        ({"content": [{"type": "text", "text": "bad"}], "isError": True}, {"type": 1, "message": "a: Say hello: bad"}),
        ({"x": 1}, None),
        (None, None),
        ("", None),
    ],
)
async def test_a_result_that_is_text_is_shown_in_one_line(value: Any, shown: Json | None) -> None:
    client = Client(house(value=value))
    await client.initialize()
    assert await client.run("a.hello") == value
    await client.result("broker/list", {})
    assert client.all("window/showMessage") == ([] if shown is None else [shown])


async def test_a_client_that_shows_results_itself_is_shown_none() -> None:
    client = Client(house(value="hi"))
    await client.ours()
    assert await client.run("a.hello") == "hi"
    await client.result("broker/list", {})
    assert client.all("window/showMessage") == []


async def test_a_result_above_the_limit_is_an_error_that_names_it() -> None:
    client = Client(house(value="x" * 5000), max_frame=1000)
    await client.initialize()
    error = (await client.ask("workspace/executeCommand", {"command": "a.hello"}))["error"]
    assert error["code"] == -31005 and "the limit is 1000" in error["message"]


async def test_500_commands_at_once_are_all_answered() -> None:
    client = Client(house(value="x"))
    await client.ours()
    ids = [client.send("workspace/executeCommand", {"command": "a.hello"}) for _ in range(500)]
    replies = [await client.reply(id) for id in ids]
    assert [reply.get("result") for reply in replies] == ["x"] * 500


# progress and cancelling


async def reporting(instance: PretendInstance, call: Call) -> Any:
    for done in (1, 2):
        said = {"progressToken": json.loads(bytes(call.token or b"0")), "progress": done, "total": 4, "message": "on"}
        call.caller.tell("notifications/progress", raw(said))
    await instance.release.wait()
    return raw({"value": None})


async def test_a_run_that_reports_is_shown_with_a_fresh_token_each_time() -> None:
    inside = house()
    behave(inside, reporting)
    client = Client(inside)
    await client.initialize()
    tokens: list[str] = []
    for nth in range(2):
        id = client.send("workspace/executeCommand", {"command": "a.hello"})
        begun = await client.until(begun_after(client, nth))
        assert begun
        inside.runtime.instances[0].release.set()
        await client.reply(id)
        inside.runtime.instances[0].release.clear()
        tokens.append(client.all("window/workDoneProgress/create")[-1]["token"])
    assert len(set(tokens)) == 2
    await client.until(lambda _: len(kinds(client, "end")) == 2)
    first = kinds(client, "begin")[0]
    assert first["value"]["title"] == "a: Say hello" and first["value"]["percentage"] == 50


def begun_after(client: Client, number: int) -> Callable[[Json], bool]:
    return lambda _: len(kinds(client, "begin")) > number


def kinds(client: Client, kind: str) -> list[Json]:
    return [each for each in client.all("$/progress") if each["value"]["kind"] == kind]


async def test_an_editor_that_made_the_token_hears_a_beginning_and_an_end() -> None:
    client = Client(house())
    await client.initialize({})
    await client.result("workspace/executeCommand", {"command": "a.hello", "workDoneToken": 0})
    assert [each["value"]["kind"] for each in client.all("$/progress")] == ["begin", "end"]
    assert client.all("window/workDoneProgress/create") == []


async def test_an_editor_without_progress_has_one_line_in_its_log() -> None:
    inside = house()
    behave(inside, reporting)
    client = Client(inside)
    await client.initialize({})
    id = client.send("workspace/executeCommand", {"command": "a.hello"})
    assert (await client.said("window/logMessage"))["message"] == "a: Say hello on"
    inside.runtime.instances[0].release.set()
    await client.reply(id)
    assert len(client.all("window/logMessage")) == 1 and client.all("$/progress") == []


async def test_an_editor_that_refuses_a_token_is_sent_nothing_with_it() -> None:
    inside = house()
    behave(inside, reporting)
    client = Client(inside)
    client.answers["window/workDoneProgress/create"] = RuntimeError("no")
    await client.initialize()
    id = client.send("workspace/executeCommand", {"command": "a.hello"})
    await client.said("window/workDoneProgress/create")
    inside.runtime.instances[0].release.set()
    await client.reply(id)
    assert client.all("$/progress") == []


async def test_a_run_is_cancelled_by_its_progress_too() -> None:
    inside = house()
    behave(inside, reporting)
    client = Client(inside)
    await client.initialize()
    id = client.send("workspace/executeCommand", {"command": "a.hello"})
    token = (await client.said("window/workDoneProgress/create"))["token"]
    await client.until(lambda _: bool(kinds(client, "begin")))
    client.write(method="window/workDoneProgress/cancel", params={"token": token})
    assert (await client.reply(id))["error"]["code"] == -32800
    await client.until(lambda _: bool(kinds(client, "end")))
    assert inside.runtime.instances[0].cancelled == 1
    client.write(method="window/workDoneProgress/cancel", params={"token": token})  # too late: nothing
    assert (await client.run("broker.call", "a__echo"))["plugin"] == "a"


# settings, trace, status


async def test_settings_are_pulled_and_pulled_again_when_they_changed() -> None:
    client, first = Client(house()), {"level": "error", "plugins": {"a": {"limit": 3}}}
    client.answers["workspace/configuration"] = [first]
    await client.initialize()
    await client.eventually(lambda: client.inside.configured)
    assert client.all("client/registerCapability")[0]["registrations"][0]["registerOptions"] == {"section": "broker"}
    client.session.logged(raw({"level": "warning", "logger": "a", "data": "quiet"}))
    client.answers["workspace/configuration"] = [{"level": "debug", "plugins": {}}]
    client.write(method="workspace/didChangeConfiguration", params={"settings": None})
    await client.eventually(lambda: len(client.inside.configured) == 2)
    client.session.logged(raw({"level": "debug", "logger": "a", "data": {"x": 1}}))
    assert await client.said("window/logMessage") == {"type": 4, "message": 'a: {"x":1}'}
    assert client.inside.configured == [{"a": {"limit": 3}}, {}]


@pytest.mark.parametrize("settings", [{"broker": {"level": "error"}}, {"level": "error"}])
async def test_settings_may_be_pushed_wrapped_or_not(settings: Json) -> None:
    client = Client(house())
    await client.initialize({})
    client.write(method="workspace/didChangeConfiguration", params={"settings": settings})
    await client.run("a.hello")
    client.session.logged(raw({"level": "warning", "logger": "a", "data": "quiet"}))
    client.session.logged(raw({"level": "critical", "logger": "a", "data": "loud"}))
    assert (await client.said("window/logMessage"))["message"] == "a: loud"


async def test_settings_that_were_pushed_count_where_asking_gives_nothing() -> None:
    client = Client(house())
    client.answers["workspace/configuration"] = [None]
    await client.initialize()
    client.write(method="workspace/didChangeConfiguration", params={"settings": {"plugins": {"a": {"limit": 3}}}})
    await client.eventually(lambda: {"a": {"limit": 3}} in client.inside.configured)
    client.write(method="workspace/didChangeConfiguration", params={"settings": {"other": {"level": "error"}}})
    await client.eventually(lambda: len(client.all("workspace/configuration")) == 3)
    await client.run("a.hello")
    assert client.inside.configured[-1] == {"a": {"limit": 3}}


@pytest.mark.parametrize("answer", [None, {}, [], [None], [7], "x", RuntimeError("no")])
async def test_settings_that_are_none_change_nothing(answer: Any) -> None:
    client = Client(house(value="hi"))
    client.answers["workspace/configuration"] = answer
    await client.initialize()
    await client.said("workspace/configuration")
    assert await client.run("a.hello") == "hi"
    assert all(each == {} for each in client.inside.configured)


async def test_a_trace_says_what_was_run_and_verbosely_what_it_gave() -> None:
    client = Client(house(value="hi"))
    await client.initialize()
    await client.run("a.hello")
    assert client.all("$/logTrace") == []
    client.write(method="$/setTrace", params={"value": "messages"})
    await client.run("a.hello")
    assert [each["message"].split(" after")[0] for each in client.all("$/logTrace")] == [
        "a: Say hello: begun",
        "a: Say hello: done",
    ]
    client.write(method="$/setTrace", params={"value": "verbose"})
    await client.run("a.hello")
    assert client.all("$/logTrace")[-1] == {"message": "a: Say hello: returned", "verbose": '"hi"'}


async def test_status_and_commands_go_to_clients_that_asked_and_only_when_they_changed() -> None:
    inside = house()
    client = Client(inside)
    await client.ours()
    assert await client.said("broker/status") == {
        "plugins": [{"name": "a", "state": "off"}],
        "state": "ready",
        "text": "",
    }
    commands = (await client.said("broker/commands"))["commands"]
    assert commands == [{"plugin": "a", "name": "a.hello", "title": "Say hello", "description": "It greets"}]
    inside.router.generations.register("a", Command("more"))
    await client.until(lambda _: len(client.all("broker/commands")) == 2)
    await client.run("a.hello")
    await client.said("broker/status", plugins=[{"name": "a", "state": "ready"}])
    said = client.all("broker/status")
    assert all(before != after for before, after in itertools.pairwise(said))


async def test_a_list_has_commands_plugins_and_tools_with_their_schemas() -> None:
    client = Client(house())
    await client.initialize()
    found = await client.result("broker/list", {})
    assert [each["name"] for each in found["tools"]] == ["a__die", "a__echo", "a__wait"]
    assert found["plugins"][0]["name"] == "a" and found["commands"][0]["name"] == "a.hello"


async def test_folders_that_come_and_go_are_told_to_plugins(tmp_path: Path) -> None:
    inside = house()
    client = Client(inside)
    await client.initialize(workspaceFolders=[{"uri": tmp_path.as_uri(), "name": "a"}])
    await client.run("broker.call", "a__echo")
    event = {
        "added": [{"uri": (tmp_path / "b").as_uri(), "name": "b"}],
        "removed": [{"uri": tmp_path.as_uri(), "name": "a"}],
    }
    client.write(method="workspace/didChangeWorkspaceFolders", params={"event": event})
    await client.run("broker.call", "a__echo")
    assert inside.runtime.instances[0].told == ["notifications/roots/list_changed"]
    roots = json.loads(bytes(await client.session.ask("roots/list", b"{}")))
    assert roots == {"roots": [{"uri": (tmp_path / "b").as_uri(), "name": "b"}]}


async def test_an_editor_that_leaves_ends_what_it_ran() -> None:
    inside = house()
    client = Client(inside)
    await client.initialize(EVERYTHING)
    client.send("workspace/executeCommand", {"command": "broker.run", "arguments": ["a.hello"]})
    client.send("workspace/executeCommand", {"command": "broker.call", "arguments": ["a__wait"]})
    async with asyncio.timeout(5):
        await inside.runtime.started.wait()
        client.stream.close()
        await client.ended.wait()
    assert not inside.router.attended and not client.session.said_goodbye


async def test_commands_of_plugins_that_come_and_go_are_told() -> None:
    inside = house()
    client = Client(inside)
    await client.ours()
    await client.said("broker/commands")
    specs = [Spec(name=name, source="x", commands=HELLO) for name in ("b", "c")]
    await inside.router.generations.apply(specs)
    named = [
        {"plugin": name, "name": f"{name}.hello", "title": "Say hello", "description": "It greets"} for name in "bc"
    ]
    await client.said("broker/commands", commands=named)
    await client.eventually(lambda: registered(client) == ["settings", "b.hello", "c.hello"])
    await inside.router.generations.disable("b")
    await client.said("client/unregisterCapability")
    await client.said("broker/commands", commands=named[1:])


def registered(client: Client) -> list[str]:
    return [each["id"] for said in client.all("client/registerCapability") for each in said["registrations"]]
