"""What an editor's settings and its trust in a workspace do to the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.core.config import load
from broker.model import Settings, Spec

MANIFEST = """
name = "todos"
version = "1.0.0"
api = 1
entry = "plugin.lua"
[config.limit]
type = "integer"
default = 10
maximum = 100
"""


def settings(home: Path, **more: Any) -> Settings:
    """Of a user with the plugin `todos` and the server `git`, in a workspace that configures `todos`."""
    (home / "todos").mkdir()
    (home / "todos" / "plugin.toml").write_text(MANIFEST)
    (home / "todos" / "plugin.lua").write_text("")
    (home / "config.toml").write_text('[plugins.todos]\npath = "todos"\n[servers.git]\ncommand = "git-server"\n')
    (home / ".broker.toml").write_text("[plugins.todos.config]\nlimit = 20\n")
    return load(config_file=home / "config.toml", workspace=home, environ={}, **more)


def named(found: Settings, name: str) -> Spec:
    return next(spec for spec in found.plugins if spec.name == name)


def test_an_editor_sets_options_over_those_of_the_files(tmp_path: Path) -> None:
    found = settings(tmp_path, options={"todos": {"limit": 30}})
    assert named(found, "todos").config == {"limit": 30} and found.problems == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"none": {"limit": 1}}, "not a plugin of the user's"),
        ({"todos": {"limit": 1000}}, "at most 100"),
        ({"todos": {"limits": 1}}, "limit"),
        ({"todos": 7}, "must be an object"),
        ({"git": {"x": 1}}, "no `config`"),
    ],
)
def test_an_option_that_does_not_fit_is_a_problem_and_changes_nothing(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    found = settings(tmp_path, options=options)
    assert named(found, "todos").config == {"limit": 20}
    assert [problem.where for problem in found.problems] == ["the editor's settings"]
    assert says in f"{found.problems[0].what} {found.problems[0].fix}"


def test_what_an_untrusted_workspace_speaks_of_is_off_and_its_settings_are_not_read(tmp_path: Path) -> None:
    found = settings(tmp_path, trusted=False, options={"todos": {"limit": 30}})
    assert not named(found, "todos").enabled and named(found, "todos").config == {"limit": 10}
    assert named(found, "git").enabled
    assert ["is held back" in problem.what for problem in found.problems] == [True]
