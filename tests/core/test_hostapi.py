"""The host of plugins in the broker's own runtimes: what each operation does, who may ask for it, and how often."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from broker.core import hostapi
from broker.core.audit import Audit
from broker.core.hostapi import HostApi, Powers
from broker.core.hostparams import MOST
from broker.core.hosttable import OPERATIONS, schema
from broker.core.listings import Listings
from broker.core.ports import Call, Identity
from broker.core.router import Router
from broker.errors import (
    BadArguments,
    BrokerError,
    FrameTooLarge,
    HostFailed,
    NotAnswered,
    NotFound,
    Overloaded,
    PermissionMissing,
    SelfWait,
)
from broker.model import Era, Spec
from broker.permissions.redaction import Redactions
from tests.pretend import PretendFace, PretendInstance, PretendRuntime, raw

EVERYTHING = (
    "call:*",
    "net:x.dev:443",
    "read:/r",
    "run:git",
    "secrets:token",
    "ui:ask",
    "ui:command",
    "ui:config",
    "ui:diagnostics",
    "ui:documents",
    "ui:edit",
    "ui:show",
    "ui:status",
    "ui:toast",
    "write:/w",
)
FORMS = Identity(version="2025-11-25", capabilities={"elicitation": raw({})})


class Home:
    """A host over pretended powers, and a router over `lua`, whose guest asks it, and `b`, which has tools."""

    def __init__(self, tmp_path: Path, granted: tuple[str, ...] = EVERYTHING, **spec: Any) -> None:
        self.spec = Spec(name="lua", source="test", entry="/x/plugin.lua", granted=granted, permissions={}, **spec)
        self.done: list[Any] = []
        self.lines: list[str] = []
        self.secrets: dict[str, str] = {}
        self.runtime, self.face = PretendRuntime(), PretendFace("alice")
        self.face.identity = FORMS
        self.redactions = Redactions()
        self.audit = Audit(tmp_path / "logs")
        powers = Powers(
            read=self._does,
            write=self._does,
            fetch=self._does,
            execute=self._does,
            secret=self._secret,
            keep=self._keep,
            configure=self._configure,
            log=lambda spec, line: self.lines.append(line),
            places=lambda spec: {"data": "/w", "workspace": "/r"},
        )
        self.api = HostApi(tmp_path / "state", powers, audit=self.audit, redactions=self.redactions)
        specs = [self.spec, Spec(name="b", source="test")]
        self.router = Router(specs, self.runtime, Listings(None))
        self.api.serve(self.router)

    async def _does(self, spec: Spec, params: Any) -> dict[str, Any]:
        self.done.append(params)
        return {"did": type(params).__name__}

    async def _secret(self, spec: Spec, name: str) -> str | None:
        return self.secrets.get(name)

    async def _keep(self, spec: Spec, name: str, value: str | None) -> bool:
        had = self.secrets.pop(name, None)
        if value is not None:
            self.secrets[name] = value
        return value is not None or had is not None

    async def _configure(self, spec: Spec, key: str, value: Any) -> None:
        self.done.append((key, value))

    async def known(self) -> Home:
        self.router.join(self.face)
        await self.router.learned(self.face.identity, self.face, 5)
        return self

    async def ask(self, op: str, call: Call | None = None, **params: Any) -> Any:
        return json.loads(await asyncio.wait_for(self.api.call(self.spec, op, json.dumps(params).encode(), call), 5))

    def in_work(self) -> Call:
        """A call of alice's that `lua` works for."""
        return Call(self.face, self.face.identity, "tools/call", {"name": raw("x")}, chain=("lua",))


