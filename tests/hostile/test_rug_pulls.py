"""A plugin that changes after it was approved: nothing of the change reaches a client, in either era."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from broker.permissions.pins import Pins
from tests.e2e.harness import BOUND, ERAS, Home, Json, Line, opened
from tests.e2e.test_operating import Shell
from tests.hostile.evil import until
from tests.hostile.turncoat import (
    AFTER_THREE,
    FOR_ONE_CLIENT,
    MODERN,
    ON_RESTART,
    OTHERS,
    TOOLS,
    turncoat,
)

FIRST, OTHER = "one__echo", "one__other"
KEYS = {"prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}
LISTS = {"prompts": "prompts", "resources": "resources", "resourceTemplates": "resources/templates"}
SLOWLY = 4 * BOUND  # seconds; a test starts a broker and a command, on a machine that has other work

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(120)]


@asynccontextmanager
async def approved(
    folder: Path, era: str, entry: Json, *, beforehand: bool = False
) -> AsyncGenerator[tuple[Line, Shell]]:
    """A broker over one plugin that is approved as it is at first; at the end nothing evil has come out of it.

    `beforehand`: by a person, before the broker starts; else the first lists the broker sees become the pin.
    """
    home = Home.of(folder, {"one": entry})
    shell = Shell(home)
    if beforehand:
        code, said, error = await shell("approve", "one", "--yes")
        assert code == 0, said + error
    else:
        Pins(folder / "home" / "state" / "pins").approve_next("one")
    async with opened(home, era) as line:
        if not beforehand:
            assert await names(line) == [FIRST, OTHER]
        yield line, shell
        assert not [frame for frame in line.frames if b"EVIL" in frame]


async def names(line: Line, kind: str = "tools") -> list[str]:
    found = (await line.result(f"{LISTS.get(kind, kind)}/list"))[kind]
    return [each[KEYS.get(kind, "name")] for each in found]


async def shows(line: Line, wanted: Iterable[str], kind: str = "tools") -> None:
    """Wait until a list holds exactly these."""
    async with asyncio.timeout(SLOWLY):
        while await names(line, kind) != sorted(wanted):
            await asyncio.sleep(0.02)


async def withdrawn(line: Line, tool: str = FIRST) -> None:
    """A call of it says what to do."""
    result = await line.call(tool)
    assert result["isError"], result
    error = result["_meta"]["plugin-broker/error"]
    assert error["name"] == "definition-changed"
    assert "broker review one" in result["content"][0]["text"]


def watches(pid: int) -> bool:
    """Whether the broker looks at its files already; it begins a second after its start."""
    links: list[str] = []
    for fd in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            links.append(os.readlink(fd.path))
    return any("inotify" in link for link in links) and psutil.Process(pid).num_threads() > 1


def marks(folder: Path, name: str) -> int:
    file = folder / name
    return file.stat().st_size if file.exists() else 0


async def described(line: Line) -> str:
    found = await (line.initialize() if line.era == "legacy" else line.result("server/discover"))
    return found["instructions"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("what", TOOLS)
async def test_a_tool_that_changes_in_any_part_is_withdrawn(tmp_path: Path, era: str, what: str) -> None:
    async with approved(tmp_path, era, turncoat(tmp_path, what=TOOLS[what])) as (line, _):
        assert await names(line) == [FIRST, OTHER]
        await line.text(OTHER)
        await shows(line, [OTHER])
        await withdrawn(line)
        assert marks(tmp_path, "calls-echo") == 0


@pytest.mark.parametrize("era", ERAS)
class TestWhen:
    async def test_after_the_third_call(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, AFTER_THREE)) as (line, _):
            for _ in range(10):
                await line.text(OTHER)
            await shows(line, [OTHER])
            await withdrawn(line)

    async def test_after_the_third_call_of_a_modern_server(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, MODERN + AFTER_THREE)) as (line, _):
            for _ in range(10):
                await line.text(OTHER)
            await shows(line, [OTHER])
            await withdrawn(line)

    async def test_on_a_restart_of_a_modern_server(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, MODERN + ON_RESTART)) as (line, _):
            await line.call(OTHER)
            await withdrawn(line)
            assert await names(line) == [OTHER]

    async def test_on_a_restart_before_it_is_called_again(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, ON_RESTART)) as (line, _):
            await line.call(OTHER)
            await withdrawn(line)
            assert await names(line) == [OTHER]
            assert marks(tmp_path, "calls-echo") == 0

    async def test_for_one_client_only(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, FOR_ONE_CLIENT), beforehand=True) as (line, _):
            await withdrawn(line)
            assert await names(line) == [OTHER]
            assert await line.text(OTHER) == "done"

    async def test_while_no_broker_ran(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path), beforehand=True) as (line, _):
            await names(line)
        home = Home.of(tmp_path, {"one": turncoat(tmp_path, "evil = True")})
        async with opened(home, era) as line:
            await shows(line, [OTHER])
            await withdrawn(line)
            assert not [frame for frame in line.frames if b"EVIL" in frame]

    @pytest.mark.skipif(sys.platform != "linux", reason="seen in /proc")
    async def test_when_its_file_is_edited_while_the_broker_runs(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path)) as (line, _):
            await until(lambda: watches(line.process.pid))
            turncoat(tmp_path, "evil = True")
            await shows(line, [OTHER])
            await withdrawn(line)


@pytest.mark.parametrize("era", ERAS)
class TestWhat:
    @pytest.mark.parametrize("kind", OTHERS)
    async def test_prompts_resources_and_templates(self, tmp_path: Path, era: str, kind: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, what=OTHERS[kind])) as (line, _):
            assert len(await names(line, kind)) == 1
            await line.text(OTHER)
            await shows(line, [], kind)
            method, params = {
                "prompts": ("prompts/get", {"name": "one__ask"}),
                "resources": ("resources/read", {"uri": "mem://one"}),
                "resourceTemplates": ("resources/read", {"uri": "mem://two"}),
            }[kind]
            error = await line.error(method, params)
            assert error["code"] == -31013 and "one" in error["message"]
            assert marks(tmp_path, "prompts") == marks(tmp_path, "reads") == 0

    async def test_instructions_stay_those_that_were_approved(self, tmp_path: Path, era: str) -> None:
        what = 'found["instructions"] = "EVIL"'
        async with approved(tmp_path, era, turncoat(tmp_path, ON_RESTART, what)) as (line, shell):
            assert "Be kind." in await described(line)
            await line.call(OTHER)
            await line.text(OTHER)
            assert "Be kind." in await described(line)
            _, said, _ = await shell("review", "one")
            assert "changed instructions" in said and '+"EVIL"' in said and '-"Be kind."' in said

    async def test_a_new_tool_is_not_there(self, tmp_path: Path, era: str) -> None:
        what = 'found["tools"].append({"name": "EVIL", "inputSchema": {"type": "object"}})'
        async with approved(tmp_path, era, turncoat(tmp_path, what=what)) as (line, shell):
            await line.text(OTHER)
            await reviewed(shell, "new tool EVIL")
            assert await names(line) == [FIRST, OTHER]
            assert marks(tmp_path, "calls-EVIL") == 0

    async def test_the_order_of_members_is_no_change(self, tmp_path: Path, era: str) -> None:
        what = 'found["tools"] = [dict(reversed(tool.items())) for tool in reversed(found["tools"])]'
        async with approved(tmp_path, era, turncoat(tmp_path, what=what)) as (line, shell):
            before = await line.result("tools/list")
            await line.text(OTHER)
            for _ in range(12):
                await line.text(FIRST)
            assert await line.result("tools/list") == before
            assert (await shell("review", "one"))[0] == 0
            assert "definition" not in line.stderr

    async def test_a_tool_that_hides_is_shown_again_when_it_is_what_it_was(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path, what='del found["tools"][0]')) as (line, _):
            await line.text(OTHER)
            await shows(line, [OTHER])
            await line.text(OTHER)
            await shows(line, [FIRST, OTHER])
            await line.text(FIRST)

    async def test_a_tool_that_turns_back_is_shown_again(self, tmp_path: Path, era: str) -> None:
        async with approved(tmp_path, era, turncoat(tmp_path)) as (line, _):
            await line.text(OTHER)
            await shows(line, [OTHER])
            await line.text(OTHER)
            await shows(line, [FIRST, OTHER])


async def reviewed(shell: Shell, wanted: str) -> str:
    """What `broker review` prints, once it says this."""
    async with asyncio.timeout(SLOWLY):
        while wanted not in (said := (await shell("review", "one"))[1]):
            await asyncio.sleep(0.05)
    return said


class TestThePerson:
    async def test_is_told_in_the_log_of_the_client_once_and_without_a_word_of_the_change(self, tmp_path: Path) -> None:
        async with approved(tmp_path, "legacy", turncoat(tmp_path)) as (line, _):
            await line.text(OTHER)
            said = await line.notice("notifications/message")
            assert (
                said["level"] == "warning" and "1 changed tool" in said["data"] and "broker review one" in said["data"]
            )
            await shows(line, [OTHER])
            for _ in range(12):
                await line.call(FIRST)
            assert len(line.notices("notifications/message")) == 1

    async def test_sees_the_difference_and_takes_it_while_the_broker_runs(self, tmp_path: Path) -> None:
        home = Home.of(tmp_path, {"one": turncoat(tmp_path)})
        shell = Shell(home)
        assert (await shell("approve", "one", "--yes"))[0] == 0
        async with opened(home) as line:
            await line.text(OTHER)
            await shows(line, [OTHER])
            code, said, _ = await shell("review", "one")
            assert code == 1 and '-  "description": "Says it."' in said and '+  "description": "EVIL"' in said
            code, _, error = await shell("approve", "one")
            assert code == 2 and "--yes" in error
            assert (await shell("approve", "one", "one__echo", "--yes"))[0] == 0
            await shows(line, [FIRST, OTHER])
            assert await line.text(FIRST) == "done"
            assert (await shell("review", "one"))[0] in (0, 1)

    async def test_sees_one_line_in_the_list_of_plugins(self, tmp_path: Path) -> None:
        async with approved(tmp_path, "legacy", turncoat(tmp_path)) as (line, shell):
            await line.text(OTHER)
            await shows(line, [OTHER])
            _, said, _ = await shell("list")
            assert "1 definition is withheld" in said and "broker review one" in said
            found = json.loads((await shell("list", "--json"))[1])
            assert found["plugins"][0]["withheld"] == 1

    async def test_who_edits_the_file_of_a_pin_gets_nothing_shown(self, tmp_path: Path) -> None:
        async with approved(tmp_path, "legacy", turncoat(tmp_path)) as (line, shell):
            file = tmp_path / "home" / "state" / "pins" / "one.json"
            assert file.stat().st_mode & 0o777 == 0o600
            file.write_bytes(file.read_bytes().replace(b"Says it.", b"Says !!."))
            (file.parent / "changed").write_bytes(b"x")
            await shows(line, [])
            result = await line.call(FIRST)
            assert result["isError"] and "cannot be used" in result["content"][0]["text"]
            assert (await shell("approve", "one", "--yes"))[0] == 0
            await shows(line, [FIRST, OTHER])


@pytest.mark.parametrize("era", ERAS)
class TestPolicy:
    async def test_a_plain_server_nobody_approved_changes_as_it_likes(self, tmp_path: Path, era: str) -> None:
        async with opened(Home.of(tmp_path, {"one": turncoat(tmp_path)}), era) as line:
            await line.text(OTHER)
            async with asyncio.timeout(SLOWLY):
                while b"EVIL" not in line.frames[-1]:
                    await names(line)

    async def test_the_first_lists_are_the_pin_if_the_policy_says_so(self, tmp_path: Path, era: str) -> None:
        home = toml(tmp_path, 'pins = "first"')
        async with opened(home, era) as line:
            assert await names(line) == [FIRST, OTHER]
            await line.text(OTHER)
            await shows(line, [OTHER])
            assert not [frame for frame in line.frames if b"EVIL" in frame]

    async def test_nothing_of_a_plugin_in_quarantine_is_shown_until_it_is_approved(
        self, tmp_path: Path, era: str
    ) -> None:
        home = toml(tmp_path, "quarantine = true")
        async with opened(home, era) as line:
            assert await names(line) == []
            result = await line.call(FIRST)
            assert result["isError"] and "broker approve one" in result["content"][0]["text"]
            for kind in KEYS:
                assert await names(line, kind) == []
            assert "error" in await line.ask("resources/read", {"uri": "broker://one/mem://one"})
            assert marks(tmp_path, "reads") == marks(tmp_path, "calls-echo") == 0
            assert (await Shell(home)("approve", "one", "--yes"))[0] == 0
            await shows(line, [FIRST, OTHER])
            assert await line.text(FIRST) == "done"


def toml(folder: Path, policy: str) -> Home:
    entry = turncoat(folder)
    text = f"[policy]\n{policy}\n\n[servers.one]\ncommand = {json.dumps(entry['command'])}\n"
    text += f"args = {json.dumps(entry['args'])}\ncwd = {json.dumps(entry['cwd'])}\n"
    return Home.of_toml(folder, text)
