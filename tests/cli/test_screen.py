"""What a plugin wrote becomes text that is safe to look at."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

from broker.cli.results import readable
from broker.cli.screen import Plain, first_line, plain, say_failure, say_problems, word
from broker.model import Problem


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ([{"type": "text", "text": "a\nb"}, {"type": "text", "text": "c"}], "a\nb\nc"),
        (
            [{"type": "image", "mimeType": "image/png", "data": base64.b64encode(b"x" * 2500).decode()}],
            "[image image/png 2.5 kB]",
        ),
        (
            [{"type": "audio", "mimeType": "audio/wav", "data": base64.b64encode(b"xy").decode()}],
            "[audio audio/wav 2 bytes]",
        ),
        (
            [{"type": "resource", "resource": {"uri": "demo://a", "mimeType": "text/plain", "text": "hello"}}],
            "[resource demo://a text/plain 5 characters]",
        ),
        (
            [{"type": "resource", "resource": {"uri": "demo://a", "blob": "AAAA"}}],
            "[resource demo://a 3 bytes]",
        ),
        ([{"type": "resource_link", "uri": "demo://b", "name": "b", "title": "B"}], "[resource_link demo://b B]"),
        ([{"type": "hologram"}], "[hologram]"),
        (["nonsense", {}], "[a part of no type]\n[a part of no type]"),
        ("nonsense", ""),
        ([], ""),
    ],
)
def test_each_part_of_a_result_is_text_or_one_line(content: Any, shown: str) -> None:
    assert readable({"content": content}) == shown


def test_a_result_that_is_only_structured_is_shown_as_json() -> None:
    assert readable({"content": [], "structuredContent": {"sum": 3}}) == '{\n  "sum": 3\n}'


def test_text_beside_a_structure_is_what_is_shown() -> None:
    assert readable({"content": [{"type": "text", "text": "3"}], "structuredContent": {"sum": 3}}) == "3"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb", "a\nb"),
        ("\x1b]0;title\x07\x1b[31mred", "\\x1b]0;title\\x07\\x1b[31mred"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202egnp.exe", "abc\\x202egnp.exe"),
        ("a\u200bb\ufeff\u2028\U000e0041\xad", "a\\x200bb\\xfeff\\x2028\\xe0041\\xad"),
        ("half \udc80", "half \\xdc80"),
        ("grüße 日本 👨‍👩‍👧 ❤️", "grüße 日本 👨‍👩‍👧 ❤️"),
    ],
)
def test_a_plugins_text_cannot_play_with_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_word_of_an_argv_stays_on_its_line() -> None:
    assert word("a b\n\r\nc\td\x1b[0m") == r"a b\n\x0d\nc\td\x1b[0m"


def test_what_is_logged_cannot_play_with_the_terminal_either() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s is off", ("\x1b[31mred",), None)
    assert Plain("broker: %(message)s").format(record) == "broker: \\x1b[31mred is off"


def test_the_first_line_is_one_that_says_something() -> None:
    assert first_line("\n  \n  Does it.\nAnd more.") == "Does it."
    assert first_line("") == ""


def test_a_problem_names_its_place_what_is_wrong_and_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    say_problems([Problem("config.toml:3", "it is wrong", "make it right"), Problem("x.json", "so is this")])
    assert capsys.readouterr().out == "config.toml:3\n  it is wrong\n  fix: make it right\nx.json\n  so is this\n"


def test_a_failure_of_several_lines_stays_together(capsys: pytest.CaptureFixture[str]) -> None:
    say_failure("git", "it ended:\nno key", "give it one", stderr=True)
    assert capsys.readouterr().err == "git failed\n  it ended:\n  no key\n  fix: give it one\n"
