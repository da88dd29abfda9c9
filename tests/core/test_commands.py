"""Commands of plugins: known before anything runs, run like tools, forgotten when nobody has them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.core.commands import METHOD, MOST, Commands
from broker.core.config import load
from broker.core.listings import Listings
from broker.core.pinning import Pinning
from broker.core.ports import Call
from broker.core.router import Router
from broker.errors import BadArguments, Denied, NotFound, PermissionMissing, SelfWait, TimedOut
from broker.model import Command, Hook, Limits, Listing, Policy, Spec
from tests.pretend import PretendFace, PretendInstance, PretendRuntime, raw

REFRESH, ECHO = Command("refresh", "Refresh it"), Command("echo", "Say it again")


class Office:
    """A router over pretended plugins that have commands, and a client."""

    def __init__(self, *specs: Spec, pinning: Pinning | None = None, folder: Path | None = None) -> None:
        self.runtime, self.face = PretendRuntime(), PretendFace()
        self.runtime.behaviours["refresh"] = self.answer
        self.router = Router(specs, self.runtime, Listings(folder), pinning=pinning)
        self.router.join(self.face)
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, instance: PretendInstance, call: Call) -> Any:
        self.asked.append((call.method, {key: json.loads(bytes(each)) for key, each in call.params.items()}))
        return raw({"value": "done"})

    async def run(self, name: Any, *arguments: Any, chain: tuple[str, ...] = ()) -> Any:
        params = {"name": raw(name), "arguments": raw(list(arguments))}
        call = Call(self.face, self.face.identity, METHOD, params, chain=chain)
        await self.router.learned_for(call)
        return json.loads(bytes(await asyncio.wait_for(self.router.call(call), 5)))

    @property
    def shown(self) -> list[str]:
        return [each.shown for each in self.router.commands()]


def plugin(name: str = "todo", **more: Any) -> Spec:
    made: dict[str, Any] = {"name": name, "source": "t", "commands": (REFRESH,), **more}
    return Spec(**made)


async def test_a_command_reaches_its_plugin_by_its_own_name() -> None:
    office = Office(plugin())
    assert await office.run("todo.refresh", 1, {"a": 2}) == {"value": "done"}
    assert office.asked == [(METHOD, {"name": "refresh", "arguments": [1, {"a": 2}]})]


@pytest.mark.parametrize(
    "name", ["refresh", "todo", "todo.", ".refresh", "todo__refresh", "other.refresh", "", 7, None]
)
async def test_a_name_that_is_not_listed_is_never_run(name: Any) -> None:
    office = Office(plugin())
    with pytest.raises(BadArguments):
        await office.run(name)
    assert office.asked == []


async def test_a_declared_command_without_a_handler_is_the_tool_of_its_name() -> None:
    office = Office(plugin(commands=(ECHO,)))
    assert (await office.run("todo.echo", {"text": "x"}))["params"] == {"name": "echo", "arguments": {"text": "x"}}
    assert (await office.run("todo.echo", "no object"))["params"] == {"name": "echo", "arguments": {}}
    office.router.generations.register("todo", ECHO)  # from now on it handles it itself
    assert (await office.run("todo.echo", "x"))["params"] == {"name": "echo", "arguments": ["x"]}


async def test_a_command_that_a_wasm_module_registered_is_its_tool() -> None:
    office = Office(plugin(commands=(), entry="/x/plugin.wasm"))
    office.router.generations.register("todo", ECHO)
    assert (await office.run("todo.echo", {"text": "x"}))["params"] == {"name": "echo", "arguments": {"text": "x"}}


async def test_a_tool_that_was_withheld_is_no_command_either(tmp_path: Path) -> None:
    pinning = Pinning(tmp_path, Policy(pins="first"))
    office = Office(plugin(commands=(ECHO,)), pinning=pinning)
    await office.run("todo.echo")
    listing = office.runtime.instances[0].listing
    office.runtime.instances[0].listing = replace(listing, tools=[raw({"name": "echo", "description": "Another."})])
    office.runtime.instances[0].host.changed({"tools"})
    async with asyncio.timeout(5):
        while office.router.catalog.page("tools", None)[0] != b"[]":
            await asyncio.sleep(0.01)
    office.runtime.behaviours["echo"] = office.answer
    await office.run("todo.echo")
    assert office.asked == [(METHOD, {"name": "echo", "arguments": []})]  # which no real plugin answers


async def test_commands_come_and_go_with_their_plugin() -> None:
    office = Office(plugin(), plugin("b"))
    assert office.shown == ["b.refresh", "todo.refresh"]
    await office.router.generations.disable("b")
    assert office.shown == ["todo.refresh"] and office.face.command_changes == 1
    with pytest.raises(NotFound, match="b is disabled"):
        await office.run("b.refresh")
    await office.router.generations.enable("b")
    await office.router.generations.change(plugin(commands=(REFRESH, ECHO)))
    assert office.shown == ["b.refresh", "todo.echo", "todo.refresh"] and office.face.command_changes == 3


async def test_nothing_of_a_plugin_in_quarantine_is_shown(tmp_path: Path) -> None:
    office = Office(plugin(), pinning=Pinning(tmp_path, Policy(quarantine=True)))
    await office.router.learned(office.face.identity, office.face, 5)
    assert office.shown == []


async def test_what_was_registered_is_known_the_next_time(tmp_path: Path) -> None:
    spec = plugin(commands=(), command=("true",))
    office = Office(spec, folder=tmp_path)
    await office.router.learned(office.face.identity, office.face, 5)
    office.router.generations.register("todo", REFRESH)
    again = Office(spec, folder=tmp_path)
    assert again.shown == ["todo.refresh"] and again.runtime.tries == 0


async def test_what_nobody_registers_any_more_is_forgotten_when_it_is_run(tmp_path: Path) -> None:
    office = Office(plugin(commands=()), folder=tmp_path)
    office.router.generations.register("todo", REFRESH)

    async def gone(instance: PretendInstance, call: Call) -> Any:
        raise NotFound("todo did not register the command refresh")

    office.runtime.behaviours["refresh"] = gone
    with pytest.raises(NotFound, match="did not register"):
        await office.run("todo.refresh")
    assert office.shown == []


async def test_a_command_has_a_deadline_and_passes_hooks_and_permissions() -> None:
    forever = plugin(limits=Limits(timeout=0.05))
    guard = Spec(name="guard", source="t", hooks=(Hook(on="pre_request"),))
    lacking = plugin("lacking", missing=("ui:command",), permissions={"ui": ("command",)})
    office = Office(forever, guard, lacking)

    async def never(instance: PretendInstance, call: Call) -> Any:
        await asyncio.get_running_loop().create_future()

    office.runtime.behaviours["refresh"] = never
    with pytest.raises(TimedOut):
        await office.run("todo.refresh")
    with pytest.raises(PermissionMissing):
        await office.run("lacking.refresh")

    async def refuse(event: Any, call: Call) -> Any:
        return {"allow": False, "reason": event["tool"]}

    office.runtime.hooks["guard"] = refuse
    with pytest.raises(Denied, match="refresh"):
        await office.run("todo.refresh")


async def test_a_command_that_would_wait_for_itself_is_refused() -> None:
    with pytest.raises(SelfWait):
        await Office(plugin()).run("todo.refresh", chain=("todo",))


def test_one_plugin_registers_so_many_and_the_oldest_go() -> None:
    kept = Commands()
    for number in range(MOST + 5):
        assert kept.add("todo", Command(f"c{number}"))
    assert not kept.add("todo", Command(f"c{MOST}"))
    assert [each.name for each in kept.registered("todo")][:1] == ["c5"] and len(kept.registered("todo")) == MOST
    assert kept.drop("todo", "c5") and not kept.drop("todo", "c5") and not kept.drop("nobody", "c5")
    kept.met("todo", Listing(commands=[REFRESH]))
    assert kept.registered("todo") == [REFRESH]
    kept.forget("todo")
    assert kept.registered("todo") == []


def test_a_manifest_with_commands_asks_to_show_them(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("")
    (tmp_path / "plugin.toml").write_text(
        'name = "todo"\nversion = "1.0.0"\napi = 1\nentry = "plugin.py"\n[permissions]\nui = ["toast"]\n'
        '[commands.refresh]\ntitle = "Refresh it"\n'
    )
    config = tmp_path / "config.toml"
    config.write_text(f'[plugins.todo]\npath = "{tmp_path}"\n')
    (spec,) = load(config_file=config, mcp_configs=(), strict=False, workspace=None, environ={}).plugins
    assert spec.permissions == {"ui": ("toast", "command")} and spec.commands == (REFRESH,)
