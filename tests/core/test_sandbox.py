"""VS Code's sandbox becomes permissions that mean the same or less, and what is lost is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.config import load
from broker.core.expand import Surroundings
from broker.core.sandbox import mapped
from broker.core.shape import Wrong
from broker.model import Problem, Spec

# From "MCP configuration reference" of VS Code's documentation, May 2026.
DOCUMENTED = """{
    "servers": {
        "myServer": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", "@example/mcp-server"],
            "sandboxEnabled": true, // on macOS and Linux
            "sandbox": {
                "filesystem": {
                    "allowWrite": ["${workspaceFolder}"],
                    "denyRead": ["${userHome}/.ssh"]
                },
                "network": {
                    "allowedDomains": ["api.example.com", "*.cdn.example.com"]
                }
            }
        }
    }
}"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "work").mkdir(parents=True)
    return tmp_path / "home"


def read(home: Path, text: str) -> tuple[Spec, list[Problem]]:
    file = home / "mcp.json"
    file.write_text(text)
    found = load(mcp_configs=[file], strict=True, workspace=home / "work", environ={"HOME": str(home)})
    return found.plugins[0], found.problems


def asked(home: Path, box: object) -> tuple[dict[str, Any], str]:
    """What a sandbox asks for, and everything that is said about it."""
    around = Surroundings({"HOME": str(home), "OUT": "/srv/out"}, home / "work")
    found = mapped({"sandboxEnabled": True, "sandbox": box}, around, home)
    assert found is not None
    return dict(found.permissions), "\n".join(f"{what} {fix}" for what, fix in found.notes)


def files(**lists: object) -> dict[str, object]:
    return {"filesystem": lists}


def hosts(**lists: object) -> dict[str, object]:
    return {"network": lists}


def test_the_documented_example_asks_for_its_workspace_and_its_hosts(home: Path) -> None:
    spec, problems = read(home, DOCUMENTED)
    assert spec.permissions == {
        "write": ("${workspace}",),
        "net": ("api.example.com:443", "api.example.com:80", "*.cdn.example.com:443", "*.cdn.example.com:80"),
    }
    assert [problem.where for problem in problems] == [f"{home}/mcp.json:3"]
    assert "leaves reading open" in problems[0].what and "broker learn myserver" in problems[0].fix


def test_a_sandbox_that_is_not_switched_on_means_nothing(home: Path) -> None:
    for off in ('"sandboxEnabled": true,', '"sandboxEnabled": false,'):
        changed = DOCUMENTED.replace('"sandboxEnabled": true, // on macOS and Linux', off)
        assert (read(home, changed)[0].permissions is None) is ("false" in off)


def test_a_sandbox_without_rules_is_held_to_nothing(home: Path) -> None:
    spec, _ = read(home, '{"servers": {"a": {"command": "x", "sandboxEnabled": true}}}')
    assert spec.permissions == {} and spec.permissions is not None


def test_permissions_of_its_own_come_first_and_nothing_is_left_to_say(home: Path) -> None:
    entry = {
        "command": "x",
        "sandboxEnabled": True,
        "sandbox": files(allowWrite=["/a"]),
        "permissions": {"run": ["git"]},
    }
    spec, problems = read(home, json.dumps({"servers": {"a": entry}}))
    assert spec.permissions == {"run": ("git",)} and problems == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (".", "${workspace}"),
        ("~/.npm", "${home}/.npm"),
        ("out/logs/**", "${workspace}/out/logs"),
        ("${workspaceFolder}/build", "${workspace}/build"),
        ("${userHome}/notes", "${home}/notes"),
        ("${env:OUT}/x", "/srv/out/x"),
        ("/abs", "/abs"),
        ({"path": "/literal", "literal": True}, "/literal"),
    ],
)
def test_a_path_is_asked_for_in_our_words(home: Path, path: object, target: str) -> None:
    assert asked(home, files(allowWrite=[path]))[0] == {"write": (target,)}


@pytest.mark.parametrize("key", ["denyWrite", "denyRead"])
@pytest.mark.parametrize("denied", ["~/out", "~", "/", "${userHome}/out/../out", "~/o*"])
def test_what_is_denied_is_not_asked_for(home: Path, key: str, denied: str) -> None:
    assert asked(home, files(allowWrite=["~/out", "/srv"], **{key: [denied]}))[0] == (
        {"write": ("/srv",)} if denied != "/" else {}
    )


