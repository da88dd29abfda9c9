"""The manifest of a bundle, of every version, becomes the entry that its own hosts would start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.clients.bundle import Bundle, Installed, Option, Surroundings, Value, installed, read, value
from broker.core.expand import Surroundings as Expansion
from broker.core.shape import Wrong

FOLDER, HOME = "/data/bundles/notes", "/home/x"
AROUND = Surroundings(FOLDER, HOME, "linux")
NODE = {"command": "node", "args": ["${__dirname}/server/index.js"]}


def manifest(**members: Any) -> dict[str, Any]:
    server = {"type": "node", "entry_point": "server/index.js", "mcp_config": members.pop("run", NODE)}
    author = {"name": "A"}
    return {
        "manifest_version": "0.3",
        "name": "notes",
        "version": "1.0.0",
        "description": "Keeps notes",
        "author": author,
        "server": server,
        **members,
    }


def bundle(**members: Any) -> Bundle:
    return read(json.dumps(manifest(**members)).encode())


def made(values: dict[str, Value] | None = None, around: Surroundings = AROUND, **members: Any) -> Installed:
    return installed(bundle(**members), values or {}, around)


def option(kind: str = "string", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "title": "T", "description": "D", **rest}


@pytest.mark.parametrize("key", ["manifest_version", "dxt_version"])
@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4"])
def test_every_version_is_read_under_either_name(key: str, version: str) -> None:
    held = {name: each for name, each in manifest().items() if name != "manifest_version"} | {key: version}
    assert read(json.dumps(held).encode()).server.type == "node"


def test_an_entry_sees_its_own_folder_and_nothing_else() -> None:
    assert made().entry == {
        "command": "node",
        "args": [f"{FOLDER}/server/index.js"],
        "cwd": FOLDER,
        "permissions": {"read": [FOLDER]},
    }


def test_our_block_asks_beside_its_own_folder() -> None:
    asked = {"net": ["api.acme.dev:443"], "run": ["git"], "read": ["${home}/notes"], "sampling": True}
    entry = made(_meta={"plugin-broker": {"permissions": asked}, "com.microsoft.windows": {}}).entry
    assert entry["permissions"] == {**asked, "read": [FOLDER, "${home}/notes"]}


@pytest.mark.parametrize(
    "asked", [{"everything": True}, {"net": "a.dev"}, {"env": ["LD_PRELOAD"]}, {"secrets": ["PATH"]}, []]
)
def test_a_block_that_means_nothing_is_refused(asked: object) -> None:
    with pytest.raises(Wrong):
        made(_meta={"plugin-broker": {"permissions": asked}})


def test_every_place_is_filled_in() -> None:
    words = ["${HOME}", "${DESKTOP}", "${DOCUMENTS}", "${DOWNLOADS}", "a${/}b${pathSeparator}c", "${__dirname}"]
    args = made(run={"command": "node", "args": words}).entry["args"]
    assert args == [HOME, f"{HOME}/Desktop", f"{HOME}/Documents", f"{HOME}/Downloads", f"a{os.sep}b{os.sep}c", FOLDER]


def test_what_is_no_reference_of_a_manifest_reaches_the_program_as_it_is() -> None:
    entry = made(run={"command": "node", "args": ["${TOKEN}", "$HOME", "${HOME:-x}"], "env": {"A": "${env:B}"}}).entry
    around = Expansion({"TOKEN": "secret"}, Path("/"))
    args, env = entry["args"], entry["env"]
    assert isinstance(args, list) and isinstance(env, dict)
    assert [around.expand(word) for word in args] == ["${TOKEN}", "$HOME", "${HOME:-x}"]
    assert around.expand(env["A"]) == "${env:B}"


def test_a_platform_has_its_own_words() -> None:
    overrides = {
        "win32": {"command": "node.exe", "args": ["w"]},
        "darwin": {"env": {"B": "mac", "C": "c"}},
    }
    run = {"command": "node", "args": ["usual"], "env": {"A": "a", "B": "b"}, "platform_overrides": overrides}
    found = {
        name: made(around=Surroundings(FOLDER, HOME, name), run=run).entry for name in ("linux", "win32", "darwin")
    }
    assert (found["linux"]["command"], found["linux"]["args"]) == ("node", ["usual"])
    assert (found["win32"]["command"], found["win32"]["args"]) == ("node.exe", ["w"])
    assert found["darwin"]["env"] == {"A": "a", "B": "mac", "C": "c"} and found["darwin"]["args"] == ["usual"]


OPTIONS = {
    "folders": option("directory", multiple=True),
    "limit": option("number", min=1, max=10),
    "loud": option("boolean"),
    "name": option(),
}


def test_options_stand_where_the_manifest_says() -> None:
    run = {
        "command": "node",
        "args": ["x.js", "${user_config.folders}", "--limit=${user_config.limit}", "${user_config.name}"],
        "env": {"LOUD": "${user_config.loud}", "NAME": "<${user_config.name}>"},
    }
    values: dict[str, Value] = {"folders": ["/a", "/b c"], "limit": 3, "loud": True, "name": "$& ${HOME}"}
    entry = made(values, run=run, user_config=OPTIONS).entry
    assert entry["args"] == ["x.js", "/a", "/b c", "--limit=3", "$& ${BROKER_DOLLAR:-$}{HOME}"]
    assert entry["env"] == {"LOUD": "true", "NAME": "<$& ${BROKER_DOLLAR:-$}{HOME}>"}


def test_an_option_without_a_value_takes_its_word_with_it() -> None:
    run = {
        "command": "node",
        "args": ["x.js", "${user_config.name}", "--limit=${user_config.limit}"],
        "env": {"NAME": "<${user_config.name}>", "KEPT": "yes"},
    }
    entry = made(run=run, user_config=OPTIONS).entry
    assert entry["args"] == ["x.js", "--limit="] and entry["env"] == {"KEPT": "yes"}


def test_an_option_that_is_needed_has_to_be_given() -> None:
    needed = {"name": option(required=True)}
    with pytest.raises(Wrong, match="`name` needs a value") as caught:
        made(user_config=needed)
    assert "--set name=VALUE" in caught.value.fix
    assert made({"name": "x"}, user_config=needed).entry


def test_a_secret_is_kept_in_the_keyring_under_the_variable_it_is_given_in() -> None:
    run = {**NODE, "env": {"TOKEN": "${user_config.key}", "HEADER": "Bearer ${user_config.key}"}}
    found = made({"key": "hunter2"}, run=run, user_config={"key": option(sensitive=True, required=True)})
    assert found.secrets == {"TOKEN": "hunter2", "HEADER": "Bearer hunter2"} and found.hidden == ("hunter2",)
    assert "hunter2" not in str(found.entry) and "env" not in found.entry
    assert found.entry["permissions"] == {"read": [FOLDER], "secrets": ["TOKEN", "HEADER"]}


def test_a_secret_that_is_still_to_be_set_is_asked_for_only_if_it_is_needed() -> None:
    run = {**NODE, "env": {"TOKEN": "${user_config.key}"}}
    assert made(run=run, user_config={"key": option(sensitive=True, required=True)}).secrets == {"TOKEN": ""}
    assert made(run=run, user_config={"key": option(sensitive=True)}).secrets == {}


def test_a_secret_on_a_command_line_is_said() -> None:
    run = {"command": "node", "args": ["--key=${user_config.key}"]}
    found = made({"key": "hunter2"}, run=run, user_config={"key": option(sensitive=True)})
    assert "command line" in found.notes[0] and "hunter2" not in found.notes[0]


@pytest.mark.parametrize(
    ("env", "refused"),
    [
        ({"PYTHONPATH": "${__dirname}/server/lib"}, False),
        ({"PYTHONPATH": "${__dirname}/a:${__dirname}/b"}, False),
        ({"NODE_PATH": "${__dirname}/node_modules"}, False),
        ({"PYTHONPATH": "${__dirname}/../other"}, True),
        ({"PYTHONPATH": "/tmp/lib"}, True),
        ({"PYTHONPATH": "${__dirname}/a:"}, True),
        ({"LD_PRELOAD": "${__dirname}/x.so"}, True),
        ({"NODE_OPTIONS": "--require /tmp/x.js"}, True),
    ],
)
def test_a_variable_names_no_code_but_its_own(env: dict[str, str], refused: bool) -> None:
    if refused:
        with pytest.raises(Wrong, match="other code"):
            made(run={**NODE, "env": env})
    else:
        assert set(env) == set(made(run={**NODE, "env": env}).entry["env"])  # pyright: ignore[reportArgumentType]


def test_a_program_of_its_own_is_named_by_its_whole_path() -> None:
    assert made(run={"command": "server/notes"}).entry["command"] == f"{FOLDER}/server/notes"
    assert made(run={"command": "${__dirname}/server/notes"}).entry["command"] == f"{FOLDER}/server/notes"


def test_a_uv_bundle_needs_no_command_and_is_said_to_need_its_packages() -> None:
    held = manifest(manifest_version="0.4")
    held["server"] = {"type": "uv", "entry_point": "src/server.py"}
    found = installed(read(json.dumps(held).encode()), {}, AROUND)
    assert (found.entry["command"], found.entry["args"]) == ("uv", ["run", "--directory", FOLDER, "src/server.py"])
    assert "installs packages" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"manifest_version": "0.5"}, "version 0.5"),
        ({"manifest_version": 3}, "version 3"),
        ({"name": 7}, "name"),
        ({"server": {"type": "docker", "mcp_config": NODE}}, "type"),
        ({"server": {"type": "node", "entry_point": "x"}}, "nothing to run"),
        ({"server": {"type": "node", "entry_point": "../x", "mcp_config": NODE}}, "leads out"),
        ({"server": {"type": "node", "entry_point": "/x", "mcp_config": NODE}}, "leads out"),
        ({"run": {"command": ""}}, "no command"),
        ({"run": {"command": "node", "args": "x"}}, "args"),
        ({"run": {"command": "node", "args": ["${user_config.nobody}"]}}, "`nobody`"),
        ({"run": {"command": "no\0de"}}, "NUL"),
        ({"compatibility": {"platforms": ["plan9"]}}, f"this is {sys.platform}"),
        ({"user_config": {"a": {"type": "color"}}}, "type"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Wrong) as caught:
        made(**change)
    assert why in caught.value.what


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"manifest_version": "0.3"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(Wrong):
        read(text)


@pytest.mark.parametrize(
    ("kind", "rest", "text", "meant"),
    [
        ("string", {}, "x", "x"),
        ("number", {"min": 1, "max": 5}, "5", 5),
        ("number", {}, "0.5", 0.5),
        ("boolean", {}, "Yes", True),
        ("boolean", {}, "false", False),
        ("directory", {}, "~/notes", f"{HOME}/notes"),
        ("file", {}, "/a/../b", "/b"),
        ("directory", {"multiple": True}, "/a:/b", ["/a", "/b"]),
        ("number", {"min": 1, "max": 5}, "6", None),
        ("number", {}, "nan", None),
        ("number", {}, "many", None),
        ("boolean", {}, "maybe", None),
        ("string", {}, "a\0b", None),
    ],
)
def test_what_a_person_types_is_read_by_its_type(
    kind: Any, rest: dict[str, Any], text: str, meant: Value | None
) -> None:
    if meant is None:
        with pytest.raises(ValueError, match="`key` must"):
            value("key", Option(type=kind, **rest), text, HOME)
    else:
        assert value("key", Option(type=kind, **rest), text, HOME) == meant


def test_a_default_has_its_places_filled_in() -> None:
    assert AROUND.default(Option(type="directory", default="${HOME}/x")) == f"{HOME}/x"
    assert AROUND.default(Option(type="directory", default=["${DESKTOP}"])) == [f"{HOME}/Desktop"]
    assert AROUND.default(Option(type="boolean", default=False)) is False
