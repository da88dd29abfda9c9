"""Every feature of MCP, between every client SDK in every era and every server SDK in every era, through a broker.

The clients and servers are those of the official SDKs, in `across/`; `across/gaps.py` says what an SDK or an era cannot
do. Where the two share an era they also speak without a broker, and what comes of it is the same.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mcp_types import methods

from tests import oracle, parsing
from tests.e2e.across.expected import FEATURES, comparable, expected
from tests.e2e.across.gaps import skipped
from tests.e2e.across.pairs import CLIENTS, PAIRS, SERVERS, Pair, Talks, marks
from tests.e2e.harness import LATEST_LEGACY, MODERN, Json

# The Python SDK deprecates what the legacy era has and the modern one has not; the legacy era is what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
    pytest.mark.timeout(600),
    pytest.mark.slow,
]

OF_PAIRS = pytest.mark.parametrize("pair", [pytest.param(pair, marks=marks(pair), id=str(pair)) for pair in PAIRS])
CASES = [
    pytest.param(pair, feature, marks=marks(pair), id=f"{pair}: {FEATURES[feature]}")
    for pair in PAIRS
    for feature in FEATURES
    if feature not in skipped(pair)
]


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Talks:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "across"
    folder.mkdir(exist_ok=True)
    return Talks(folder)


@pytest.mark.parametrize(("pair", "feature"), CASES)
def test_it_works_across(talks: Talks, pair: Pair, feature: str) -> None:
    found = talks.brokered(pair)[feature]
    if feature == "offered":
        assert missing(found["result"]) == []
    else:
        assert comparable(feature, found) == expected(feature, pair)
    if pair.agree and feature != "offered":
        assert comparable(feature, talks.direct(pair)[feature]) == comparable(feature, found)


def missing(offered: Json) -> list[str]:
    """Which capabilities of the offers, or of their words, are not told."""
    told: dict[str, Any] = offered["capabilities"]
    wanted: Json = {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }
    lacking = [name for name, flags in wanted.items() if not (told.get(name) or {}).items() >= flags.items()]
    return lacking + ([] if "Call `text` first." in (offered.get("instructions") or "") else ["instructions"])


@OF_PAIRS
def test_all_that_was_said_is_of_the_clients_version(talks: Talks, pair: Pair) -> None:
    talks.brokered(pair)
    logs = sorted(talks.frames(pair).iterdir())
    assert logs
    for log in logs:
        conversation, frames = said(log)
        oracle.check(conversation)
        parsing.keep(frames)


def said(log: Path) -> tuple[list[oracle.Said], list[bytes]]:
    """What a recorder wrote down: the conversation, and the frames of the broker."""
    conversation: list[oracle.Said] = []
    frames: list[bytes] = []
    for line in log.read_bytes().splitlines(keepends=True):
        conversation.append(("client" if line[:1] == b">" else "broker", json.loads(line[1:])))
        if line[:1] == b"<":
            frames.append(line[1:])
    return conversation, frames


@OF_PAIRS
def test_nothing_is_left_out_without_a_reason(talks: Talks, pair: Pair) -> None:
    asked = set(talks.brokered(pair))
    assert asked | skipped(pair) == set(FEATURES) and not asked & skipped(pair)


def test_what_an_era_is_said_to_lack_it_lacks() -> None:
    assert ("ping", LATEST_LEGACY) in methods.CLIENT_REQUESTS and ("ping", MODERN) not in methods.CLIENT_REQUESTS
    roots, visited = "notifications/roots/list_changed", "notifications/elicitation/complete"
    assert (roots, LATEST_LEGACY) in methods.CLIENT_NOTIFICATIONS
    assert (roots, MODERN) not in methods.CLIENT_NOTIFICATIONS
    assert (visited, LATEST_LEGACY) in methods.SERVER_NOTIFICATIONS
    assert (visited, MODERN) not in methods.SERVER_NOTIFICATIONS


def test_every_kind_of_server_and_client_is_there() -> None:
    assert {server.eras for server in SERVERS} == {"legacy", "modern", "dual"}
    assert {client.era for client in CLIENTS} == {"legacy", "modern"}
    assert len({each.sdk for each in (*CLIENTS, *SERVERS)}) == 4 and len(PAIRS) == len(CLIENTS) * len(SERVERS)
