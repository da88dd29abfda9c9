"""What an editor said of itself, whatever that was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.faces.lsp_can import EditorCan, Wishes, client_name, path_of
from tests.faces.lsp_client import EVERYTHING, PROFILES, profile

CAN = {  # of the recorded editors, in the words of `EditorCan`
    "eglot-1.17.30-emacs-30.1": {"progress", "show", "edit", "versioned_edits", "configuration"},
    "eglot-1.9-emacs-28.2": {"edit", "versioned_edits", "configuration"},
    "helix-25.07.1": {"progress", "show", "edit", "versioned_edits", "configuration"},
    "lsp-mode-8.0.0": {"progress", "edit", "versioned_edits", "configuration"},
    "neovim-0.10.4": {"progress", "show", "edit", "configuration"},
    "neovim-0.12.4": {"progress", "show", "edit", "configuration"},
    "neovim-0.7.2": {"progress", "edit"},
    "vim-lsp-2026-04": {"edit", "configuration"},
    "vscode-1.139-languageclient-11.0": {
        *("progress", "show", "edit", "versioned_edits", "configuration"),
        *("watches_settings", "registers_commands"),
    },
}


def abilities(capabilities: object) -> set[str]:
    can = EditorCan.of(capabilities)
    return {name for name in EditorCan.__struct_fields__ if getattr(can, name)}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_recorded_editor_can_what_it_said(path: Path) -> None:
    assert abilities(profile(path)["capabilities"]) == CAN[path.stem]


def test_one_that_can_all_of_it_can() -> None:
    assert abilities(EVERYTHING) == set(EditorCan.__struct_fields__)


@pytest.mark.parametrize(
    "odd", [None, 7, [], "x", {"window": None}, {"window": {"showDocument": True}}, {"workspace": 1}]
)
def test_nonsense_is_no(odd: Any) -> None:
    assert abilities(odd) == set()


def test_wishes_of_another_type_are_not_there() -> None:
    given = {"broker": {"status": 1, "pick": "yes", "input": True, "trusted": None, "client": 7, "more": True}}
    assert Wishes.of(given) == Wishes(input=True)
    for odd in (None, 7, [], {"broker": None}, {"broker": 7}):
        assert Wishes.of(odd) == Wishes()


def test_an_editor_is_called_what_it_or_our_client_says() -> None:
    assert client_name({"clientInfo": {"name": "Neovim"}}, Wishes(client="x")) == "Neovim"
    assert client_name({"clientInfo": None}, Wishes(client="broker.el")) == "broker.el"
    assert client_name({}, Wishes()) == "an editor"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a", "/a"),
        ("file:///%C3%A9", "/é"),
        ("file://host/a", None),
        ("http://x/a", None),
        ("file:///a%00b", None),
        ("file:///%FF", None),
        ("file:a", None),
        (7, None),
        ("http://[", None),
    ],
)
def test_a_path_is_that_of_a_file_here(uri: Any, path: str | None) -> None:
    assert path_of(uri) == (None if path is None else Path(path))
