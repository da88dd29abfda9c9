"""A modern server's questions, put to a legacy client as the requests it knows (MCP 2026-07-28, MRTR).

An `input_required` result becomes real requests to the client, all at once; the answers go back with the same request,
a new id, and the server's state byte for byte. The bounds are those of the official TypeScript SDK's own shim.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call, Host, Reply
from broker.errors import NoSuchMethod, NotAnswered, PluginFailed, RemoteError
from broker.wire import eras

ROUNDS = 8  # results in a row that ask
PACE = 0.25  # seconds before a round that asks nothing: the server only wants to be called again
QUESTIONS = 32  # in one round

_encode = msgspec.json.Encoder().encode


class Question(Struct):
    """A request to the client, in a server's result."""

    method: str
    params: Raw = Raw(b"{}")


class _Asked(Struct, rename="camel"):
    input_requests: dict[str, Question] = {}
    request_state: Raw = Raw(b"")


async def settled(
    plugin: str, call: Call, host: Host, result: Reply, exchange: Callable[[Call, eras.Members], Awaitable[Reply]]
) -> Reply:
    """The final result of `call`, whose first one is `result`. Raises `NotAnswered`, `PluginFailed`."""
    for _ in range(ROUNDS):
        if not eras.asks(result):
            return result
        asked = _read(plugin, result)
        answers = await answered(plugin, call, host, asked.input_requests)
        members = {**call.params, **({"inputResponses": Raw(_encode(answers))} if answers else {})}
        if bytes(asked.request_state):
            members["requestState"] = Raw(bytes(asked.request_state))
        result = await exchange(call, members)
    if eras.asks(result):
        raise PluginFailed(f"{plugin} asked {ROUNDS} times in a row without an end")
    return result


def _read(plugin: str, result: Reply) -> _Asked:
    try:
        asked = msgspec.json.decode(result, type=_Asked)
    except msgspec.MsgspecError as error:
        raise PluginFailed(f"{plugin} asked for input in a way that cannot be read: {error}") from None
    if len(asked.input_requests) > QUESTIONS:
        raise PluginFailed(f"{plugin} asked {len(asked.input_requests)} questions at once; the most is {QUESTIONS}")
    return asked


async def answered(plugin: str, call: Call, host: Host, questions: Mapping[str, Question]) -> dict[str, Reply]:
    """What the client answers to each of `questions`; without any, a pause. Raises `NotAnswered`."""
    if not questions:
        await asyncio.sleep(PACE)
        return {}
    tasks = {key: asyncio.ensure_future(_ask(call, host, each)) for key, each in questions.items()}
    try:
        await asyncio.gather(*tasks.values())
    except (NoSuchMethod, RemoteError) as why:
        raise NotAnswered(f"{plugin} needs an answer that the client does not give: {why}") from None
    finally:
        for task in tasks.values():
            task.cancel()
    return {key: Raw(bytes(task.result())) for key, task in tasks.items()}


async def _ask(call: Call, host: Host, question: Question) -> Reply:
    params = eras.members(question.params)
    if question.method == "elicitation/create" and params.get("mode") == Raw(b'"url"'):
        params["elicitationId"] = Raw(_encode(str(uuid.uuid4())))
    meta = eras.legacy_meta(eras.members(params.pop("_meta"))) if "_meta" in params else None
    if meta is not None:
        params["_meta"] = Raw(_encode(meta))
    return await host.ask([call], question.method, _encode(params))
