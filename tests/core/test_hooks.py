"""Hooks: who is asked, in what order, what an answer does, and what a failure means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core import hooks
from broker.core.audit import Audit
from broker.core.listings import Listings
from broker.core.ports import Call
from broker.core.router import Router
from broker.errors import Denied, PermissionMissing, PluginFailed
from broker.model import Hook, Spec
from tests.pretend import PretendFace, PretendRuntime, raw

PRE, POST = Hook(on="pre_request"), Hook(on="post_response")
Says = Callable[[Any, Call], Any]


def saying(**answer: Any) -> Says:
    async def say(event: Any, call: Call) -> Any:
        return answer

    return say


async def silent(event: Any, call: Call) -> Any:
    await asyncio.get_running_loop().create_future()


async def broken(event: Any, call: Call) -> Any:
    raise PluginFailed("it is broken")


class Home:
    """A router over `a`, which has a tool, and plugins with hooks."""

    def __init__(self, audit: Audit | None = None, **hooked: tuple[Hook, ...]) -> None:
        self.runtime, self.face = PretendRuntime(), PretendFace("alice")
        specs = [Spec(name=name, source="test", hooks=each) for name, each in hooked.items()]
        specs.append(Spec(name="a", source="test", hooks=()))
        self.router = Router(specs, self.runtime, Listings(None), audit=audit)

    async def known(self) -> Home:
        self.router.join(self.face)
        await self.router.learned(self.face.identity, self.face, 5)
        return self

    async def call(self, tool: str = "a__echo", **arguments: Any) -> Any:
        found = await asyncio.wait_for(self.router.call(self.face.call(tool, **arguments)), 5)
        return json.loads(bytes(found))

    def events(self, name: str) -> list[Any]:
        return [event for instance in self.runtime.of(name) for event in instance.events]


async def test_a_hook_is_told_of_the_call_and_its_client() -> None:
    home = await Home(h=(PRE,)).known()
    await home.call(x=1)
    assert home.events("h") == [
        {
            "type": "pre_request",
            "priority": 0,
            "method": "tools/call",
            "tool": "echo",
            "plugin": "a",
            "client": "alice",
            "arguments": {"x": 1},
            "truncated": False,
            "meta": {},
        }
    ]


async def test_hooks_run_by_priority_and_then_in_the_order_of_configuration() -> None:
    def at(priority: int) -> tuple[Hook, ...]:
        return (Hook(on="pre_request", priority=priority),)

    home = await Home(late=at(9), first=at(-1), second=at(0), third=at(0)).known()
    order: list[str] = []
    for name in ("late", "first", "second", "third"):

        async def note(event: Any, call: Call, name: str = name) -> Any:
            order.append(name)
            return {}

        home.runtime.hooks[name] = note
    await home.call()
    assert order == ["first", "second", "third", "late"]


async def test_the_first_deny_ends_it_and_says_who_and_why() -> None:
    home = await Home(guard=(PRE,), other=(PRE,)).known()
    home.runtime.hooks["guard"] = saying(allow=False, reason="not on a Saturday")
    with pytest.raises(Denied, match=r"guard refused tools/call echo.*not on a Saturday") as caught:
        await home.call()
    assert caught.value.facts["plugin"] == "guard" and caught.value.facts["sideEffects"] == "none"
    assert home.events("other") == [] and home.runtime.of("a")[0].most == 0


async def test_a_reason_shows_nothing_that_a_person_could_not_see() -> None:
    home = await Home(guard=(PRE,)).known()
    home.runtime.hooks["guard"] = saying(allow=False, reason="no\x1b[2J" + "x" * 5000)
    with pytest.raises(Denied) as caught:
        await home.call()
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


async def test_changed_arguments_reach_the_next_hook_and_the_plugin() -> None:
    home = await Home(first=(PRE,), second=(PRE,)).known()
    home.runtime.hooks["first"] = saying(modified=True, arguments={"x": 2})
    found = await home.call(x=1)
    assert home.events("second")[0]["arguments"] == {"x": 2}
    assert found["params"]["arguments"] == {"x": 2}


async def test_arguments_that_are_not_marked_as_modified_change_nothing() -> None:
    home = await Home(first=(PRE,)).known()
    home.runtime.hooks["first"] = saying(arguments={"x": 2})
    assert (await home.call(x=1))["params"]["arguments"] == {"x": 1}


@pytest.mark.parametrize("answer", [{"modified": True}, {"modified": True, "arguments": [1]}, {"allow": "yes"}, []])
async def test_an_answer_that_makes_no_sense_is_a_failure(answer: Any) -> None:
    async def say(event: Any, call: Call) -> Any:
        return answer

    home = await Home(guard=(PRE,)).known()
    home.runtime.hooks["guard"] = say
    with pytest.raises(Denied, match="its hook failed"):
        await home.call()


async def test_long_arguments_are_shown_as_the_beginning_of_their_text() -> None:
    home = await Home(h=(PRE,)).known()
    found = await home.call(x="é" * hooks.ARGUMENTS)
    event = home.events("h")[0]
    assert event["truncated"] and event["arguments"].startswith('{"x":')
    assert len(event["arguments"].encode()) <= hooks.ARGUMENTS
    assert len(found["params"]["arguments"]["x"]) == hooks.ARGUMENTS


async def test_metadata_merges_and_the_first_status_stays() -> None:
    home = await Home(first=(PRE,), second=(POST,)).known()
    home.runtime.hooks["first"] = saying(meta={"a": 1, "b": 1}, status="seen")
    home.runtime.hooks["second"] = saying(meta={"b": 2}, status="later")
    found = await home.call()
    assert found["_meta"][hooks.META] == {"meta": {"a": 1, "b": 2}, "status": "seen"}
    assert home.events("second")[0]["meta"] == {"a": 1, "b": 1}


async def test_a_result_is_untouched_when_hooks_say_nothing() -> None:
    home = await Home(h=(PRE, POST)).known()
    assert "_meta" not in await home.call()
    assert [event["type"] for event in home.events("h")] == ["pre_request", "post_response"]


async def test_a_result_that_a_hook_refuses_is_withheld_and_may_have_done_something() -> None:
    home = await Home(guard=(POST,)).known()
    home.runtime.hooks["guard"] = saying(allow=False, reason="secret")
    with pytest.raises(Denied) as caught:
        await home.call()
    assert caught.value.facts["sideEffects"] == "unknown" and home.runtime.of("a")[0].most == 1


@pytest.mark.parametrize("says", [silent, broken])
@pytest.mark.parametrize(
    ("hook", "denies"),
    [
        (PRE, True),
        (Hook(on="pre_request", fail="open"), False),
        (POST, False),
        (Hook(on="post_response", fail="closed"), True),
    ],
)
async def test_a_failing_hook_is_what_its_entry_says(
    monkeypatch: pytest.MonkeyPatch, says: Says, hook: Hook, denies: bool
) -> None:
    monkeypatch.setattr(hooks, "WALL", 0.05)
    home = await Home(guard=(hook,)).known()
    home.runtime.hooks["guard"] = says
    if denies:
        with pytest.raises(Denied, match="its hook failed") as caught:
            await home.call()
        assert "broker disable guard" in caught.value.hint
    else:
        assert (await home.call())["plugin"] == "a"


async def test_a_plugin_that_cannot_be_started_fails_as_a_hook() -> None:
    home = Home(guard=(PRE,))
    home.runtime.broken.add("guard")
    await home.known()
    with pytest.raises(Denied, match="cannot be started"):
        await home.call()


async def test_a_plugin_that_waits_for_a_call_is_not_asked_about_it() -> None:
    home = await Home(h=(PRE,)).known()
    call = home.face.call("a__echo")
    call.chain = ("h",)
    await asyncio.wait_for(home.router.call(call), 5)
    assert home.events("h") == []


async def test_a_hook_that_calls_a_tool_is_not_asked_about_that_call() -> None:
    home = await Home(h=(PRE,)).known()

    async def calling(event: Any, call: Call) -> Any:
        await home.router.call(
            Call(call.caller, call.identity, "tools/call", {"name": raw("a__echo")}, chain=call.chain)
        )
        return {}

    home.runtime.hooks["h"] = calling
    await home.call()
    assert len(home.events("h")) == 1


async def test_a_busy_plugin_answers_its_hooks_beside_the_line() -> None:
    home = await Home(h=(PRE,)).known()
    working = asyncio.create_task(home.router.call(home.face.call("h__wait")))
    (instance,) = home.runtime.of("h")
    async with asyncio.timeout(5):
        while not instance.running:
            await asyncio.sleep(0)
    assert (await home.call())["plugin"] == "a"
    instance.release.set()
    await asyncio.wait_for(working, 5)


async def test_a_client_that_a_hook_refuses_can_call_nothing() -> None:
    home = await Home(guard=(Hook(on="on_connect"),)).known()

    async def refusing(event: Any, call: Call) -> Any:
        return {"allow": event["client"] != "alice", "reason": "unknown client"}

    home.runtime.hooks["guard"] = refusing
    home.router.met(home.face, home.face.identity)
    for _ in range(2):
        with pytest.raises(Denied, match=r"guard refused this client.*unknown client"):
            await home.call()
    assert len(home.events("guard")) == 1
    bob = PretendFace("bob")
    await asyncio.wait_for(home.router.call(bob.call("a__echo")), 5)
    await home.router.stop()


async def test_hooks_hear_of_a_client_that_leaves() -> None:
    home = await Home(h=(Hook(on="on_close"),)).known()
    home.router.leave(home.face)
    await home.router.stop()
    assert [(event["type"], event["client"]) for event in home.events("h")] == [("on_close", "alice")]


async def test_without_a_hook_there_is_nothing_to_ask() -> None:
    home = await Home().known()
    assert home.router._hooks is None  # pyright: ignore[reportPrivateUsage]


async def test_hooks_come_and_go_with_their_plugins() -> None:
    home = await Home(h=(PRE,)).known()
    home.runtime.hooks["h"] = saying(allow=False)
    await home.router.generations.disable("h")
    assert (await home.call())["plugin"] == "a"
    await home.router.generations.enable("h")
    with pytest.raises(Denied):
        await home.call()
    await home.router.generations.change(Spec(name="h", source="test"))
    assert (await home.call())["plugin"] == "a"


def lacking(*hooks: Hook) -> Spec:
    return Spec(name="h", source="test", hooks=hooks, permissions={"net": ("x.dev",)}, missing=("net:x.dev:443",))


async def test_a_guard_that_lacks_a_permission_lets_nothing_pass_and_says_what_to_grant() -> None:
    home = await Home(h=(PRE,)).known()
    await home.router.generations.change(lacking(PRE))
    with pytest.raises(Denied, match=r"h refused tools/call echo .*cannot run: h asks for net:x\.dev:443") as refused:
        await home.call()
    assert "broker grant h net:x.dev:443" in str(refused.value.hint)
    assert home.events("h") == []
    await home.router.generations.change(Spec(name="h", source="test", hooks=(PRE,)))
    assert (await home.call())["plugin"] == "a"


async def test_one_that_fails_open_is_passed_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    home = await Home(h=(POST,)).known()
    await home.router.generations.change(lacking(POST))
    for _ in range(3):
        assert (await home.call())["plugin"] == "a"
    warned = [each.getMessage() for each in caplog.records if "cannot run" in each.getMessage()]
    assert len(warned) == 1
    assert "broker grant h net:x.dev:443" in warned[0]


async def test_a_doorkeeper_that_lacks_a_permission_lets_nobody_in_until_it_is_granted() -> None:
    door = Hook(on="on_connect", fail="closed")
    home = await Home(h=(door,)).known()
    await home.router.generations.change(lacking(door))
    for _ in range(2):
        with pytest.raises(Denied, match="h refused this client") as refused:
            await home.call()
        assert "broker grant h net:x.dev:443" in str(refused.value.hint)
    await home.router.generations.change(Spec(name="h", source="test", hooks=(door,)))
    assert (await home.call())["plugin"] == "a"


@pytest.mark.parametrize(("stale", "refused"), [("", False), ("its program is another", True)])
async def test_only_a_hook_that_was_granted_once_has_a_say(stale: str, refused: bool) -> None:
    home = await Home(h=(PRE,)).known()
    asked = {"hooks": ("pre_request",)}
    spec = Spec(name="h", source="test", hooks=(PRE,), permissions=asked, missing=("hooks:pre_request",), stale=stale)
    await home.router.generations.change(spec)
    if refused:
        with pytest.raises(Denied, match="its program is another"):
            await home.call()
    else:
        assert (await home.call())["plugin"] == "a"


async def test_calls_of_its_own_tools_pass_a_guard_that_lacks_a_permission_so_that_its_user_is_asked() -> None:
    home = await Home(h=(PRE,)).known()
    await home.router.generations.change(lacking(PRE))
    with pytest.raises(PermissionMissing):
        await home.call("h__echo")


async def test_a_denied_call_is_in_the_audit(tmp_path: Path) -> None:
    home = await Home(Audit(tmp_path), guard=(PRE,)).known()
    home.runtime.hooks["guard"] = saying(allow=False)
    with pytest.raises(Denied):
        await home.call()
    await home.router.stop()
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "denied-by-hook"
