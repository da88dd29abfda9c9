"""`broker add` puts a folder or a packed plugin into config.toml, shows what it asks for, and grants nothing."""

from __future__ import annotations

import json
import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import click
import pytest

from broker.authoring.packing import pack
from broker.cli import adding
from broker.cli.adding import perform
from broker.cli.importing import perform as imports
from broker.core.config import load

MANIFEST = 'name = "todos"\nversion = "1.0.0"\napi = 1\ndescription = "Counts \\u001b[2J"\n'
ASKING = '[permissions]\nread = ["${workspace}/**"]\n[[hooks]]\non = "pre_request"\n[commands.go]\ntitle = "Go"\n'


class Desk:
    """A person with a plugin in a folder."""

    def __init__(self, home: Path, screen: pytest.CaptureFixture[str]) -> None:
        self.home, self.screen = home, screen
        self.config, self.bundles = home / "config.toml", home / "broker" / "bundles"

    def plugin(self, entry: str = "plugin.py", text: str = "", asking: str = "", version: str = "1.0.0") -> Path:
        folder = self.home / "todos"
        folder.mkdir(exist_ok=True)
        (folder / entry).write_text(text)
        manifest = MANIFEST.replace("1.0.0", version)
        (folder / "plugin.toml").write_text(f'{manifest}entry = "{entry}"\n{asking}')
        return folder

    def packed(self, **plugin: str) -> Path:
        return pack(self.plugin(**plugin), self.home / "todos.zip").file

    def adds(self, path: Path, write: bool = True, as_json: bool = False) -> tuple[int, str]:
        code = perform(path, self.config, write=write, as_json=as_json)
        said = self.screen.readouterr()
        return code, said.out + said.err

    def entries(self) -> dict[str, Any]:
        return tomllib.loads(self.config.read_text())["plugins"]

    def nothing_is_left(self) -> bool:
        return not self.config.exists() and (not self.bundles.exists() or os.listdir(self.bundles) == [])


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "broker"))
    return Desk(tmp_path, capsys)


def test_a_folder_is_used_where_it_is(desk: Desk) -> None:
    folder = desk.plugin(asking=ASKING)
    code, said = desk.adds(folder)
    assert (code, desk.entries()) == (0, {"todos": {"path": str(folder)}})
    found = load(config_file=desk.config, environ={})
    assert [spec.name for spec in found.plugins] == ["todos"] and found.problems == []
    for line in ("read: ${workspace}/**", "hooks: pre_request", "ui: command", "`broker grant todos` grants"):
        assert line in said
    assert "\x1b" not in said


def test_nothing_is_written_without_a_yes(desk: Desk) -> None:
    for path in (desk.plugin(), desk.packed()):
        code, said = desk.adds(path, write=False)
        assert code == 0 and "Nothing was; `--write` does it." in said
        assert desk.nothing_is_left()


def test_a_packed_plugin_is_unpacked_and_added(desk: Desk) -> None:
    code, said = desk.adds(desk.packed(text="# it", asking=ASKING))
    place = Path(desk.entries()["todos"]["path"])
    assert (code, place.parent) == (0, desk.bundles) and (place / "plugin.py").read_text() == "# it"
    assert desk.entries()["todos"] == {"path": str(place)} and "`broker grant todos`" in said
    assert os.listdir(desk.bundles) == [place.name]


def test_broker_import_adds_a_packed_plugin_as_a_plugin_too(desk: Desk) -> None:
    file = desk.packed()
    bundle = file.rename(file.with_suffix(".mcpb"))
    assert imports([str(bundle)], desk.config, write=True, as_json=False) == 0
    assert set(desk.entries()["todos"]) == {"path"}
    desk.config.unlink()
    assert imports([str(bundle)], desk.config, write=True, as_json=False, given=["a=b"]) == 1
    assert "Leave --set out" in desk.screen.readouterr().err


def test_a_script_of_somebody_else_does_not_run_in_broker_itself(desk: Desk) -> None:
    desk.adds(desk.packed(entry="plugin.lua"))
    assert desk.entries()["todos"]["isolation"] == "process"
    desk.config.unlink()
    desk.adds(desk.home / "todos")
    assert "isolation" not in desk.entries()["todos"]


