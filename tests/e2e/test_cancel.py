"""Taking a call back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import EACH_KIND, ERAS, KINDS, Home, Line, opened, same_id

pytestmark = pytest.mark.matrix

CANCELLED = "notifications/cancelled"


async def begun(line: Line, id: int | str, token: int | str = "begun") -> None:
    """A call that never ends, and that has reached its server."""
    line.send("tools/call", {"name": "one__forever", "arguments": {}}, id=id, meta={"progressToken": token})
    await line.until(
        lambda message: (
            message.get("method") == "notifications/progress" and same_id(message["params"]["progressToken"], token)
        )
    )


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", EACH_KIND)
async def test_a_cancelled_call_stops_at_the_server(tmp_path: Path, kind: str, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": KINDS[kind]}), era) as line:
        for number, id in enumerate(("call", 0)):
            await begun(line, id, number)
            line.cancel(id)
            heard = json.loads(await line.text("one__heard"))
            assert heard.count(CANCELLED) == number + 1
        await line.settled()
        answered = [message["id"] for message in line.said if "id" in message]
        assert "call" not in answered and not any(same_id(id, 0) for id in answered)


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_waits_its_turn_is_cancelled_without_the_server(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": KINDS["dual"]}), era) as line:
        await begun(line, "first")
        once = tmp_path / "it-ran"
        line.send("tools/call", {"name": "one__die", "arguments": {"once": str(once)}}, id="second")
        third = line.send("tools/call", {"name": "one__heard", "arguments": {}})
        await line.settled()
        line.cancel("second")
        line.cancel("first")
        heard = json.loads((await line.reply(third))["result"]["content"][0]["text"])
        assert heard.count(CANCELLED) == 1
        assert not once.exists()
        assert not any(message.get("id") in ("first", "second") for message in line.said)


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_what_is_over_or_was_never_asked_does_nothing(tmp_path: Path, era: str) -> None:
    async with opened(Home.of(tmp_path, {"one": KINDS["dual"]}), era) as line:
        line.cancel("never")
        line.tell(CANCELLED, {"requestId": None})
        line.tell(CANCELLED, {})
        line.tell(CANCELLED)
        over = line.send("tools/call", {"name": "one__echo", "arguments": {"text": "a"}})
        await line.reply(over)
        line.cancel(over)
        assert CANCELLED not in json.loads(await line.text("one__heard"))


async def test_an_id_is_cancelled_by_type_and_value(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": KINDS["dual"]})) as line:
        await begun(line, "7")
        line.send("tools/call", {"name": "one__echo", "arguments": {"text": "int"}}, id=7)
        await line.settled()
        line.cancel("7")
        assert (await line.reply(7))["result"]["content"][0]["text"] == "int"
        await line.settled()
        assert not any(same_id(message.get("id"), "7") for message in line.said)


async def test_a_call_cancelled_while_its_server_starts_leaves_the_server_usable(tmp_path: Path) -> None:
    async with opened(Home.of(tmp_path, {"one": KINDS["dual"]})) as line:
        line.send("tools/call", {"name": "one__forever", "arguments": {}}, id="early")
        line.cancel("early")
        assert await line.text("one__echo", {"text": "later"}) == "later"
        assert not any(message.get("id") == "early" for message in line.said)
