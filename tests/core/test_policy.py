"""The `[policy]` table of config.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.config import load
from broker.model import Policy, Settings


def read(folder: Path, text: str, local: str = "") -> Settings:
    file = folder / "config.toml"
    file.write_text(text)
    (folder / ".broker.toml").write_text(local)
    return load(config_file=file, workspace=folder, environ={})


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Policy(pins="approved", quarantine=False)),
        ('[policy]\npins = "first"\n', Policy(pins="first", quarantine=False)),
        ("[policy]\nquarantine = true\n", Policy(pins="approved", quarantine=True)),
    ],
)
def test_a_policy_is_what_its_table_says(tmp_path: Path, text: str, policy: Policy) -> None:
    found = read(tmp_path, text)
    assert found.policy == policy and found.problems == []


@pytest.mark.parametrize("text", ["[policy]\nquarentine = true\n", '[policy]\npins = "never"\n', "policy = 1\n"])
def test_one_with_a_mistake_is_a_problem_and_is_taken_at_its_strictest(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.policy == Policy(pins="first", quarantine=True)
    assert len(found.problems) == 1 and "strictest" in found.problems[0].what


def test_a_workspace_has_no_policy(tmp_path: Path) -> None:
    found = read(tmp_path, "[policy]\nquarantine = true\n", local="[policy]\nquarantine = false\n")
    assert found.policy.quarantine and "policy" in found.problems[0].what
