"""Lua plugins: what scripts can write, what clients see of it, and what becomes of a script that has to be ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import BrokerError, PluginFailed, PluginUnavailable, RemoteError, TimedOut
from broker.model import Era, Limits, Spec
from broker.runtimes import lua_guest
from broker.runtimes.lua_inprocess import InProcess
from broker.runtimes.lua_runtime import LuaRuntime
from broker.runtimes.served import MOST_EVENTS, Served
from tests.pretend import PretendFace, raw
from tests.runtimes.test_process import Holder

Open = Callable[..., Awaitable[Served]]
PLACES = ("inprocess", "process")

SPIN = "broker.tool{name='spin', run=function() while true do end end}\n"
COUNT = "local n = 0\nbroker.tool{name='count', run=function() n = n + 1 return n end}\n"


async def operations(spec: Spec, op: str, params: bytes, call: Call | None) -> bytes:
    if op == "wait":
        await asyncio.sleep(0.3)
        return b"true"
    if op == "forever":
        await asyncio.Event().wait()
    if op == "echo":
        return params
    raise PluginFailed(f"{spec.name} may not do {op}")


@pytest.fixture(params=PLACES)
async def open_(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    runtime = LuaRuntime(tmp_path / "logs", operations=operations)

    async def begin(text: str, isolation: Any = request.param, **limits: Any) -> Served:
        entry = tmp_path / "plugin.lua"
        entry.write_text(text)
        spec = Spec(
            name="p",
            source="t",
            entry=str(entry),
            cwd=str(tmp_path),
            version="1.0.0",
            isolation=isolation,
            unconfined=True,
            limits=Limits(**limits),
        )
        return await runtime.start(spec, Identity(), None, Holder())

    yield begin
    await runtime.close(0)


def call(tool: str, era: Era = Era.LEGACY, method: str = "tools/call", **arguments: Any) -> Call:
    params = {"name": raw(tool), "arguments": raw(arguments)}
    return Call(PretendFace(era=era), Identity(era=era), method, params)


async def said(served: Served, tool: str, **arguments: Any) -> Any:
    """The text of a tool's result."""
    result = json.loads(bytes(await served.call(call(tool, **arguments))))
    return result["content"][0]["text"] if not result.get("isError") else f"error: {result['content'][0]['text']}"


async def test_a_tool_gets_its_arguments_and_gives_a_value(open_: Open) -> None:
    served = await open_(
        "broker.tool{name='add', input={a='integer', b={'integer', default=2}}, run=function(x) return x.a + x.b end}"
    )
    assert await said(served, "add", a=1) == "3"
    assert await said(served, "add", a=1, b=5) == "6"


async def test_a_table_is_structured_content_too(open_: Open) -> None:
    served = await open_("broker.tool{name='t', run=function() return {a={1, 2}, b='x'} end}")
    result = json.loads(bytes(await served.call(call("t"))))
    assert result["structuredContent"] == {"a": [1, 2], "b": "x"}
    assert json.loads(result["content"][0]["text"]) == {"a": [1, 2], "b": "x"}


