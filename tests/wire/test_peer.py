"""What ids mean: one reply per request, whatever arrives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from broker.errors import BadRequest, NotFound, RemoteError, WireError
from broker.wire.framing import Headers, Lines
from broker.wire.peer import MAX_DEPTH, Answered, Asked, Event, Peer, Told, Unreadable


def server() -> Peer:
    return Peer(Lines())


def plugin_side() -> Peer:
    return Peer(Lines(), answers_junk=False)


def frame(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def request(id: Any = 1, method: str = "m", **params: Any) -> bytes:
    return frame({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def one(peer: Peer, data: bytes) -> Event:
    (event,) = peer.receive(data)
    return event


def reply(event: Event) -> Any:
    assert isinstance(event, Unreadable) and event.reply is not None
    return json.loads(b"".join(event.reply))


def sent(buffers: tuple[bytes | memoryview, ...] | None) -> bytes:
    assert buffers is not None
    return b"".join(buffers)


@pytest.mark.parametrize("framing", [Lines, Headers])
@pytest.mark.parametrize("cut", [1, 2, 7, 10_000])
def test_a_conversation_survives_any_cut_of_the_bytes(framing: Any, cut: int) -> None:
    near, far = Peer(framing()), Peer(framing())
    params = Raw('{"jsonrpc":"2.0","é":[1,{"id":3}]}'.encode())
    id, asked = near.ask("tools/call", params)
    data = sent(asked) + sent(near.tell("note"))
    events = [event for i in range(0, len(data), cut) for event in far.receive(data[i : i + cut])]
    assert [type(event) for event in events] == [Asked, Told]
    assert isinstance(events[0], Asked) and bytes(events[0].params) == bytes(params)
    answer = one(near, sent(far.answer(id, b"[1]")))
    assert isinstance(answer, Answered) and answer.result is not None and bytes(answer.result) == b"[1]"


def test_a_request_is_answered_exactly_once() -> None:
    peer = server()
    one(peer, request(5))
    assert sent(peer.answer(5, b"{}")) == b'{"jsonrpc":"2.0","id":5,"result":{}}\n'
    assert peer.answer(5, b"{}") is None
    assert peer.refuse(5, NotFound("x")) is None


def test_a_dropped_request_is_never_answered() -> None:
    peer = server()
    one(peer, request(5))
    peer.drop(5)
    assert peer.answer(5, b"{}") is None


@pytest.mark.parametrize("id", [0, -3, 7, 2**53 + 1, 2**70, "", "7", 'a"b\\cé\u2028'])
def test_ids_come_back_with_value_and_type(id: Any) -> None:
    peer = server()
    assert isinstance(one(peer, request(id)), Asked)
    assert json.loads(sent(peer.answer(id, b"{}")))["id"] == id


def test_ids_of_different_type_are_different_requests() -> None:
    peer = server()
    assert [type(event) for event in peer.receive(request(7) + request("7"))] == [Asked, Asked]
    assert peer.owes == 2


def test_an_id_in_flight_is_refused_without_settling_the_first() -> None:
    peer = server()
    one(peer, request(7))
    assert reply(one(peer, request(7)))["error"]["code"] == -32600
    assert peer.answer(7, b"{}") is not None


@pytest.mark.parametrize(
    ("data", "code", "id"),
    [
        (b"nonsense\n", -32700, None),
        (b"{\n", -32700, None),
        (b"123\n", -32600, None),
        (b"null\n", -32600, None),
        (b"[]\n", -32600, None),
        (b'{"id":5,"method":"m"}\n', -32600, 5),
        (b'{"jsonrpc":"1.0","id":5,"method":"m"}\n', -32600, 5),
        (b'{"jsonrpc":"2.0","id":"a","method":7}\n', -32600, "a"),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"m"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":{},"method":"m"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":5}\n', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":NaN}}\n', -32700, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":"\xff"}}\n', -32700, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":"\\ud800"}}\n', -32700, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":1}\n', -32700, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","result":{}}\n', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","method":"n"}\n', -32600, 5),
    ],
)
def test_a_bad_frame_is_answered_and_costs_only_itself(data: bytes, code: int, id: Any) -> None:
    peer = server()
    bad, good = peer.receive(data + request(99))
    assert reply(bad)["error"]["code"] == code
    assert reply(bad).get("id") == id
    assert isinstance(good, Asked) and good.id == 99


def test_a_batch_is_refused_with_the_reason() -> None:
    said = reply(one(server(), b"[" + request(1).strip() + b"]\n"))
    assert "2025-06-18" in said["error"]["message"]


def test_a_message_nested_too_deep_is_refused_with_its_id() -> None:
    deep = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    peer = server()
    assert reply(one(peer, b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":%b}}\n' % deep))["id"] == 5
    assert isinstance(one(peer, request(6, a=[[1]] * 500)), Asked)
    assert isinstance(one(peer, request(7, a=[[1]] * 50_000)), Asked)


def test_a_message_nested_beyond_the_parser_is_refused_with_its_id() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    said = reply(one(server(), b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":%b}}\n' % deep))
    assert (said["error"]["code"], said["id"]) == (-32600, 5)


def test_a_repeated_key_in_the_payload_is_the_payloads_business() -> None:
    assert isinstance(one(server(), b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"a":1,"a":2}}\n'), Asked)


def test_spaces_unknown_members_and_any_order_are_fine() -> None:
    event = one(server(), b' { "params" : {"id": 2} , "x":[1], "method":"m" , "id" : 5,"jsonrpc" : "2.0" } \r\n')
    assert isinstance(event, Asked) and event.id == 5


def test_a_byte_order_mark_before_the_first_message_is_skipped() -> None:
    assert isinstance(one(server(), b"\xef\xbb\xbf" + request(1)), Asked)


def test_what_a_plugin_prints_is_not_answered() -> None:
    event = one(plugin_side(), b"Server running on stdio\n")
    assert isinstance(event, Unreadable) and event.reply is None


def test_an_answer_nobody_waits_for_is_not_delivered() -> None:
    peer = plugin_side()
    id, _ = peer.ask("m", b"{}")
    answer = frame({"jsonrpc": "2.0", "id": id, "result": {}})
    first, second = peer.receive(answer + answer)
    assert isinstance(first, Answered) and isinstance(second, Unreadable)
    assert isinstance(one(peer, frame({"jsonrpc": "2.0", "id": str(id), "result": {}})), Unreadable)


def test_a_late_answer_to_a_forgotten_request_is_not_delivered() -> None:
    peer = plugin_side()
    id, _ = peer.ask("m", b"{}")
    peer.forget(id)
    assert isinstance(one(peer, frame({"jsonrpc": "2.0", "id": id, "result": {}})), Unreadable)


def test_an_unreadable_answer_fails_the_call_it_belongs_to() -> None:
    peer = plugin_side()
    id, _ = peer.ask("m", b"{}")
    event = one(peer, b'{"jsonrpc":"2.0","id":%d,"result":{"text":"\xff"}}\n' % id)
    assert isinstance(event, Answered) and isinstance(event.error, WireError)


@pytest.mark.parametrize("body", [{}, {"result": 1, "error": {"code": 1, "message": "x"}}])
def test_an_answer_with_neither_or_both_outcomes_fails_its_call(body: dict[str, Any]) -> None:
    peer = plugin_side()
    id, _ = peer.ask("m", b"{}")
    event = one(peer, frame({"jsonrpc": "2.0", "id": id, **body}))
    assert isinstance(event, Answered) and isinstance(event.error, BadRequest)


def test_an_error_keeps_code_message_and_data() -> None:
    near, far = plugin_side(), server()
    id, asked = near.ask("m", b"{}")
    far.receive(sent(asked))
    event = one(near, sent(far.refuse(id, RemoteError(-32050, "no", Raw(b'{"k":1}')))))
    assert isinstance(event, Answered) and isinstance(event.error, RemoteError)
    assert (event.error.code, str(event.error), bytes(event.error.data or b"")) == (-32050, "no", b'{"k":1}')


def test_hanging_up_names_every_request_that_is_lost() -> None:
    peer = server()
    ids = [peer.ask("m", b"{}")[0] for _ in range(3)]
    assert sorted(peer.hang_up()) == ids  # type: ignore[type-var]
    assert peer.hang_up() == []


def test_a_large_payload_is_not_copied_into_its_frame() -> None:
    payload = b'"' + b"x" * 100_000 + b'"'
    _, buffers = server().ask("m", payload)
    assert any(isinstance(buffer, memoryview) and buffer.obj is payload for buffer in buffers)


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_make_a_peer_raise(data: bytes) -> None:
    peer = server()
    peer.receive(data + b"\n")
    assert isinstance(one(peer, request(12345)), Asked)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "x"]),
                inner,
                max_size=7,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_whatsoever_makes_a_peer_raise(value: Any) -> None:
    peer = server()
    peer.receive(json.dumps(value).encode() + b"\n")
    peer.receive(json.dumps({"jsonrpc": "2.0", **value} if isinstance(value, dict) else value).encode() + b"\n")
    assert isinstance(one(peer, request(12345)), Asked)
