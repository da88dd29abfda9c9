"""One folder as the only plugin of a session: what it may do, what starts it, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.app import Folders
from broker.authoring.refusals import line
from broker.authoring.session import place
from broker.authoring.trial import Trial, gate_of, read, watched_files
from broker.errors import BadArguments, ConfigError
from broker.model import Spec
from broker.permissions.scopes import parse
from tests.authoring.authored import MANIFEST, lua, made

ASKS = '[permissions]\nread = ["${plugin}/data"]\nnet = ["api.acme.dev:443"]\nui = ["toast", "ask"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    files = {"plugin.py": ""}
    return made(tmp_path / "acme", MANIFEST.format(name="acme", entry="plugin.py") + ASKS, files)


def tried(path: Path, *, grant: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Spec:
    home = path.parent / "session"
    trial = Trial(path=path, grant=grant, deny=deny)
    found = read(trial, gate_of(Folders(home / "cache", home / "logs", home / "state")))
    assert found.problems == []
    return found.plugins[0]


def test_a_plugin_is_granted_what_it_asks_for(folder: Path) -> None:
    spec = tried(folder)
    assert spec.granted == (f"read:{folder}/data", "net:api.acme.dev:443", "ui:toast", "ui:ask")
    assert spec.missing == ()


def test_what_is_denied_is_as_if_it_was_not_asked_for(folder: Path) -> None:
    assert tried(folder, deny=("net", "ui:ask")).granted == (f"read:{folder}/data", "ui:toast")


def test_what_is_granted_beside_is_as_if_it_was_asked_for(folder: Path) -> None:
    assert "run:git" in tried(folder, grant=("run:git",)).granted


def test_a_permission_nobody_asks_for_cannot_be_denied(folder: Path) -> None:
    with pytest.raises(BadArguments, match="does not ask"):
        tried(folder, deny=("ui:tost",))


def test_what_nobody_can_grant_is_a_problem_and_not_granted(folder: Path) -> None:
    home = folder.parent / "session"
    trial = Trial(path=folder, grant=("write:/",))
    found = read(trial, gate_of(Folders(home / "cache", home / "logs", home / "state")))
    assert [each.plugin for each in found.problems] == ["acme"]
    assert "write:/" not in found.plugins[0].granted


def test_a_wrong_manifest_is_told_with_its_line(folder: Path) -> None:
    (folder / "plugin.toml").write_text('name = "acme"\nversion = "1.0.0"\napi = 1\nentri = "plugin.py"\n')
    home = folder.parent / "session"
    found = read(Trial(path=folder), gate_of(Folders(home / "cache", home / "logs", home / "state")))
    assert found.plugins == []
    assert found.problems[0].where == f"{folder}/plugin.toml:4"
    assert "did you mean `entry`" in found.problems[0].what


@pytest.mark.parametrize("name", ["server.py", "main.py", "index.mjs", "dist/index.js"])
def test_a_folder_without_a_manifest_is_a_plain_server(tmp_path: Path, name: str) -> None:
    file = tmp_path / "My Server" / name
    file.parent.mkdir(parents=True)
    file.write_text("")
    for path in (tmp_path / "My Server", file):
        spec = tried(path)
        assert spec.permissions is None
        assert spec.entry == str(file)


def test_package_json_says_what_a_plain_server_is(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "cli.js").write_text("")
    (tmp_path / "index.js").write_text("")
    (tmp_path / "package.json").write_text(json.dumps({"bin": {"x": "lib/cli.js"}, "main": "index.js"}))
    assert tried(tmp_path).entry == str(tmp_path / "lib" / "cli.js")


def test_a_folder_with_nothing_that_starts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file that looks like an MCP server"):
        tried(tmp_path)


def test_a_lua_file_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plugin.lua").write_text("")
    with pytest.raises(ConfigError, match=r"has no plugin\.toml"):
        tried(tmp_path / "plugin.lua")


def test_every_code_file_of_a_plain_server_is_watched(tmp_path: Path) -> None:
    for name in ("server.py", "words.py", "notes.txt", "node_modules/a.js", ".git/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    home = tmp_path / "session"
    trial = Trial(path=tmp_path)
    found = read(trial, gate_of(Folders(home / "cache", home / "logs", home / "state")))
    (files,) = watched_files(trial, found).plugins.values()
    assert [Path(each).name for each in files.single] == ["server.py", "words.py"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net:api.acme.dev:80", 'net = ["api.acme.dev:443", "api.acme.dev:80"]'),
        ("ui:status", 'ui = ["toast", "ask", "status"]'),
        ("write:/srv/notes", 'write = ["/srv/notes"]'),
        ("sampling", "sampling = true"),
    ],
)
def test_the_line_to_add_is_the_whole_list_of_its_kind(folder: Path, text: str, said: str) -> None:
    assert line(parse(text), tried(folder)) == said


def test_the_line_to_add_has_the_places_in_words(folder: Path) -> None:
    spec = tried(folder)
    assert line(parse(f"write:{folder}/out"), spec) == 'write = ["${plugin}/out"]'
    assert line(parse(f"write:{folder.parent}/out"), spec) == 'write = ["${workspace}/out"]'


def test_the_place_of_a_failure_is_in_the_plugins_own_files(tmp_path: Path) -> None:
    trial = Trial(path=lua(tmp_path))
    (tmp_path / "plugin.py").write_text("")
    trace = f'  File "{tmp_path}/plugin.py", line 3, in <module>\n  File "/usr/lib/x.py", line 9\n'
    assert place(trace, trial) == f"{tmp_path}/plugin.py:3"
    assert place(f"at file://{tmp_path}/plugin.py:12:4", trial) == f"{tmp_path}/plugin.py:12"
    assert place("plugin.lua:7: unexpected symbol", trial) == f"{tmp_path}/plugin.lua:7"
    assert place("/usr/lib/x.js:4", trial) == ""
