"""How text gets on a person's screen: through rich, and never with control characters of a plugin's."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from broker.model import Problem

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160  # columns of a table that no terminal shows
# What moves a cursor, sets a title or colours, hides text, or turns its direction around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """A plugin's text with its control characters made visible, so that it cannot play with the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


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


def _indented(text: str) -> str:
    return plain(text).replace("\n", "\n  ")
