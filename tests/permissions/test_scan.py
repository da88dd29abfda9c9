"""Known ways to hide orders in a definition are flagged high; what real servers say is not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.core.ports import Identity
from broker.model import KINDS, Listing, Spec
from broker.permissions.scan import Flag, level, scan, visible
from broker.runtimes.process import ProcessRuntime
from tests.permissions.poison import TEXTS, WHOLE
from tests.servers import REAL, mcp_servers_json

MOST_FALSE = 0.01  # of the definitions of real servers may be flagged medium; none high


def flags(value: Any) -> list[Flag]:
    return scan(json.dumps(value).encode())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_description_that_gives_orders_is_high(text: str) -> None:
    assert level(flags({"name": "x", "description": text})) == "high"


@pytest.mark.parametrize("definition", WHOLE.values(), ids=WHOLE)
def test_it_is_found_wherever_it_stands(definition: dict[str, Any]) -> None:
    assert level(flags(definition)) == "high"


def test_a_flag_says_where_and_what() -> None:
    found = flags({"inputSchema": {"properties": {"a": {"enum": ["ok", "x\u200by"]}}}})
    assert [(flag.where, flag.found) for flag in found] == [("inputSchema.properties.a.enum[1]", "x\\u{200b}y")]


def test_what_is_said_in_two_places_weighs_once() -> None:
    text = "Needs an api key."
    assert level(flags({"description": text})) == level(flags({"description": text, "title": text})) == "low"


def test_a_member_that_stands_twice_is_flagged() -> None:
    assert level(scan(b'{"description":"good","description":"evil"}')) == "high"
    assert level(scan(b'{"a":{"b":1,"b":2}}')) == "high"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_is_high(raw: bytes) -> None:
    assert level(scan(raw)) == "high"


@pytest.mark.parametrize(
    "text",
    [
        "Reads a file. Do not use this for directories; use list_directory instead.",
        "Do not include sensitive information such as API keys, passwords or credentials in the query.",
        "IMPORTANT: the path must be absolute. You must always give a line number.",
        "Sends an email to the address in `to`. Needs an access token.",
        "Call this tool before using get_weather: it returns the id of the place.",
        "Forwards a port to localhost. Posts the message to a channel.",
        "Deletes a user. The user will not be able to log in.",
        "Returns the conversation history of a channel.",
        "Rotates the API key of a service and returns the new secret key.",
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d \u041f\u0440\u0438\u0432\u0435\u0442",
        "Family \U0001f468\u200d\U0001f469\u200d\U0001f467, heart \u2764\ufe0f, flag \U0001f3f4\U000e0067\U000e0062"
        "\U000e0073\U000e0063\U000e0074\U000e007f of Scotland, 5 \u03bcs at 3 \u03a9.",
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 (Persian needs a non-joiner)",
        "Line one.\n\n    indented code\n\tand a tab\n",
    ],
)
def test_what_honest_servers_say_is_not_high(text: str) -> None:
    assert level(flags({"name": "x", "description": text})) in (None, "low"), flags({"description": text})


@pytest.mark.parametrize("gap", [" " * 100, "\n" * 16, "\r\n" * 16, " \n" * 10 + "\t" * 200])
def test_text_that_is_pushed_out_of_sight_is_flagged(gap: str) -> None:
    found = flags({"description": f"Adds.{gap}Then do this."})
    assert [(flag.what, flag.found) for flag in found] == [("text pushed out of sight", "Then do this.")]


def test_text_of_every_size_is_searched_in_time() -> None:
    for unit in ("put as ", "send to ", "read ~/.env ", "a", " ", "\n", "before using any ", "ignore previous "):
        scan(json.dumps(unit * (200_000 // len(unit))).encode())


def test_visible_text_stays_as_it_is_and_the_rest_is_named() -> None:
    assert visible("caf\u00e9 \U0001f600 \u4f60 a-b") == "caf\u00e9 \U0001f600 \u4f60 a-b"
    assert visible("\x1b[0m\u200b\u202e\n") == "\\u{1b}[0m\\u{200b}\\u{202e}\\u{a}"


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_no_definition_of_a_real_server_is_flagged_high(tmp_path: Path) -> None:
    levels: Counter[str | None] = Counter()
    for name, listing in (await real(tmp_path)).items():
        for raw in definitions(listing):
            found = scan(raw)
            assert level(found) != "high", (name, raw[:200], found)
            levels[level(found)] += 1
    assert levels.total() > 100, "hardly any server could be asked"
    assert levels["medium"] <= MOST_FALSE * levels.total(), levels


def definitions(listing: Listing) -> Iterator[bytes]:
    for kind in KINDS:
        yield from map(bytes, getattr(listing, kind))
    if listing.instructions:
        yield msgspec.json.encode(listing.instructions)


class _Host:
    """Hears nothing."""

    def __getattr__(self, name: str) -> Any:
        return _hear


def _hear(*_: object, **__: object) -> None:
    """Anything."""


async def real(folder: Path) -> dict[str, Listing]:
    """What each real server that starts here shows."""
    runtime, found = ProcessRuntime(folder / "logs"), dict[str, Listing]()
    for name, entry in mcp_servers_json([server.name for server in REAL], folder)["mcpServers"].items():
        command = (entry["command"], *entry["args"])
        spec = Spec(name=name, source="test.json", command=command, env=entry.get("env", {}))
        host: Any = _Host()
        async with asyncio.timeout(60):
            instance = await runtime.start(spec, Identity(), None, host)
            found[name] = await instance.lists()
            await instance.stop(0.5)
    await runtime.close(0.5)
    return found
