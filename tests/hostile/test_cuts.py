"""However the bytes are cut, the same frames mean the same: good ones and bad ones, in any order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.framing import Lines
from broker.wire.peer import Answered, Asked, Event, Peer, Told
from tests.hostile.corpus import FRAMES

SHORT = [frame for frame in FRAMES.values() if isinstance(frame.data, bytes) and len(frame.data) < 3000]
LIMIT = 1000  # bytes of a line, so that some pass it


def peer(*, server: bool) -> Peer:
    """One that waits for two answers."""
    made = Peer(Lines(LIMIT), answers_junk=server)
    for _ in range(2):
        made.ask("m", b"{}")
    return made


def told(event: Event) -> tuple[object, ...]:
    """What an event says, as a value."""
    if isinstance(event, Asked):
        return "asked", event.id, event.method, bytes(event.params), event.size
    if isinstance(event, Told):
        return "told", event.method, bytes(event.params)
    if isinstance(event, Answered):
        return "answered", event.id, event.result and bytes(event.result), str(event.error)
    return "unreadable", str(event.error), event.reply and b"".join(event.reply), event.line, event.stray, event.about


@pytest.mark.parametrize("server", [True, False])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_cut_of_any_frames_gives_the_same_events(server: bool, data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.sampled_from(SHORT), min_size=1, max_size=6))
    ids = data.draw(st.lists(st.integers(1, 3), min_size=len(frames), max_size=len(frames)))
    whole = b"".join(frame.bytes(str(id), "modern") for frame, id in zip(frames, ids, strict=True))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=20))
    places = sorted({0, len(whole), *cuts})
    once, many = peer(server=server), peer(server=server)
    expected = [told(event) for event in once.receive(whole)]
    found = [told(event) for a, b in itertools.pairwise(places) for event in many.receive(whole[a:b])]
    assert found == expected
    assert many.owes == once.owes
