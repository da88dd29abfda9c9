"""Variables that make programs run other code, in the files that could set or ask for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.core.config import load
from broker.model import Settings

DENIED = ["LD_PRELOAD", "NODE_OPTIONS", "PYTHONPATH", "bash_env"]


def of_toml(folder: Path, text: str) -> Settings:
    (folder / "config.toml").write_text(text)
    return load(config_file=folder / "config.toml", environ={"HOME": str(folder)})


def of_json(folder: Path, entry: object) -> Settings:
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"a": entry}}))
    return load(mcp_configs=[path], strict=True, environ={"HOME": str(folder)})


@pytest.mark.parametrize("name", DENIED)
def test_a_manifest_may_not_ask_for_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.py").touch()
    (tmp_path / "plugin.toml").write_text(
        f'name = "a"\nversion = "1.0.0"\napi = 1\nentry = "p.py"\n[permissions]\nenv = ["{name}"]\n'
    )
    found = of_toml(tmp_path, '[plugins.a]\npath = "."\n')
    (problem,) = found.problems
    assert found.plugins == [] and name in problem.what and "no plugin is given it" in problem.what


@pytest.mark.parametrize("name", DENIED)
def test_a_server_may_not_ask_for_one_either(tmp_path: Path, name: str) -> None:
    found = of_toml(tmp_path, f'[servers.a]\ncommand = "x"\npermissions = {{ env = ["{name}"] }}\n')
    assert found.plugins == [] and name in found.problems[0].what


def test_a_secret_may_not_be_given_as_one(tmp_path: Path) -> None:
    found = of_toml(tmp_path, '[servers.a]\ncommand = "x"\npermissions = { secrets = ["ld-preload"] }\n')
    assert found.plugins == [] and "LD_PRELOAD" in found.problems[0].what


@pytest.mark.parametrize("name", DENIED)
def test_a_file_of_another_program_may_not_set_one(tmp_path: Path, name: str) -> None:
    found = of_json(tmp_path, {"command": "x", "env": {name: "hunter2!"}})
    (problem,) = found.problems
    assert found.plugins == [] and name in problem.what and "[servers.a]" in problem.fix
    assert "hunter2!" not in problem.what + problem.fix


def test_a_file_of_another_program_may_not_set_one_by_envfile(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("LD_PRELOAD=/evil.so\n")
    found = of_json(tmp_path, {"command": "x", "envFile": str(tmp_path / "x.env")})
    assert found.plugins == [] and "LD_PRELOAD" in found.problems[0].what


def test_what_only_tunes_an_interpreter_may_be_set_by_any_file(tmp_path: Path) -> None:
    found = of_json(tmp_path, {"command": "x", "env": {"PYTHONUNBUFFERED": "1", "TOKEN": "t"}})
    assert found.problems == [] and found.plugins[0].env == {"PYTHONUNBUFFERED": "1", "TOKEN": "t"}


@pytest.mark.parametrize("name", DENIED)
def test_the_users_own_file_may_set_any(tmp_path: Path, name: str) -> None:
    found = of_toml(tmp_path, f'[servers.a]\ncommand = "x"\nenv = {{ {name} = "y" }}\n')
    assert found.problems == [] and found.plugins[0].env == {name: "y"}
