"""What becomes of a request whose plugin ended while it was in work."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.ports import Call
from broker.core.retries import READS, REMEMBERED, Retries
from broker.errors import PoisonRequest
from broker.model import Listing, Spec
from tests.pretend import PretendFace, raw


def retries(*replay: str) -> Retries:
    return Retries(Spec(name="notes", source="test.json", replay=replay))


def listing(name: str = "find", **annotations: Any) -> Listing:
    return Listing(tools=[raw({"name": name, "annotations": annotations})])


def sent(method: str = "tools/call", name: str = "find", **params: Any) -> Call:
    face = PretendFace()
    members = {"name": raw(name), **{key: raw(value) for key, value in params.items()}}
    return Call(face, face.identity, method, members, began=100.0, due=160.0, end=700.0)


@pytest.mark.parametrize("method", sorted(READS))
def test_a_read_is_sent_once_more(method: str) -> None:
    assert retries().may_repeat(sent(method), None, 101.0)


def test_a_tool_is_not_sent_again() -> None:
    assert not retries("*").may_repeat(sent(), listing(), 101.0)


@pytest.mark.parametrize("hint", ["readOnlyHint", "idempotentHint"])
def test_a_tool_that_says_it_is_harmless_and_that_the_user_approved_is_sent_once_more(hint: str) -> None:
    assert retries("fi*").may_repeat(sent(), listing("find", **{hint: True}), 101.0)


def test_the_word_of_a_server_alone_is_not_enough() -> None:
    assert not retries().may_repeat(sent(), listing(readOnlyHint=True), 101.0)
    assert not retries("write_*").may_repeat(sent(), listing(readOnlyHint=True), 101.0)


def test_the_word_of_the_user_alone_is_not_enough() -> None:
    assert not retries("*").may_repeat(sent(), listing(readOnlyHint=False), 101.0)
    assert not retries("*").may_repeat(sent(), listing("another", readOnlyHint=True), 101.0)
    assert not retries("*").may_repeat(sent(), None, 101.0)


def test_a_third_time_there_is_not() -> None:
    call = sent("resources/read")
    call.repeated = True
    assert not retries().may_repeat(call, None, 101.0)


def test_what_was_heard_of_is_not_sent_again() -> None:
    call = sent("resources/read")
    call.heard = True
    assert not retries().may_repeat(call, None, 101.0)


def test_what_has_used_half_of_its_time_is_not_sent_again() -> None:
    assert retries().may_repeat(sent("resources/read"), None, 129.0)
    assert not retries().may_repeat(sent("resources/read"), None, 131.0)


@pytest.mark.parametrize("member", ["requestState", "inputResponses"])
def test_what_carries_state_is_not_sent_again(member: str) -> None:
    assert not retries("*").may_repeat(sent(**{member: "x"}), listing(readOnlyHint=True), 101.0)


def test_a_request_in_work_at_two_crashes_is_refused_from_then_on() -> None:
    memory = retries()
    memory.crashed(sent(arguments={"a": 1}), 1)
    memory.check(sent(arguments={"a": 1}))
    memory.crashed(sent(arguments={"a": 1}), 2)
    with pytest.raises(PoisonRequest, match="notes crashed twice") as refused:
        memory.check(sent(arguments={"a": 1}))
    assert refused.value.facts["sideEffects"] == "none"
    memory.check(sent(arguments={"a": 2}))
    memory.check(sent(name="another", arguments={"a": 1}))


def test_two_of_the_same_at_one_crash_are_no_proof() -> None:
    memory = retries()
    memory.crashed(sent(), 1)
    memory.crashed(sent(), 1)
    memory.check(sent())


def test_the_memory_of_crashes_is_bounded() -> None:
    memory = retries()
    for number in range(REMEMBERED + 10):
        for crash in (2 * number, 2 * number + 1):
            memory.crashed(sent(arguments={"a": number}), crash)
    memory.check(sent(arguments={"a": 0}))
    with pytest.raises(PoisonRequest):
        memory.check(sent(arguments={"a": REMEMBERED + 9}))
