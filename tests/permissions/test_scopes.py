"""What is asked for, as text and as values; and what covers what."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.permissions.scopes import Permission, allowed, asked, covers, parse, permission

folder = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "**", "a*b"])
pattern = st.lists(folder, min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))
place = st.lists(st.sampled_from(["a", "b", "ab", "aab", "ba"]), max_size=6).map(lambda names: "/" + "/".join(names))
paths = pattern.map(lambda text: permission("read", text))


def matches(one: Permission, path: str) -> bool:
    """The meaning of a path's target, told in another way than `covers` tells it."""
    if "*" not in one.target:
        return path == one.target or path.startswith(one.target.rstrip("/") + "/")
    regex = ""
    for name in one.target.split("/")[1:]:
        regex += "(/[^/]+)*" if name == "**" else "/" + re.escape(name).replace(r"\*", "[^/]*")
    return re.fullmatch(regex, path) is not None


def test_asking_keeps_the_order_of_kinds_and_says_things_once() -> None:
    table = {
        "sampling": True,
        "net": ("API.acme.dev", "api.acme.dev:443", "*.x.org:80"),
        "read": ("${workspace}/**", "${workspace}", "/a//b/./c/**"),
        "run": ("git", "/usr/bin/git"),
    }
    assert list(map(str, asked(table))) == [
        "read:${workspace}",
        "read:/a/b/c",
        "net:api.acme.dev:443",
        "net:*.x.org:80",
        "run:git",
        "run:/usr/bin/git",
        "sampling",
    ]
    assert asked({}) == asked({"sampling": False}) == ()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        *(("read:/**", "read:/"), ("read:/**/**", "read:/"), ("read:/a/**/**/b", "read:/a/**/b"), ("read:~", "read:~")),
        *(
            ("read:/a/*/**", "read:/a/*/**"),
            ("write:${data}/", "write:${data}"),
            ("net:unix:/run//x", "net:unix:/run/x"),
        ),
        *(("call:*", "call:*"), ("run:*", "run:*"), ("ui:toast", "ui:toast"), ("secrets:api_key", "secrets:api_key")),
    ],
)
def test_each_permission_has_one_spelling(text: str, printed: str) -> None:
    assert str(parse(text)) == printed
    assert parse(printed) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "read", "read:", "foo:x", "Read:/a", "sampling:x", "sampling:true", " read:/a"),
        *("read:..", "read:/a/..", "read:/a/../b", "read:.", "read:./", "read:/a/b**", "read:/a/**b", "read:/a***"),
        *(
            "read:/a\0b",
            "read:/a\nb",
            "read:/a\x1b[2J",
            "read:/a\u202eb",
            "read:/a\u200bb",
            "read:/\udc80",
            "read:/" + "a" * 5000,
        ),
        *(
            "env:A B",
            "env:",
            "env:A=B",
            "env:1A",
            "env:*",
            "env:Ä",
            "secrets:a/b",
            "secrets:",
            "ui:everything",
            "call:A b",
        ),
        *(
            "run:a b",
            "run:a;b",
            "run:/usr/bin/*",
            "run:../x",
            "run:$(x)",
            "net:unix:",
            "net:unix:/run/*",
            "net:unix:/a/../b",
        ),
        *("net:", "net:http://x", "net:x:0", "net:2130706433:80"),
    ],
)
def test_what_is_no_permission_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)^`.*\.$") as caught:
        parse(text)
    assert str(caught.value).isprintable()


def test_a_list_where_a_table_has_none_is_refused() -> None:
    for table in ({"sampling": ("x",)}, {"read": True}, {"wirte": ("/a",)}):
        with pytest.raises(ValueError):
            asked(table)


@given(st.text())
@example("¡/")
@example("./git")
def test_any_text_is_a_permission_or_is_refused_in_words(text: str) -> None:
    for kind in ("read", "net", "run", "env", "secrets", "ui", "call"):
        try:
            found = permission(kind, text)
        except ValueError as error:
            assert str(error).startswith("`")
        else:
            assert parse(str(found)) == found
            assert str(found).isprintable()


@given(paths)
def test_every_path_covers_itself_and_reads_back(one: Permission) -> None:
    assert covers(one, one)
    assert parse(str(one)) == one


@given(paths, paths, paths)
def test_covering_passes_on(a: Permission, b: Permission, c: Permission) -> None:
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


@given(paths, paths, st.lists(place, min_size=10, max_size=10))
def test_what_is_covered_allows_nothing_more(a: Permission, b: Permission, places: list[str]) -> None:
    if covers(a, b):
        assert all(matches(a, path) for path in places if matches(b, path))


@pytest.mark.parametrize(
    ("granted", "inside", "outside"),
    [
        ("read:/a", ["/a", "/a/b", "/a/b/**", "/a/*", "/a/**/x"], ["/", "/ab", "/ab/c", "/b", "/**/a", "/*"]),
        ("read:/a/*.md", ["/a/x*.md", "/a/*.md"], ["/a/x.md", "/a/x.mdx", "/a/b/x.md", "/a"]),
        ("read:/a/*/b/**", ["/a/x/b", "/a/*/b/c"], ["/a/b", "/a/x/c"]),
        ("read:/", ["/x", "/**/y"], []),
    ],
)
def test_paths_cover_what_lies_in_them(granted: str, inside: list[str], outside: list[str]) -> None:
    one = parse(granted)
    assert [path for path in inside if not covers(one, permission("read", path))] == []
    assert [path for path in outside if covers(one, permission("read", path))] == []


def test_one_kind_never_covers_another() -> None:
    kinds = [parse(text) for text in ("read:/a", "write:/a", "net:*:*", "net:unix:/a", "run:*", "call:*", "sampling")]
    assert [(a, b) for a in kinds for b in kinds if covers(a, b) and a != b] == []


def test_any_program_and_any_plugin_are_said_by_a_star() -> None:
    assert covers(parse("run:*"), parse("run:git")) and covers(parse("call:*"), parse("call:git"))
    assert not covers(parse("run:git"), parse("run:*"))
    assert not covers(parse("run:git"), parse("run:gi"))
    assert allowed([parse("env:A"), parse("run:*")], parse("run:/usr/bin/git"))
    assert not allowed([], parse("sampling"))


def test_a_hostile_pattern_is_judged_at_once() -> None:
    many = permission("read", "/" + "/".join(["**", "a*a*a*a"] * 200))
    assert covers(many, many)
    assert not covers(many, permission("read", "/" + "/".join(["a" * 8] * 200 + ["b"])))


def test_the_other_telling_of_patterns_is_right() -> None:
    assert matches(parse("read:/a/**/b"), "/a/b") and matches(parse("read:/a/*"), "/a/b")
    assert not matches(parse("read:/a/*"), "/a/b/c")
