"""Lists kept on disk: found again only for the very same plugin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from broker.core.listings import Listings
from broker.model import Era, Listing, Spec

SHOWN = Listing(
    versions={Era.LEGACY: "2025-11-25", Era.MODERN: None}, tools=[Raw(b'{"name":"t","x":1}')], instructions="é"
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text("1")
    return path


def spec(script: Path) -> Spec:
    return Spec(name="a", source="f", command=("python3", str(script)), env={"K": "v"}, cwd=str(script.parent))


def test_what_was_kept_is_found_again_byte_for_byte(tmp_path: Path, script: Path) -> None:
    Listings(tmp_path / "lists").put(spec(script), SHOWN)
    found = Listings(tmp_path / "lists").get(spec(script))
    assert found is not None and found.versions == SHOWN.versions and found.instructions == "é"
    assert [bytes(tool) for tool in found.tools] == [b'{"name":"t","x":1}']


def test_another_command_environment_or_file_is_another_plugin(tmp_path: Path, script: Path) -> None:
    lists = Listings(tmp_path / "lists")
    lists.put(spec(script), SHOWN)
    assert lists.get(replace(spec(script), env={"K": "w"})) is None
    assert lists.get(replace(spec(script), command=("python3", str(script), "-x"))) is None
    assert lists.get(replace(spec(script), concurrency=4)) is not None
    os.utime(script, ns=(1, 1))
    assert lists.get(spec(script)) is None


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"tools":"x"}', b"\xff" * 100])
def test_a_torn_or_foreign_file_is_nothing(tmp_path: Path, script: Path, junk: bytes) -> None:
    lists = Listings(tmp_path / "lists")
    lists.put(spec(script), SHOWN)
    (file,) = (tmp_path / "lists").iterdir()
    file.write_bytes(junk)
    assert lists.get(spec(script)) is None


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path, script: Path) -> None:
    (tmp_path / "lists").write_text("a file where the folder should be")
    lists = Listings(tmp_path / "lists")
    lists.put(spec(script), SHOWN)
    assert lists.get(spec(script)) is None


def test_the_folder_is_its_owners_alone(tmp_path: Path, script: Path) -> None:
    Listings(tmp_path / "lists").put(spec(script), SHOWN)
    assert (tmp_path / "lists").stat().st_mode & 0o077 == 0
