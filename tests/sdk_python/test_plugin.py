"""A plugin of the SDK through its own harness: the same test in memory and over real pipes, in both eras of MCP."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from broker_sdk import HostUnavailable, Misdeclared, ToolError
from broker_sdk.forms import form_of
from broker_sdk.testing import Failed, Harness, MovedClock, arguments
from hypothesis import given, settings

DEMO = Path(__file__).with_name("demo_plugin.py")
BOUND = 5.0  # seconds


@dataclass
class Several:
    colors: list[Literal["red", "blue"]]


@dataclass
class Nested:
    inner: Several


Client = Callable[..., Harness]


@pytest.fixture(params=["modern", "legacy"])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def client(plugin_client: Client, era: str) -> Harness:
    """In memory, where everything is granted and nobody answers."""
    return plugin_client(DEMO, era=era)


@pytest.fixture(scope="module", params=["modern", "legacy"])
def process(request: pytest.FixtureRequest) -> Generator[Harness]:
    """A process for each era, for all tests of this file."""
    with Harness(DEMO, over="stdio", era=request.param, secrets={"api_key": "k"}) as found:
        yield found


def test_a_structured_result_is_data_and_text_and_the_host_hears_the_toast(client: Harness) -> None:
    reply = client.reply("count", path="src", limit=3)
    assert reply.data == {"count": 3, "places": [{"path": "src", "line": 1}]}
    assert reply.text == '{"count":3,"places":[{"path":"src","line":1}]}'
    assert [report["progress"] for report in reply.progress] == [0, 2]
    client.host.until(lambda: client.host.toasts == ["3 TODOs"])


def test_the_same_over_real_pipes(process: Harness) -> None:
    reply = process.reply("count", path="src", limit=3)
    assert reply.data == {"count": 3, "places": [{"path": "src", "line": 1}]}
    assert [report["progress"] for report in reply.progress] == [0, 2]
    process.host.until(lambda: process.host.toasts == ["3 TODOs"])
    assert process.call("add", a=1, b=2) == 3  # and what it prints is not in the way
    assert process.call("secret") == "k"
    process.host.answers.extend(["Ada", True, "two", "b.txt", {"name": "Ada", "age": 36, "color": "blue"}])
    person = {"name": "Ada", "age": 36, "color": "blue"}
    assert process.call("interview") == ["Ada", True, "two", "b.txt", person]
    process.host.answers.append(True)
    assert process.command("refresh", "src", 2) == "refreshed"
    assert process.host.status == {"todos": "✓ src 2"}


def test_what_is_no_object_is_wrapped_and_texts_and_contents_are_not(client: Harness) -> None:
    assert client.reply("add", a=1).raw["structuredContent"] == {"result": 2}
    assert "structuredContent" not in client.reply("echo", text="é").raw
    assert client.reply("picture").content == [{"type": "image", "data": "cG5n", "mimeType": "image/png"}]
    assert [each["type"] for each in client.reply("mixed").content] == ["text", "resource_link"]


def test_wrong_arguments_are_said_to_the_model_with_their_name(client: Harness) -> None:
    with pytest.raises(ToolError, match="Invalid arguments of add: `a`: expected `int`, got `str`"):
        client.call("add", a="one")
    with pytest.raises(ToolError, match="missing required field `path`"):
        client.call("count")
    with pytest.raises(ToolError, match="unknown field `what`"):
        client.call("add", a=1, what=2)
    with pytest.raises(ToolError, match=r"`form\.age`: expected `int` >= 0"):
        client.call("fill", form={"name": "x", "age": -1})
    assert client.call("fill", form={"name": "x"}) == "x 30 red []"


def test_a_tool_error_is_told_and_any_other_exception_is_not(
    client: Harness, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ToolError, match="no, for a reason"):
        client.call("refuse")
    with pytest.raises(ToolError, match=r"^Error in tool crash$"):
        client.call("crash")
    assert "RuntimeError: a secret of the author's" in capfd.readouterr().err


def test_a_tool_that_takes_too_long_is_ended_and_time_is_the_tests(client: Harness) -> None:
    clock = client.clock
    before = clock.waiting
    pending = client.begin("nap", seconds=60)
    waited(clock, before + 2)
    clock.advance(5)
    result = pending.result()
    assert result["isError"] and result["content"][0]["text"] == "nap took longer than 5 s and was ended"
    again = client.begin("nap", seconds=4)
    waited(clock, before + 2)
    clock.advance(4)
    assert again.result()["content"][0]["text"] == "rested"


def waited(clock: MovedClock, timers: int) -> None:
    deadline = time.monotonic() + BOUND
    while clock.waiting < timers:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_cancelled_call_is_not_answered_and_a_thread_can_see_it(client: Harness) -> None:
    pending = client.begin("wait_in_thread")
    client.host.until(lambda: "the thread runs" in client.host.log)
    pending.cancel()
    client.host.until(lambda: "the thread saw it" in client.host.log)
    assert client.call("echo", text="next") == "next"
    assert pending.id not in client.client._replies


def test_one_await_asks_whatever_the_era(client: Harness) -> None:
    client.host.answers.extend(["Ada", True, "two", "b.txt", {"name": "Ada", "age": 36, "color": "blue"}])
    person = {"name": "Ada", "age": 36, "color": "blue"}
    assert client.call("interview") == ["Ada", True, "two", "b.txt", person]
    assert client.host.asked == ["Your name?", "Sure?", "Which?", "Which file?", "Who?"]
    assert client.call("interview") == [None, False, None, None, None]  # whoever closes a question answers nothing


def test_questions_asked_at_once_and_from_threads(client: Harness) -> None:
    client.host.answers.extend(["a", 2, "c"])
    assert client.call("together") == ["a", 2, "c"]
    client.host.answers.append("yes")
    assert client.call("ask_in_thread") == "yes"


def test_state_config_secrets_and_other_plugins_are_the_hosts(plugin_client: Client, era: str) -> None:
    def double(value: int) -> dict[str, int]:
        return {"doubled": 2 * value}

    tools = {"other.double": double}
    client = plugin_client(DEMO, era=era, config={"greeting": "hi"}, secrets={"api_key": "k"}, tools=tools)
    assert client.call("keep", value=5) == ["nothing", 5, "hi"]
    assert client.call("keep", value=6) == [5, 6, "hi"]
    assert client.host.state == {"value": 6}
    assert client.call("secret") == "k"
    assert client.reply("forward").data == {"doubled": 42}


def test_what_was_not_granted_is_refused_with_a_name(plugin_client: Client) -> None:
    client = plugin_client(DEMO, grant=["ui"])
    with pytest.raises(ToolError, match=r"secrets\.get"):
        client.call("secret")
    assert client.host.denied == ["secrets.get"]
    assert client.call("fetch") == "permission-missing"


def test_without_broker_it_is_a_plugin_of_any_client(
    plugin_client: Client, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_CONFIG_GREETING", "hello")
    client = plugin_client(DEMO, era=era, host=False, answers=["Ada"])
    assert client.call("count", path=".")["count"] == 100  # the toast became a log message
    logged = [each["params"]["data"] for each in client.client.told if each["method"] == "notifications/message"]
    assert "100 TODOs" in logged
    assert client.call("keep", value=5) == ["nothing", 5, "hello"]
    assert client.call("keep", value=6)[0] == 5
    with pytest.raises(ToolError, match="needs broker"):
        client.call("secret")
    monkeypatch.setenv("BROKER_SECRET_API_KEY", "from the environment")
    assert client.call("secret") == "from the environment"
    assert client.call("ask_in_thread") == "Ada"


def test_resources_by_uri_and_by_template(client: Harness, era: str) -> None:
    assert client.read("demo://about") == "# Demo"
    assert client.read("demo://note/a%20b") == '{"name":"a b"}'
    assert client.read("demo://bytes/3") == b"xxx"
    with pytest.raises(Failed, match="no such note"):
        client.read("demo://note/missing")
    with pytest.raises(Failed, match="expected `int`"):
        client.read("demo://bytes/three")
    with pytest.raises(Failed) as missing:
        client.read("demo://nowhere")
    assert missing.value.code == (-32602 if era == "modern" else -32002)


def test_prompts_and_what_completes_their_arguments(client: Harness) -> None:
    said = client.prompt("review", file="a.py")
    assert [each["role"] for each in said] == ["user", "assistant"]
    assert said[0]["content"] == {"type": "text", "text": "Review a.py, kind."}
    with pytest.raises(Failed, match="missing required field `file`"):
        client.prompt("review")
    ref = {"type": "ref/prompt", "name": "review"}
    for argument, typed, values in (("file", "ma", ["main.py", "map.py"]), ("tone", "s", ["strict"])):
        asked = {"ref": ref, "argument": {"name": argument, "value": typed}}
        assert client.client.request("completion/complete", asked)["completion"]["values"] == values


def test_commands_are_registered_and_run(plugin_client: Client) -> None:
    client = plugin_client(DEMO, answers=[True, False])
    client.host.until(lambda: "refresh" in client.host.commands)
    assert client.host.commands == {"refresh": {"title": "Refresh TODOs", "description": "Look again."}}
    assert client.command("refresh", "src") == "refreshed"
    assert client.host.status == {"todos": "✓ src 1"}
    with pytest.raises(Failed, match="not wanted"):
        client.command("demo.refresh")
    with pytest.raises(Failed, match="depth"):
        client.command("refresh", "src", "deep")
    with pytest.raises(Failed, match="no command"):
        client.command("nothing")


def test_events_reach_those_who_want_them(plugin_client: Client) -> None:
    client = plugin_client(DEMO, config={"greeting": "hi"})
    client.host.until(lambda: client.host.events == ["config.changed", "document.saved"])
    client.emit("document.saved", uri="file:///a.py", languageId="python")
    client.host.until(lambda: client.host.toasts == ["saved file:///a.py"])
    client.emit("document.saved", uri="file:///a.js", languageId="javascript")
    client.host.config["greeting"] = "ho"
    client.emit("config.changed")
    client.host.until(lambda: client.host.toasts[1:] == ["greeting is ho"])


def test_hooks_let_pass_change_or_stop(client: Harness) -> None:
    assert client.hook("pre_request", tool="cat") == {}
    assert client.hook("pre_request", tool="rm") == {"allow": False, "reason": "nothing is deleted here"}
    changed = {"modified": True, "arguments": {"path": "/tmp"}, "meta": {"demo/seen": True}}
    assert client.hook("pre_request", tool="ls") == changed
    assert client.hook("on_close", tool="rm") == {}


def test_start_and_end_run_once_in_their_order(plugin_client: Client) -> None:
    from broker_sdk.testing.loading import loaded

    plugin = loaded(DEMO)
    with Harness(plugin) as client:
        client.host.until(lambda: client.host.log == ["started"])
    assert plugin.stops[0].__globals__["ended"] == ["life", "stopped"]


def test_golden_definitions_fail_on_a_change(client: Harness, tmp_path: Path) -> None:
    client.snapshot_tools(tmp_path / "tools.json")
    client.snapshot_tools(tmp_path / "tools.json")
    text = (tmp_path / "tools.json").read_text()
    assert '"description": "folder to scan"' in text
    (tmp_path / "tools.json").write_text(text.replace("folder to scan", "folder"))
    with pytest.raises(AssertionError, match="the tools are not those of"):
        client.snapshot_tools(tmp_path / "tools.json")


def test_arguments_made_of_the_schema_are_taken(client: Harness) -> None:
    for tool in ("count", "add", "fill", "echo"):
        assert len(client.fuzz(tool, 25)) == 25


def test_hypothesis_makes_arguments_of_a_definition(client: Harness) -> None:
    (tool,) = [each for each in client.tools() if each["name"] == "fill"]

    @settings(max_examples=20, database=None, deadline=None)
    @given(arguments(tool))
    def taken(made: dict[str, Any]) -> None:
        assert client.call("fill", **made).startswith(made["form"]["name"])

    taken()


def test_a_form_has_no_nested_fields() -> None:
    fields = form_of(Several, titled=True).schema["properties"]
    assert fields["colors"] == {"type": "array", "items": {"type": "string", "enum": ["blue", "red"]}}
    with pytest.raises(Misdeclared, match="`inner` cannot be asked for"):
        form_of(Nested, titled=True)


def test_what_only_broker_can_do_says_so_without_it(plugin_client: Client) -> None:
    client = plugin_client(DEMO, host=False)
    assert client.call("fetch") == HostUnavailable("x").code
