"""`editors/emacs` in a real Emacs.

In batch `emacs/drive.el` does what a person does, and says what came of it; in a terminal there are keys and a screen.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.editors.terminal import opened
from tests.editors.world import EDITORS, NOTE, World, program
from tests.servers import VENV

pytestmark = [pytest.mark.editors, pytest.mark.timeout(120)]

LISP = EDITORS / "emacs"
FILES = ("broker-documents.el", "broker.el")
DRIVER = Path(__file__).parent / "emacs" / "drive.el"
ANSWERS = "Do it\nperhaps\ngreen\nGrace\nAllow once\n"  # what is typed, in the order in which the driver's steps ask

META, QUIT = "\x1b", "\x07"  # the keys M- and C-g

Json = dict[str, Any]


def _batch(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [program("emacs"), "--batch", "-Q", "-L", LISP, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **more)


@pytest.mark.parametrize("name", FILES)
def test_emacs_compiles_it_without_a_warning(name: str, tmp_path: Path) -> None:
    there = f'(setq byte-compile-error-on-warn t byte-compile-dest-file-function (lambda (_) "{tmp_path / "out.elc"}"))'
    done = _batch("--eval", there, "-f", "batch-byte-compile", LISP / name)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_emacs_finds_nothing_wrong_with_its_documentation(name: str) -> None:
    done = _batch("--eval", f'(progn (require \'checkdoc) (checkdoc-file "{LISP / name}"))')
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.fixture(scope="module")
def steps(world: World) -> dict[str, Json]:
    """What each step of the driver saw."""
    (world.workspace / "other.txt").write_text("1\n2\n3\n4\n")
    command = " ".join(json.dumps(word) for word in world.command)
    drive = f"(drive '({command}) {json.dumps(str(world.note))})"
    done = _batch("-l", DRIVER, "--eval", drive, input=ANSWERS, env=world.env, cwd=world.workspace)
    assert done.returncode == 0, done.stderr
    asyncio.run(world.ended())
    lines = [json.loads(line.partition("=> ")[2]) for line in done.stdout.splitlines() if "=> " in line]
    return {line["step"]: line for line in lines}


def test_it_starts_with_the_project_and_learns_all_commands(steps: dict[str, Json], world: World) -> None:
    assert steps["start"]["folder"] == world.workspace.as_uri() + "/"
    assert {"demo.greet", "demo.work", "shy.greet"} <= set(steps["start"]["commands"])
    assert steps["start"]["lighter"].startswith(" Broker")


def test_a_command_runs_with_arguments_and_both_its_toast_and_its_result_are_shown(steps: dict[str, Json]) -> None:
    assert steps["greet"]["result"] == "greeted Ada"
    assert steps["greet"]["toast"] == "demo: Hello Ada from demo"


def test_only_an_exact_answer_to_a_question_is_a_yes(steps: dict[str, Json]) -> None:
    assert steps["sure"]["result"] == "sure: True"
    assert steps["nonsense"]["result"] == "sure: False"


def test_a_plugin_has_the_user_pick_and_type(steps: dict[str, Json]) -> None:
    assert steps["choose"]["result"] == "chose green"
    assert steps["type"]["result"] == "typed Grace"


def test_what_went_wrong_is_shown_and_said_in_full(steps: dict[str, Json]) -> None:
    assert steps["fail"]["result"] == "Broker: demo.fail: this never works"
    assert "did you mean" in steps["unknown"]["result"]


def test_a_plugin_shows_a_place_in_a_file(steps: dict[str, Json]) -> None:
    assert (steps["open"]["file"], steps["open"]["line"]) == ("other.txt", 3)


def test_a_plugin_edits_and_reads_what_was_not_saved(steps: dict[str, Json]) -> None:
    text = "\N{MUSICAL SYMBOL G CLEF} inserted\n" + NOTE
    assert (steps["insert"]["text"], steps["insert"]["modified"]) == (text, True)
    assert steps["length"]["result"] == f"{len(text)} characters"


def test_what_a_plugin_finds_is_flymakes_and_its_fix_is_one_command_away(steps: dict[str, Json]) -> None:
    assert steps["lint"]["text"] == "demo: something is to be done"
    assert steps["lint"]["at"] == "TODO"
    assert steps["fix"]["text"].endswith("three DONE\n")


def test_a_plugin_that_may_know_hears_of_files_opened_and_saved(steps: dict[str, Json]) -> None:
    names = [event["name"] for event in json.loads(steps["heard"]["events"])]
    assert {"document.opened", "document.saved"} <= set(names)


def test_the_mode_line_shows_a_plugins_text_as_it_is(steps: dict[str, Json]) -> None:
    assert steps["status"]["lighter"] == " Broker[demo: 100%% busy]"  # Emacs writes %% as %


def test_work_is_seen_in_the_mode_line_and_really_cancelled(steps: dict[str, Json]) -> None:
    assert steps["work"]["lighter"].startswith(" Broker[demo: Demo works ")
    assert steps["work"]["result"].startswith("stopped at step ")
    assert steps["work"]["left"] == 0


def test_a_tool_is_called_by_its_name(steps: dict[str, Json]) -> None:
    assert steps["call"]["result"] == "counted to 2"


def test_consent_given_in_the_minibuffer_lets_a_plugin_do_what_it_asked_for(steps: dict[str, Json]) -> None:
    assert steps["consent"]["toast"].startswith("shy: Hello")


def test_a_broker_that_was_killed_is_started_again_by_a_command(steps: dict[str, Json]) -> None:
    assert steps["again"]["lighter"] == " Broker:off"
    assert steps["again"]["result"].startswith("greeted")


def test_turning_the_mode_off_ends_the_broker_in_peace(steps: dict[str, Json]) -> None:
    assert (steps["end"]["status"], steps["end"]["code"]) == ("exit", 0)
    assert "The broker has ended." in steps["end"]["log"]


def test_the_lines_of_the_readme_start_it(world: World) -> None:
    blocks = re.findall(r"```elisp\n(.*?)```", (EDITORS / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    env = {**world.env, "PATH": f"{VENV}:{world.env['PATH']}", "BROKER_CONFIG": str(world.config)}
    done = _batch("--eval", f"(progn {' '.join(blocks)} (princ (broker--lighter)))", env=env, cwd=world.workspace)
    assert (done.returncode, done.stdout) == (0, " Broker"), done.stderr


def test_in_a_terminal_a_question_waits_until_the_minibuffer_is_free_and_quitting_it_is_a_no(world: World) -> None:
    command = " ".join(json.dumps(word) for word in world.command)
    begin = f"(progn (require 'broker) (setq broker-command '({command})) (broker-mode 1))"
    later = '(run-with-timer 1 nil (lambda () (broker-run "demo.sure")))'
    words = [program("emacs"), "-nw", "-Q", "-L", LISP, "--eval", begin, "--eval", later, world.note]
    with opened(words, world.env, world.workspace) as emacs:
        emacs.type(f"{META}xignore")
        assert "Are you sure?" not in emacs.seen("M-x ignore", "Broker[?]")
        emacs.type(QUIT)
        emacs.seen("demo: Are you sure?")
        emacs.type(QUIT)
        emacs.seen("sure: False")
        emacs.type(f"{META}xbroker-run\rdemo.cho\t\r")
        emacs.seen("demo: Which colour?")
        emacs.type("gr\t\r")
        emacs.seen("chose green")
        emacs.type("\x18\x03")
        assert emacs.ended() == 0
    asyncio.run(world.ended())
