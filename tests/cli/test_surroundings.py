"""What is found on a machine, and when that is fine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from broker.cli.checking import cannot_be_held
from broker.cli.doctoring import Health, Report, _is_fine, _say_enforcement
from broker.cli.surroundings import (
    PROGRAMS,
    Enforcement,
    Leftover,
    Place,
    Program,
    _whose,
    enforcement,
    places,
    programs,
    versions,
)
from broker.confine import backends
from broker.confine.backends import Abilities, Grade
from broker.core.status import Here, State, Status
from broker.model import Problem, Spec

HELD = Enforcement(backend="native", grades={}, failed={}, advice=[], root=False, seconds=0.1)
FINE = Report(
    versions={},
    folders=[],
    programs=[],
    enforcement=HELD,
    plugins=[],
    problems=[],
    brokers=[],
    silent=[],
    leftovers=[],
)


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


# what plugins can be held to


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")
def test_what_this_machine_enforces_is_found_out_by_doing() -> None:
    found = enforcement()
    assert found.backend in backends.BACKENDS
    assert {found.grades[kind].grade for kind in ("read", "write", "net", "run")} == {"yes"}
    assert found.root is (os.getuid() == 0)


def test_what_is_not_enforced_is_said_with_the_reason_and_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    _say_enforcement(
        Enforcement(
            backend=None,
            grades={"net": Grade("no", "namespaces: Operation not permitted"), "disk": Grade("partly", "looked at")},
            failed={"native": "Operation not permitted"},
            advice=["Install bubblewrap."],
            root=True,
            seconds=0.05,
        )
    )
    said = capsys.readouterr().out
    assert "nothing: plugins with permissions are refused" in said and "50 ms" in said
    assert "!! net" in said and "-- disk" in said
    assert "not here: native:  Operation not permitted" in said and "Install bubblewrap." in said
    assert "runs as root" in said


def can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(**_: object) -> Abilities:
        return Abilities(failed={"native": "Operation not permitted"})

    monkeypatch.setattr(backends, "examine", examine)


def asking(tmp_path: Path, command: str = "/usr/bin/true") -> Spec:
    source = tmp_path / "config.toml"
    source.write_text(f'[servers.todos]\ncommand = "{command}"\n')
    return Spec(name="todos", source=str(source), command=(command,), permissions={"net": ()})


def test_a_plugin_whose_permissions_cannot_be_enforced_here_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    can_do_nothing(monkeypatch)
    (problem,) = cannot_be_held([asking(tmp_path)])
    assert problem.plugin == "todos" and problem.where.endswith("config.toml:2")
    assert "nothing here can confine it: namespaces: Operation not permitted" in problem.what
    assert "unconfined = true" in problem.fix


def test_a_plugin_that_is_not_confined_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    can_do_nothing(monkeypatch)
    asks = asking(tmp_path)
    others = [replace(asks, permissions=None), replace(asks, unconfined=True), replace(asks, enabled=False)]
    assert list(cannot_be_held(others)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")
def test_a_launcher_whose_program_is_not_installed_is_a_problem(tmp_path: Path) -> None:
    (problem,) = cannot_be_held([asking(tmp_path, tool(tmp_path / "bin", "uvx"))])
    assert "its words name no program" in problem.what
    assert list(cannot_be_held([asking(tmp_path)])) == []
