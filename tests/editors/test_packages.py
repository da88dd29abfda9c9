"""What our clients for VS Code and Emacs say of themselves, without an editor."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from broker import __version__
from broker.faces.lsp_can import Wishes
from tests.editors.world import EDITORS

VSCODE, EMACS = EDITORS / "vscode", EDITORS / "emacs"
SERVERS_OWN = {"broker.run", "broker.call"}  # the client registers these itself, and a second time is an error

Json = dict[str, Any]


@cache
def _package() -> Json:
    return json.loads((VSCODE / "package.json").read_text())


@cache
def _sources() -> str:
    return "".join(path.read_text() for path in sorted((VSCODE / "src").glob("*.ts")))


def _settings() -> Json:
    return _package()["contributes"]["configuration"]["properties"]


def test_they_have_the_version_of_the_broker() -> None:
    assert _package()["version"] == __version__
    assert f";; Version: {__version__}\n" in (EMACS / "broker.el").read_text()


def test_the_lock_is_of_this_package() -> None:
    locked = json.loads((VSCODE / "package-lock.json").read_text())["packages"][""]
    assert {key: locked[key] for key in ("version", "dependencies", "devDependencies")} == {
        key: _package()[key] for key in ("version", "dependencies", "devDependencies")
    }


def test_every_command_of_the_palette_is_registered_and_none_of_them_is_the_servers() -> None:
    offered = {each["command"] for each in _package()["contributes"]["commands"]}
    assert offered == set(re.findall(r'registerCommand\("([^"]+)"', _sources()))
    assert not offered & SERVERS_OWN


def test_the_readme_names_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(broker\.[^`]+)` \| `([^`]+)` \|", (VSCODE / "README.md").read_text(), re.MULTILINE)
    assert {name: json.loads(default) for name, default in rows} == {
        name: each["default"] for name, each in _settings().items()
    }


def test_a_workspace_that_is_not_trusted_may_not_name_the_program() -> None:
    trust = _package()["capabilities"]["untrustedWorkspaces"]
    assert (trust["supported"], trust["restrictedConfigurations"]) == ("limited", ["broker.command"])
    assert _settings()["broker.command"]["scope"] == "machine-overridable"


def test_they_ask_for_nothing_that_the_broker_does_not_know() -> None:
    emacs = re.search(r":initializationOptions \(:broker \(([^)]+)\)\)", (EMACS / "broker.el").read_text())
    vscode = re.search(r"const wishes = \{([^}]+)\}", _sources())
    assert emacs is not None and vscode is not None
    asked = set(re.findall(r":(\w+) t", emacs[1])) | set(re.findall(r"(\w+): true", vscode[1]))
    assert asked and asked <= set(Wishes.__struct_fields__)
