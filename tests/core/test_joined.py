"""Lists that are asked of plugins each time, as one list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core import tasks
from broker.core.joined import page
from broker.core.ports import Reply
from broker.errors import BadArguments, PluginFailed
from tests.pretend import raw


class Plugins:
    """Some with pages of tasks, one that fails."""

    def __init__(self, **pages: list[list[str]]) -> None:
        self.pages = pages

    async def ask(self, cursor: str) -> Reply:
        name, own = tasks.own_id(cursor)
        if name == "broken":
            raise PluginFailed("it is not there")
        at = int(own or 0)
        page: dict[str, Any] = {"tasks": [{"taskId": tasks.shown_id(name, id)} for id in self.pages[name][at]]}
        if at + 1 < len(self.pages[name]):
            page["nextCursor"] = str(at + 1)
        return raw(page)

    async def all(self) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            found_page = json.loads(bytes(await page("tasks", self.pages, cursor, self.ask)))
            found += [task["taskId"] for task in found_page["tasks"]]
            if "nextCursor" not in found_page:
                return found
            cursor = found_page["nextCursor"]


async def test_the_pages_of_all_plugins_follow_one_another() -> None:
    assert await Plugins(b=[["3"], ["4", "5"]], a=[["1"], [], ["2"]], c=[[]]).all() == [
        "a:1",
        "a:2",
        "b:3",
        "b:4",
        "b:5",
    ]
    assert await Plugins().all() == [] == await Plugins(a=[[]], b=[[]]).all()


async def test_a_plugin_that_fails_hides_nobody_elses_tasks() -> None:
    assert await Plugins(a=[["1"]], broken=[[]], c=[["2"]]).all() == ["a:1", "c:2"]
    assert await Plugins(broken=[[]]).all() == []


@pytest.mark.parametrize("cursor", ["nobody:", "x", "", "a"])
async def test_a_cursor_nobody_gave_is_refused_or_begins_a_list(cursor: str) -> None:
    plugins = Plugins(a=[["1"]])
    if cursor == "a":
        assert json.loads(bytes(await page("tasks", plugins.pages, cursor, plugins.ask)))["tasks"]
        return
    with pytest.raises(BadArguments, match="cursor"):
        await page("tasks", plugins.pages, cursor, plugins.ask)
