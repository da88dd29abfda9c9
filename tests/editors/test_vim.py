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
    with opened(words, world.env, world.workspace) as terminal:
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


async def test_consent_is_asked_for_and_only_a_yes_is_one(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        for keys, then in (("jj\r", "has not granted"), (ESCAPE, "has not granted"), ("\r", "shy: Hello Anna")):
            vim.command("Broker shy.greet Anna")
            vim.seen(QUESTION, "Deny", "ui:toast")
            vim.type(keys)
            vim.seen(then)
            vim.command("Broker restart")  # it does not ask twice what was refused
            vim.gone("[broker")
            vim.seen("[broker]")
            vim.command("call popup_clear()")


async def test_questions_are_answered_or_dismissed(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        for command, prompt, keys, answer in (
            ("sure", "Are you sure?", "\r", "sure: True"),
            ("sure", "Are you sure?", ESCAPE, "sure: False"),
            ("choose", "Which colour?", "j\r", "chose green"),
            ("choose", "Which colour?", ESCAPE, "chose None"),
            ("type", "Your name?", " Lovelace\r", "typed Ada Lovelace"),
            ("type", "Your name?", ESCAPE, "typed None"),
        ):
            vim.command(f"Broker demo.{command}")
            vim.seen(prompt)
            vim.type(keys)
            vim.seen(answer)
            vim.command("call popup_clear() | echo")
            vim.gone(prompt)


async def test_progress_is_shown_and_can_be_cancelled(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command("Broker call demo__count to=2")
        vim.seen("counted to 2")
        for command, title in (("demo.work", "Demo works"), ("call demo__count to=5000", "demo__count")):
            vim.command(f"Broker {command}")
            vim.seen("[broker", title)
            vim.command("Broker cancel")
            vim.seen("cancelled", "[broker]")


async def test_documents_are_read_changed_judged_and_heard_of(world: World) -> None:
    world.note.write_text(NOTE)
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command("Broker demo.insert")
        vim.seen("applied: True", "inserted")
        vim.command("Broker demo.length")
        vim.seen(f"{len(NOTE) + len('inserted') + 1} characters")  # of the buffer; nothing was saved
        vim.command("Broker demo.lint")
        vim.seen("found 1")
        vim.command("Broker diagnostics")
        vim.seen("note.txt|4 col 7", "something is to be done")
        vim.command("cclose | write")
        vim.seen("28B")
        vim.command("Broker demo.heard")
        vim.seen("document.saved")
    assert world.note.read_text() == f"inserted\n{NOTE}"
    world.note.write_text(NOTE)


async def test_a_file_is_opened_where_the_plugin_says(world: World) -> None:
    other = world.workspace / "ünïcode %41.txt"
    other.write_text(NOTE)
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command(f"Broker demo.open {json.dumps(str(other), ensure_ascii=False)}")
        vim.seen("shown: True", other.name)
        vim.command("echo 'line' line('.')")
        vim.seen("line 3")


async def test_commands_and_tools_are_completed(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command("echo getcompletion('Broker demo.g', 'cmdline') getcompletion('Broker st', 'cmdline')")
        vim.seen("['demo.greet'] ['start', 'status', 'stop']")
        vim.command("echo getcompletion('Broker call d', 'cmdline')")
        vim.seen("['demo__count']")


async def test_a_broker_that_is_killed_is_told_of_and_starts_again(world: World) -> None:
    async with running(world) as vim:
        vim.seen("[broker]")
        vim.command("Broker call demo__count to=5000")
        vim.seen("[broker", "demo__count")
        for pid in world.brokers():
            os.kill(pid, signal.SIGKILL)
        vim.seen("demo__count: broker ended", ":Broker start")
        vim.command("Broker demo.greet Anna")
        vim.seen("Hello Anna from demo")


async def test_without_broker_it_says_what_to_do(world: World) -> None:
    async with running(world, "let g:broker_command = ['no-such-broker', 'lsp']") as vim:
        vim.seen("pipx install plugin-broker")
        vim.command("Broker status")
        vim.seen("broker does not run")


async def test_the_help_has_its_tags(world: World, tmp_path: Path) -> None:
    (tmp_path / "broker.txt").write_bytes((EDITORS / "vim" / "doc" / "broker.txt").read_bytes())
    async with running(world) as vim:
        vim.command(f"helptags {tmp_path} | echo 'tags' 'made'")
        vim.seen("tags made")
    assert (tmp_path / "tags").read_text() == (EDITORS / "vim" / "doc" / "tags").read_text()