async def test_a_client_of_each_era_gets_the_result_of_its_own(open_: Open) -> None:
    served = await open_("broker.tool{name='t', run=function() return 'x' end}")
    assert "resultType" not in json.loads(bytes(await served.call(call("t"))))
    modern = json.loads(bytes(await served.call(call("t", Era.MODERN))))
    assert modern["resultType"] == "complete"
    assert modern["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "p"


async def test_wrong_arguments_never_reach_the_script(open_: Open) -> None:
    served = await open_("local n = 0 broker.tool{name='t', input={a='string'}, run=function() n = n + 1 return n end}")
    assert "`a` is missing" in await said(served, "t")
    assert "`a` must be string" in await said(served, "t", a=1)
    assert "`b` is not known" in await said(served, "t", a="x", b=1)
    assert await said(served, "t", a="x") == "1"


async def test_the_short_form_is_shown_as_json_schema(open_: Open) -> None:
    served = await open_(
        "broker.tool{name='t', description='d', read_only=true, run=print, "
        "input={s='string', o='number?', l='string[]', m={'object', properties={}, description='m'}, x='any?'}}"
    )
    (tool,) = [json.loads(bytes(each)) for each in (await served.lists()).tools]
    assert tool["annotations"] == {"readOnlyHint": True}
    schema = tool["inputSchema"]
    assert sorted(schema["required"]) == ["l", "m", "s"]
    assert schema["properties"]["l"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["m"] == {"type": "object", "properties": {}, "description": "m"}
    assert schema["properties"]["x"] == {}


async def test_a_prompt_and_a_resource(open_: Open) -> None:
    served = await open_(
        "broker.prompt{name='p', arguments={topic='string'}, run=function(a) return 'On ' .. a.topic end}"
        "broker.resource{uri='a://b', mime='text/plain', read=function() return 'hello' end}"
    )
    prompt = json.loads(bytes(await served.call(call("p", method="prompts/get", topic="x"))))
    assert prompt["messages"] == [{"role": "user", "content": {"type": "text", "text": "On x"}}]
    read = Call(PretendFace(), Identity(), "resources/read", {"uri": raw("a://b")})
    contents = json.loads(bytes(await served.call(read)))["contents"]
    assert contents == [{"uri": "a://b", "mimeType": "text/plain", "text": "hello"}]


async def test_a_family_of_resources_is_read_by_what_is_in_its_uri(open_: Open) -> None:
    served = await open_(
        "broker.resource{template='note://{book}/{+page}', mime='text/plain',"
        " read=function(asked) return asked.book .. '|' .. asked.page .. '|' .. asked.uri end}"
        "broker.resource{uri='note://one/list', read=function() return 'the list' end}"
    )
    (template,) = [json.loads(bytes(each)) for each in (await served.lists()).templates]
    assert template["uriTemplate"] == "note://{book}/{+page}"

    async def read(uri: str) -> Any:
        asked = Call(PretendFace(), Identity(), "resources/read", {"uri": raw(uri)})
        return json.loads(bytes(await served.call(asked)))["contents"]

    assert await read("note://one/list") == [{"uri": "note://one/list", "text": "the list"}]
    (found,) = await read("note://one/a/b%20c")
    assert found["text"] == "one|a/b c|note://one/a/b%20c"
    assert found["mimeType"] == "text/plain"
    with pytest.raises(RemoteError, match="no resource"):
        await read("other://x")


async def test_a_prompt_proposes_values_for_its_arguments(open_: Open) -> None:
    served = await open_(
        "broker.prompt{name='p', arguments={lang='string'}, run=function() return 'x' end,"
        " complete=function(argument, value, given)"
        "   if argument == 'none' then return nil end"
        "   local all = {} for i = 1, 150 do all[i] = value .. i .. (given.x or '') end return all end}"
        "broker.prompt{name='q', run=function() return 'x' end}"
    )
    assert "completions" in (await served.lists()).capabilities

    async def proposed(name: str, argument: str) -> Any:
        params = {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": argument, "value": "v"}}
        asked = {key: raw(value) for key, value in (params | {"context": {"arguments": {"x": "!"}}}).items()}
        call = Call(PretendFace(), Identity(), "completion/complete", asked)
        return json.loads(bytes(await served.call(call)))["completion"]

    found = await proposed("p", "lang")
    assert (found["values"][0], len(found["values"]), found["total"], found["hasMore"]) == ("v1!", 100, 150, True)
    assert (await proposed("p", "none"))["values"] == []
    assert (await proposed("q", "lang"))["values"] == []


async def test_a_command_is_run_with_its_arguments_and_gives_a_value_or_a_failure(open_: Open) -> None:
    served = await open_(
        "broker.command{name='join', description='Joins', run=function(a) return table.concat(a, '+') end}"
        "broker.command{name='bad', run=function() error('no luck') end}"
    )

    async def run(name: str, *arguments: Any) -> Any:
        asked = Call(PretendFace(), Identity(), "commands/run", {"name": raw(name), "arguments": raw(arguments)})
        return json.loads(bytes(await served.call(asked)))

    assert await run("join", "a", "b") == {"content": [{"type": "text", "text": "a+b"}]}
    assert (await run("bad"))["isError"] is True
    with pytest.raises(RemoteError, match="no command other"):
        await run("other")


async def test_an_event_reaches_a_script_that_wants_to_hear_of_it(open_: Open, tmp_path: Path) -> None:
    served = await open_(
        "local seen = {} broker.on('document.saved', function(e) seen[#seen + 1] = e.uri end)"
        "broker.on('config.changed', function() error('not now') end)"
        "broker.on('workspace.changed', function() while true do end end)"
        "broker.tool{name='seen', run=function() return table.concat(seen, ' ') end}"
    )
    assert served.events == {"document.saved", "config.changed", "workspace.changed"}
    await served.event("document.saved", b'{"uri":"file:///a"}')
    await served.event("document.opened", b'{"uri":"file:///b"}')
    await served.event("config.changed", b"{}")
    assert await said(served, "seen") == "file:///a"
    await served.event("workspace.changed", b"{}")  # it is ended over it, and begins anew
    assert await said(served, "seen") == ""


async def test_a_flood_of_events_waits_for_nobody(open_: Open) -> None:
    served = await open_(
        "local n = 0 broker.on('document.saved', function() n = n + 1 end)"
        "broker.tool{name='n', run=function() return n end}"
    )
    await asyncio.gather(*(served.event("document.saved", b"{}") for _ in range(1000)))
    assert await said(served, "n") == str(MOST_EVENTS)


async def test_who_shows_what_a_script_showed_is_told_of_its_end_once(open_: Open, tmp_path: Path) -> None:
    (tmp_path / "x.lua").write_text(COUNT)
    spec = Spec(name="p", source="t", entry=str(tmp_path / "x.lua"), cwd=str(tmp_path), unconfined=True)
    ended: list[Spec] = []
    runtime = LuaRuntime()
    runtime.gone = ended.append
    served = await runtime.start(spec, Identity(), None, Holder())
    await served.fail("was asked to end")
    await served.stop(0)
    assert ended == [spec]


@pytest.mark.parametrize("method", ["completion/complete", "tasks/get", "nothing"])
async def test_other_methods_are_not_answered(open_: Open, method: str) -> None:
    served = await open_(COUNT)
    with pytest.raises(RemoteError, match="does not answer"):
        await served.call(Call(PretendFace(), Identity(), method, {}))


async def test_what_a_script_throws_is_a_result_and_it_keeps_its_state(open_: Open) -> None:
    served = await open_(COUNT + "broker.tool{name='bad', run=function() error('no luck') end}")
    assert await said(served, "count") == "1"
    assert await said(served, "bad") == "error: plugin:3: no luck"
    assert await said(served, "count") == "2"


async def test_a_script_that_works_too_long_is_ended_and_begins_anew(open_: Open) -> None:
    served = await open_(COUNT + SPIN)
    assert await said(served, "count") == "1"
    with pytest.raises(TimedOut, match="worked for more than 100 ms"):
        await served.call(call("spin"))
    assert await said(served, "count") == "1"


async def test_waiting_for_its_host_is_not_its_own_time(open_: Open) -> None:
    served = await open_("broker.tool{name='t', run=function() return broker.call('wait', {}) end}")
    assert await said(served, "t") == "true"


async def test_a_script_may_have_no_bound(open_: Open) -> None:
    served = await open_(
        "broker.tool{name='t', run=function()"
        " local a = os.clock() while os.clock() - a < 0.2 do end return 'done' end}",
        script=0.0,
    )
    assert await said(served, "t") == "done"


async def test_a_cancelled_call_ends_its_script(open_: Open) -> None:
    served = await open_(COUNT + SPIN, script=60.0)
    task = asyncio.ensure_future(served.call(call("spin")))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), 5)
    assert task.cancelled()
    assert await said(served, "count") == "1"


async def test_a_cancelled_call_ends_what_its_script_waits_for(open_: Open) -> None:
    served = await open_(COUNT + "broker.tool{name='t', run=function() return broker.call('forever', {}) end}")
    task = asyncio.ensure_future(served.call(call("t")))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), 5)
    assert await said(served, "count") == "1"


