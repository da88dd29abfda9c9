"""The one client in front of a plugin that its author tries: what it shows goes to a stage, where it also asks.

It opens the conversation in the legacy era, in which a plugin can ask in the middle of a call; of a plugin that speaks
the modern one alone the broker translates the questions, as for every client.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Raw

from broker import __version__
from broker.core.ports import Call, Identity, Plain, Reply
from broker.core.router import Router
from broker.errors import NoSuchMethod, PluginFailed
from broker.model import Era, Kind
from broker.wire.eras import LATEST_LEGACY, LATEST_MODERN, modern_meta

Json = dict[str, Any]
TOKEN = Raw(b"1")  # there is one call at a time
LEVEL = "debug"  # of the log messages an author sees

_encode = msgspec.json.Encoder().encode
_INFO = Raw(_encode({"name": "broker-author", "title": "the author's console", "version": __version__}))
_CAPABILITIES = {"elicitation": Raw(b'{"form":{},"url":{}}')}
LEGACY = Identity(Era.LEGACY, LATEST_LEGACY, _INFO, _CAPABILITIES)
MODERN = Identity(Era.MODERN, LATEST_MODERN, _INFO, _CAPABILITIES)


class Stage(Protocol):
    """Where everything a plugin shows becomes visible. The dictionaries are params as the plugin wrote them."""

    def performed(self, op: str, params: Json) -> None:
        """It showed something: `op` is one of `SHOWN`."""
        ...

    def logged(self, params: Json) -> None:
        """A log message, as in `notifications/message`."""
        ...

    def progressed(self, params: Json) -> None:
        """How far a call is, as in `notifications/progress`."""
        ...

    def relisted(self, kinds: set[Kind]) -> None:
        """These lists are not what they were."""
        ...

    async def asked(self, params: Json) -> Json:
        """The answer to an `elicitation/create`."""
        ...


SHOWN = frozenset(
    ("toast", "set_status", "show", "editor.diagnostics", "progress.begin", "progress.report", "progress.end")
)


class Client(Plain):
    """The client of a session, in front of `stage`."""

    key = "author"
    title = "its author"
    clogged = False
    operations = SHOWN

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def room(self) -> None:
        """It reads always."""

    async def perform(self, op: str, plugin: str, params: bytes) -> Reply:
        self._stage.performed(op, decoded(params))
        return b'{"shown":true}'

    def tell(self, method: str, params: Reply) -> None:
        if method == "notifications/progress":
            self._stage.progressed(decoded(params))
        elif method == "notifications/message":
            self.logged(params)

    async def ask(self, method: str, params: Reply) -> Reply:
        """Raises `NoSuchMethod` for everything but a question to the person."""
        if method != "elicitation/create":
            raise NoSuchMethod(f"nobody answers {method} here")
        return _encode(await self._stage.asked(decoded(params)))

    def changed(self, kinds: set[Kind], *, first: bool) -> None:
        if not first:
            self._stage.relisted(kinds)

    def updated(self, uri: str) -> None:
        """It subscribes to nothing."""

    def task_changed(self, id: str, params: Reply) -> None:
        """To no task either."""

    def logged(self, params: Reply) -> None:
        self._stage.logged(decoded(params))

    async def request(self, core: Router, method: str, params: Json, *, era: Era = Era.LEGACY) -> Json:
        """The result of one request. Raises `BrokerError`, and `PluginFailed` for a result that is no JSON object."""
        identity = LEGACY if era is Era.LEGACY else MODERN
        meta = modern_meta(None, identity.info, identity.capabilities, LEVEL) if era is Era.MODERN else None
        given = {name: Raw(_encode(value)) for name, value in params.items()}
        result = bytes(await core.call(Call(self, identity, method, given, meta, token=TOKEN, log_level=LEVEL)))
        try:
            return msgspec.json.decode(result, type=Json)
        except msgspec.MsgspecError as error:
            raise PluginFailed(f"the result of {method} is no JSON object: {error}") from None


def decoded(params: Reply) -> Json:
    """Params as a dictionary; empty if they are none."""
    try:
        return msgspec.json.decode(params, type=Json)
    except msgspec.MsgspecError:
        return {}
