"""Lists as servers really page them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import Home, Json, opened
from tests.hostile.evil import evil, until


@pytest.mark.parametrize("cursor", ["''", "'same'"])
async def test_a_server_that_ignores_cursors_still_offers_its_tools(tmp_path: Path, cursor: str) -> None:
    """`nextCursor: ""` means the end to many servers; one that ignores cursors shows its first page again."""
    source = f"""
def on_list(m):
    send(id=m["id"], result={{"tools": TOOLS, "nextCursor": {cursor}}})
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        assert await line.names() == ["one__echo"], line.stderr


async def test_a_page_is_never_above_max_frame(tmp_path: Path) -> None:
    source = 'TOOLS.append({"name": "huge", "description": "x" * (12 << 20), "inputSchema": {}})'
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        cursor: Json | None = {}
        while cursor is not None:
            page = await line.result("tools/list", cursor)
            cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else None
        assert max(len(json.dumps(message)) for message in line.said) < 9 << 20


async def test_a_list_cut_off_half_way_does_not_replace_the_whole_one(tmp_path: Path) -> None:
    """Rule 4 of core/plugins.py: lists are replaced only by a whole new answer."""
    source = r"""
TOOLS = [{"name": n, "inputSchema": {}} for n in ("a", "b", "c", "d")]
COUNT = 0

def on_list(m):
    global COUNT
    if "cursor" not in (m.get("params") or {}):
        COUNT += 1
        send(id=m["id"], result={"tools": TOOLS[:2], "nextCursor": "2"})
    elif COUNT > 1:
        send(id=m["id"], error={"code": -32603, "message": "try again"})
        mark("refused")
    else:
        send(id=m["id"], result={"tools": TOOLS[2:]})

def on_call(m):
    send(id=m["id"], result=text("hi"))
    send(method="notifications/tools/list_changed")
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        before = await line.names()
        await line.text("one__a")
        await until((tmp_path / "refused").exists)
        await line.text("one__a")  # its answer comes behind the refusal
        assert await line.names() == before


async def test_an_error_for_a_list_does_not_empty_it(tmp_path: Path) -> None:
    source = r"""
COUNT = 0

def on_list(m):
    global COUNT
    COUNT += 1
    if COUNT == 1:
        send(id=m["id"], result={"tools": TOOLS})
    else:
        send(id=m["id"], error={"code": -32603, "message": "token expired"})
        mark("refused")

def on_call(m):
    send(id=m["id"], result=text("hi"))
    send(method="notifications/tools/list_changed")
"""
    async with opened(Home.of(tmp_path, {"one": evil(tmp_path, source)})) as line:
        before = await line.names()
        await line.text("one__echo")
        await until((tmp_path / "refused").exists)
        await line.text("one__echo")  # its answer comes behind the refusal
        assert await line.names() == before


async def test_a_restart_that_answers_only_some_lists_keeps_the_others(tmp_path: Path) -> None:
    """A new instance starts from an empty listing; asked for one kind before the others it would empty them."""
    source = r"""
CAPS = {"tools": {"listChanged": True}, "prompts": {}}
TOOLS = TOOLS + [{"name": "t%d" % n, "inputSchema": {}} for n in range(3)]

def on_list(m):
    send(id=m["id"], result={"tools": TOOLS})
    mark("listed-tools")

def on_other(m):
    if m.get("method") == "prompts/list":
        send(id=m["id"], result={"prompts": [{"name": "p"}]})
        mark("listed-prompts")
    elif "id" in m:
        send(id=m["id"], result={})
"""
    home = Home.of(tmp_path, {"one": evil(tmp_path, source)})
    marks = tmp_path / "listed-tools", tmp_path / "listed-prompts"
    async with opened(home) as line:
        before = await line.names(), await line.names("prompts")
        assert all(before)
    for mark in marks:
        mark.unlink()
    async with opened(home) as line:
        await line.text("one__echo")
        await until(lambda: all(mark.exists() for mark in marks))
        await line.text("one__echo")  # its answer comes behind the lists
        assert (await line.names(), await line.names("prompts")) == before


async def test_a_list_that_failed_once_is_asked_for_again_next_time(tmp_path: Path) -> None:
    """Not signed in at the first meeting: an empty listing must not be kept, for nobody could ever start it again."""
    source = r"""
def on_list(m):
    if os.path.exists("signed-in"):
        send(id=m["id"], result={"tools": TOOLS})
    else:
        send(id=m["id"], error={"code": -32603, "message": "sign in first"})
"""
    home = Home.of(tmp_path, {"one": evil(tmp_path, source)})
    async with opened(home) as line:
        assert await line.names() == []
    (tmp_path / "signed-in").write_text("")
    async with opened(home) as line:
        assert await line.names() == ["one__echo"]
