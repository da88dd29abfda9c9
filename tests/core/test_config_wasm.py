"""What a WASM plugin's manifest and its user's entry say about memory and instances."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.config import load
from broker.model import UNBOUNDED, Settings

HEAD = 'name = "a"\nversion = "1.0.0"\napi = 1\n'


def settings(folder: Path, manifest: str, entry: str = "", file: str = "a.wasm") -> Settings:
    plugin = folder / "a"
    plugin.mkdir()
    (plugin / file).write_bytes(b"")
    (plugin / "plugin.toml").write_text(f'{HEAD}entry = "{file}"\n{manifest}')
    (folder / "config.toml").write_text(f'[plugins.a]\npath = "a"\n{entry}')
    return load(config_file=folder / "config.toml", environ={})


def test_without_a_word_it_has_64_mib_and_one_instance_ready(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, "").plugins
    assert (spec.limits.memory, spec.limits.timeout, spec.warm) == (64 << 20, 30.0, 1)


def test_its_user_may_take_the_bound_of_its_memory_away(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, "", "[plugins.a.limits]\nmemory = -1\n").plugins
    assert spec.limits.memory == UNBOUNDED


def test_a_manifest_may_not(tmp_path: Path) -> None:
    found = settings(tmp_path, "[limits]\nmemory = -1\n")
    (problem,) = found.problems
    assert found.plugins == []
    assert "cannot give to itself" in problem.what and "[plugins.a.limits]" in problem.fix


@pytest.mark.parametrize("memory", ["0", "-2", "-1.5", '"-1"', "true"])
def test_other_numbers_below_one_are_no_memory(tmp_path: Path, memory: str) -> None:
    found = settings(tmp_path, "", f"[plugins.a.limits]\nmemory = {memory}\n")
    assert found.plugins == [] and "memory" in found.problems[0].what


def test_the_heap_of_a_lua_plugin_always_has_a_bound(tmp_path: Path) -> None:
    found = settings(tmp_path, "", "[plugins.a.limits]\nmemory = -1\n", file="a.lua")
    assert found.plugins == [] and "must be a size" in found.problems[0].what


def test_for_a_process_no_bound_is_what_it_has_anyway(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, '[limits]\nmemory = "1GiB"\n', "[plugins.a.limits]\nmemory = -1\n", "a.py").plugins
    assert spec.limits.memory is None


def test_how_many_instances_are_ready_is_the_manifests_word_and_then_its_users(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, "warm = 4\n").plugins
    assert spec.warm == 4


def test_its_user_may_want_none_ready(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, "warm = 4\n", "warm = 0\n").plugins
    assert spec.warm == 0


@pytest.mark.parametrize("warm", ["-1", "17", '"4"'])
def test_a_number_of_ready_instances_that_cannot_be_is_refused(tmp_path: Path, warm: str) -> None:
    assert settings(tmp_path, f"warm = {warm}\n").plugins == []


def test_what_else_its_file_may_be_is_its_users_word_alone(tmp_path: Path) -> None:
    (spec,) = settings(tmp_path, "", 'wasm = "functions"\n').plugins
    assert spec.wasm == "functions"


def test_a_manifest_cannot_say_what_else_its_file_is(tmp_path: Path) -> None:
    found = settings(tmp_path, 'wasm = "functions"\n')
    assert found.plugins == [] and "wasm" in found.problems[0].what
