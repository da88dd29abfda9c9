"""What broker asks of an editor and tells it: every message of LSP that goes that way, behind one name each.

Rule 1: every request has a deadline, and is sent only to an editor that said it can.
Rule 2: no answer is trusted: null, silence, an error and nonsense are all "no", and a choice counts only as the exact
        title that was offered.
Rule 3: what is shown to a person is one line, and bounded: an editor may block on a text of several.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from broker.errors import BrokerError, NotAnswered
from broker.faces.lsp_can import EditorCan, Wishes
from broker.link import Link

ANSWER = 10.0  # seconds an editor has for what needs no person
QUESTION = 120.0  # seconds a person has
SHOWN = 600  # characters of one message
LEVELS = ("error", "warning", "info", "debug")  # LSP's numbers are their places from 1; a log has 4 and 5 for debug
FEW = 9  # choices that fit into a `showMessageRequest`

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]


class Editor:
    """The editor at the other end of `link`. `can` and `wishes` hold from `initialize` on."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.can, self.wishes, self.name = EditorCan(), Wishes(), "an editor"

    def tell(self, method: str, params: object) -> None:
        """Send a notification."""
        self._link.tell(method, _encode(params))

    async def request(self, method: str, params: object, patience: float | None = None) -> Any:
        """Its answer, as JSON, within `patience` seconds (`ANSWER`). Raises `NotAnswered`, `RemoteError`, `Closed`."""
        patience = ANSWER if patience is None else patience
        id, waiter = self._link.ask(method, _encode(params))
        try:
            async with asyncio.timeout(patience):
                answer = await waiter
        except TimeoutError:
            self._link.give_up(id)
            raise NotAnswered(f"{self.name} did not answer {method} within {patience:g} s") from None
        except asyncio.CancelledError:
            self._link.give_up(id)
            raise
        return msgspec.json.decode(answer)

    async def wanted(self, method: str, params: object, patience: float | None = None) -> Any:
        """Its answer, or None where it gave none that is of use."""
        try:
            return await self.request(method, params, patience)
        except (BrokerError, msgspec.MsgspecError):
            return None

    # window

    def message(self, level: str, text: str) -> None:
        """Show a text."""
        self.tell("window/showMessage", {"type": _number(level), "message": one_line(text)})

    def log(self, level: str, text: str) -> None:
        """Write into the editor's log of us."""
        self.tell("window/logMessage", {"type": 4 if level == "debug" else _number(level), "message": text})

    async def choose(self, level: str, text: str, titles: Sequence[str]) -> int | None:
        """Which of `titles` the person took; None is none of them, for whatever reason."""
        actions = [{"title": title} for title in titles]
        params = {"type": _number(level), "message": one_line(text), "actions": actions}
        answer = await self.wanted("window/showMessageRequest", params, QUESTION)
        title = answer.get("title") if isinstance(answer, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return titles.index(title) if isinstance(title, str) and title in titles else None

    async def show(
        self, uri: str, *, selection: Json | None = None, external: bool = False, focus: bool = True
    ) -> bool:
        """Open a file here, or any address outside; whether it was."""
        if not self.can.show:
            return False
        params: Json = {"uri": uri, **({"external": True} if external else {"takeFocus": focus})}
        if selection is not None:
            params["selection"] = selection
        answer = await self.wanted("window/showDocument", params)
        return isinstance(answer, dict) and answer.get("success") is True  # pyright: ignore[reportUnknownMemberType]

    async def edit(self, label: str, edit: Json) -> str:
        """Have it change documents; empty if it did, else why not."""
        if not self.can.edit:
            return f"{self.name} does not take changes"
        answer = await self.wanted("workspace/applyEdit", {"label": label, "edit": edit}, QUESTION)
        if not isinstance(answer, dict):
            return f"{self.name} did not answer"
        if answer.get("applied") is True:  # pyright: ignore[reportUnknownMemberType]
            return ""
        why = answer.get("failureReason")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return why if isinstance(why, str) and why else f"{self.name} refused the change"

    # what only clients of broker's own do

    async def pick(self, plugin: str, title: str, items: list[Json], *, many: bool = False) -> list[int] | None:
        """The places of what the person took; None is that they took nothing."""
        params = {"plugin": plugin, "title": one_line(title), "items": items, "many": many}
        answer = await self.wanted("broker/pick", params, QUESTION)
        taken = answer.get("indexes") if isinstance(answer, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            found = msgspec.convert(taken, list[int])
        except msgspec.ValidationError:
            return None
        good = all(0 <= at < len(items) for at in found) and len(set(found)) == len(found)
        return found if good and (many or len(found) == 1) else None

    async def input(
        self, plugin: str, title: str, *, value: str = "", placeholder: str = "", secret: bool = False
    ) -> str | None:
        """A text that the person typed; None is that they did not."""
        params = {
            "plugin": plugin,
            "title": one_line(title),
            "value": value,
            "placeholder": placeholder,
            "secret": secret,
        }
        answer = await self.wanted("broker/input", params, QUESTION)
        text = answer.get("value") if isinstance(answer, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return text if isinstance(text, str) else None


def one_line(text: str) -> str:
    """A text as a person can be shown it."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def _number(level: str) -> int:
    return LEVELS.index(level) + 1 if level in LEVELS[:3] else 3
