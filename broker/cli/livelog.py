"""What a plugin does in a session of its author's, printed as it happens.

Rule 1: the plugin's own words never reach the terminal with control characters (see `screen`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import click
import msgspec

from broker.authoring.client import Json
from broker.authoring.refusals import Refusal
from broker.authoring.session import Ready, changes
from broker.cli.questions import DECLINE
from broker.cli.screen import first_line, plain, say_problems
from broker.errors import BrokerError, SecretMissing
from broker.model import Kind, Listing, Problem

SELDOM = 0.1  # seconds between two lines about the progress of one call
_TAIL = "; the last it wrote:"
_UNHELD = "it has no plugin.toml, so nothing confines it, as in every client"


class LiveLog:
    """The stage of a session at which nobody can be asked."""

    def __init__(self) -> None:
        self._listing: Listing | None = None
        self._noted: set[str] = set()  # what the broker noted in the plugin's log
        self._told = 0.0  # when progress was told last
        self.catch_up: Callable[[], None] = lambda: None  # prints what the plugin printed so far
        self.prompting = False  # whether somebody is at a prompt, which is printed again after each line

    def served(self, ready: Ready) -> None:
        self.catch_up()
        name, took = ready.spec.name, f"{1000 * ready.seconds:.0f} ms"
        if self._listing is None:
            granted = ", ".join(ready.spec.granted) or "nothing"
            held = f"granted for this session: {granted}" if ready.spec.permissions is not None else _UNHELD
            self.say(f"{name} runs after {took}; {held}", fg="green")
        else:
            self.say(f"{name} is new, {took} after its change was seen", fg="green")
            for change in changes(self._listing, ready.listing):
                self.say(f"  {change}")
        self._listing = ready.listing

    def failed(self, error: BrokerError, place: str, *, goes_on: bool) -> None:
        self.catch_up()
        self.say(f"{place}: it does not start" if place else "it does not start", fg="red")
        self.say(f"  {first_line(str(error)).removesuffix(_TAIL)}")  # the rest is what it printed
        if isinstance(error, SecretMissing):
            self.say("  fix: for this session give it as a variable, --env NAME=VALUE", fg="green")
        elif error.hint != type(error).hint:
            self.say(f"  fix: {error.hint}", fg="green")
        if goes_on:
            self.say("  the instance from before goes on", fg="yellow")

    def blind(self, why: str) -> None:
        self.say(f"what the kernel refuses it cannot be seen here: {why}", fg="yellow")

    def wrong(self, problem: Problem) -> None:
        self.clear()
        say_problems([problem])
        self.prompt()

    def printed(self, line: str) -> None:
        """A line of the plugin's log: stderr, noise on stdout, and what the broker notes there at each start, once."""
        if line.startswith("broker: "):
            if line in self._noted:
                return
            self._noted.add(line)
        self.say(f"| {line}", dim=True)

    def refused(self, refusal: Refusal) -> None:
        self.say(f"refused: {refusal.permission} ({refusal.by})", fg="yellow")
        if refusal.note:
            self.say(f"  {refusal.note}")
        if refusal.line:
            self.say(f"  to allow it, under [permissions] in plugin.toml: {refusal.line}")

    def performed(self, op: str, params: Json) -> None:
        self.say(f"{op}: {_said(op, params)}", fg="cyan")

    def logged(self, params: Json) -> None:
        data = params.get("data", "")
        text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
        self.say(f"log {params.get('level', '')}: {text}", fg="cyan")

    def progressed(self, params: Json) -> None:
        done, total = params.get("progress"), params.get("total")
        if done != total and monotonic() - self._told < SELDOM:
            return
        self._told = monotonic()
        far = f"{done:g}" if isinstance(done, int | float) else "?"
        far += f"/{total:g}" if isinstance(total, int | float) else ""
        self.say(f"progress: {far} {params.get('message') or ''}".rstrip(), fg="cyan")

    def relisted(self, kinds: set[Kind]) -> None:
        self.say(f"its {', '.join(sorted(kinds))} changed", fg="cyan")

    async def asked(self, params: Json) -> Json:
        return dict(DECLINE)

    def say(self, text: str, **style: Any) -> None:
        """Print it, without control characters."""
        self.clear()
        click.secho(plain(text), **style)
        self.prompt()

    def clear(self) -> None:
        """Take the prompt off the line that something is printed on."""
        if sys.stdout.isatty():
            click.echo("\r\x1b[K", nl=False)

    def prompt(self) -> None:
        """Show that a line can be typed, if it can."""
        if self.prompting and sys.stdout.isatty():
            click.echo("> ", nl=False)


def _said(op: str, params: Json) -> str:
    """What an operation shows, in one line."""
    if op == "toast":
        words: Sequence[object] = (params.get("kind"), params.get("title"), params.get("message"))
        return " · ".join(str(each) for each in words if each)
    if op == "set_status":
        return f"{params.get('key')} = {params.get('value') or '(taken away)'}"
    return msgspec.json.encode(params).decode()
