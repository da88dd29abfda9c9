"""A plugin's question to the person in front: by elicitation, or in the client's own way.

Rule 1: the person sees which plugin asks. Nothing but an answer of theirs is an answer.
Rule 2: the same question of one plugin to one client is asked once, however many of its calls wait for it.
Rule 3: while a person thinks, the clock of the call stands still; after `PATIENCE` nobody answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.core.consent import ASK, PATIENCE
from broker.core.deadlines import Deadlines
from broker.core.hostparams import MOST, Answer
from broker.core.hostparams import Ask as Params
from broker.core.ports import Call, Caller
from broker.errors import BadArguments, BrokerError, NotAnswered
from broker.wire import questions

FORM = 16 << 10  # bytes of a form
_FIELDS = ("string", "number", "integer", "boolean", "array")

_encode = msgspec.json.Encoder().encode


_Key = tuple[str, str, bytes]  # a plugin, a client, what is asked


class _Question(Struct, eq=False):
    task: asyncio.Task[bytes]
    waiting: int = 0


class Asking:
    """The open questions of all plugins."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._open: dict[_Key, _Question] = {}

    async def ask(self, plugin: str, params: Params, call: Call | None) -> bytes:
        """The answer as JSON. Raises `NotAnswered`, `BadArguments`."""
        put = _put(plugin, params)
        if call is None:
            raise NotAnswered(f"nobody called {plugin}, so there is nobody to ask")
        if questions.refused(call.identity.version, call.identity.capabilities, ASK, put):
            raise NotAnswered(f"{call.caller.title} does not ask its user questions")
        return await self._waited((plugin, call.caller.key, put), lambda: _asked(plugin, put, call), call)

    async def perform(self, caller: Caller, op: str, plugin: str, params: bytes, call: Call | None) -> bytes:
        """The answer of a client that puts questions of this kind itself. Raises `NotAnswered` and what it answers."""
        key = (plugin, caller.key, op.encode() + params)
        return await self._waited(key, lambda: _performed(caller, op, plugin, params), call)

    async def _waited(self, key: _Key, ask: Callable[[], Coroutine[Any, Any, bytes]], call: Call | None) -> bytes:
        """While it is open, the clock of the call stands still."""
        if call is None:
            return await self._shared(key, ask)
        call.questions += 1
        call.heard = True
        try:
            return await self._shared(key, ask)
        finally:
            call.questions -= 1
            self._deadlines.progressed(call)

    async def _shared(self, key: _Key, ask: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        question = self._open.get(key)
        if question is None:
            task = asyncio.get_running_loop().create_task(ask())
            question = self._open[key] = _Question(task)
            task.add_done_callback(lambda _: self._open.pop(key, None))
        question.waiting += 1
        try:
            return await asyncio.shield(question.task)
        finally:
            question.waiting -= 1
            if not question.waiting and not question.task.done():
                self._open.pop(key, None)
                question.task.cancel()


async def _performed(caller: Caller, op: str, plugin: str, params: bytes) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            return bytes(await caller.perform(op, plugin, params))
    except TimeoutError:
        raise NotAnswered(f"nobody answered {plugin} within {PATIENCE:g} s") from None


async def _asked(plugin: str, put: bytes, call: Call) -> bytes:
    asked, back = questions.asked(call.identity.version, ASK, put)
    try:
        async with asyncio.timeout(PATIENCE):
            if call.asked is not None:
                said = await call.asked(ASK, Raw(bytes(asked)))
                said = said if back is None else back(said)
            else:
                said = await call.caller.ask(ASK, Raw(put))
        if len(memoryview(said)) > MOST:
            raise NotAnswered(f"the answer to {plugin} is longer than {MOST >> 20} MiB")
        return _encode(msgspec.json.decode(bytes(said), type=Answer))
    except TimeoutError:
        raise NotAnswered(f"nobody answered {plugin} within {PATIENCE:g} s") from None
    except msgspec.MsgspecError:
        raise NotAnswered(f"{call.caller.title} answered {plugin} with what is no answer") from None
    except NotAnswered:
        raise
    except BrokerError as error:
        raise NotAnswered(f"{plugin} asked, and nobody answered: {error}") from None


def _put(plugin: str, params: Params) -> bytes:
    """The params of the elicitation."""
    if params.choices and params.schema is not None:
        raise BadArguments("ask takes a `schema` or `choices`, not both")
    choice = {"type": "string", "title": "Choice", "enum": params.choices}
    form: Mapping[str, Any] = {"type": "object", "properties": {}}
    if params.choices:
        form = {"type": "object", "properties": {"choice": choice}, "required": ["choice"]}
    elif params.schema is not None:
        form = _form(params.schema)
    return _encode({"mode": "form", "message": f"The plugin {plugin} asks: {params.message}", "requestedSchema": form})


def _form(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, dict) or len(_encode(schema)) > FORM:
        raise BadArguments(f"`schema` must be an object with `properties`, of {FORM >> 10} KiB at most")
    for name, field in fields.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(field, dict) or field.get("type") not in _FIELDS:  # pyright: ignore[reportUnknownMemberType]
            raise BadArguments(f"`schema.properties.{name}` must have one of the types {', '.join(_FIELDS)}")
    return schema
