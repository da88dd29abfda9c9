"""A person at a terminal as the core's `Face`: progress as a bar, log lines on stderr, questions asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker import __version__
from broker.core.ports import Call, Identity, Plain, Reply
from broker.errors import NoSuchMethod
from broker.model import Era, Kind, Listing
from broker.wire.eras import LATEST_LEGACY, LATEST_MODERN, modern_meta

if TYPE_CHECKING:
    from rich.progress import Progress

_TOKEN = Raw(b"1")  # there is one call at a time

LEVEL = "info"  # of the log messages a person sees

_encode = msgspec.json.Encoder().encode
_INFO = Raw(_encode({"name": "broker", "title": "broker on a terminal", "version": __version__}))
_CAPABILITIES = {"elicitation": Raw(b'{"form":{},"url":{}}')}
_IDENTITIES = {
    Era.LEGACY: Identity(Era.LEGACY, LATEST_LEGACY, _INFO, _CAPABILITIES),
    Era.MODERN: Identity(Era.MODERN, LATEST_MODERN, _INFO, _CAPABILITIES),
}


class Terminal(Plain):
    """Whoever typed the command. As a context it takes its progress bar off the screen at the end."""

    key = "terminal"
    title = "a terminal"
    clogged = False
    identity = _IDENTITIES[Era.LEGACY]

    def __init__(self, asker: str = "a plugin") -> None:
        self.asker = asker
        self._bar: Progress | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def call(self, method: str, params: dict[str, Raw], listing: Listing | None) -> Call:
        """A request of this person's, in the era the plugin knows.

        Legacy, in which a server can ask in the middle of a call, unless it is known not to speak it.
        """
        modern = listing is not None and listing.versions.get(Era.LEGACY, "?") is None
        identity = _IDENTITIES[Era.MODERN if modern else Era.LEGACY]
        meta = modern_meta(None, identity.info, identity.capabilities, LEVEL) if modern else None
        return Call(self, identity, method, params, meta, token=_TOKEN, log_level=LEVEL)

    async def room(self) -> None:
        """A terminal reads always."""

    def tell(self, method: str, params: Reply) -> None:
        if method == "notifications/progress":
            self._progress(_object(params))
        elif method == "notifications/message":
            self.logged(params)

    async def ask(self, method: str, params: Reply) -> Reply:
        """Raises `NoSuchMethod` for everything but a question to the person."""
        if method != "elicitation/create":
            raise NoSuchMethod(f"nobody answers {method} at a terminal")
        from broker.cli.questions import answer

        self._clear()
        return _encode(await answer(self.asker, _object(params)))

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        """The command looks at the lists once."""

    def updated(self, uri: str) -> None:
        """It subscribes to nothing."""

    def task_changed(self, id: str, params: Reply) -> None:
        """To no task either."""

    def logged(self, params: Reply) -> None:
        from broker.cli.questions import say

        found = _object(params)
        data = found.get("data", "")
        text = data if isinstance(data, str) else _encode(data).decode()
        line = f"{found.get('logger') or self.asker}: {found.get('level', '')}: {text}"
        if self._bar is not None:
            self._bar.stop()
        say(line)
        if self._bar is not None:
            self._bar.start()

    def _progress(self, params: dict[str, Any]) -> None:
        if self._bar is None and (bar := _new_bar()) is not None:
            self._bar = bar
            self._bar.add_task("", total=None)
            self._bar.start()
        if self._bar is not None:
            from broker.cli.screen import first_line

            text = first_line(str(params.get("message") or "")) or self.asker
            task = self._bar.task_ids[0]
            self._bar.update(
                task,
                completed=_number(params, "progress") or 0.0,
                total=_number(params, "total"),
                description=text,
            )

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _new_bar() -> Progress | None:
    """A bar on stderr; None where nobody would see it."""
    import sys

    if not sys.stderr.isatty():
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from broker.cli.screen import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console(stderr=True), transient=True)


def _number(params: dict[str, Any], member: str) -> float | None:
    value = params.get(member)
    return float(value) if isinstance(value, int | float) else None


def _object(params: Reply) -> dict[str, Any]:
    try:
        return msgspec.json.decode(params, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
