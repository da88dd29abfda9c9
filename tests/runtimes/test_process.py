"""Opening real processes of every kind of temper, and what is known of them when they end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Host, Identity, Instance, Lost, Reply
from broker.errors import BrokerError, PluginUnavailable
from broker.model import Era, Kind, Limits, Listing, Spec
from broker.runtimes.process import ProcessRuntime
from broker.runtimes.upstream import Upstream
from tests.pretend import PretendFace, raw
from tests.servers import SCRIPTED

OLD, NEW = Identity(era=Era.LEGACY), Identity(era=Era.MODERN, version="2026-07-28")


class Holder(Host):
    """Notes what its instance tells."""

    def __init__(self) -> None:
        self.endings: list[BrokerError] = []
        self.ended_: asyncio.Event = asyncio.Event()
        self.asked: list[Call] = []

    def progressed(self, call: Call) -> None: ...
    def changed(self, kinds: set[Kind]) -> None: ...
    def updated(self, uri: str) -> None: ...
    def logged(self, params: Reply) -> None: ...
    def told(self, calls: Sequence[Call], method: str, params: Reply) -> None: ...
    def ended(self, instance: Instance, error: BrokerError) -> None:
        self.endings.append(error)
        self.ended_.set()

    async def ask(self, calls: Sequence[Call], method: str, params: Reply) -> Reply:
        self.asked += calls
        return b'{"roots":[]}'


Open = Callable[..., Any]


@pytest.fixture
async def open_(tmp_path: Path) -> AsyncIterator[Open]:
    runtime, opened = ProcessRuntime(tmp_path / "logs"), list[Upstream]()

    async def begin(
        *flags: str,
        identity: Identity = OLD,
        known: Listing | None = None,
        host: Holder | None = None,
        start: float = 10,
    ) -> Upstream:
        command = (sys.executable, str(SCRIPTED), *flags)
        spec = Spec(name="a", source="t", command=command, limits=Limits(start=start))
        upstream = await runtime.start(spec, identity, known, host or Holder())
        opened.append(upstream)
        return upstream

    yield begin
    for upstream in opened:
        await upstream.stop(grace=0.2)


def call(tool: str, identity: Identity = OLD, **arguments: Any) -> Call:
    face = PretendFace(era=identity.era)
    return Call(face, identity, "tools/call", {"name": raw(tool), "arguments": raw(arguments)})


@pytest.mark.parametrize(
    ("flags", "wanted", "spoken"),
    [
        (["--era", "legacy"], Era.LEGACY, Era.LEGACY),
        (["--era", "legacy"], Era.MODERN, Era.LEGACY),
        (["--era", "modern"], Era.LEGACY, Era.MODERN),
        (["--era", "modern"], Era.MODERN, Era.MODERN),
        (["--era", "modern-locked"], Era.LEGACY, Era.MODERN),
        (["--era", "dual"], Era.LEGACY, Era.LEGACY),
        (["--era", "dual"], Era.MODERN, Era.MODERN),
        (["--era", "dual-locked"], Era.LEGACY, Era.LEGACY),
        (["--era", "dual-locked"], Era.MODERN, Era.MODERN),
        (["--era", "legacy", "--only-2024"], Era.MODERN, Era.LEGACY),
        (["--era", "legacy", "--exit-on-probe"], Era.MODERN, Era.LEGACY),
        (["--era", "legacy", "--hang-on-probe"], Era.MODERN, Era.LEGACY),
        (["--era", "dual", "--banner"], Era.MODERN, Era.MODERN),
    ],
)
async def test_a_server_is_opened_in_the_clients_era_if_it_speaks_it(
    open_: Open, flags: list[str], wanted: Era, spoken: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--hang-on-probe" in flags:
        monkeypatch.setattr("broker.runtimes.process.PROBE", 0.3)
    upstream = await open_(*flags, identity=NEW if wanted is Era.MODERN else OLD)
    assert upstream.era is spoken and upstream.listing.versions[spoken]
    assert {"tools", "resources", "prompts"} <= set(upstream.listing.capabilities)
    assert b"echo" in b"".join(bytes(tool) for tool in (await upstream.lists()).tools)


async def test_an_era_known_from_before_is_not_probed_again(open_: Open) -> None:
    known = Listing(versions={Era.MODERN: None, Era.LEGACY: "2025-11-25"})
    upstream = await open_("--era", "legacy", "--exit-on-probe", identity=NEW, known=known)
    assert upstream.era is Era.LEGACY


async def test_a_paginated_list_is_whole(open_: Open) -> None:
    whole = await (await open_("--era", "legacy")).lists()
    pages = await (await open_("--era", "legacy", "--page", "2")).lists()
    assert [bytes(tool) for tool in pages.tools] == [bytes(tool) for tool in whole.tools] and len(pages.tools) > 4


async def test_a_server_that_never_answers_is_given_up_with_its_last_words(open_: Open) -> None:
    with pytest.raises(PluginUnavailable, match=r"(?s)did not answer within 0.5 s.*why I hang"):
        await open_("--era", "legacy", "--slow-start", "60", "--stderr", "why I hang", start=0.5)


async def test_a_server_that_exits_at_its_start_says_why(tmp_path: Path) -> None:
    program = "import sys; sys.stderr.write('no API key\\n'); sys.exit(4)"
    spec = Spec(name="a", source="t", command=(sys.executable, "-c", program))
    with pytest.raises(PluginUnavailable, match=r"(?s)exit code 4.*no API key"):
        await ProcessRuntime(tmp_path).start(spec, OLD, None, Holder())


async def test_a_command_that_is_missing_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    spec = Spec(name="a", source="t", command=("no-such-program-here",))
    with pytest.raises(PluginUnavailable, match="no-such-program-here") as caught:
        await ProcessRuntime(tmp_path).start(spec, OLD, None, Holder())
    assert caught.value.hint


async def test_a_death_in_a_call_names_plugin_code_uptime_and_last_words_and_is_told_once(open_: Open) -> None:
    host = Holder()
    upstream = await open_("--era", "legacy", "--stderr", "disk on fire", host=host)
    calls = [asyncio.ensure_future(upstream.call(call("sleep", ms=60_000))) for _ in range(3)]
    calls.append(asyncio.ensure_future(upstream.call(call("die", code=3))))
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    for outcome in outcomes:
        assert isinstance(outcome, Lost)
        assert "a ended with exit code 3 after" in str(outcome) and "disk on fire" in str(outcome)
        assert outcome.error.facts["exitCode"] == 3 and outcome.error.facts["stderr"] == ["disk on fire"]
    await asyncio.wait_for(host.ended_.wait(), 5)
    assert len(host.endings) == 1


async def test_everything_it_printed_is_in_its_log_file(open_: Open, tmp_path: Path) -> None:
    upstream = await open_("--era", "legacy", "--stderr", "to be kept", "--banner")
    await upstream.stop(grace=0.5)
    kept = (tmp_path / "logs" / "a.log").read_text()
    assert "to be kept" in kept and "[stdout]" in kept


async def test_an_answer_nobody_waits_for_is_not_written_down(open_: Open, tmp_path: Path) -> None:
    upstream = await open_("--era", "legacy")
    await asyncio.wait_for(upstream.call(call("twice", text="THE SECRET")), 5)
    await asyncio.wait_for(upstream.call(call("echo", text="x")), 5)
    await upstream.stop(grace=0.5)
    log = tmp_path / "logs" / "a.log"
    assert not log.exists() or "THE SECRET" not in log.read_text()


async def test_a_question_belongs_to_the_call_in_flight_and_outside_a_call_to_nobody(open_: Open) -> None:
    host = Holder()
    upstream = await open_("--era", "legacy", host=host)
    asking = call("roots")
    await asyncio.wait_for(upstream.call(asking), 5)
    assert host.asked == [asking]


async def test_stopping_twice_or_after_its_death_is_fine(open_: Open) -> None:
    upstream = await open_("--era", "legacy", "--ignore-eof")
    await asyncio.gather(upstream.stop(grace=0.2), upstream.stop(grace=0.2))
    assert upstream.child.code is not None
    await upstream.stop()
