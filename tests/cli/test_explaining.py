"""Every error has its page, and every page its error."""

from __future__ import annotations

import pytest

from broker import errors
from broker.cli.explaining import meant, pages, show
from broker.errors import BrokerError, NotFound, RemoteError


def classes(kind: type[BrokerError] = BrokerError) -> list[type[BrokerError]]:
    found = [kind, *(each for child in kind.__subclasses__() for each in classes(child))]
    return [each for each in found if each.__module__.startswith("broker.")]


def test_every_error_has_a_page_and_every_page_an_error() -> None:
    assert sorted(page.name for page in pages()) == sorted({kind.name for kind in classes()})


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.name)
def test_a_page_agrees_with_its_error_and_says_what_to_do(kind: type[BrokerError]) -> None:
    (page,) = [page for page in pages() if page.name == kind.name]
    assert page.code == (None if kind is RemoteError else kind.code)
    assert page.title and "Usual causes:\n- " in page.text and "What to do:\n- " in page.text
    assert "\n# " not in page.text and page.text == page.text.strip()


def test_pages_stand_in_the_order_of_the_tree() -> None:
    tree = errors.__doc__ or ""
    names = [page.name for page in pages()]
    assert names == sorted(names, key=lambda name: tree.index(f" {name} ") if f" {name} " in tree else len(tree))


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("plugin-crashed", ["plugin-crashed"]),
        ("Plugin_Crashed", ["plugin-crashed"]),
        ("-31001", ["plugin-crashed"]),
        ("31001", ["plugin-crashed"]),
        ("-32602", ["invalid-params", "not-found"]),
        ("-32002", ["not-found"]),
        ("remote-error", ["remote-error"]),
    ],
)
def test_an_error_is_found_by_name_and_by_code(word: str, names: list[str]) -> None:
    assert [page.name for page in meant(word)] == names


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("plugin-crash", "did you mean plugin-crashed?"),
        ("timeout", "did you mean plugin-timeout?"),
        ("31101", "did you mean -31"),
        ("-3100", "did you mean -31"),
    ],
)
def test_a_near_miss_is_told(word: str, said: str) -> None:
    with pytest.raises(NotFound, match=r"no error is called") as raised:
        meant(word)
    assert said in str(raised.value) and "broker explain" in raised.value.hint


@pytest.mark.parametrize("word", ["", "xyzzy", "0", "-", "99999999999999999999", "\x1b[31m"])
def test_nonsense_is_told(word: str) -> None:
    with pytest.raises(NotFound):
        meant(word)


def test_without_a_word_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(None) == 0
    said = capsys.readouterr().out
    assert all(page.name in said and page.title in said for page in pages())


def test_a_page_says_that_nothing_is_repeated_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("31001") == 0
    said = capsys.readouterr().out
    assert said.startswith("plugin-crashed -31001\nA plugin ended")
    assert "never sends such a\n  request again by itself" in said and "sideEffects" in said
