"""What a plugin.toml may say, and what a person reads when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.manifest import Manifest, duration, read_manifest, size
from broker.errors import ConfigError
from broker.model import Limits

GOOD = """\
name = "todos"
version = "1.4.0"
api = 1
entry = "plugin.py"
"""


def plugin(folder: Path, text: str = GOOD, *, entry: str | None = "plugin.py") -> Path:
    if entry is not None:
        (folder / entry).parent.mkdir(parents=True, exist_ok=True)
        (folder / entry).write_text("")
    path = folder / "plugin.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_manifest(plugin(folder, text))
    return str(caught.value)


def test_the_example_of_the_documentation_is_a_manifest(tmp_path: Path) -> None:
    text = (
        GOOD
        + """\
publisher = "acme"
description = "Counts TODO comments"
concurrency = 1

[permissions]
read = ["${workspace}/**"]
net = ["api.acme.dev:443"]
sampling = false

[limits]
memory = "256MiB"
timeout = "30s"
start = "10s"
pids = 64
disk = "64MiB"

[restart]
policy = "always"

[commands.refresh]
title = "Refresh TODOs"

[config.limit]
type = "integer"
default = 100
description = "How many to count"

[[hooks]]
on = "pre_request"
priority = 10
"""
    )
    manifest = read_manifest(plugin(tmp_path, text))
    limits = manifest.limits.over(Limits())
    assert (limits.timeout, limits.start, limits.memory, limits.pids) == (30.0, 10.0, 256 << 20, 64)
    assert manifest.permissions.asked() == {"read": ("${workspace}/**",), "net": ("api.acme.dev:443",)}
    assert manifest.config["limit"].default == 100
    assert manifest.hooks[0].on == "pre_request"


def test_an_unknown_key_names_the_line_and_the_nearest_key(tmp_path: Path) -> None:
    said = refusal(tmp_path, GOOD + "concurency = 4\n")
    assert f"{tmp_path}/plugin.toml:5: " in said
    assert "did you mean `concurrency`?" in said
    assert "The line says: concurency = 4" in said


@pytest.mark.parametrize(
    ("more", "line", "words"),
    [
        ('[limits]\nmemry = "1MiB"\n', 6, ["`limits.memry`", "`memory`"]),
        ("[limits]\ntimeout = true\n", 6, ["`limits.timeout`", '"30s"']),
        ("[limits]\nmemory = 1.5\n", 6, ["`limits.memory`", '"256MiB"']),
        ("[limits]\ntimeout = inf\n", 6, ["not endless"]),
        ("limits = 3\n", 5, ["`limits` must be a table, not a whole number"]),
        ("concurrency = 0\n", 5, ["a whole number of at least 1"]),
        ('[permissions]\nread = "x"\n', 6, ["`permissions.read` must be a list, not text"]),
        ("[permissions]\nread = ['a', 3]\n", 6, ["`permissions.read[1]` must be text, not a whole number"]),
        ('[restart]\npolicy = "sometimes"\n', 6, ['"always", "never", "on-failure"']),
        ("[commands.go]\ntitle = 1979-05-27T07:32:00Z\n", 6, ["`commands.go.title`", "not a date"]),
        ('[config.a]\ntype = "string"\n[config.b]\ntype = "text"\n', 8, ["`config.b.type`", '"string"']),
        ('[config.a]\ntype = "integer"\ndefault = "x"\n', 7, ["`config.a.default`", "of type integer"]),
        ('[[hooks]]\non = "on_connect"\n[[hooks]]\non = "x"\n', 8, ["`hooks[1].on`", '"on_close"']),
        ('command = ["uvx", "x"]\n', 5, ["both `entry` and `command`"]),
    ],
)
def test_a_wrong_value_is_said_in_plain_words(tmp_path: Path, more: str, line: int, words: list[str]) -> None:
    said = refusal(tmp_path, GOOD + more)
    assert said.startswith(f"{tmp_path}/plugin.toml:{line}: ")
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("api = 1", "api = 2", "it says api = 2, this broker speaks 1"),
        ("api = 1", "", "`api` is missing"),
        ("api = 1", "api = true", "`api` must be a whole number, not true or false"),
        ('"todos"', '"To_Dos"', "`name` must be 1 to 32"),
        ('"todos"', f'"{"a" * 33}"', "`name` must be 1 to 32"),
        ('"todos"', '""', "`name` must be 1 to 32"),
        ('"1.4.0"', '"1.4"', "`version` must be a semantic version"),
        ('"1.4.0"', "1.4", "`version` must be text, not a number"),
        ('entry = "plugin.py"', "", "neither `entry` nor `command`"),
        ('entry = "plugin.py"', "command = []", "`command` must not be empty"),
        ('entry = "plugin.py"', 'command = "uvx x"', "`command` must be a list, not text"),
        ('"plugin.py"', '"gone.py"', "does not exist"),
        ('"plugin.py"', '"../out.py"', "leads outside"),
        ('"plugin.py"', '"/bin/sh"', "leads outside"),
        ('"plugin.py"', '"."', "leads outside"),
        ('"plugin.py"', '""', "leads outside"),
        ('"plugin.py"', r'"a\u0000b"', "does not exist"),
        ('"plugin.py"', f'"{"a" * 5000}"', "does not exist"),
    ],
)
def test_a_wrong_start_of_a_manifest_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path.parent / "out.py").write_text("")
    assert words in refusal(tmp_path, GOOD.replace(old, new))


def test_an_entry_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (tmp_path / "secret.py").write_text("")
    (folder / "link.py").symlink_to(tmp_path / "secret.py")
    assert "leads outside" in refusal(folder, GOOD.replace("plugin.py", "link.py"))


def test_an_entry_that_is_a_link_within_the_folder_is_fine(tmp_path: Path) -> None:
    path = plugin(tmp_path, GOOD.replace('"plugin.py"', '"link.py"'))
    (tmp_path / "link.py").symlink_to("plugin.py")
    assert read_manifest(path).entry == "link.py"


@pytest.mark.parametrize("entry", ["a.js", "a.mjs", "a.ts", "a.lua", "a.wasm", "bin/server", "run.sh"])
def test_every_kind_of_entry_is_a_valid_manifest(tmp_path: Path, entry: str) -> None:
    path = plugin(tmp_path, GOOD.replace("plugin.py", entry), entry=entry)
    assert read_manifest(path).entry == entry


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"name = \n", ":1: this is not TOML"),
        (b"a = 1\n[x\n", ":2: this is not TOML"),
        (b"a = 1\nb = '\xff'\n", ":2: it is not UTF-8"),
        (b"a = \x00", ":1: this is not TOML"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "this is not TOML"),
        (b"#" * 10_000_000, "larger than 1024 KiB"),
        (b"", "`name` is missing"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_its_line(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "plugin.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"plugin\.toml") as caught:
        read_manifest(path)
    assert words in str(caught.value)


def test_a_folder_or_nothing_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_manifest(tmp_path / "plugin.toml")
    with pytest.raises(ConfigError, match="not a file"):
        read_manifest(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert isinstance(read_manifest(path), Manifest)


def test_a_key_in_a_multi_line_string_is_not_taken_for_the_key(tmp_path: Path) -> None:
    said = refusal(tmp_path, GOOD + 'description = """\nconcurrency = 1\n"""\nconcurrency = "x"\n')
    assert "plugin.toml:8: " in said


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h", 3600), (5, 5), ("1.5s", 1.5)]
)
def test_durations(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("256MiB", 256 << 20), ("64KB", 64_000), (7, 7), ("1B", 1)])
def test_sizes(text: object, count: int) -> None:
    assert size(text) == count


@given(st.from_type(object) | st.text() | st.floats() | st.integers() | st.just("9" * 400 + "GiB"))
def test_no_value_makes_a_unit_fail_in_another_way(value: object) -> None:
    for read in (duration, size):
        try:
            assert 0 < read(value) < 1e16
        except ValueError as error:
            assert str(error).startswith("must be")
