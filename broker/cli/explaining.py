"""`broker explain`: what an error means, by its name or its code. The pages are in errors.md, beside this file."""

from __future__ import annotations

import re
from pathlib import Path

import click
from msgspec import Struct

from broker.core.shape import nearest
from broker.errors import NotFound

_HEADER = re.compile(r"^# ([a-z-]+)(?: \((-\d+)\))?: (.+)$", re.MULTILINE)


class Page(Struct, frozen=True):
    """What is said about one error."""

    name: str
    code: int | None  # None: the other side's own
    title: str
    text: str


def pages() -> list[Page]:
    """All pages, in the order of the file."""
    parts = _HEADER.split(Path(__file__).with_name("errors.md").read_text("utf-8"))[1:]
    names, codes, titles, texts = (parts[each::4] for each in range(4))
    return [
        Page(name, int(code) if code else None, title, text.strip())
        for name, code, title, text in zip(names, codes, titles, texts, strict=True)
    ]


def show(word: str | None) -> int:
    """Print the pages that `word` means, or the list of all; the exit code. Raises `NotFound`."""
    if word is None:
        _say_all(pages())
        return 0
    for number, page in enumerate(meant(word)):
        click.echo("\n" * bool(number), nl=False)
        _say(page)
    return 0


def meant(word: str) -> list[Page]:
    """The pages of a name or a code, whose sign may be missing. Raises `NotFound` with the nearest name."""
    known, word = pages(), word.strip().lower()
    if re.fullmatch(r"-?\d+", word):
        found = _coded(known, -abs(int(word)))
    else:
        found = [page for page in known if page.name == word.replace("_", "-").replace(" ", "-")]
    if not found:
        raise NotFound(f"no error is called {word}{_suggestion(word, known)}", hint="`broker explain` lists them all.")
    return found


def _coded(known: list[Page], code: int) -> list[Page]:
    """The pages of a code, else those that speak of it."""
    exact = [page for page in known if page.code == code]
    return exact or [page for page in known if re.search(rf"\B-{-code}\b", page.text)]


def _suggestion(word: str, known: list[Page]) -> str:
    words = {page.name: page.name for page in known}
    words |= {str(code): f"{code} ({page.name})" for page in known if (code := page.code) is not None}
    near = nearest(word if not word.isdigit() else f"-{word}", words)
    return f"; did you mean {words[near]}?" if near is not None else ""


def _say(page: Page) -> None:
    click.secho(page.name, bold=True, nl=False)
    click.echo(f" {page.code if page.code is not None else ''}".rstrip())
    click.echo(f"{page.title[0].upper()}{page.title[1:]}.\n\n{page.text}")


def _say_all(known: list[Page]) -> None:
    for page in known:
        click.echo(f"{page.code or '':>6}  {page.name:20}  {page.title}")
    click.echo("\n`broker explain NAME` or `broker explain CODE` says what to do.")
