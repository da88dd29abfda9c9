"""Asks the user, in the middle of a call, for what a plugin asks for and was not granted.

Rule 1: only an exact yes is a yes. Who cannot be asked, does not answer or answers anything else has refused.
Rule 2: one question about a plugin at a time, however many calls wait for it; a refusal is not asked again until the
        plugin asks for something else, or broker starts anew.
Rule 3: it is the client's user who decides, by elicitation. No tool can grant, and no text of a plugin is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call
from broker.errors import BrokerError
from broker.model import Spec
from broker.permissions.lack import command, lack, refusal
from broker.wire import questions

log = logging.getLogger("broker.consent")

PATIENCE = 120.0  # seconds a person has to answer
ASK = "elicitation/create"

_encode = msgspec.json.Encoder().encode


class Ledger(Protocol):
    """Where a yes is kept. Both block, and raise `BrokerError` or `OSError`."""

    def approval(self, spec: Spec) -> Any:
        """What would be approved now."""
        ...

    def allow(self, spec: Spec, approved: Any, *, once: bool, by: str) -> Spec:
        """Grant all that `spec` lacks, if it is still what was approved; `spec` as it is then."""
        ...


class Consent:
    """The questions of one broker.

    `ledger` opens the ledger; None: nothing can be granted here. `current` gives a plugin's configuration now (raises
    `NotFound`), `change` makes another one hold.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger] | None,
        current: Callable[[str], Spec],
        change: Callable[[Spec], Awaitable[None]],
    ) -> None:
        self._ledger, self._current, self._change = ledger, current, change
        self._locks: dict[str, asyncio.Lock] = {}
        self._refused: set[tuple[str, tuple[str, ...]]] = set()

    async def obtain(self, call: Call, name: str) -> None:
        """Return once the plugin lacks nothing. Raises `PermissionMissing`, `NotFound`."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            spec = self._current(name)
            if not spec.missing:
                return
            if spec.refused:  # a yes would not help
                raise refusal(spec)
            params = question(spec)
            if self._ledger is None or (name, spec.missing) in self._refused or not _may_ask(call, params):
                raise refusal(spec)
            ledger = self._ledger()
            approved = await asyncio.to_thread(ledger.approval, spec)
            decision = await _decision(call, params)
            if decision == "":
                self._refused.add((name, spec.missing))
                raise refusal(spec)
            log.info("%s: %s, granted %s by the user of %s", name, lack(spec), decision, call.caller.title)
            by = f"the user of {call.caller.title}"
            new = await asyncio.to_thread(ledger.allow, spec, approved, once=decision == "once", by=by)
            await self._change(new)
            if new.missing:
                raise refusal(new)


def question(spec: Spec) -> bytes:
    """The params of the elicitation that asks for what `spec` lacks."""
    choices = [("always", "Grant it"), ("once", "Grant it until broker ends"), ("no", "Refuse")]
    decision = {
        "type": "string",
        "title": "Decision",
        "oneOf": [{"const": value, "title": title} for value, title in choices],
    }
    listed = "\n".join(f"- {permission}" for permission in spec.missing)
    why = f" {spec.stale[0].upper()}{spec.stale[1:]}." if spec.stale else ""
    text = f"The plugin {spec.name} asks for:\n{listed}\n{why} In a terminal: `{command(spec)}`."
    schema = {"type": "object", "properties": {"decision": decision}, "required": ["decision"]}
    return _encode({"mode": "form", "message": text, "requestedSchema": schema})


def _may_ask(call: Call, params: bytes) -> bool:
    identity = call.identity
    return not questions.refused(identity.version, identity.capabilities, ASK, params)


class _Content(Struct):
    decision: str = ""


class _Answer(Struct):
    action: str = ""
    content: _Content | None = None


async def _decision(call: Call, params: bytes) -> str:
    """`always`, `once`, or empty for everything that is no yes."""
    asked, _ = questions.asked(call.identity.version, ASK, params)
    with suppress(TimeoutError, BrokerError, msgspec.MsgspecError):
        async with asyncio.timeout(PATIENCE):
            said = await (call.asked or call.caller.ask)(ASK, Raw(bytes(asked)))
        answer = msgspec.json.decode(said, type=_Answer)
        if answer.action == "accept" and answer.content and answer.content.decision in ("always", "once"):
            return answer.content.decision
    return ""
