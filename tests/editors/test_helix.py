"""A real Helix, configured as `editors/README.md` says, in a terminal: keys typed, screens read."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.editors.terminal import ESCAPE, Terminal, opened
from tests.editors.world import EDITORS, NOTE, World, program

pytestmark = [pytest.mark.editors, pytest.mark.timeout(120)]

DOWN = "\x0e"  # C-n
CALL = "lsp-workspace-command broker.run"


@asynccontextmanager
async def running(world: World) -> AsyncGenerator[Terminal]:
    """A Helix with a Markdown file of the workspace, quit in the end: everything must be gone then."""
    folder = world.folder / "config" / "helix"
    folder.mkdir(parents=True, exist_ok=True)
    text = (EDITORS / "README.md").read_text("utf-8")
    snippet = re.search(r"^## Helix\n.*?^```toml\n(.*?)^```", text, re.M | re.S)
    assert snippet
    (folder / "languages.toml").write_text(snippet[1])
    note = world.workspace / "note.md"
    note.write_text(NOTE)
    with opened((program("hx"), note), world.on_path(), world.workspace) as terminal:
        terminal.seen("note.md", "three TODO")
        yield terminal
        terminal.type(ESCAPE + ESCAPE)
        terminal.command("qa!")
        assert terminal.ended() == 0
        await world.ended()


def ready(hx: Terminal) -> None:
    """Wait until a command answers: until the server is there Helix knows none, and does not say when that changes."""
    for _ in range(40):
        hx.command(f'{CALL} "demo.greet" "you" true')
        if hx.shows("Hello you from demo", 1.5):
            return
    raise AssertionError(hx.look())


async def test_a_command_runs_and_its_toast_is_seen(world: World) -> None:
    async with running(world) as hx:
        ready(hx)
        hx.command(f'{CALL} "demo.greet" "Anna" true')
        hx.seen("demo: Hello Anna from demo")
        hx.command(f'{CALL} "demo.fail"')
        hx.seen("this never works")


async def test_the_commands_are_offered_in_a_menu(world: World) -> None:
    async with running(world) as hx:
        ready(hx)
        hx.command("lsp-workspace-command")
        hx.seen("broker.run", "demo.greet")
        hx.type("demo.busy")
        hx.seen("demo.busy")
        hx.type("\r")
        hx.seen("status set")


async def test_consent_is_asked_for_and_only_a_yes_is_one(world: World) -> None:
    for keys, then in ((DOWN + DOWN + "\r", "shy.greet: shy asks for ui:toast"), ("\r", "greeted Anna")):
        async with running(world) as hx:
            ready(hx)
            hx.command(f'{CALL} "shy.greet" "Anna"')
            hx.seen("Allow once", "Deny")
            hx.type(keys)
            hx.seen(then)


async def test_a_question_is_answered_a_file_opened_and_a_document_changed(world: World) -> None:
    async with running(world) as hx:
        ready(hx)
        hx.command(f'{CALL} "demo.sure"')
        hx.seen("Do it", "Leave it")
        hx.type("\r")
        hx.seen("sure: True")
        hx.command(f'{CALL} "demo.open" "{world.note}"')
        hx.seen("note.txt")
