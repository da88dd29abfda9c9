"""What is found on a machine, and when that is fine."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from broker.cli.doctoring import Health, Report, _is_fine
from broker.cli.surroundings import PROGRAMS, Leftover, Place, Program, _whose, places, programs, versions
from broker.core.status import Here, State, Status
from broker.model import Problem, Spec

FINE = Report(versions={}, folders=[], programs=[], plugins=[], problems=[], brokers=[], silent=[], leftovers=[])


def tool(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\necho v24.1.0\n")
    file.chmod(0o755)
    return str(file)


def found(specs: list[Spec], path: str) -> dict[str, Program]:
    return {program.name: program for program in programs(specs, {"PATH": path})}


def test_versions_say_what_runs() -> None:
    assert set(versions()) == {"broker", "python", "msgspec", "os", "kernel"} and all(versions().values())


def test_a_program_nobody_needs_may_be_missing(tmp_path: Path) -> None:
    all_ = found([], str(tmp_path))
    assert tuple(all_) == PROGRAMS
    assert all(program.path is None and program.needed_by == [] for program in all_.values())


def test_a_program_is_looked_for_where_the_plugin_that_needs_it_does(tmp_path: Path) -> None:
    node, bun = tool(tmp_path / "bin", "node"), tool(tmp_path / "own", "bun")
    specs = [
        Spec(name="js", source="t", entry="/x/plugin.mjs"),
        Spec(name="has", source="t", command=("bun", "x"), env={"PATH": str(tmp_path / "own")}),
        Spec(name="lacks", source="t", command=("bun", "x")),
        Spec(name="off", source="t", command=("deno",), enabled=False),
    ]
    all_ = found(specs, str(tmp_path / "bin"))
    assert all_["node"] == Program("node", node, "24.1", ["js"], [])
    assert all_["bun"] == Program("bun", bun, None, ["has", "lacks"], ["lacks"])
    assert all_["deno"].needed_by == []


def test_a_folder_is_tried_by_writing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    home = {"BROKER_HOME": str(tmp_path)}
    rows = {place.what: place for place in places(tmp_path / "c", tmp_path / "logs", tmp_path / "s", home)}
    assert [rows[what].trouble for what in ("cache", "state", "run")] == [None, None, None]
    assert rows["logs"].trouble
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "whose"),
    [
        (["/bin/sh", "server.sh", "-x"], "git"),
        (["/usr/bin/env", "/bin/sh", "server.sh", "-x"], "git"),
        (["/bin/sh", "server.sh"], None),
        (["vim", "server.sh"], None),
        (["python", "-I", "-S", os.path.join("site", "confine", "keeper.py"), "4"], ""),
    ],
)
def test_a_process_is_told_by_its_command_line(line: list[str], whose: str | None) -> None:
    assert _whose(line, [("git", ["/bin/sh", "server.sh", "-x"])]) == whose


@pytest.mark.parametrize(
    "trouble",
    [
        {"folders": [Place("cache", "/x", "No space left on device")]},
        {"programs": [Program("node", None, None, ["js"], ["js"])]},
        {"plugins": [Health(name="git", state="failed")]},
        {"problems": [Problem("x", "y")]},
        {"silent": ["7"]},
        {"leftovers": [Leftover(7, "git", "x")]},
        {"brokers": [Here(1, "1", "c", 1.0, [Status(name="git", state=State.OPEN)])]},
    ],
)
def test_any_trouble_is_not_fine(trouble: dict[str, object]) -> None:
    assert not _is_fine(msgspec.structs.replace(FINE, **trouble))


@pytest.mark.parametrize(
    "nothing",
    [
        {"folders": [Place("cache", "/x", None)]},
        {"programs": [Program("node", None, None, [], [])]},
        {"plugins": [Health(name="git", state="disabled"), Health(name="b", state="ok")]},
        {"brokers": [Here(1, "1", "c", 1.0, [Status(name="git", state=State.OFF)])]},
    ],
)
def test_what_is_only_so_is_fine(nothing: dict[str, object]) -> None:
    assert _is_fine(msgspec.structs.replace(FINE, **nothing))