async def test_memory_is_bounded(open_: Open) -> None:
    served = await open_(
        COUNT + "broker.tool{name='eat', run=function() local s = 'x' while true do s = s .. s end end}"
    )
    assert "error" in await said(served, "eat")
    assert await said(served, "count") == "1"


async def test_after_three_ends_in_a_minute_it_is_left_alone(open_: Open) -> None:
    served = await open_(COUNT + SPIN)
    for _ in range(3):
        with pytest.raises(TimedOut):
            await served.call(call("spin"))
    with pytest.raises(PluginUnavailable, match="not called for"):
        await served.call(call("count"))


async def test_a_refusal_of_the_host_is_an_error_a_script_can_catch(open_: Open) -> None:
    served = await open_(
        "broker.tool{name='t', run=function() local ok, e = pcall(broker.call, 'x', {}) return e end}"
        "broker.tool{name='u', run=function() return broker.fs.read('/etc/passwd') end}"
    )
    assert "p may not do x" in await said(served, "t")
    assert "p may not do fs.read" in await said(served, "u")


async def test_modules_come_from_its_folder_once(open_: Open, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.lua").write_text("loaded = (loaded or 0) + 1 return {n = loaded, name = ...}")
    served = await open_(
        "local a, b = require('parts.one'), require('parts.one')"
        " broker.tool{name='t', run=function() return a.name .. a.n .. tostring(a == b) end}"
    )
    assert await said(served, "t") == "parts.one1true"


async def test_a_hook_is_answered_and_one_it_has_not_says_nothing(open_: Open) -> None:
    served = await open_("broker.hook('pre_request', function(e) return {allow = e.tool ~= 'bad', reason = 'no'} end)")
    nobody = call("t")
    assert json.loads(bytes(await served.hook(b'{"type":"pre_request","tool":"bad"}', nobody)))["allow"] is False
    assert json.loads(bytes(await served.hook(b'{"type":"on_close"}', nobody))) == {}


async def test_json_survives_the_way_through_a_script(open_: Open) -> None:
    served = await open_("broker.tool{name='t', input={v='any'}, run=function(a) return {v = a.v} end}")
    for value in ('é\n"\\\u0001\U0001f600', [], {}, [[1], {"a": []}], 1.5, -3, 10**15, True, [None, 1], "", 1e300, 0.1):
        result = json.loads(bytes(await served.call(call("t", v=value))))
        assert result["structuredContent"]["v"] == value


async def test_calls_are_served_one_after_the_other(open_: Open) -> None:
    served = await open_("broker.tool{name='t', run=function() broker.call('wait', {}) return 'x' end}" + COUNT)
    assert await asyncio.gather(said(served, "t"), said(served, "count"), said(served, "count")) == ["x", "1", "2"]


@pytest.mark.parametrize("script", ["error('no')", "while true do end", "x = ", "broker.tool{name=1}", "\x1bLua"])
async def test_a_script_that_cannot_be_loaded_is_not_started(
    open_: Open, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua_guest, "LOAD", 0.2)
    with pytest.raises(PluginUnavailable, match="p cannot be"):
        await open_(script)


async def test_one_that_does_not_come_back_is_moved_to_a_process(
    open_: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What swallows every hook is a bug nobody knows yet; here it is a bound that is not there."""
    from broker.runtimes import lua_sandbox

    monkeypatch.setattr(lua_sandbox.Sandbox.__init__, "__kwdefaults__", {"memory": 16 << 20, "costly": 1 << 62})
    served = await open_(
        COUNT
        + "broker.tool{name='stuck', run=function() return (('a'):rep(26)):find(('a?'):rep(26) .. ('a'):rep(26)) end}",
        isolation="inprocess",
    )
    assert served.pid is None
    with pytest.raises(TimedOut):
        await asyncio.wait_for(served.call(call("stuck")), 5)
    assert await said(served, "count") == "1"
    assert served.pid is not None
    assert "runs in a process of its own from now on" in (tmp_path / "logs" / "p.log").read_text()


async def test_a_worker_that_dies_is_replaced(open_: Open) -> None:
    import psutil

    served = await open_(COUNT, isolation="process")
    assert served.pid is not None
    (worker,) = [each for each in [psutil.Process(served.pid)] if each.is_running()]
    task = asyncio.ensure_future(said(served, "count"))
    worker.kill()
    with pytest.raises(BrokerError, match="p was ended"):
        await asyncio.wait_for(task, 5)
    assert await said(served, "count") == "1"


async def test_a_thread_is_let_go_with_its_plugin(open_: Open) -> None:
    import threading

    before = set(threading.enumerate())
    served = await open_(COUNT, isolation="inprocess")
    mine = [each for each in set(threading.enumerate()) - before if each.name.endswith(" p")]
    assert mine
    await served.stop(0)
    for each in mine:
        await asyncio.to_thread(each.join, 5)
        assert not each.is_alive()


def test_the_executors_offer_the_same() -> None:
    from broker.runtimes.lua_process import InWorker

    public = {name for name in vars(InProcess) if not name.startswith("_")}
    assert public == {name for name in vars(InWorker) if not name.startswith("_")}