def test_a_newer_file_takes_the_place_of_an_older_one_with_its_options(desk: Desk) -> None:
    desk.adds(desk.packed(entry="plugin.lua"))
    old = desk.entries()["todos"]["path"]
    text = desk.config.read_text()
    desk.config.write_text("# mine\n" + text + 'config = { limit = 5 }\n[servers.x]\ncommand = "true"\n')
    desk.adds(desk.packed(text="# new", version="1.1.0"))
    entry = desk.entries()["todos"]
    assert entry == {"path": entry["path"], "config": {"limit": 5}} and entry["path"] != old
    assert (Path(entry["path"]) / "plugin.py").read_text() == "# new"
    assert desk.config.read_text().startswith("# mine\n") and "[servers.x]" in desk.config.read_text()
    code, _ = desk.adds(desk.home / "todos.zip")  # once more, the very same
    assert code == 0 and (Path(entry["path"]) / "plugin.py").read_text() == "# new"


@pytest.mark.parametrize("held", ["[plugins.todos]\npath = '/mine'\n", "[servers.todos]\ncommand = 'true'\n"])
def test_a_name_that_is_taken_stays_what_it_is(desk: Desk, held: str) -> None:
    for path in (desk.plugin(), desk.packed()):
        desk.config.write_text(held)
        code, said = desk.adds(path)
        assert code == 1 and "there is a todos already" in said and "out first, if this replaces it" in said
        assert desk.config.read_text() == held
    assert os.listdir(desk.bundles) == []


def test_a_configuration_that_is_broken_is_left_alone(desk: Desk) -> None:
    desk.config.write_text("[plugins")
    for path in (desk.plugin(), desk.packed()):
        code, said = desk.adds(path)
        assert code == 1 and "it is not TOML" in said and desk.config.read_text() == "[plugins"


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"plugin.toml": MANIFEST + 'entry = "../../outside.py"\n'}, "leads outside"),
        ({"plugin.toml": MANIFEST.replace("todos", "../../x") + 'entry = "a.py"\n', "a.py": ""}, "must be 1 to 32"),
        ({"plugin.toml": MANIFEST + 'entry = "a.py"\n'}, "does not exist"),
        ({"plugin.toml": "\0"}, "plugin.toml"),
        ({"plugin.toml": MANIFEST + 'entry = "a.py"\n[limits]\nmemory = -1\n', "a.py": ""}, "cannot give to itself"),
        ({"../plugin.toml": ""}, "leads elsewhere"),
        ({"plugin.txt": ""}, "there is no manifest.json in it"),
    ],
)
def test_an_archive_that_lies_is_refused_and_nothing_of_it_stays(desk: Desk, files: dict[str, str], what: str) -> None:
    with zipfile.ZipFile(desk.home / "evil.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    code, said = desk.adds(desk.home / "evil.zip")
    assert code == 1 and what in said and desk.nothing_is_left()
    assert sorted(os.listdir(desk.home)) == ["broker", "evil.zip"]


def test_what_is_no_archive_and_no_plugin_is_said(desk: Desk) -> None:
    (desk.home / "x.zip").write_text("not a zip")
    code, said = desk.adds(desk.home / "x.zip")
    assert code == 1 and "it cannot be unpacked" in said and desk.nothing_is_left()
    (desk.home / "empty").mkdir()
    with pytest.raises(click.UsageError, match=r"there is no plugin\.toml in it"):
        desk.adds(desk.home / "empty")


def test_when_the_configuration_cannot_be_written_what_was_unpacked_is_gone_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise adding.ConfigError("no space")

    monkeypatch.setattr(adding, "exchanged", fails)
    code, said = desk.adds(desk.packed())
    assert code == 1 and "no space" in said and desk.nothing_is_left()


def test_packages_that_python_lacks_there_are_said(desk: Desk) -> None:
    folder = desk.plugin()
    (folder / "pyproject.toml").write_text("[project]\ndependencies = ['plugin-broker-sdk', 'httpx>=0.28']\n")
    _, said = desk.adds(folder)
    assert f"-m venv {folder}/.venv" in said and "install 'httpx>=0.28' 'plugin-broker-sdk'" in said


def test_a_program_reads_the_same_as_json(desk: Desk) -> None:
    code, said = desk.adds(desk.plugin(asking=ASKING), as_json=True)
    held = json.loads(said)
    assert (code, held["name"], held["written"], held["permissions"]["hooks"]) == (0, "todos", True, ["pre_request"])
