"""The ranking of texts: the right one first, whatever the others say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.ranking import ASKED, LONGEST, Field, Ranking, stem, words

Text = tuple[str, str]


def ranking(*texts: Text) -> Ranking:
    made = Ranking((Field(3.0, 4), Field(1.0, 10)))
    for text in texts:
        made.add(text)
    return made


def order(query: str, *texts: Text) -> list[int]:
    return [at for at, _ in ranking(*texts).search(query)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("read_text_file", ["read", "text", "fil"]),
        ("resolve-library-id", ["resolv", "library", "id"]),
        ("getUTCTime", ["get", "utc", "tim", "getutctim"]),
        ("HTTPServer", ["http", "server", "httpserver"]),
        ("PromQL", ["prom", "ql", "promql"]),
        ("What is it in the end?", ["end"]),
        ("Straße ＦＵＬＬ", ["strass", "full"]),
        ("東京の天気", ["東京", "京の", "の天", "天気"]),
        ("", []),
        ("!!! --- \u200b", []),
    ],
)
def test_names_and_sentences_become_the_same_words(text: str, found: list[str]) -> None:
    assert list(words(text)) == found


@pytest.mark.parametrize(
    "same",
    [
        ("entity", "entities"),
        ("branch", "branches"),
        ("file", "files", "filing"),
        ("create", "creates", "created", "creating"),
        ("stop", "stopped", "stops"),
        ("commit", "committed", "commits"),
        ("class", "classes"),
    ],
)
def test_the_forms_of_a_word_are_one_word(same: tuple[str, ...]) -> None:
    assert len({stem(word) for word in same}) == 1


def test_a_name_counts_more_than_a_description() -> None:
    assert order("branch", ("log", "shows a branch"), ("branch", "shows a log"))[0] == 1


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    assert order("git blame", ("git log", ""), ("git add", ""), ("git blame", ""), ("blame", ""))[0] == 2


def test_a_text_with_none_of_the_words_is_not_found() -> None:
    assert order("branch", ("log", "text"), ("add", "file")) == []


def test_the_beginning_of_a_word_finds_it_when_nothing_is_called_so() -> None:
    assert order("kuber", ("kubernetes", "pods"), ("git", "log")) == [0]
    assert order("ku", ("kubernetes", "pods")) == []


def test_a_word_of_the_same_meaning_finds_it_and_the_word_itself_comes_first() -> None:
    assert order("folder", ("create directory", ""), ("create folder", ""), ("git", "")) == [1, 0]


def test_equal_texts_stay_in_order() -> None:
    assert order("git", ("git", "x"), ("git", "x"), ("git", "x")) == [0, 1, 2]


@pytest.mark.parametrize("times", [2, 20, 200, 20_000])
def test_repeating_the_words_of_a_query_does_not_lead_past_a_plain_honest_text(times: int) -> None:
    honest = ("read file", "Read the contents of a file as text.")
    others = [(f"tool{n}", "Does something else with a few words of text.") for n in range(30)]
    assert order("read a file", ("helper", "read file " * times), honest, *others)[0] == 1


def test_a_description_with_every_word_does_not_lead_any_query() -> None:
    honest = [
        (f"{verb} {thing}", f"{verb} a {thing}") for verb in ("read", "send") for thing in ("file", "mail", "log")
    ]
    everything = " ".join(text for pair in honest for text in pair)
    for at, (name, _) in enumerate(honest, 1):
        assert order(name, ("best", everything * 50), *honest)[0] == at


def test_only_the_first_words_of_a_long_text_count() -> None:
    assert order("needle", ("a", "straw " * LONGEST + "needle"), ("b", "hay")) == []


def test_a_huge_query_costs_no_more_than_its_first_words() -> None:
    made = ranking(*((f"tool {n}", "read a file of text") for n in range(2000)))
    made.search("warm")
    began = time.perf_counter()
    made.search("read file text " * 1_000_000)
    assert time.perf_counter() - began < 10
    many = " ".join(f"word{n}x" for n in range(ASKED))
    assert ranking(("last", "")).search(f"{many} last") == []


@given(st.lists(st.tuples(st.text(), st.text()), max_size=8), st.text())
def test_whatever_the_texts_say_each_is_found_once_at_most_and_the_best_first(texts: list[Text], query: str) -> None:
    found = ranking(*texts).search(query)
    assert len({at for at, _ in found}) == len(found)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True) and all(score > 0 for score in scores)


@given(st.text(), st.text())
def test_a_text_is_found_by_itself(name: str, rest: str) -> None:
    if list(words(name[:50])):
        assert order(name[:50], (name[:50], rest)) == [0]
