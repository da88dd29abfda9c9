"""A bundle is shown, unpacked, asked for its options and put into config.toml; or nothing of it stays."""

from __future__ import annotations

import io
import json
import os
import stat
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import click
import pytest

from broker.cli import bundling
from broker.cli.importing import perform
from broker.core.config import load

MANIFEST: dict[str, Any] = {
    "manifest_version": "0.3",
    "name": "Notes Keeper",
    "version": "1.0.0",
    "description": "Keeps \x1b[2Jnotes",
    "author": {"name": "A"},
    "server": {
        "type": "node",
        "entry_point": "server/index.js",
        "mcp_config": {
            "command": "node",
            "args": ["${__dirname}/server/index.js", "${user_config.folder}"],
            "env": {"API_KEY": "${user_config.key}"},
        },
    },
    "user_config": {
        "folder": {"type": "directory", "title": "Folder", "description": "of the notes", "default": "${HOME}/notes"},
        "key": {"type": "string", "title": "Key", "description": "of the service", "sensitive": True, "required": True},
    },
}


class Desk:
    """A person's folder with a bundle in it."""

    def __init__(self, home: Path, screen: pytest.CaptureFixture[str]) -> None:
        self.home, self.screen = home, screen
        self.config = home / "config.toml"
        self.bundles = home / "broker" / "bundles"

    def bundle(self, name: str = "notes.mcpb", more: dict[str, bytes] | None = None, **members: Any) -> str:
        path = self.home / name
        files = {"manifest.json": json.dumps(MANIFEST | members).encode(), "server/index.js": b"// notes"}
        with zipfile.ZipFile(path, "w") as held:
            for each, content in {**files, **(more or {})}.items():
                held.writestr(each, content)
        return str(path)

    def imported(self, *names: str, write: bool = True, given: tuple[str, ...] = ()) -> tuple[int, str]:
        code = perform(names, self.config, write=write, as_json=False, given=given)
        said = self.screen.readouterr()
        return code, said.out + said.err

    def server(self) -> dict[str, Any]:
        return tomllib.loads(self.config.read_text())["servers"]["notes-keeper"]

    def clean(self) -> bool:
        """Whether nothing was written."""
        return not self.config.exists() and (not self.bundles.exists() or os.listdir(self.bundles) == [])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "broker"))
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def answer(desk: Desk, monkeypatch: pytest.MonkeyPatch, text: str, secret: str = "") -> None:
    """A person at a terminal who types this; and a secret, unseen."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def asked(prompt: str, *, hide_input: bool, **rest: Any) -> str:
        assert rest["show_default"] is False
        return secret if hide_input else typed.readline().rstrip("\n")

    typed = Terminal(text)
    monkeypatch.setattr("sys.stdin", typed)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", asked)


def test_a_bundle_becomes_a_server_that_sees_its_own_folder(desk: Desk) -> None:
    code, said = desk.imported(desk.bundle())
    (folder,) = desk.bundles.iterdir()
    assert code == 0 and folder.name.startswith("notes-keeper-")
    assert desk.server() == {
        "command": "node",
        "args": [f"{folder}/server/index.js", f"{desk.home}/notes"],
        "cwd": str(folder),
        "permissions": {"read": [str(folder)], "secrets": ["API_KEY"]},
    }
    assert "broker secret set notes-keeper API_KEY" in said and "broker learn notes-keeper" in said
    assert "\x1b" not in said
    found = load(config_file=desk.config, environ=os.environ)
    assert found.problems == [] and found.plugins[0].name == "notes-keeper"


def test_only_its_user_can_look_into_it(desk: Desk) -> None:
    desk.imported(desk.bundle())
    for each in (desk.bundles, *desk.bundles.rglob("*")):
        assert stat.S_IMODE(each.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(desk.config.stat().st_mode) == 0o600


def test_nothing_stays_that_nobody_agreed_to(desk: Desk) -> None:
    code, said = desk.imported(desk.bundle(), write=False)
    assert code == 0 and "[servers.notes-keeper]" in said and "`--write` does it" in said
    assert desk.clean()


def test_the_older_suffix_is_a_bundle_too(desk: Desk) -> None:
    held = {key: each for key, each in MANIFEST.items() if key != "manifest_version"} | {"dxt_version": "0.1"}
    with zipfile.ZipFile(desk.home / "old.dxt", "w") as file:
        file.writestr("manifest.json", json.dumps(held))
    assert desk.imported(str(desk.home / "old.dxt"))[0] == 0 and desk.server()


def test_options_are_given_by_name(desk: Desk) -> None:
    assert desk.imported(desk.bundle(), given=("folder=~/other",))[0] == 0
    assert desk.server()["args"][1] == f"{desk.home}/other"


@pytest.mark.parametrize("given", ["key=hunter2", "nobody=x"])
def test_a_secret_or_an_unknown_option_is_not_taken_from_the_command_line(desk: Desk, given: str) -> None:
    code, said = desk.imported(desk.bundle(), given=(given,))
    assert code == 1 and "hunter2" not in said and desk.clean()


def test_a_person_is_asked_and_the_secret_goes_into_the_keyring(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], str] = {}

    def store(plugin: str, key: str, secret: str) -> None:
        kept[plugin, key] = secret

    monkeypatch.setattr("broker.permissions.secrets.store", store)
    answer(desk, monkeypatch, "~/asked\ny\n", "hunter2")
    code, said = desk.imported(desk.bundle(), write=False)
    assert code == 0 and desk.server()["args"][1] == f"{desk.home}/asked"
    assert kept == {("notes-keeper", "API_KEY"): "hunter2"}
    assert "hunter2" not in said + desk.config.read_text() and "secret set" not in said


@pytest.mark.parametrize("word", ["n", "", "yess", "ja"])
def test_anything_but_yes_is_no(desk: Desk, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    answer(desk, monkeypatch, f"\n{word}\n")
    assert desk.imported(desk.bundle(), write=False)[0] == 0 and desk.clean()


def test_without_a_keyring_nothing_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def store(*_: str) -> None:
        from broker.errors import SecretMissing

        raise SecretMissing("this machine has no keyring", hint="Install one.")

    monkeypatch.setattr("broker.permissions.secrets.store", store)
    answer(desk, monkeypatch, "\ny\n", "hunter2")
    code, said = desk.imported(desk.bundle(), write=False)
    assert code == 1 and "no keyring" in said and "hunter2" not in said and desk.clean()


def test_what_its_author_says_of_permissions_is_shown_and_written(desk: Desk) -> None:
    asked = {"net": ["api.acme.dev:443"]}
    _, said = desk.imported(desk.bundle(_meta={"plugin-broker": {"permissions": asked}}))
    assert "api.acme.dev:443" in said and "broker learn" not in said
    assert desk.server()["permissions"]["net"] == ["api.acme.dev:443"]


def test_a_name_that_is_taken_stays_with_whoever_has_it(desk: Desk) -> None:
    desk.config.write_text('[servers.notes-keeper]\ncommand = "mine"\n')
    code, said = desk.imported(desk.bundle())
    assert code == 1 and "already" in said and os.listdir(desk.bundles) == []
    assert desk.server() == {"command": "mine"}


def test_the_rest_of_the_configuration_stays_and_is_kept_beside_it(desk: Desk) -> None:
    desk.config.write_text('# mine\n[servers.a]\ncommand = "x"  # first')
    assert desk.imported(desk.bundle())[0] == 0
    assert desk.config.read_text().startswith('# mine\n[servers.a]\ncommand = "x"  # first\n')
    assert any(".bak-" in each for each in os.listdir(desk.home))


def test_a_bundle_taken_out_can_be_imported_again(desk: Desk) -> None:
    bundle = desk.bundle()
    desk.imported(bundle)
    desk.config.write_text("")
    assert desk.imported(bundle)[0] == 0 and len(os.listdir(desk.bundles)) == 1


def test_a_signature_is_said_to_mean_nothing(desk: Desk) -> None:
    path = Path(desk.bundle())
    path.write_bytes(path.read_bytes() + b"MCPB_SIG_V1\x03\x00\x00\x00abcMCPB_SIG_END")
    assert "signature is not checked" in desk.imported(str(path), write=False)[1]
    assert "signature is" not in desk.imported(desk.bundle(), write=False)[1]


@pytest.mark.parametrize("wrong", ["no zip", "no manifest", "bad manifest", "huge manifest", "bad config"])
def test_what_cannot_be_used_leaves_nothing(desk: Desk, wrong: str) -> None:
    path = Path(desk.bundle(more={"manifest.json": b"{"} if wrong == "bad manifest" else None))
    if wrong == "no zip":
        path.write_bytes(b"text")
    elif wrong in ("no manifest", "huge manifest"):
        with zipfile.ZipFile(path, "w") as held:
            held.writestr("manifest.json" if wrong[0] == "h" else "x", b" " * (bundling.MAX_MANIFEST + 1))
    elif wrong == "bad config":
        desk.config.write_text("[servers")
    code, said = desk.imported(str(path))
    assert code == 1 and said
    assert not desk.bundles.exists() or os.listdir(desk.bundles) == []
    assert not desk.config.exists() or desk.config.read_text() == "[servers"


def test_one_bundle_is_imported_at_a_time(desk: Desk) -> None:
    for names in ([desk.bundle(), desk.bundle("b.mcpb")], [desk.bundle(), "cursor"], ["missing.mcpb"]):
        with pytest.raises(click.UsageError):
            desk.imported(*names)
    with pytest.raises(click.UsageError):
        desk.imported("cursor", given=("a=b",))
    with pytest.raises(click.UsageError):
        desk.imported(desk.bundle(), given=("folder",))


def test_a_program_is_told_everything_as_json(desk: Desk) -> None:
    assert perform([desk.bundle()], desk.config, write=False, as_json=True) == 0
    report = json.loads(desk.screen.readouterr().out)
    assert report["name"] == "notes-keeper" and report["secrets"] == ["API_KEY"] and report["written"] is False
    assert report["entry"]["permissions"]["read"] == [report["folder"]] and desk.clean()