NEEDS: list[tuple[str, dict[str, Any], str]] = [
    ("toast", {"title": "Done"}, "ui:toast"),
    ("register_command", {"name": "refresh"}, "ui:command"),
    ("set_status", {"key": "k", "value": "v"}, "ui:status"),
    ("fs.read", {"path": "/r/f"}, "read:/r"),
    ("fs.write", {"path": "/w/f", "text": "x"}, "write:/w"),
    ("http.fetch", {"url": "https://x.dev/a"}, "net:x.dev:443"),
    ("exec", {"command": ["git", "status"]}, "run:git"),
    ("call", {"plugin": "b", "tool": "echo"}, "call:b"),
    ("ask", {"message": "Sure?"}, "ui:ask"),
    ("pick", {"message": "Which?", "items": ["a", "b"]}, "ui:ask"),
    ("input", {"message": "Name?"}, "ui:ask"),
    ("confirm", {"message": "Sure?"}, "ui:ask"),
    ("config.set", {"key": "limit", "value": 3}, "ui:config"),
    ("secrets.get", {"name": "token"}, "secrets:token"),
    ("secrets.set", {"name": "token", "value": "hunter2hunter2"}, "secrets:token"),
    ("secrets.delete", {"name": "token"}, "secrets:token"),
    ("progress.begin", {"id": "w", "title": "Indexing"}, "ui:status"),
    ("progress.report", {"id": "w0"}, "ui:status"),
    ("progress.end", {"id": "w0"}, "ui:status"),
    ("show", {"uri": "file:///r/f"}, "ui:show"),
    ("editor.active", {}, "ui:documents"),
    ("editor.read", {"uri": "file:///r/f"}, "ui:documents"),
    ("editor.edit", {"changes": {"file:///r/f": []}}, "ui:edit"),
    ("editor.diagnostics", {"uri": "file:///r/f", "diagnostics": []}, "ui:diagnostics"),
    ("events.subscribe", {"names": ["document.saved"]}, "ui:documents"),
]
FACE: dict[str, Any] = {"show": {"shown": True}, "editor.active": None, "editor.read": {}, "editor.edit": {}}


@pytest.mark.parametrize(("op", "params", "permission"), NEEDS)
async def test_each_operation_is_refused_without_its_permission(
    tmp_path: Path, op: str, params: dict[str, Any], permission: str
) -> None:
    home = await Home(
        tmp_path, tuple(one for one in EVERYTHING if one.split(":")[:2] != permission.split(":")[:2])
    ).known()
    if op == "call":
        home.spec = Spec(name="lua", source="test", granted=("call:c",), permissions={})
    with pytest.raises(PermissionMissing) as caught:
        await home.ask(op, home.in_work(), **params)
    assert caught.value.facts["plugin"] == "lua" and home.done == []


@pytest.mark.parametrize(("op", "params", "permission"), NEEDS)
async def test_each_operation_is_done_with_its_permission(
    tmp_path: Path, op: str, params: dict[str, Any], permission: str
) -> None:
    home = await Home(tmp_path, (permission,)).known()
    home.face.answers["elicitation/create"] = {"action": "accept", "content": {}}
    home.face.performs = FACE
    if op in ("progress.report", "progress.end"):
        await home.ask("progress.begin", home.in_work(), id="w0", title="Indexing")
    await home.ask(op, home.in_work(), **params)


def test_every_permission_that_the_table_names_is_tried_above() -> None:
    assert {op for op, _, _ in NEEDS} == {each.name for each in OPERATIONS.values() if each.needs}


@pytest.mark.parametrize(
    ("op", "params"),
    [
        ("fs.read", {"path": "/r/../etc/passwd"}),
        ("fs.read", {"path": "/r/*"}),
        ("fs.read", {"path": "f"}),
        ("fs.read", {"path": "${home}/f"}),
        ("fs.read", {"path": "/r/f", "offset": -1}),
        ("fs.read", {"path": "/r/f", "mode": "w"}),
        ("fs.read", {"path": "/r/a\nb"}),
        ("http.fetch", {"url": "ftp://x.dev/"}),
        ("http.fetch", {"url": "https://user@x.dev/"}),
        ("http.fetch", {"url": "https://x.dev/a b"}),
        ("http.fetch", {"url": "https:///a"}),
        ("http.fetch", {"url": "https://x.dev:99999/"}),
        ("http.fetch", {"url": "https://x.dev/", "method": "CONNECT"}),
        ("exec", {"command": []}),
        ("exec", {"command": "git"}),
        ("toast", {"title": ""}),
        ("toast", {}),
        ("log", {"message": "x", "level": "loud"}),
        ("state.get", {"key": ""}),
        ("ask", {"message": "x", "choices": ["a"], "schema": {"type": "object", "properties": {}}}),
        ("ask", {"message": "x", "schema": {"type": "array"}}),
        ("ask", {"message": "x", "schema": {"type": "object", "properties": {"a": {"type": "object"}}}}),
    ],
)
async def test_params_that_make_no_sense_are_refused_before_anything_happens(
    tmp_path: Path, op: str, params: dict[str, Any]
) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(BadArguments):
        await home.ask(op, home.in_work(), **params)
    assert home.done == []


