"""An archive is always the same, holds what a plugin needs and nothing of its author's, and can be unpacked again."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from broker.authoring import packing
from broker.authoring.packing import Packed, pack
from broker.clients.unpack import unpacked
from broker.core.manifest import examine
from broker.errors import ConfigError

MANIFEST = """name = "todos"
version = "1.2.3"
description = "Counts"
publisher = "acme"
api = 1
"""


class Author:
    """A folder with a plugin in it, and one for what is made of it."""

    def __init__(self, home: Path) -> None:
        self.folder, self.out = home / "todos", home / "out" / "todos.zip"

    def writes(self, files: dict[str, str], manifest: str = 'entry = "plugin.mjs"\n') -> Author:
        for name, text in {"plugin.toml": MANIFEST + manifest, **files}.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def packs(self) -> Packed:
        return pack(self.folder, self.out)

    def names(self) -> list[str]:
        return list(self.packs().names)

    def member(self, name: str) -> bytes:
        with zipfile.ZipFile(self.packs().file) as archive:
            return archive.read(name)

    def fails(self) -> str:
        with pytest.raises(ConfigError) as failed:
            self.packs()
        assert not os.path.lexists(self.out) and (not self.out.parent.exists() or not os.listdir(self.out.parent))
        return f"{failed.value} {failed.value.hint}"


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


def test_the_same_folder_gives_the_same_bytes_whenever_and_wherever(author: Author, tmp_path: Path) -> None:
    files = {"plugin.mjs": "// 1", "lib/b.mjs": "// 2", "lib/a.mjs": "// 3", "run.sh": "#!/bin/sh\n"}
    author.writes(files)
    other = Author(tmp_path / "elsewhere").writes(dict(reversed(files.items())))
    for each, mode in ((author, 0o600), (other, 0o666)):
        (each.folder / "plugin.mjs").chmod(mode)
        (each.folder / "run.sh").chmod(0o755)
    os.utime(other.folder / "plugin.mjs", (1, 1))
    first, second = author.packs(), other.packs()
    assert first.file.read_bytes() == second.file.read_bytes()
    assert (first.digest, first.size) == (second.digest, second.file.stat().st_size)


def test_what_was_packed_is_what_comes_out(author: Author, tmp_path: Path) -> None:
    author.writes({"plugin.mjs": "// 1", "assets/ä.txt": "ü", "run.sh": "#!/bin/sh\n"})
    (author.folder / "run.sh").chmod(0o755)
    found = unpacked(author.packs().file, tmp_path / "place")
    assert examine(found / "plugin.toml") == examine(author.folder / "plugin.toml")
    assert (found / "assets" / "ä.txt").read_text() == "ü"
    assert os.access(found / "run.sh", os.X_OK) and not os.access(found / "plugin.mjs", os.X_OK)


def test_what_was_unpacked_packs_to_the_very_same(author: Author, tmp_path: Path) -> None:
    author.writes({"plugin.py": "import broker_sdk\n", "pyproject.toml": ""}, 'entry = "plugin.py"\n')
    first = author.packs()
    again = pack(unpacked(first.file, tmp_path / "place"), tmp_path / "again.zip")
    assert again.digest == first.digest


def test_secrets_and_what_is_of_its_author_stay_out(author: Author) -> None:
    kept = {"plugin.mjs": "", "lib/types/x.mjs": "", "lib/test/y.mjs": "", "secrets.mjs": "", "data/big.zip": ""}
    secret = {".env": "", ".env.local": "", "lib/.npmrc": "", "server.pem": "", "deep/id_rsa": "", "secrets.json": ""}
    own = {
        ".git/config": "",
        ".venv/pyvenv.cfg": "",
        "mine/pyvenv.cfg": "",
        "__pycache__/x.pyc": "",
        "tests/x.mjs": "",
        "test_plugin.py": "",
        "lib/plugin.test.mjs": "",
        "tests.toml": "",
        "target/x": "",
        "todos-1.2.2.mcpb": "",
        "Makefile": "",
        "node_modules/.bin/tsc": "",
        "node_modules/unused/index.js": "",
    }
    packed = author.writes({**kept, **secret, **own}).packs()
    assert set(packed.names) == {*kept, "plugin.toml", "manifest.json"}
    assert packed.secrets == sorted(secret)


def test_a_link_within_the_folder_becomes_a_file(author: Author) -> None:
    author.writes({"real.mjs": "// it"})
    (author.folder / "plugin.mjs").symlink_to("real.mjs")
    assert author.member("plugin.mjs") == b"// it"


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.txt", "lib", "nothing", "loop"])
def test_links_that_lead_out_or_nowhere_are_refused(author: Author, tmp_path: Path, target: str) -> None:
    author.writes({"plugin.mjs": "", "lib/a.mjs": ""})
    (tmp_path / "outside.txt").write_text("not yours")
    (author.folder / "loop").symlink_to(target)
    assert "loop is a link to" in author.fails()


def test_a_folder_that_is_linked_in_is_not_walked(author: Author, tmp_path: Path) -> None:
    author.writes({"plugin.mjs": ""})
    (tmp_path / "home").mkdir()
    (author.folder / "assets").symlink_to(tmp_path / "home")
    assert "assets is a link to a folder" in author.fails()


def test_what_is_no_file_is_refused(author: Author) -> None:
    author.writes({"plugin.mjs": ""})
    os.mkfifo(author.folder / "pipe")
    assert "pipe is neither a file nor a folder" in author.fails()


def test_names_that_no_other_system_takes_are_found_before_they_are_given_away(author: Author) -> None:
    author.writes({"plugin.mjs": "", "what?.txt": ""})
    assert "what?.txt" in author.fails()


def test_a_wrong_plugin_is_not_packed_and_it_is_said_where_and_what(author: Author) -> None:
    assert "plugin.toml" in author.writes({}, "entry = 5\n").fails()
    assert "does not exist" in author.writes({}, 'entry = "plugin.mjs"\n').fails()
    author.writes({"test_plugin.py": ""}, 'entry = "test_plugin.py"\n')
    assert "test_plugin.py has a name that stays out" in author.fails()
    author.writes({"Makefile": "plugin.wasm:\n"}, 'entry = "plugin.wasm"\n')
    assert "Run `make` there first" in author.fails()


def test_one_that_is_too_large_is_refused(author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_ARCHIVE", 1 << 20)
    author.writes({"plugin.mjs": "x" * (1 << 20)})
    assert "larger than 1 MiB" in author.fails()


def test_an_archive_in_the_folder_itself_is_not_in_the_next_one(author: Author) -> None:
    author.writes({"plugin.mjs": ""})
    author.out = author.folder / "given" / "away.bin"
    assert author.packs().digest == author.packs().digest


def test_an_older_archive_is_replaced_whole(author: Author) -> None:
    author.writes({"plugin.mjs": ""}).packs()
    before = author.out.read_bytes()
    assert author.writes({"plugin.mjs": "// new"}).packs().file.read_bytes() != before
    assert os.listdir(author.out.parent) == ["todos.zip"]


# packages


def package(name: str, **more: Any) -> dict[str, str]:
    """The files of an installed package of Node."""
    place = f"node_modules/{name}"
    return {f"{place}/package.json": json.dumps({"name": name, **more}), f"{place}/index.js": "// it"}


def needing(**more: Any) -> dict[str, str]:
    return {"plugin.mjs": "", "package.json": json.dumps({"dependencies": {"a": "^1", "@org/b": "^1"}, **more})}


def test_packages_that_it_needs_go_in_and_those_of_its_author_do_not(author: Author) -> None:
    tree = {
        **package("a", dependencies={"c": "1"}, optionalDependencies={"gone": "1"}),
        **{f"node_modules/a/{name}": text for name, text in package("c", dependencies={"a": "1"}).items()},
        **package("@org/b", peerDependencies={"d": "1", "react": "1"}, peerDependenciesMeta={"react": {}}),
        **package("d"),
        **package("typescript"),
    }
    names = author.writes({**needing(devDependencies={"typescript": "5"}), **tree}).names()
    wanted = ("a", "a/node_modules/c", "@org/b", "d")
    assert {f"node_modules/{name}/index.js" for name in wanted} <= set(names)
    assert not any("typescript" in name for name in names)


def test_a_package_that_is_missing_or_only_linked_is_said(author: Author, tmp_path: Path) -> None:
    author.writes({**needing(), **package("a")})
    assert "the package @org/b, which it needs, is not installed" in author.fails()
    (tmp_path / "b").mkdir()
    (author.folder / "node_modules" / "@org").mkdir()
    (author.folder / "node_modules" / "@org" / "b").symlink_to(tmp_path / "b")
    assert "--install-links" in author.fails()


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/../../b", ".."])
def test_a_package_is_not_looked_for_outside(author: Author, name: str) -> None:
    author.writes({"plugin.mjs": "", "package.json": json.dumps({"dependencies": {name: "1"}})})
    assert "which is no package" in author.fails()


def test_the_sdk_goes_in_where_python_imports_it(author: Author) -> None:
    author.writes({"plugin.py": "from broker_sdk import Plugin\n"}, 'entry = "plugin.py"\n')
    names = author.names()
    assert "broker_sdk/plugin.py" in names and not any(name.startswith("broker_sdk/testing") for name in names)
    assert not any(
        "broker_sdk" in name for name in author.writes({"plugin.py": "print()"}, 'entry = "plugin.py"\n').names()
    )


# other clients


def manifest_of(author: Author) -> dict[str, Any]:
    return json.loads(author.member("manifest.json"))


def test_what_other_clients_can_run_is_a_bundle_for_them(author: Author) -> None:
    asked = '[permissions]\nsecrets = ["api-key"]\nnet = ["x.org:443"]\n'
    options = '[config.limit]\ntype = "integer"\ndefault = 5\nminimum = 1\n[config.tags]\ntype = "array"\n'
    author.writes({"src/plugin.mjs": ""}, f'entry = "src/plugin.mjs"\n{asked}{options}')
    held = manifest_of(author)
    assert held["server"] == {
        "type": "node",
        "entry_point": "src/plugin.mjs",
        "mcp_config": {
            "command": "node",
            "args": ["${__dirname}/src/plugin.mjs"],
            "env": {
                "BROKER_CONFIG_LIMIT": "${user_config.limit}",
                "BROKER_SECRET_API_KEY": "${user_config.secret_api-key}",
            },
        },
    }
    assert held["user_config"]["limit"] == {
        "type": "number", "title": "limit", "description": "limit", "required": False, "default": 5, "min": 1,
    }  # fmt: skip
    assert held["user_config"]["secret_api-key"]["sensitive"] and set(held["user_config"]) == {
        "limit",
        "secret_api-key",
    }
    assert held["_meta"] == {"plugin-broker": {"permissions": {"net": ["x.org:443"], "secrets": ["api-key"]}}}
    assert (held["name"], held["version"], held["author"]) == ("todos", "1.2.3", {"name": "acme"})


@pytest.mark.parametrize(
    ("entry", "more", "kind", "command"),
    [
        ("plugin.py", {}, "python", "python3"),
        ("plugin.py", {"pyproject.toml": ""}, "uv", "uv"),
        ("plugin.ts", {}, "node", "node"),
        ("plugin", {}, "binary", "${__dirname}/plugin"),
    ],
)
def test_each_kind_is_started_by_what_runs_it(
    author: Author, entry: str, more: dict[str, str], kind: str, command: str
) -> None:
    author.writes({entry: "", **more}, f'entry = "{entry}"\n')
    server = manifest_of(author)["server"]
    assert (server["type"], server["mcp_config"]["command"]) == (kind, command)


def test_what_only_broker_can_run_is_no_bundle(author: Author) -> None:
    packed = author.writes({"plugin.lua": ""}, 'entry = "plugin.lua"\n').packs()
    assert not packed.elsewhere and list(packed.names) == ["plugin.lua", "plugin.toml"]


def test_a_build_that_is_older_than_its_source_is_said(author: Author) -> None:
    author.writes({"plugin.wasm": "", "src/lib.rs": ""}, 'entry = "plugin.wasm"\n')
    os.utime(author.folder / "src" / "lib.rs", (1, 1))
    assert author.packs().newer == ""
    os.utime(author.folder / "plugin.wasm", (0, 0))
    assert author.packs().newer == "src/lib.rs"


def test_the_manifest_of_its_author_is_kept_if_it_is_one(author: Author) -> None:
    server = {"type": "node", "entry_point": "plugin.mjs", "mcp_config": {"command": "node"}}
    text = json.dumps({"manifest_version": "0.3", "name": "x", "version": "1.0.0", "server": server})
    assert author.writes({"plugin.mjs": "", "manifest.json": text}).member("manifest.json") == text.encode()
    author.out.unlink()
    assert "manifest.json" in author.writes({"manifest.json": "{"}).fails()
