"""Hints and docstrings become schemas, and JSON becomes what functions expect."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import msgspec
import pydantic
import pytest
from broker_sdk import Content, Ctx, Message, Meta, Misdeclared, Plugin
from broker_sdk.docstring import parsed
from broker_sdk.schema import Output, Signature

Json = dict[str, Any]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict, total=False):
    title: str


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Inner(pydantic.BaseModel):
    number: int = pydantic.Field(ge=0)


class Model(pydantic.BaseModel):
    inner: Inner
    label: str = "none"


def property_of(hint: Any) -> Json:
    return schema_of(hint)["properties"]["value"]


def schema_of(hint: Any) -> Json:
    return signature_of(hint).schema()


def signature_of(hint: Any) -> Signature:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": hint}
    return Signature(function, "tool 'function'")


SCHEMAS: list[tuple[Any, Json]] = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (Any, {}),
    (list, {"type": "array"}),
    (dict, {"type": "object"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    (Literal["a", "b"], {"enum": ["a", "b"]}),
    (Path, {"type": "string", "format": "path"}),
    (datetime, {"type": "string", "format": "date-time"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
    (Union[int, str], {"anyOf": [{"type": "string"}, {"type": "integer"}]}),  # noqa: UP007
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (Path | None, {"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}),
    (Annotated[int, Meta(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
    (Annotated[str, "what it is"], {"type": "string", "description": "what it is"}),
    (
        Annotated[int, pydantic.Field(gt=1, description="more")],
        {"type": "integer", "exclusiveMinimum": 1, "description": "more"},
    ),
    (list[Annotated[str, Meta(max_length=3)]], {"type": "array", "items": {"type": "string", "maxLength": 3}}),
]


@pytest.mark.parametrize(("hint", "schema"), SCHEMAS, ids=[str(hint) for hint, _ in SCHEMAS])
def test_a_hint_is_described(hint: Any, schema: Json) -> None:
    found = property_of(hint)
    if "anyOf" in schema:
        assert sorted(map(str, found.pop("anyOf"))) == sorted(map(str, schema["anyOf"]))
        schema = {}
    assert found == schema


def test_classes_are_described_under_their_names() -> None:
    for hint, name in ((Point, "Point"), (Movie, "Movie"), (Color, "Color"), (Node, "Node")):
        found = schema_of(hint)
        assert found["properties"]["value"] == {"$ref": f"#/$defs/{name}"}
        assert name in found["$defs"]
    assert schema_of(Point)["$defs"]["Point"]["required"] == ["x"]
    assert schema_of(Node)["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert len(schema_of(Union[Cat, Dog])["properties"]["value"]["anyOf"]) == 2  # noqa: UP007


def test_pydantic_models_are_described_and_made() -> None:
    found = schema_of(Model)
    assert found["properties"]["value"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}
    assert found["$defs"]["Inner"]["properties"]["number"]["minimum"] == 0
    made = signature_of(Model).arguments(b'{"value":{"inner":{"number":3}}}')["value"]
    assert made == Model(inner=Inner(number=3))
    with pytest.raises(ValueError, match="number"):
        signature_of(Model).arguments(b'{"value":{"inner":{"number":-3}}}')
    assert Output(Model).encoded(made) == b'{"inner":{"number":3},"label":"none"}'


VALUES: list[tuple[Any, bytes, Any]] = [
    (Path, b'"a/b"', Path("a/b")),
    (Path | None, b"null", None),
    (datetime, b'"2027-01-02T03:04:05Z"', datetime.fromisoformat("2027-01-02T03:04:05+00:00")),
    (uuid.UUID, b'"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
    (Color, b'"red"', Color.RED),
    (Point, b'{"x":1}', Point(1)),
    (Movie, b'{"title":"t"}', {"title": "t"}),
    (Node, b'{"name":"a","children":[{"name":"b"}]}', Node("a", [Node("b")])),
    (Union[Cat, Dog], b'{"type":"Dog","name":"d"}', Dog("d")),  # noqa: UP007
    (tuple[int, str], b'[1,"a"]', (1, "a")),
    (set[int], b"[1,1]", {1}),
]


@pytest.mark.parametrize(("hint", "data", "value"), VALUES, ids=[str(hint) for hint, _, _ in VALUES])
def test_json_becomes_what_the_hint_says(hint: Any, data: bytes, value: Any) -> None:
    assert signature_of(hint).arguments(b'{"value":%b}' % data) == {"value": value}


def test_defaults_are_described_and_not_shared() -> None:
    def function(tags: list[str] = ["a"], where: Path = Path("x"), color: Color = Color.BLUE) -> None: ...  # noqa: B006

    signature = Signature(function, "tool")
    members = signature.schema()["properties"]
    assert [members[name]["default"] for name in ("tags", "where", "color")] == [["a"], "x", "blue"]
    signature.arguments(b"{}")["tags"].append("b")
    assert signature.arguments(b"{}") == {"tags": ["a"], "where": Path("x"), "color": Color.BLUE}


OUTPUTS: list[tuple[Any, str | None, bool]] = [
    (str, None, False),
    (Any, None, False),
    (type(None), None, False),
    (Content, None, False),
    (list[Content], None, False),
    (list[Message], None, False),
    (str | None, None, False),
    (str | Content, None, False),
    (list[Content | str], None, False),
    (int, "object", True),
    (list[int], "object", True),
    (Point | None, "object", True),
    (Point, "object", False),
    (dict, "object", False),
    (dict[str, int], "object", False),
    (Movie, "object", False),
    (Node, "object", False),
    (object, None, False),
    (Callable, None, False),
]


@pytest.mark.parametrize(("hint", "kind", "wrapped"), OUTPUTS, ids=[str(hint) for hint, _, _ in OUTPUTS])
def test_a_result_is_structured_when_it_is_data(hint: Any, kind: str | None, wrapped: bool) -> None:
    output = Output(hint)
    assert (output.schema and output.schema["type"]) == kind
    assert output.wrapped == wrapped


def test_a_result_that_is_not_what_the_hint_says_is_the_tools_failure() -> None:
    with pytest.raises(ValueError, match="what its hint does not allow"):
        Output(Point).encoded({"x": "one"})


def test_what_cannot_be_offered_says_where_and_what_to_do() -> None:
    def rest(*values: int) -> None: ...
    def untagged(value: Union[Point, Movie, Node]) -> None: ...  # noqa: UP007
    def local(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function, said in ((rest, "name every parameter"), (untagged, "a tag"), (local, "TYPE_CHECKING")):
        with pytest.raises(Misdeclared, match=rf"(?s)tool 'f' \({__file__}:\d+\).*{said}"):
            Signature(function, "tool 'f'")
    with pytest.raises(Misdeclared, match="there already"):
        plugin = Plugin("x")
        plugin.tool("a")(rest)
        plugin.tool("a")(rest)
    with pytest.raises(Misdeclared, match="a name has"):
        Plugin("x").tool("a b")(rest)
    with pytest.raises(Misdeclared, match="write holes"):
        Plugin("x").resource("x://{?query}")(rest)


def test_ctx_is_found_by_its_hint_or_by_its_name() -> None:
    def hinted(c: Ctx, a: int) -> None: ...
    def named(a: int, ctx) -> None: ...  # type: ignore[no-untyped-def]

    assert (Signature(hinted, "t").ctx, Signature(named, "t").ctx) == ("c", "ctx")
    assert Signature(hinted, "t").names == Signature(named, "t").names == ("a",)


DOCSTRINGS = {
    "google": """Count things.

    More of it.

    Args:
        path (str): where to look,
            and further down
        limit: how many
    Returns:
        a number
    """,
    "numpy": """Count things.

    More of it.

    Parameters
    ----------
    path : str
        where to look,
        and further down
    limit
        how many

    Returns
    -------
    int
    """,
    "sphinx": """Count things.

    More of it.

    :param str path: where to look,
        and further down
    :param limit: how many
    :returns: a number
    """,
}


@pytest.mark.parametrize("way", DOCSTRINGS)
def test_docstrings_are_read_in_three_ways(way: str) -> None:
    told, params = parsed(DOCSTRINGS[way])
    assert told == "Count things.\n\nMore of it."
    assert params == {"path": "where to look, and further down", "limit": "how many"}


def test_a_docstring_of_its_own_kind_stays_whole() -> None:
    assert parsed(None) == ("", {})
    assert parsed("Note: this\n  is: it.") == ("Note: this\nis: it.", {})


def test_the_manifest_beside_the_file_says_the_name(tmp_path: Path) -> None:
    from broker_sdk.testing.loading import loaded

    (tmp_path / "plugin.toml").write_text('name = "todos"\nversion = "1.4.0"\n[config.name]\nname = "other"\n')
    (tmp_path / "plugin.py").write_text("from broker_sdk import Plugin\nplugin = Plugin()\n")
    plugin = loaded(tmp_path / "plugin.py")
    assert (plugin.name, plugin.version) == ("todos", "1.4.0")