@pytest.mark.parametrize("params", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000])
async def test_params_that_are_no_object_are_refused(tmp_path: Path, params: bytes) -> None:
    home = Home(tmp_path)
    with pytest.raises(BadArguments):
        await home.api.call(home.spec, "log", params)


async def test_params_and_results_are_bounded(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(FrameTooLarge, match="params"):
        await home.ask("log", message="x" * MOST)

    async def large(instance: PretendInstance, call: Call) -> Any:
        return raw({"content": "x" * MOST})

    await home.known()
    home.runtime.behaviours["wait"] = large
    with pytest.raises(FrameTooLarge, match="result"):
        await home.ask("call", home.in_work(), plugin="b", tool="wait")


async def test_an_operation_nobody_knows_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no operation 'fs\.delete'"):
        await Home(tmp_path).ask("fs.delete", path="/r/f")


async def test_a_path_may_begin_with_a_place(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await home.ask("fs.write", path="${data}/f", text="x")
    assert home.done[0].path == "/w/f"
    with pytest.raises(PermissionMissing):
        await home.ask("fs.write", path="${workspace}/f", text="x")


async def test_a_failure_for_a_guest_has_a_stable_code(tmp_path: Path) -> None:
    home = Home(tmp_path, ())
    said = json.loads(await home.api.answer(home.spec, "toast", b'{"title":"x"}'))
    assert said["error"]["code"] == "permission-missing" and "ui:toast" in said["error"]["message"]
    assert json.loads(await home.api.answer(home.spec, "config.get", b"{}")) == {"ok": {}}


async def test_a_plugin_that_asks_too_often_is_told_when_it_may_again(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(Overloaded) as caught:
        for _ in range(50):
            await home.ask("toast", title="again")
    assert 0 < caught.value.facts["retryInMs"] <= 1001  # type: ignore[operator]
    assert len(home.face.logs) == OPERATIONS["toast"].burst


async def test_one_plugins_flood_takes_nothing_from_another(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(Overloaded):
        for _ in range(50):
            await home.ask("toast", title="again")
    home.spec = Spec(name="other", source="test", granted=EVERYTHING, permissions={})
    assert await home.ask("toast", title="mine") == {"shown": True}


async def test_a_toast_goes_to_the_caller_or_to_all_who_are_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert await home.ask("toast", title="Done") == {"shown": False}
    await home.known()
    assert await home.ask("toast", title="Done", message="42", kind="warn") == {"shown": True}
    assert home.face.logs == [{"level": "warning", "logger": "lua", "data": "Done: 42"}]
    assert await home.ask("toast", home.in_work(), title="Mine") == {"shown": True}
    assert home.face.told[-1] == ("notifications/message", {"level": "info", "logger": "lua", "data": "Mine"})


async def test_a_modern_client_gets_only_the_messages_it_asked_for(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    call = home.in_work()
    call.identity = Identity(era=Era.MODERN)
    assert await home.ask("toast", call, title="x") == {"shown": False}
    call.log_level = "warning"
    assert await home.ask("toast", call, title="x") == {"shown": False}
    assert await home.ask("toast", call, title="x", kind="error") == {"shown": True}


async def test_a_log_line_is_kept_and_sent_without_secrets(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    home.redactions.declare("lua", ["hunter2hunter2"])
    await home.ask("log", message="it is hunter2hunter2", level="error")
    assert len(home.lines) == 1 and home.lines[0].startswith("error: it is ")
    assert "hunter2" not in home.lines[0] and "hunter2" not in home.face.logs[0]["data"]


async def test_progress_reaches_the_caller_under_its_token(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    call = home.in_work()
    assert await home.ask("progress", call, progress=1) == {"shown": False}
    call.token = raw(0)
    assert await home.ask("progress", call, progress=2, total=3) == {"shown": True}
    assert home.face.told == [("notifications/progress", {"progressToken": 0, "progress": 2.0, "total": 3.0})]


async def test_commands_and_status_are_shown_while_their_plugin_runs(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    await home.ask("register_command", name="refresh", description="Counts again")
    await home.ask("set_status", key="count", value="7")

    def shown() -> tuple[dict[str, str], dict[str, str]]:
        (status,) = (each for each in home.router.generations.statuses() if each.name == "lua")
        return status.commands, status.notes

    assert shown() == ({"refresh": "Counts again"}, {"count": "7"})
    await home.ask("set_status", key="count", value="")
    assert shown() == ({"refresh": "Counts again"}, {})
    await home.router.generations.stop_one("lua")
    assert shown() == ({}, {})


async def test_another_generation_shows_only_its_own(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    await home.ask("register_command", name="old")
    home.spec = Spec(name="lua", source="newer", granted=EVERYTHING, permissions={})
    await home.ask("register_command", name="new")
    assert home.api.front.surface("lua").commands == {"new": ""}


async def test_what_it_showed_ends_with_its_instance_and_not_with_an_older_one(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    await home.ask("register_command", name="one")
    home.api.drop(msgspec.structs.replace(home.spec))
    assert home.api.front.surface("lua").commands == {"one": ""}
    home.api.drop(home.spec)
    assert home.api.front.surface("lua").commands == {}


async def test_status_says_when_nobody_is_there(tmp_path: Path) -> None:
    assert await Home(tmp_path).ask("set_status", key="k", value="v") == {"shown": False}


async def test_a_plugin_reads_its_own_options(tmp_path: Path) -> None:
    home = Home(tmp_path, config={"limit": 7})
    assert await home.ask("config.get", key="limit") == 7
    assert await home.ask("config.get", key="other") is None
    assert await home.ask("config.get") == {"limit": 7}


async def test_what_is_kept_is_there_for_the_next_broker_and_for_nobody_else(tmp_path: Path) -> None:
    await Home(tmp_path).ask("state.set", key="a", value={"x": [1, "é"]})
    home = Home(tmp_path)
    assert await home.ask("state.get", key="a") == {"x": [1, "é"]}
    home.spec = Spec(name="other", source="test")
    assert await home.ask("state.get", key="a") is None


async def test_null_takes_a_value_away(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await home.ask("state.set", key="a", value=1)
    await home.ask("state.set", key="a", value=None)
    assert await home.ask("state.get", key="a") is None


async def test_what_a_plugin_keeps_is_bounded_and_a_refusal_loses_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await home.ask("state.set", key="a", value="x" * 600_000)
    with pytest.raises(FrameTooLarge):
        await home.ask("state.set", key="b", value="x" * 600_000)
    assert await home.ask("state.get", key="b") is None
    assert len(await home.ask("state.get", key="a")) == 600_000


async def test_a_broken_state_file_is_said_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "state" / "kept" / "lua.json"
    file.parent.mkdir(parents=True)
    file.write_text("{broken")
    home = Home(tmp_path)
    with pytest.raises(HostFailed, match="what lua keeps"):
        await home.ask("state.get", key="a")
    with pytest.raises(HostFailed, match="what lua keeps"):
        await home.ask("state.set", key="a", value=1)
    assert file.read_text() == "{broken"


async def test_a_plugin_calls_another_for_its_own_caller(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    found = await home.ask("call", home.in_work(), plugin="b", tool="echo", arguments={"x": 1})
    assert found == {"plugin": "b", "params": {"name": "echo", "arguments": {"x": 1}}}


async def test_a_call_that_would_wait_for_itself_is_refused(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(SelfWait):
        await home.ask("call", home.in_work(), plugin="lua", tool="echo")


async def test_a_circle_of_calls_is_refused(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()

    async def back(instance: PretendInstance, call: Call) -> Any:
        spec = Spec(name="b", source="test", granted=("call:lua",), permissions={})
        return raw(json.loads(await home.api.answer(spec, "call", b'{"plugin":"lua","tool":"echo"}', call)))

    home.runtime.behaviours["wait"] = back
    said = await home.ask("call", home.in_work(), plugin="b", tool="wait")
    assert said["error"]["code"] == "self-wait"


@pytest.mark.parametrize("target", [("b", "nothing"), ("c", "echo"), ("b", "b__echo"), ("b", "")])
async def test_only_what_is_listed_can_be_called(tmp_path: Path, target: tuple[str, str]) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(BadArguments):
        await home.ask("call", home.in_work(), plugin=target[0], tool=target[1])


async def test_a_question_reaches_the_caller_and_says_who_asks(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    asked: list[Any] = []

    async def answer(method: str, params: Any) -> Any:
        asked.append(json.loads(bytes(params)))
        return raw({"action": "accept", "content": {"choice": "b"}})

    home.face.ask = answer  # type: ignore[method-assign]
    found = await home.ask("ask", home.in_work(), message="Which?", choices=["a", "b"])
    assert found == {"action": "accept", "content": {"choice": "b"}}
    assert asked[0]["message"] == "The plugin lua asks: Which?"
    assert asked[0]["requestedSchema"]["properties"]["choice"]["enum"] == ["a", "b"]


async def test_a_question_that_nobody_can_answer_says_so(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    with pytest.raises(NotAnswered, match="nobody called"):
        await home.ask("ask", message="x")
    with pytest.raises(NotAnswered, match="nobody answered"):
        await home.ask("ask", home.in_work(), message="x")
    call = home.in_work()
    call.identity = Identity(version="2025-11-25")
    with pytest.raises(NotAnswered, match="does not ask"):
        await home.ask("ask", call, message="x")


async def test_a_question_without_an_answer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.hostasking.PATIENCE", 0.05)
    home = await Home(tmp_path).known()

    async def never(method: str, params: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    home.face.ask = never  # type: ignore[method-assign]
    with pytest.raises(NotAnswered, match=r"within 0\.05 s"):
        await home.ask("ask", home.in_work(), message="x")


async def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    home, go, count = await Home(tmp_path).known(), asyncio.Event(), 0

    async def answer(method: str, params: Any) -> Any:
        nonlocal count
        count += 1
        await go.wait()
        return raw({"action": "decline"})

    home.face.ask = answer  # type: ignore[method-assign]
    both = [asyncio.create_task(home.ask("ask", home.in_work(), message="x")) for _ in range(3)]
    async with asyncio.timeout(5):
        while not count:
            await asyncio.sleep(0)
    both[0].cancel()
    go.set()
    found = await asyncio.gather(*both, return_exceptions=True)
    assert count == 1 and found[1:] == [{"action": "decline"}] * 2


async def test_a_modern_client_is_asked_by_the_result_of_its_call(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    identity = Identity(Era.MODERN, "2026-07-28", capabilities={"elicitation": raw({})})
    home.runtime.speaks["lua"] = {Era.MODERN}

    async def asking(instance: PretendInstance, call: Call) -> Any:
        return raw(await home.ask("ask", call, message="Sure?"))

    home.runtime.behaviours["wait"] = asking
    first = Call(home.face, identity, "tools/call", {"name": raw("lua__wait")})
    said = json.loads(bytes(await asyncio.wait_for(home.router.call(first), 5)))
    ((key, question),) = said["inputRequests"].items()
    assert said["resultType"] == "input_required" and "lua asks: Sure?" in question["params"]["message"]
    answers = {"requestState": raw(said["requestState"]), "inputResponses": raw({key: {"action": "cancel"}})}
    again = Call(home.face, identity, "tools/call", {"name": raw("lua__wait"), **answers})
    assert json.loads(bytes(await asyncio.wait_for(home.router.call(again), 5))) == {"action": "cancel"}


async def test_every_operation_that_matters_is_in_the_audit(tmp_path: Path) -> None:
    home = await Home(tmp_path).known()
    await home.ask("fs.read", path="/r/secret.txt")
    with pytest.raises(BrokerError):
        await home.ask("fs.read", path="/etc/passwd")
    await home.ask("log", message="x")
    home.audit.close()
    lines = [json.loads(line) for line in (tmp_path / "logs" / "audit.jsonl").read_text().splitlines()]
    assert [(line["plugin"], line["method"], line["name"], line["outcome"]) for line in lines] == [
        ("lua", "host/fs.read", "read:/r/secret.txt", "ok"),
        ("lua", "host/fs.read", "read:/etc/passwd", "permission-missing"),
    ]


def test_the_schema_describes_every_operation_and_is_one() -> None:
    found = schema()
    done = {*hostapi._DO, *hostapi._FRONT}  # pyright: ignore[reportPrivateUsage]
    assert set(found["operations"]) == set(OPERATIONS) == done
    params = {name: operation["params"] for name, operation in found["operations"].items()}
    jsonschema.Draft202012Validator.check_schema({"properties": params, "$defs": found["$defs"]})
    for operation in found["operations"].values():
        assert operation["codes"] and operation["description"]
    toast = {**found["operations"]["toast"]["params"], "$defs": found["$defs"]}
    assert jsonschema.Draft202012Validator(toast).is_valid({"title": "x"})
    assert not jsonschema.Draft202012Validator(toast).is_valid({"title": "x", "other": 1})
