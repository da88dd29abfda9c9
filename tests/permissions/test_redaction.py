"""A declared value is found however it is written and wherever a line ends."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from broker.errors import PluginFailed, RemoteError
from broker.permissions.redaction import LEAST, MARK, Lines, Redaction, Redactions, credentials_in
from tests.hostile.canaries import CANARIES, shown_in, written

TEXT = MARK.decode()


@pytest.mark.parametrize("value", CANARIES)
def test_a_value_is_removed_in_every_spelling(value: str) -> None:
    redaction = Redaction([value])
    for name, text in written(value):
        cleaned = redaction.text(f"before {text} after")
        assert TEXT in cleaned and cleaned.startswith("before "), name
        assert not shown_in(cleaned, value), name


@pytest.mark.parametrize("value", CANARIES)
def test_a_value_is_removed_wherever_the_text_around_it_is_cut_into_lines(value: str) -> None:
    redaction = Redaction([value])
    for name, text in written(value):
        for at in range(1, len(text)):
            lines = Lines(redaction)
            kept = b"\n".join(lines.take(part.encode()) for part in (f"x {text[:at]}", f"{text[at:]} y"))
            assert not shown_in(kept.decode().replace("\n", ""), value), (name, at)


def test_a_value_over_three_lines_and_an_empty_one_is_removed() -> None:
    lines = Lines(Redaction(["abcdefghijklmnop"]))
    assert [lines.take(line) for line in (b"x abcdefg", b"hij", b"\r", b"klmnop y", b"z")] == [
        b"x " + MARK,
        MARK,
        b"\r",
        MARK + b" y",
        b"z",
    ]


def test_a_line_that_is_not_whole_yet_is_shown_clean_and_changes_nothing() -> None:
    lines = Lines(Redaction(["abcdefghijklmnop"]))
    assert lines.peek(b"x abcdefgh") == lines.peek(b"x abcdefgh") == b"x " + MARK
    assert lines.take(b"x abcdefghijklmnop") == b"x " + MARK


def test_a_value_that_overlaps_itself_is_removed_as_a_whole() -> None:
    assert Redaction(["abcdefXabcdef"]).text("abcdefXabcdef") == TEXT
    assert Redaction(["aaaaaaaa"]).text("a" * 20) in (TEXT, TEXT * 2 + "aaaa", TEXT * 3)


def test_a_long_value_is_removed_and_built_in_no_time() -> None:
    value = "".join(f"{number:x}" for number in range(20_000))
    started = time.perf_counter()
    redaction = Redaction([value])
    assert redaction.text(f"a{value}b") == f"a{TEXT}b"
    assert redaction.text(f"a{value[:5000]}-b") == f"a{TEXT}-b"
    assert time.perf_counter() - started < 5


def test_lines_of_a_key_are_removed_one_by_one() -> None:
    key = "-----BEGIN KEY-----\n" + "\n".join(f"{number:064x}" for number in range(1 << 250, (1 << 250) + 4))
    said = "\n".join(f"[error] {line}" for line in key.splitlines())
    assert re.fullmatch(rf"(\[error\] {re.escape(TEXT)}\n?)+", Redaction([key]).text(said))


@pytest.mark.parametrize("value", ["", "abc", "12345", "     x     "])
def test_what_is_shorter_than_a_word_is_no_secret(value: str) -> None:
    assert not Redaction([value]) and Redaction([value]).text(f"is {value}!") == f"is {value}!"


def test_nothing_else_is_touched() -> None:
    redaction = Redaction([CANARIES[0]])
    for text in ("", "\n", "a\r\nb\n", "grüße 日本 \udc80", "redacted", "x" * 5000, CANARIES[0][: LEAST - 1]):
        assert redaction.text(text) == text
    assert (
        bytes(redaction.raw(Raw(b'{"a": 1.50, "b":[12345678901234567890]}')))
        == b'{"a": 1.50, "b":[12345678901234567890]}'
    )


def test_json_is_cleaned_in_its_texts_keys_and_numbers_and_stays_json() -> None:
    redaction = Redaction(["hunter2!", "123456789"])
    data = Raw(json.dumps({"a": ["is hunter2!"], "hunter2!": 123456789, "n": None}).encode())
    assert json.loads(bytes(redaction.raw(data))) == {"a": [f"is {TEXT}"], TEXT: TEXT, "n": None}
    escaped = Raw(b'{"a":"\\u0068\\u0075\\u006e\\u0074\\u0065\\u0072\\u0032\\u0021"}')
    assert json.loads(bytes(redaction.raw(escaped))) == {"a": TEXT}


def test_an_error_is_cleaned_in_its_words_facts_and_data() -> None:
    redaction = Redaction(["hunter2!"])
    error = redaction.error(PluginFailed("no hunter2!", hint="try hunter2!", facts={"stderr": ["hunter2!", 1]}))
    assert (str(error), error.hint, error.facts) == (f"no {TEXT}", f"try {TEXT}", {"stderr": [TEXT, 1]})
    remote = redaction.error(RemoteError(-5, "hunter2!", Raw(b'{"x":"hunter2!"}')))
    assert (remote.code, str(remote), bytes(remote.data or b"")) == (-5, TEXT, b'{"x":"[redacted]"}')


def test_each_plugin_has_its_own_values() -> None:
    redactions = Redactions()
    redactions.declare("a", ["hunter2!"])
    assert redactions.text("a", "hunter2!") == TEXT and redactions.text("b", "hunter2!") == "hunter2!"
    failure, other = redactions.error("a", PluginFailed("hunter2!")), redactions.error("a", TimeoutError("hunter2!"))
    assert (str(failure), str(other)) == (TEXT, "hunter2!")


def test_the_credentials_of_an_entry_are_found_by_name_and_in_urls() -> None:
    env = {
        "TOKEN": "aaa",
        "HOME": "/home/x",
        "DATABASE_URL": "postgres://me:s3cret-pw@db:5432/x",
        "TOKEN_URL": "https://x",
    }
    assert sorted(credentials_in(env)) == ["aaa", "s3cret-pw"]


def _pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[a:b] for a, b in pairwise(points))


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=8, max_size=40).filter(
        lambda text: len(text.strip()) >= 8 and text == text.strip()
    ),
    st.lists(st.integers(0, 400), max_size=3),
)
def test_any_value_is_removed_however_it_is_written_and_cut(value: str, cuts: list[int]) -> None:
    redaction = Redaction([value])
    for name, text in written(value):
        lines = Lines(redaction)
        kept = b"".join(lines.take(piece) for piece in _pieces(b". " + text.encode() + b" .", cuts))
        assert not shown_in(kept.decode("utf-8", "replace"), value), name
