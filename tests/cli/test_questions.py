"""A plugin's question in the middle of a call, answered on a terminal that is a pseudo-terminal here."""

from __future__ import annotations

import asyncio
import io
import os
import pty
from collections.abc import Iterator
from typing import Any

import pytest

from broker.cli.questions import answer
from broker.cli.terminal import Terminal
from broker.errors import NoSuchMethod

FORM: dict[str, Any] = {
    "message": "Who?",
    "requestedSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Your name"},
            "age": {"type": "integer", "description": "in years"},
            "size": {"type": "string", "enum": ["S", "M"], "default": "M"},
        },
        "required": ["name"],
    },
}


class Keyboard:
    """The other end of the terminal."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stdin = open(slave, encoding="utf-8")

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.stdin.close()
        os.close(self._master)


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    keyboard = Keyboard()
    monkeypatch.setattr("sys.stdin", keyboard.stdin)
    yield keyboard
    keyboard.close()


async def asked(params: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.wait_for(answer("plugin", params), 5)


async def test_each_field_is_asked_for_and_has_its_type(keyboard: Keyboard) -> None:
    keyboard.types("Ann\n41\nS\n")
    assert await asked(FORM) == {"action": "accept", "content": {"name": "Ann", "age": 41, "size": "S"}}


async def test_an_empty_line_takes_the_default_or_leaves_out_what_may_be(keyboard: Keyboard) -> None:
    keyboard.types("Ann\n\n\n")
    assert await asked(FORM) == {"action": "accept", "content": {"name": "Ann", "size": "M"}}


async def test_a_wrong_answer_is_asked_for_again(keyboard: Keyboard, capsys: pytest.CaptureFixture[str]) -> None:
    keyboard.types("\nAnn\nold\n41\nXL\nM\n")
    assert await asked(FORM) == {"action": "accept", "content": {"name": "Ann", "age": 41, "size": "M"}}
    said = capsys.readouterr().err
    assert "this one is needed" in said
    assert "`age` must be a whole number" in said
    assert "one of S, M" in said


async def test_the_end_of_input_declines(keyboard: Keyboard) -> None:
    keyboard.types("Ann\n\x04")
    assert await asked(FORM) == {"action": "decline"}


@pytest.mark.parametrize(
    ("typed", "action"), [("y\n", "accept"), ("\n", "decline"), ("yep\n", "decline"), ("\x04", "decline")]
)
async def test_only_an_exact_yes_opens_a_door(keyboard: Keyboard, typed: str, action: str) -> None:
    keyboard.types(typed)
    found = await asked({"mode": "url", "message": "Sign in", "url": "https://example.org"})
    assert found["action"] == action


async def test_without_a_terminal_everything_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Ann\n"))
    assert await asked(FORM) == {"action": "decline"}


async def test_a_question_that_nobody_answers_can_be_cancelled(keyboard: Keyboard) -> None:
    question = asyncio.create_task(answer("plugin", FORM))
    await asyncio.sleep(0)
    question.cancel()
    await asyncio.wait([question], timeout=5)
    assert question.cancelled()


async def test_a_terminal_answers_nothing_but_questions() -> None:
    with pytest.raises(NoSuchMethod, match="sampling"):
        await Terminal().ask("sampling/createMessage", b"{}")


def test_a_log_line_is_shown_with_who_said_it(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal("git")
    terminal.tell("notifications/message", b'{"level":"warning","data":{"k":"\\u001b[31m"}}')
    terminal.tell("notifications/message", b'{"level":"info","logger":"core","data":"done"}')
    terminal.tell("notifications/message", b"nonsense")
    shown = capsys.readouterr().err.splitlines()
    assert shown[:2] == ['git: warning: {"k":"\\u001b[31m"}', "core: info: done"]
