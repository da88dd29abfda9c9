"""Words of a command line become the arguments a tool declares."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from broker.cli.arguments import arguments, convert, read, types
from broker.errors import BadArguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "deep": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "options": {"type": "object"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
        "level": {"$ref": "#/$defs/Level"},
        "anything": {},
    },
    "required": ["text"],
    "$defs": {"Level": {"enum": [1, 2]}},
}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=5", "5"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text={}", "{}"),
        ("count=-5", -5),
        ("count=5.0", 5),
        ("ratio=1e3", 1000.0),
        ("ratio=2", 2),
        ("deep=true", True),
        ('names=["a","b"]', ["a", "b"]),
        ('options={"a":{"b":1}}', {"a": {"b": 1}}),
        ("maybe=null", None),
        ("maybe=3", 3),
        ("either=3", "3"),
        ("level=2", 2),
        ("anything=3", 3),
        ("anything=three", "three"),
    ],
)
def test_a_value_has_the_type_its_argument_declares(word: str, value: object) -> None:
    key = word.partition("=")[0]
    found = arguments({**SCHEMA, "required": []}, [word], {})
    assert found == {key: value}
    assert type(found[key]) is type(value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("count=five", "`count` must be a whole number such as 5, not 'five'"),
        ("count=1.5", "`count` must be a whole number"),
        ("count=true", "`count` must be a whole number"),
        ("ratio=NaN", "`ratio` must be a number"),
        ("ratio=1e999", "`ratio` must be a number"),
        ("deep=yes", "`deep` must be true or false"),
        ("deep=1", "`deep` must be true or false"),
        ("names=a", "`names` must be a JSON array"),
        ("options=[]", "`options` must be a JSON object"),
        ("texd=a", "the tool has no argument `texd`; did you mean `text`?"),
        ("text", "'text' is not of the form key=value"),
        ("=a", "'=a' is not of the form key=value"),
    ],
)
def test_a_word_that_cannot_be_meant_is_told(word: str, said: str) -> None:
    with pytest.raises(BadArguments) as raised:
        arguments({**SCHEMA, "required": []}, [word], {})
    assert str(raised.value).startswith(said)


def test_a_missing_argument_is_told_with_all_there_are() -> None:
    with pytest.raises(BadArguments, match="the tool needs `text`") as raised:
        arguments(SCHEMA, ["count=1"], {})
    assert raised.value.hint.startswith("It takes anything, count, deep")


def test_an_argument_is_given_once() -> None:
    with pytest.raises(BadArguments, match="given twice"):
        arguments(SCHEMA, ["text=a", "text=b"], {})
    with pytest.raises(BadArguments, match="given twice"):
        arguments(SCHEMA, ["text=a"], {"text": "b"})


def test_words_come_on_top_of_json() -> None:
    assert arguments(SCHEMA, ["text=a"], {"count": 1}) == {"count": 1, "text": "a"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"oneOf": [{"properties": {"x": {}}}]},
        {"type": "object", "patternProperties": {"^x": {}}},
    ],
)
def test_an_open_schema_takes_every_key(schema: dict[str, Any]) -> None:
    assert arguments(schema, ["x=1"], {}) == {"x": 1}


@pytest.mark.parametrize(
    "schema",
    [{"properties": []}, {"properties": {"x": 1}}, {"properties": {"x": {"$ref": "#/properties/x"}}}, {"required": 5}],
)
def test_a_nonsensical_schema_is_no_obstacle(schema: dict[str, Any]) -> None:
    assert arguments({**schema, "additionalProperties": True}, ["x=1"], {}) == {"x": 1}


def test_a_type_that_nobody_knows_takes_nothing_but_says_so() -> None:
    with pytest.raises(BadArguments, match="`x` must be quaternion"):
        convert("x", "1", types({"type": "quaternion"}, {}))


@pytest.mark.parametrize("text", ['{"a": 1', "[1]", '"a"', "5", '{"a": NaN}', "[" * 100_000])
def test_json_that_is_no_object_is_told(text: str) -> None:
    with pytest.raises(BadArguments, match=r"--json (is not JSON|must be a JSON object)"):
        read(text)


def test_json_comes_from_the_word_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text('{"a": "é"}', "utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 2}')))
    assert read(None) == {}
    assert read('{"a": 1}') == {"a": 1}
    assert read(f"@{tmp_path}/a.json") == {"a": "é"}
    assert read("-") == {"a": 2}


def test_a_json_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadArguments, match="cannot be read: No such file"):
        read(f"@{tmp_path}/none.json")


def test_a_json_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadArguments, match="is not JSON"):
        read(f"@{tmp_path}/a.json")
