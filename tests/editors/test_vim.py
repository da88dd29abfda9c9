"""A real Vim 9 with `editors/vim` and a real broker, in a terminal: keys typed, screens read."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.editors.terminal import ESCAPE, Terminal, opened
from tests.editors.world import EDITORS, NOTE, World, program

pytestmark = [pytest.mark.editors, pytest.mark.timeout(120)]

QUESTION = "Allow once"
SETTINGS = "set nocp nomore shortmess+=atWF noswapfile laststatus=2 statusline=%t\\ [%{broker#Statusline()}]"


@asynccontextmanager
async def running(world: World, *settings: str) -> AsyncGenerator[Terminal]:
    """A Vim in the workspace with our plugin, quit in the end: everything must be gone then."""
    own = world.folder / "vimrc"
    command = f"let g:broker_command = {json.dumps(world.command)}"
    own.write_text("\n".join((SETTINGS, f"let &rtp = '{EDITORS / 'vim'},' .. &rtp", command, *settings, "")))
    words = (program("vim"), "-N", "-u", own, "-i", "NONE", world.note)
    with opened(words, world) as terminal:
        yield terminal
        terminal.type(ESCAPE)
        terminal.command("qa!")
        assert terminal.ended() == 0
        await world.ended()


async def test_a_command_runs_its_toast_is_seen_and_the_status_is_shown(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command("Broker demo.greet Anna")
        vim.seen("Hello Anna from demo", "greeted Anna")
        vim.command('Broker demo.busy "quite busy"')
        vim.seen("[broker demo: quite busy]")
        vim.command("Broker demo.fail")
        vim.seen("demo.fail: this never works")
        vim.command("Broker messages")
        vim.seen("Hello Anna from demo", "this never works")
