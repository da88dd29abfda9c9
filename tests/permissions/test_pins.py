"""What a plugin was approved with is kept as it was, by one process at a time, and never guessed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from broker.errors import ConfigError, LedgerBroken
from broker.model import Era, Listing
from broker.permissions.pins import MARK, Pins, digest_of, pin_of
from tests.pretend import raw

LISTING = Listing(
    versions={Era.LEGACY: "2025-11-25"},
    info=raw({"name": "server"}),
    capabilities={"tools": raw({})},
    instructions="Be kind.",
    tools=[Raw(b'{ "name":"echo",  "x": 1.50 }'), raw({"name": "other"})],
    resources=[raw({"uri": "mem://1", "name": "one"})],
)


def test_what_is_kept_is_what_came_byte_by_byte(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "pins")
    pins.take("one", LISTING)
    pin = pins.read("one")
    assert pin is not None
    assert [bytes(each) for each in pin.listing.tools] == [bytes(each) for each in LISTING.tools]
    assert pin.listing.instructions == "Be kind." and pin.listing.versions == {}
    assert pin.digests["tools"] == {name: digest_of("tools", each) for name, each in pin.items("tools").items()}


def test_nobody_approved_what_has_no_file(tmp_path: Path) -> None:
    assert Pins(tmp_path / "nowhere").read("one") is None
    assert Pins(tmp_path / "nowhere").stamp("one") is None


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "pins")
    pins.take("one", LISTING)
    assert pins.path("one").stat().st_mode & 0o777 == 0o600
    assert pins.folder.stat().st_mode & 0o777 == 0o700


def test_who_was_first_has_pinned_it(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    first = pins.take("one", LISTING)
    assert pins.take("one", Listing()) == first == pins.read("one")


def test_an_approval_before_the_first_lists_waits_for_them(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.approve_next("one")
    pin = pins.read("one")
    assert pin is not None and pin.awaited
    assert not pins.take("one", LISTING).awaited
    pins.approve_next("one")  # a later grant of permissions changes nothing
    pin = pins.read("one")
    assert pin is not None and not pin.awaited


def test_an_approval_of_something_that_is_not_there_any_more_is_refused(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.take("one", LISTING)
    seen = pins.stamp("one")
    assert pins.replace("one", pin_of(Listing(tools=LISTING.tools[:1])), seen=seen)
    assert not pins.replace("one", pin_of(LISTING), seen=seen)
    assert not pins.replace("one", pin_of(LISTING), seen=None)


def test_every_change_is_one_of_the_mark_that_brokers_watch(tmp_path: Path) -> None:
    pins, marks = Pins(tmp_path), set[bytes]()
    for act in (lambda: pins.approve_next("one"), lambda: pins.take("one", LISTING), lambda: pins.take("two", LISTING)):
        act()
        marks.add((tmp_path / MARK).read_bytes())
    assert len(marks) == 3


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-20],
    lambda data: data.replace(b"kind", b"mean"),
    lambda data: data.replace(b'"format":1', b'"format":9'),
    lambda data: b"",
    lambda data: b"{}",
    lambda data: b"\xff\xfe",
    lambda data: b"null",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_as_it_was_written_is_no_pin_and_not_none(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    pins = Pins(tmp_path)
    pins.take("one", LISTING)
    pins.path("one").write_bytes(damage(pins.path("one").read_bytes()))
    with pytest.raises(LedgerBroken, match="cannot be used") as broken:
        pins.read("one")
    assert "broker approve one" in broken.value.hint
    with pytest.raises(LedgerBroken):
        pins.take("one", LISTING)
    before = pins.path("one").read_bytes()
    pins.approve_next("one")
    assert pins.path("one").read_bytes() == before


def test_a_file_that_cannot_be_read_is_no_pin_and_not_none(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.path("one").mkdir()
    with pytest.raises(LedgerBroken):
        pins.read("one")
    assert pins.stamp("one") is not None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        Pins(tmp_path / "pins").approve_next("one")


def _take(folder: str, number: int) -> str:
    listing = Listing(tools=[raw({"name": "echo", "number": number})])
    return Pins(Path(folder)).take("one", listing).digests["tools"]["echo"]


def test_many_processes_at_once_agree_on_one_pin(tmp_path: Path) -> None:
    Pins(tmp_path).approve_next("one")
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(_take, [str(tmp_path)] * 12, range(12), timeout=50))
    pin = Pins(tmp_path).read("one")
    assert pin is not None and found == {pin.digests["tools"]["echo"]}
    assert not [name for name in os.listdir(tmp_path) if name not in ("one.json", MARK, f"{MARK}.lock")]


def test_size_and_time_of_a_resource_are_not_what_it_is() -> None:
    def one(**more: Any) -> str:
        return digest_of("resources", raw({"uri": "mem://1", "name": "one", **more}))

    assert one(size=1) == one(size=2) == one()
    early, late = ({"audience": ["user"], "lastModified": when} for when in ("2025-01-01", "2026-01-01"))
    assert one(annotations=early) == one(annotations=late) != one(annotations={"audience": ["assistant"]})
    assert one(size=1, description="x") != one(size=1)
    twice = Raw(b'{"uri":"mem://1","size":1,"size":2}')
    assert digest_of("resources", twice) != digest_of("resources", Raw(b'{"uri":"mem://1","size":2}'))


def test_the_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    Pins(tmp_path).take("one", LISTING)
    found = json.loads((tmp_path / "one.json").read_text())
    assert found["pin"]["listing"]["tools"][1] == {"name": "other"}
