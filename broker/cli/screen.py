"""How text gets on a person's screen: through rich, and never with control characters of a plugin's."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from broker.model import Problem

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160  # columns of a table that no terminal shows
# What moves a cursor, sets a title or colours, turns the direction around, breaks a line unseen, or cannot be seen at
# all; half a surrogate pair, which cannot be printed. Joiners (200c, 200d) stay: scripts and emoji need them.
_CONTROL = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def plain(text: str) -> str:
    """A plugin's text with its control characters made visible, so that it cannot play with the terminal."""
    return _visible(text.replace("\r\n", "\n"))


def word(text: str) -> str:
    """A name, a path or one word of an argv: all of it on one line, with its line breaks and tabs made visible too."""
    return _visible(text).replace("\n", "\\n").replace("\t", "\\t")


class Plain(logging.Formatter):
    """What is logged to a terminal or into a client's own log, safe like everything else."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in plain(text).splitlines() if line.strip()), "")


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given, as it is."""
    from rich.console import Console

    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else PIPE_WIDTH
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def say_problems(problems: Sequence[Problem], *, stderr: bool = False) -> None:
    """Each with its place and what to do; the first line can be clicked in most terminals."""
    for problem in problems:
        click.secho(plain(problem.where), bold=True, err=stderr)
        click.echo(f"  {_indented(problem.what)}", err=stderr)
        if problem.fix:
            click.secho(f"  fix: {_indented(problem.fix)}", fg="green", err=stderr)


def say_failure(name: str, message: str, hint: str, *, stderr: bool = False) -> None:
    """Why a plugin failed, and what to do about it."""
    click.secho(f"{name} failed", fg="red", bold=True, err=stderr)
    click.echo(f"  {_indented(message)}", err=stderr)
    click.secho(f"  fix: {_indented(hint)}", fg="green", err=stderr)


def _visible(text: str) -> str:
    return re.sub(_CONTROL, lambda found: f"\\x{ord(found[0]):02x}", text)  # compiled when there is something to show


def _indented(text: str) -> str:
    return plain(text).replace("\n", "\n  ")
