"""What an entry says about a Lua plugin: only its user gives its script more time or memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.config import load
from broker.model import Limits, Settings, Spec

ASKED = '[limits]\ntimeout = "50s"\nmemory = "900MiB"\nstart = "7s"\n'


def loaded(folder: Path, entry: str = "a.lua", *, manifest: str = "", user: str = "") -> Settings:
    plugin = folder / "x"
    plugin.mkdir()
    (plugin / entry).write_text("")
    (plugin / "plugin.toml").write_text(f'name = "x"\nversion = "1.0.0"\napi = 1\nentry = "{entry}"\n{manifest}')
    config = folder / "config.toml"
    config.write_text(f'[plugins.x]\npath = "{plugin}"\n{user}')
    return load(config_file=config, environ={})


def spec(settings: Settings) -> Spec:
    assert settings.problems == []
    return settings.plugins[0]


def test_without_a_word_a_script_has_a_tenth_of_a_second(tmp_path: Path) -> None:
    found = spec(loaded(tmp_path))
    assert found.isolation == "auto"
    assert found.limits == Limits(script=0.1, memory=None)


def test_a_manifest_gives_its_script_neither_time_nor_memory(tmp_path: Path) -> None:
    limits = spec(loaded(tmp_path, manifest=ASKED)).limits
    assert (limits.script, limits.memory, limits.timeout, limits.start) == (0.1, None, 60.0, 7.0)


@pytest.mark.parametrize("user", ['timeout = "2s"', '[plugins.x.limits]\ntimeout = "2s"'])
def test_its_user_gives_it_time(tmp_path: Path, user: str) -> None:
    limits = spec(loaded(tmp_path, user=user)).limits
    assert (limits.script, limits.timeout) == (2.0, 60.0)


def test_what_a_call_may_take_in_all_is_more_than_its_script_may(tmp_path: Path) -> None:
    limits = spec(loaded(tmp_path, user='timeout = "1h"')).limits
    assert limits.script == 3600
    assert limits.timeout == limits.cap == 7200


def test_no_time_at_all_is_no_bound(tmp_path: Path) -> None:
    limits = spec(loaded(tmp_path, user="timeout = 0")).limits
    assert limits.script == 0
    assert limits.timeout == limits.cap


def test_its_user_gives_it_memory_and_a_place(tmp_path: Path) -> None:
    found = spec(loaded(tmp_path, user='isolation = "process"\n[plugins.x.limits]\nmemory = "32MiB"'))
    assert found.isolation == "process"
    assert found.limits.memory == 32 << 20


def test_other_plugins_have_a_bound(tmp_path: Path) -> None:
    (problem,) = loaded(tmp_path, "a.py", user="timeout = 0").problems
    assert "`timeout` must be a time of more than 0 seconds" in problem.what
