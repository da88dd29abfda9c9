"""Which of many short texts are meant by a few words: BM25F, the ranking of full-text search, over weighted fields.

Rule 1: nothing one text does can push others far down: a word counts less each time it is repeated, less in a
        longer field, and only the first `LONGEST` words of a field count at all.
Rule 2: a query costs what its first `ASKED` words cost, however long it is.
Rule 3: the same texts and the same query give the same order.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from msgspec import Struct

LONGEST = 300  # words of one field
OFTEN = 5  # times a word of a field counts
LONG = 64  # characters of a word, above which it is none
ASKED = 32  # different words of a query
QUERY = 2000  # characters of a query that are looked at
SATURATION = 1.2  # BM25's k1: how soon the next occurrence of a word stops to matter
LENGTH = 0.6  # BM25's b: how much a long field is held against it
RARE = 3  # letters of a word that nobody uses, from which it may be the beginning of one
GUESS = 0.6  # what such a guess is worth, beside the word itself
ALIKE = 0.4  # and a word of much the same meaning

Postings = dict[str, list[tuple[int, float]]]  # word -> the texts it is in, and its weight in each

_RUNS = re.compile(r"[^\W_]+")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # getUTCTime, HTTPServer, PromQL, mp3
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[\U00020000-\U0003ffff]")
# Words that people and tools use for one another.
_ALIKE = """\
add create insert make new
change edit modify update write
compare diff difference
undo reset restore revert
save store write
delete drop erase forget remove
download fetch get obtain read retrieve
find list lookup query search
copy duplicate
move rename
execute invoke launch run start
cancel kill stop
directory folder
file document
image photo picture
internet online page site url web website
message mail email
repo repository
issue ticket
database db sql
calculate compute evaluate expression math sum
args arguments parameters
config configuration settings"""
_STOP = frozenset(
    "a all an and any are as at be been but by can could did do does for from give had has have how i if in into is it"
    " its let me my of on or our please should so some than that the their them then there these they this those to"
    " up us use used using want was we were what when where which who whose why will with would you your".split()
)


class Field(Struct, frozen=True):
    """One part of every text."""

    weight: float
    usual: float  # words it has; not the mean of what is there, which one text could move


class Ranking:
    """An index of texts, each with these fields. Texts are numbered as they are added."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._postings: Postings = {}
        self._count = 0

    def add(self, text: Sequence[str]) -> None:
        """Take in one more text: what it says in each field."""
        found: dict[str, float] = {}
        for field, said in zip(self._fields, text, strict=True):
            counted = Counter(_first(words(said)))
            length = 1 - LENGTH + LENGTH * counted.total() / field.usual
            for word, times in counted.items():
                found[word] = found.get(word, 0.0) + field.weight * min(times, OFTEN) / length
        for word, weight in found.items():
            self._postings.setdefault(word, []).append((self._count, weight))
        self._count += 1

    def search(self, query: str) -> list[tuple[int, float]]:
        """(text, score) of each that holds a word of `query`, best first."""
        scores: dict[int, float] = {}
        for word in dict.fromkeys(_first(words(query[:QUERY]), ASKED)):
            for text, score in self._scores(_meant(word, self._postings)).items():
                scores[text] = scores.get(text, 0.0) + score
        return sorted(scores.items(), key=lambda each: (-each[1], each[0]))

    def _scores(self, meant: dict[str, float]) -> dict[int, float]:
        """What one word of a query is worth to each text: the best of all the words it may stand for."""
        best: dict[int, float] = {}
        for word, worth in meant.items():
            found = self._postings[word]
            rarity = worth * math.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
            for text, weight in found:
                best[text] = max(best.get(text, 0.0), rarity * weight / (SATURATION + weight))
        return best


def _meant(word: str, postings: Postings) -> dict[str, float]:
    """The words of the index that a word of a query may stand for, and how surely."""
    near = {each: ALIKE for each in _alike().get(word, ()) if each in postings}
    if word in postings:
        return {**near, word: 1.0}
    if near or len(word) < RARE:
        return near
    return {each: GUESS for each in postings if each.startswith(word)}


@lru_cache(1)
def _alike() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in _ALIKE.splitlines():
        group = {stem(word) for word in line.split()}
        for word in group:
            found.setdefault(word, set()).update(group)
    return found


def words(text: str) -> Iterator[str]:
    """The words of a text as they are compared: folded, without endings, and without those that mean nothing."""
    for run in _RUNS.findall(text if text.isascii() else unicodedata.normalize("NFKC", text)):
        yield from _compared(run[:LONG])


@lru_cache(1 << 13)
def _compared(run: str) -> tuple[str, ...]:
    """Letters and digits without a gap, as words: the parts it is made of, and the whole."""
    if not run.isascii() and _SPACELESS.search(run):
        return tuple(run[at : at + 2] for at in range(max(1, len(run) - 1)))  # no spaces: pairs of characters
    parts = _PARTS.findall(run) if run.isascii() else [run]
    found = [part.casefold() for part in (parts if len(parts) == 1 else [*parts, run])]
    return tuple(stem(word) for word in found if word not in _STOP)


def stem(word: str) -> str:
    """`word` without an English ending, roughly: what is one word to a reader should be one here."""
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("ches", "shes", "sses", "xes")) else word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _first(found: Iterator[str], most: int = LONGEST) -> Iterator[str]:
    return (word for _, word in zip(range(most), found, strict=False))
