"""Real Neovims with `editors/nvim` and a real broker, steered as a person steers them.

Rule 1: what is asserted is what a person sees or has: texts of messages and prompts, lines of buffers, the statusline.
Rule 2: leaving Neovim must leave no process behind; `running` looks after every test.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.editors.nvim import Nvim, running
from tests.editors.world import EDITORS, NOTE, World, program
from tests.servers import ROOT

pytestmark = [pytest.mark.editors, pytest.mark.timeout(120)]

READY = "#require('broker').commands() > 0"
STATUS = "require('broker').statusline()"
PROMPT, REFUSED = "Type number", "which its user has not granted"
OLDEST, STABLE, NEWEST = "nvim-oldest", "nvim-stable", "nvim-newest"
every = pytest.mark.parametrize("name", [OLDEST, STABLE, NEWEST])
new = pytest.mark.parametrize("name", [STABLE, NEWEST])


async def lines(editor: Nvim) -> list[str]:
    return await editor.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)")


@every
async def test_a_command_runs_its_toast_is_seen_and_the_status_is_shown(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.until(READY)
        await editor.command("Broker demo.greet Anna")
        await editor.seen("Hello Anna from demo")
        await editor.seen("greeted Anna")
        await editor.command('Broker demo.busy "quite busy"')
        await editor.until(f"{STATUS} == 'broker demo: quite busy'")
        await editor.command("Broker demo.fail")
        await editor.seen("demo.fail: this never works")
        await editor.command("Broker demo.great")
        await editor.seen("did you mean demo.greet?")
        await editor.command("Broker status")
        await editor.until("vim.fn.search('demo: ready') > 0")


@every
async def test_consent_is_asked_for_and_only_a_yes_is_one(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.until(READY)
        for answer, then in (("3<CR>", REFUSED), ("<Esc>", REFUSED), ("1<CR>", "shy: Hello Anna")):
            await editor.command("Broker shy.greet Anna")
            await editor.seen(PROMPT)
            asked = "".join(editor.said)
            assert "ui:toast" in asked and "Allow once" in asked and "Deny" in asked
            await editor.type(answer)
            await editor.seen(then)
            await editor.command("Broker restart")  # it does not ask twice what was refused
            await editor.until("not require('broker.client').state.ready")
            await editor.until(READY)


@every
async def test_questions_are_answered_or_dismissed(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.until(READY)
        for command, prompt, keys, answer in (
            ("sure", PROMPT, "1<CR>", "sure: True"),
            ("sure", PROMPT, "<Esc>", "sure: False"),
            ("choose", PROMPT, "2<CR>", "chose green"),
            ("choose", PROMPT, "<Esc>", "chose None"),
            ("type", "Your name?", " Lovelace<CR>", "typed Ada Lovelace"),
            ("type", "Your name?", "<C-U>x<Esc>", "typed "),
        ):
            await editor.command(f"Broker demo.{command}")
            await editor.seen(prompt)
            await editor.type(keys)
            await editor.seen(answer)


@every
async def test_progress_is_shown_and_can_be_cancelled(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.until(READY)
        await editor.command("Broker call demo__count to=2")
        await editor.seen("counted to 2")
        for command, title in (("demo.work", "Demo works"), ("call demo__count to=5000", "demo__count")):
            await editor.command(f"Broker {command}")
            await editor.until(f"{STATUS}:find({json.dumps(title)}, 1, true)")
            await editor.command("Broker cancel")
            await editor.seen("cancelled")
            await editor.until(f"not {STATUS}:find({json.dumps(title)}, 1, true)")


@new
async def test_progress_reaches_what_listens_to_the_progress_of_language_servers(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.lua(
            "_G.kinds = {} vim.api.nvim_create_autocmd('LspProgress', { callback = function(at)"
            " table.insert(_G.kinds, (at.data.params or at.data.result).value.kind) end })"
        )
        await editor.until(READY)
        await editor.command("Broker call demo__count to=3")
        await editor.until("_G.kinds[#_G.kinds] == 'end'")
        assert (await editor.lua("return _G.kinds"))[0] == "begin"


@every
async def test_documents_are_read_changed_judged_and_heard_of(world: World, name: str) -> None:
    world.note.write_text(NOTE)
    async with running(program(name), world) as editor:
        await editor.until(READY)
        await editor.command("Broker demo.insert")
        await editor.seen("applied: True")
        assert (await lines(editor))[0] == "inserted"
        await editor.command("Broker demo.length")
        await editor.seen(f"{len(NOTE) + len('inserted') + 1} characters")  # of the buffer; nothing was saved
        await editor.command("Broker demo.lint")
        await editor.until("vim.diagnostic.get(0)[1]")
        (found,) = await editor.lua("return vim.diagnostic.get(0)")
        assert (found["lnum"], found["message"], found["source"]) == (3, "something is to be done", "demo")
        await editor.type("G")
        await editor.command("Broker fix")
        await editor.seen("Call it done")
        await editor.type("1<CR>")
        await editor.until("vim.fn.getline('$') == 'three DONE'")
        await editor.command("write")
        await editor.until("vim.bo.modified == false")
        heard = "require('broker').run('demo.heard', {}, function(_, found) _G.heard = vim.json.encode(found) end)"
        await editor.until(f"{heard} and (_G.heard or ''):find('document.saved', 1, true)")


@new
async def test_a_file_is_opened_where_the_plugin_says(world: World, name: str) -> None:
    other = world.workspace / "ünïcode %41.txt"
    other.write_text(NOTE)
    async with running(program(name), world) as editor:
        await editor.until(READY)
        await editor.command(f"Broker demo.open {json.dumps(str(other), ensure_ascii=False)}")
        await editor.seen("shown: True")
        assert await editor.lua("return { vim.fn.expand('%:t'), vim.fn.line('.') }") == [other.name, 3]


async def test_without_a_plugin_that_may_see_documents_no_buffer_is_attached(world: World, tmp_path: Path) -> None:
    alone = tmp_path / "config.toml"
    alone.write_text(f'[plugins.shy]\npath = "{world.folder / "shy"}"\n')
    command = [*world.command[:-1], str(alone)]
    async with running(program(NEWEST), world, f"require('broker').setup({{ cmd = {lua_list(command)} }})") as editor:
        await editor.until(READY)
        assert await editor.lua("return #vim.lsp.get_clients()") == 1
        assert await editor.lua("return #vim.lsp.get_clients({ bufnr = 0 })") == 0


async def test_a_changed_configuration_changes_the_commands_at_once(world: World) -> None:
    text = world.config.read_text()
    async with running(program(NEWEST), world) as editor:
        await editor.until("#vim.fn.getcompletion('Broker shy.', 'cmdline') > 0")
        try:
            world.config.write_text(text.partition("[plugins.shy]")[0])
            await editor.until("#vim.fn.getcompletion('Broker shy.', 'cmdline') == 0")
        finally:
            world.config.write_text(text)
        await editor.until("#vim.fn.getcompletion('Broker shy.', 'cmdline') > 0")


async def test_commands_tools_and_their_arguments_are_completed(world: World) -> None:
    async with running(program(NEWEST), world) as editor:
        await editor.until("#require('broker.client').state.tools > 0")

        async def completed(line: str) -> list[str]:
            return await editor.lua("return vim.fn.getcompletion(..., 'cmdline')", line)

        assert await completed("Broker demo.g") == ["demo.greet"]
        assert await completed("Broker st") == ["start", "status", "stop"]
        assert await completed("Broker call d") == ["demo__count"]
        assert await completed("Broker call demo__count t") == ["to="]
        assert await completed("Broker demo.greet x") == []


async def test_the_commands_can_be_chosen_from_a_menu(world: World) -> None:
    async with running(program(NEWEST), world) as editor:
        await editor.until(READY)
        await editor.command("Broker")
        await editor.seen(PROMPT)
        menu = "".join(editor.said)
        found = re.search(r"(\d+): Greet somebody \(demo\.greet\)", menu)
        assert found, menu
        await editor.type(f"{found[1]}<CR>")
        await editor.seen("Hello you from demo")


async def test_a_broker_that_is_killed_is_told_of_and_starts_again(world: World) -> None:
    async with running(program(NEWEST), world) as editor:
        await editor.until(READY)
        await editor.command("Broker call demo__count to=5000")
        await editor.until(f"{STATUS}:find('demo__count', 1, true)")
        for pid in world.brokers():
            os.kill(pid, signal.SIGKILL)
        await editor.seen("demo__count: broker ended")
        await editor.seen(":Broker start")
        await editor.command("Broker demo.greet Anna")
        await editor.seen("Hello Anna from demo")


async def test_it_is_stopped_and_restarted_by_hand(world: World) -> None:
    async with running(program(NEWEST), world) as editor:
        await editor.until(READY)
        (first,) = world.brokers()
        await editor.command("Broker restart")
        await editor.until("require('broker.client').state.ready and not require('broker.client').state.stopping")
        await editor.until(f"{READY} and vim.fn.filereadable('/proc/{first}/stat') == 0")
        await editor.command("Broker stop")
        await editor.until(f"{STATUS} == ''")
        await editor.command("Broker status")
        await editor.seen("broker does not run")


@every
async def test_without_broker_it_says_what_to_do_and_nothing_breaks(world: World, name: str) -> None:
    async with running(
        program(name), world, "require('broker').setup({ cmd = { 'no-such-broker', 'lsp' } })"
    ) as editor:
        await editor.seen("pipx install plugin-broker")
        await editor.command("checkhealth broker")
        await editor.until("vim.fn.search('is no program Neovim can find') > 0")
        assert await editor.lua(f"return {STATUS}") == ""


@every
async def test_checkhealth_names_the_plugins_and_the_version(world: World, name: str) -> None:
    async with running(program(name), world) as editor:
        await editor.until(READY)
        await editor.command("checkhealth broker")
        await editor.until("vim.fn.search('broker serves') > 0")
        said = "\n".join(await lines(editor))
        assert "demo: " in said and "shy: " in said and "broker, version" in said
        assert ("older than 0.10" in said) == (name == OLDEST)


@every
async def test_a_wrong_option_is_an_error_that_names_the_right_ones(world: World, name: str) -> None:
    said = "return { pcall(require('broker').setup, ...) }"
    async with running(program(name), world) as editor:
        _, unknown = await editor.lua(said, {"comand": ["x"]})
        _, mistyped = await editor.lua(said, {"cmd": "broker"})
    assert "comand" in unknown and "root_markers" in unknown and "must be a table" in mistyped


async def test_the_help_has_all_options_as_they_are_and_its_tags(world: World, tmp_path: Path) -> None:
    shutil.copytree(EDITORS / "nvim" / "doc", tmp_path / "doc")
    text = (EDITORS / "nvim" / "doc" / "broker.txt").read_text()
    shown = text[text.index("require('broker').setup({\n      -- The command") :]
    table = shown[shown.index("{") : shown.index("\n    })\n") + 6]
    async with running(program(NEWEST), world) as editor:
        await editor.lua("vim.cmd.helptags(...)", str(tmp_path / "doc"))
        same = "return vim.deep_equal(load('return ' .. ...)(), require('broker.config').defaults)"
        assert await editor.lua(same, table)
    assert (tmp_path / "doc" / "tags").read_text() == (EDITORS / "nvim" / "doc" / "tags").read_text()


async def test_the_words_after_a_command_are_json_or_text(world: World) -> None:
    async with running(program(NEWEST), world) as editor:
        split = "local w = require('broker.words') return vim.tbl_map(w.value, w.split(...))"
        line = 'a "b c" 3 "3" true {"k": [1, "} "]} inf 0x10 -1.5e3 say="x y"'
        assert await editor.lua(split, line) == [
            *("a", "b c", 3, "3", True, {"k": [1, "} "]}, "inf", "0x10", -1500.0, 'say="x y"')
        ]


def installed(folder: Path) -> str:
    """What `broker where nvim` says of a wheel that was built and installed in this folder."""

    def run(*words: str | Path, **env: str) -> str:
        done = subprocess.run(words, env={**os.environ, **env}, cwd=folder, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "-w", folder, ROOT)
    run(*pip, "install", "--no-deps", "--target", folder / "site", *folder.glob("*.whl"))
    return run(sys.executable, "-m", "broker", "where", "nvim", PYTHONPATH=str(folder / "site"))


async def test_what_the_wheel_installs_is_found_and_works(world: World, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(installed, tmp_path)
    assert folder == str(tmp_path / "site" / "broker" / "editors" / "nvim")
    async with running(program(NEWEST), world, plugin=Path(folder)) as editor:
        await editor.until(READY)
        await editor.command("Broker demo.greet Anna")
        await editor.seen("Hello Anna from demo")
        assert (
            await editor.lua("return debug.getinfo(require('broker').run).source") == f"@{folder}/lua/broker/init.lua"
        )


def lua_list(words: list[str]) -> str:
    return f"{{ {', '.join(map(json.dumps, words))} }}"