@pytest.mark.parametrize("denied", [".git/hooks", "**/.env", "./secrets/**"])
def test_a_folder_with_something_denied_in_it_stays_closed_and_that_is_said(home: Path, denied: str) -> None:
    found, said = asked(home, files(allowWrite=["${workspaceFolder}"], denyWrite=[denied]))
    assert found == {} and "stays closed" in said


def test_a_folder_that_only_begins_like_a_denied_one_is_asked_for(home: Path) -> None:
    assert asked(home, files(allowWrite=["/a/bc"], denyWrite=["/a/b"]))[0] == {"write": ("/a/bc",)}


def test_a_denied_folder_behind_a_link_is_denied(home: Path) -> None:
    (home / "link").symlink_to(home / "work")
    assert asked(home, files(allowWrite=["${workspaceFolder}"], denyWrite=["~/link"]))[0] == {}


@pytest.mark.parametrize("pattern", ["~/*.log", "/srv/**/logs", "/srv/[ab]", "/srv/?"])
def test_a_pattern_cannot_be_allowed(home: Path, pattern: str) -> None:
    found, said = asked(home, files(allowWrite=[pattern, "/srv/plain"]))
    assert found == {"write": ("/srv/plain",)} and pattern in said and "pattern" in said


def test_a_port_that_is_named_is_the_only_one(home: Path) -> None:
    found, _ = asked(home, hosts(allowedDomains=["db.example.com:5432", "localhost:*"]))
    assert found == {"net": ("db.example.com:5432", "localhost:*")}


@pytest.mark.parametrize("denied", ["a.dev", "*.dev", "A.DEV."])
def test_a_denied_domain_is_not_asked_for(home: Path, denied: str) -> None:
    found, _ = asked(home, hosts(allowedDomains=["a.dev", "b.org"], deniedDomains=[denied]))
    assert found == {"net": ("b.org:443", "b.org:80")}


def test_a_pattern_with_a_denied_host_among_its_own_stays_closed(home: Path) -> None:
    found, said = asked(home, hosts(allowedDomains=["*.a.dev", "b.org:443"], deniedDomains=["bad.a.dev"]))
    assert found == {"net": ("b.org:443",)} and "stay closed" in said


def test_a_domain_that_is_none_is_left_out_and_said(home: Path) -> None:
    found, said = asked(home, hosts(allowedDomains=["%2A.visualstudio.com", "github.com:443"]))
    assert found == {"net": ("github.com:443",)} and "%2A.visualstudio.com" in said


def test_unix_sockets_of_the_runtime_behind_it_are_asked_for(home: Path) -> None:
    assert asked(home, hosts(allowUnixSockets=["~/x.sock"]))[0] == {"net": ("unix:${home}/x.sock",)}


@pytest.mark.parametrize(
    "box", [{"enableWeakerNestedSandbox": True}, files(allowGitConfig=True), hosts(httpProxyPort=1)]
)
def test_a_key_that_only_loosens_is_left_out_and_said(home: Path, box: object) -> None:
    found, said = asked(home, box)
    assert found == {} and "has no meaning here" in said


@pytest.mark.parametrize(
    "box",
    [
        7,
        {"filesystem": []},
        files(allowWrite="/a"),
        files(allowWrite=[""]),
        files(denyWrite=[7]),
        files(denyExecute=["/a"]),
        {"credentials": {}},
        hosts(deniedResolvedAddresses=["10.0.0.0/8"]),
        hosts(strictAllowlist=True),
        hosts(deniedDomains=["not a host"]),
        files(allowWrite=["${env:NOT_SET}"]),
        files(denyWrite=["${input:folder}"]),
    ],
)
def test_what_could_deny_more_than_is_understood_is_refused(home: Path, box: object) -> None:
    with pytest.raises(Wrong):
        asked(home, box)


def test_a_server_whose_sandbox_is_refused_is_not_there_and_the_others_are(home: Path) -> None:
    servers = {
        "bad": {"command": "x", "sandboxEnabled": True, "sandbox": files(denyExecute=["/"])},
        "good": {"command": "x", "sandboxEnabled": True, "sandbox": files(allowWrite=["."])},
    }
    spec, problems = read(home, json.dumps({"servers": servers}))
    assert spec.name == "good" and problems[0].plugin == "bad" and "denyExecute" in problems[0].what
