"""`broker secret`, as a person types it, over a real keyring in a file."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.keyrings import in_file, none_at_all
from tests.servers import VENV

BOUND = 30.0  # seconds; a command takes a third of one
VALUE = "hunter2 with a space"


class Person:
    """Somebody with one plugin that asks for two secrets."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(
            f"[plugins.todos]\npath = 'todos'\n[servers.plain]\ncommand = {json.dumps(sys.executable)}\n"
        )
        (folder / "todos").mkdir()
        (folder / "todos" / "plugin.py").touch()
        (folder / "todos" / "plugin.toml").write_text(
            'name = "todos"\nversion = "1.0.0"\napi = 1\nentry = "plugin.py"\n'
            "[permissions]\nsecrets = ['api_key', 'other']\n"
        )
        self.env = {**os.environ, **in_file(folder), "BROKER_HOME": str(folder / "home")}

    def command(self, what: str, *words: str) -> list[str]:
        flags = [] if what == "remove" else ["--config", str(self.config)]
        return [str(VENV / "broker"), "secret", what, *flags, *words]

    def runs(self, what: str, *words: str, given: bytes = b"") -> tuple[int, str]:
        """Exit code and everything printed."""
        full = self.command(what, *words)
        ran = subprocess.run(full, env=self.env, input=given, capture_output=True, timeout=BOUND)
        return ran.returncode, (ran.stdout + ran.stderr).decode()

    def types(self, *words: str, answer: str) -> tuple[int, str]:
        """The same at a terminal, with what the person answers; what stood on the screen."""
        screen, terminal = pty.openpty()
        full = self.command(*words)
        with subprocess.Popen(full, env=self.env, stdin=terminal, stdout=terminal, stderr=terminal) as ran:
            os.close(terminal)
            shown = _until(screen, b": ")
            os.write(screen, f"{answer}\n".encode())
            shown += _until(screen, b"restart")
            code = ran.wait(BOUND)
        os.close(screen)
        return code, shown.decode()


def _until(screen: int, wanted: bytes) -> bytes:
    shown, until = b"", time.monotonic() + BOUND
    while wanted not in shown:
        ready, _, _ = select.select([screen], [], [], max(0.0, until - time.monotonic()))
        assert ready, shown
        shown += os.read(screen, 4096)
    return shown


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def test_a_value_from_a_pipe_is_kept_shown_as_set_and_forgotten(person: Person) -> None:
    code, said = person.runs("set", "todos", "api_key", given=f"{VALUE}\n".encode())
    assert code == 0 and "broker restart todos" in said and "broker grant todos secrets:api_key" in said
    code, listed = person.runs("list", "todos")
    assert code == 1 and "api_key  set, not granted, given as API_KEY" in listed and "other  not set" in listed
    assert VALUE not in said + listed
    code, said = person.runs("remove", "todos", "api_key")
    assert code == 0 and "no longer" in said
    assert person.runs("remove", "todos", "api_key")[0] == 1
    assert "api_key  not set" in person.runs("list", "todos")[1]


def test_at_a_terminal_the_value_is_asked_for_and_not_shown(person: Person) -> None:
    code, shown = person.types("set", "todos", "api_key", answer=VALUE)
    assert code == 0 and "The secret api_key of todos: " in shown and VALUE not in shown
    assert "api_key  set" in person.runs("list", "todos")[1]


def test_a_value_cannot_be_an_argument(person: Person) -> None:
    code, said = person.runs("set", "todos", "api_key", VALUE)
    assert code == 2 and "unexpected extra argument" in said
    assert "api_key  not set" in person.runs("list", "todos")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "todo", "api_key"), "did you mean todos?"),
        (("set", "todos", "apikey"), "it asks for api_key, other"),
        (("set", "plain", "api_key"), "it asks for none"),
        (("list", "nobody"), "no plugin is called nobody"),
    ],
)
def test_what_nobody_asks_for_is_not_kept(person: Person, words: tuple[str, ...], said: str) -> None:
    code, printed = person.runs(*words, given=b"x")
    assert code == 2 and said in printed


@pytest.mark.parametrize("given", [b"", b"\n", b"a\0b", b"\xff\xfe", b"x" * (65 << 10)])
def test_what_cannot_be_a_value_is_refused(person: Person, given: bytes) -> None:
    code, said = person.runs("set", "todos", "api_key", given=given)
    assert code == 2 and "a secret" in said and "Traceback" not in said


def test_a_plugin_that_asks_for_nothing_needs_no_keyring(person: Person) -> None:
    assert person.runs("list", "plain") == (0, "plain asks for no secrets.\n")


def test_without_a_keyring_it_is_said_what_helps(person: Person, tmp_path: Path) -> None:
    del person.env["PYTHON_KEYRING_BACKEND"]
    person.env |= none_at_all(tmp_path)
    code, said = person.runs("set", "todos", "api_key", given=b"hunter2!")
    assert code == 2 and "this machine has no keyring" in said and "gnome-keyring" in said and "hunter2!" not in said
