"""Which URIs belong to a family, what is in them, and what is no shape of a family."""

from __future__ import annotations

import pytest

from broker.runtimes.uri_templates import Template


@pytest.mark.parametrize(
    ("template", "uri", "found"),
    [
        ("note://{id}", "note://7", {"id": "7"}),
        ("note://{id}", "note://a%2Fb%20c", {"id": "a/b c"}),
        ("note://{id}", "note://", None),
        ("note://{id}", "note://a/b", None),
        ("file:///{+path}", "file:///a/b.txt", {"path": "a/b.txt"}),
        ("a://{x}-{y}.txt", "a://1-2-3.txt", {"x": "1", "y": "2-3"}),
        ("a://{x}/b", "a://1/c", None),
        ("a://{x}/b", "a:///b", None),
        ("a://{x}b", "a://b", None),
        ("a://{x}", "other://1", None),
    ],
)
def test_a_uri_gives_its_values_or_is_of_another_family(template: str, uri: str, found: dict[str, str] | None) -> None:
    assert Template(template).match(uri) == found


@pytest.mark.parametrize("text", ["a://b", "{id}", "a://{id", "a://{?q}", "a://{x}{y}", "a://{x}/{x}", "a://{1}"])
def test_what_is_no_family_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a://|id"):
        Template(text)


def test_many_expressions_take_one_pass() -> None:
    template = Template("a://" + "-".join(f"{{x{n}}}" for n in range(16)) + "b")
    assert template.match("a://" + "-" * 200_000) is None
