"""Calls of modern clients that a legacy server asks something in the middle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw

from broker.core.parking import MOST, PATIENCE, Parking
from broker.core.ports import Call, Identity, Reply
from broker.errors import BadArguments, BrokerError, Closed, Overloaded
from broker.model import Era
from broker.wire import eras
from tests.pretend import PretendFace, raw
from tests.travel import travel

ALL = {"elicitation": raw({}), "roots": raw({})}
INFO = raw({"name": "notes", "version": "1"})


def asking(face: PretendFace, **params: Any) -> Call:
    identity = Identity(Era.MODERN, "2026-07-28", capabilities=ALL)
    members = {"name": raw("ask"), **{key: raw(value) for key, value in params.items()}}
    return Call(face, identity, "tools/call", members, chain=("notes",))


def said(reply: Reply) -> Any:
    return json.loads(bytes(reply))


class Server:
    """Asks as many questions as it is told, and remembers how each call ended."""

    def __init__(self, *questions: str, at_once: bool = False) -> None:
        self.questions, self.at_once = questions, at_once
        self.ended: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        assert call.asked is not None
        ask = call.asked
        try:
            if self.at_once:
                answers = list(await asyncio.gather(*(ask(each, b"{}") for each in self.questions)))
            else:
                answers = [await ask(each, b"{}") for each in self.questions]
        except Closed:
            self.ended.append("closed")
            raise
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        return raw([json.loads(bytes(answer)) for answer in answers])


def retry(face: PretendFace, first: Any, answer: Any, **params: Any) -> Call:
    given = dict.fromkeys(first["inputRequests"], answer)
    return asking(face, requestState=first["requestState"], inputResponses=given, **params)


def test_questions_one_after_another_are_rounds() -> None:
    async def story() -> None:
        parking, face, server = Parking(), PretendFace(), Server("elicitation/create", "roots/list")
        first = said(await parking.begin(asking(face), server, INFO))
        assert [each["method"] for each in first["inputRequests"].values()] == ["elicitation/create"]
        assert first["_meta"] == {eras.SERVER_INFO: {"name": "notes", "version": "1"}}, "the server that asks"
        second = said(await parking.resume(retry(face, first, {"a": 1})))
        assert [each["method"] for each in second["inputRequests"].values()] == ["roots/list"]
        assert said(await parking.resume(retry(face, second, {"b": 2}))) == [{"a": 1}, {"b": 2}]

    travel(story())


def test_questions_asked_at_once_are_one_round() -> None:
    async def story() -> None:
        server = Server("elicitation/create", "roots/list", at_once=True)
        parking, face = Parking(), PretendFace()
        first = said(await parking.begin(asking(face), server, INFO))
        assert len(first["inputRequests"]) == 2
        assert said(await parking.resume(retry(face, first, {"a": 1}))) == [{"a": 1}, {"a": 1}]

    travel(story())


def test_a_client_that_never_comes_back_costs_a_timeout_and_not_a_leak() -> None:
    async def story() -> None:
        parking, face, server = Parking(), PretendFace(), Server("roots/list")
        first = said(await parking.begin(asking(face), server, INFO))
        await asyncio.sleep(PATIENCE + 1)
        assert server.ended and parking.count == 0
        with pytest.raises(BadArguments, match="time is over"):
            await parking.resume(retry(face, first, {}))

    travel(story())


def test_a_client_that_leaves_ends_its_parked_calls_and_no_others() -> None:
    async def story() -> None:
        parking, one, two = Parking(), PretendFace("one"), PretendFace("two")
        await parking.begin(asking(one), Server("roots/list"), INFO)
        kept = said(await parking.begin(asking(two), Server("roots/list"), INFO))
        parking.leave("one")
        assert parking.count == 1
        assert said(await parking.resume(retry(two, kept, {"a": 1}))) == [{"a": 1}]

    travel(story())


@pytest.mark.parametrize("lie", ["client", "arguments", "method", "plugin"])
def test_a_state_is_good_for_its_own_request_only(lie: str) -> None:
    async def story() -> None:
        parking, face = Parking(), PretendFace("one")
        first = said(await parking.begin(asking(face), Server("roots/list"), INFO))
        call = retry(PretendFace("two") if lie == "client" else face, first, {})
        if lie == "arguments":
            call.params["arguments"] = raw({"more": 1})
        elif lie == "method":
            call.method = "prompts/get"
        elif lie == "plugin":
            call.chain = ("other",)
        with pytest.raises(BadArguments, match="another request"):
            await parking.resume(call)
        assert parking.count == 1  # and the true one still can
        await parking.resume(retry(face, first, {}))

    travel(story())


@pytest.mark.parametrize("state", ["", "broker1.", "broker1.a.b", "broker1.a.b.c", "broker1.ü.ß", 7, None, {}])
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    async def story() -> None:
        with pytest.raises(BadArguments):
            await Parking().resume(asking(PretendFace(), requestState=state))

    travel(story())


def test_a_client_can_park_only_so_many() -> None:
    async def story() -> None:
        parking, face = Parking(), PretendFace()
        for _ in range(MOST):
            await parking.begin(asking(face), Server("roots/list"), INFO)
        with pytest.raises(Overloaded):
            await parking.begin(asking(face), Server("roots/list"), INFO)
        await parking.begin(asking(PretendFace("other")), Server("roots/list"), INFO)

    travel(story())


def test_what_was_not_declared_is_never_asked() -> None:
    async def story() -> None:
        with pytest.raises(BrokerError, match="did not declare"):
            await Parking().begin(asking(PretendFace()), Server("sampling/createMessage"), INFO)

    travel(story())


def test_a_request_cancelled_while_it_works_cancels_its_call() -> None:
    async def story() -> None:
        async def never(call: Call) -> Reply:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(call)
            return Raw(b"{}")

        ended: list[Call] = []
        task = asyncio.ensure_future(Parking().begin(asking(PretendFace()), never, INFO))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)
        assert task.cancelled() and len(ended) == 1

    travel(story())
