"""Everything a person configures, from all files; one bad entry costs only itself."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from broker.core.config import load
from broker.core.mcpservers import slug
from broker.model import Settings, Spec, Surface

HOME = "/home/ada"
ENV = {"HOME": HOME, "TOKEN": "s3cret"}


class House:
    """A config file, a workspace and some plugins in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.toml"
        self.workspace = root / "work"
        self.workspace.mkdir()

    def plugin(self, name: str, more: str = "", entry: str = "plugin.py") -> str:
        folder = self.root / name
        folder.mkdir()
        (folder / entry).write_text("")
        text = f'name = "{name}"\nversion = "1.0.0"\napi = 1\nentry = "{entry}"\n{more}'
        (folder / "plugin.toml").write_text(text)
        return f'[plugins.{name}]\npath = "{name}"\n'

    def load(
        self, text: str | None = None, *, local: str | None = None, env: Mapping[str, str] = ENV, **more: Any
    ) -> Settings:
        if text is not None:
            self.config.write_text(text)
        if local is not None:
            (self.workspace / ".broker.toml").write_text(local)
        environ = {**env, "BROKER_CONFIG": str(self.config)} if self.config.exists() else env
        more.setdefault("workspace", self.workspace)
        if not self.config.exists():
            more.setdefault("strict", True)
        return load(environ=environ, **more)

    def json(self, value: object, name: str = "mcp.json") -> Path:
        path = self.root / name
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text)
        return path

    def servers(self, entries: Mapping[str, object], **more: Any) -> Settings:
        return self.load(mcp_configs=[self.json({"mcpServers": entries})], **more)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def only(settings: Settings) -> Spec:
    assert settings.problems == []
    (spec,) = settings.plugins
    return spec


def complaint(settings: Settings) -> str:
    (problem,) = settings.problems
    return f"{problem.where}: {problem.what} {problem.fix}"


# The user's own file


def test_no_file_at_all_is_an_empty_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load(environ={})
    assert (settings.plugins, settings.problems) == ([], [])


def test_a_file_that_was_named_and_is_missing_is_a_problem(tmp_path: Path) -> None:
    assert "No such file" in complaint(load(config_file=tmp_path / "x.toml", environ={}))
    assert "No such file" in complaint(load(mcp_configs=[tmp_path / "x"], strict=True, environ={}))


def test_a_plugin_is_its_manifest_tuned_by_the_user(house: House) -> None:
    more = (
        'description = "Counts"\nconcurrency = 2\n[limits]\ntimeout = "30s"\nmemory = "1MiB"\n'
        '[permissions]\nrun = ["git"]\n[config.limit]\ntype = "integer"\ndefault = 100\n'
        '[config.word]\ntype = "string"\ndefault = "TODO"\n[restart]\npolicy = "never"\n'
    )
    text = house.plugin("todos", more) + (
        'timeout = "5s"\nrequired = true\ntools = ["count_*", "!count_all"]\nisolation = "process"\n'
        'replay = ["count_*"]\n'
        '[plugins.todos.config]\nlimit = 50\n[plugins.todos.env]\nT = "${TOKEN}"\n'
        '[plugins.todos.limits]\nmemory = "2MiB"\nstart = "1s"\nidle = "never"\n'
    )
    spec = only(house.load(text))
    assert spec.entry == str(house.root / "todos" / "plugin.py")
    assert spec.cwd == str(house.root / "todos")
    assert (spec.limits.timeout, spec.limits.start, spec.limits.memory) == (5.0, 1.0, 2 << 20)
    assert (spec.concurrency, spec.required, spec.restart) == (2, True, "never")
    assert (spec.replay, spec.limits.idle) == (("count_*",), math.inf)
    assert spec.tools == (("count_*", "!count_all"),)
    assert spec.permissions == {"run": ("git",)}
    assert spec.config == {"limit": 50, "word": "TODO"}
    assert spec.env == {"T": "s3cret"}
    assert (spec.version, spec.description, spec.source) == ("1.0.0", "Counts", str(house.config))


def test_a_plugin_without_permissions_is_confined_to_nothing_and_a_server_is_unconfined(house: House) -> None:
    settings = house.load(house.plugin("a") + '[servers.b]\ncommand = "x"\n')
    assert [spec.permissions for spec in settings.plugins] == [{}, None]


def test_a_server_of_config_toml_has_the_keys_of_an_mcpservers_entry_and_ours(house: House) -> None:
    (house.root / ".env").write_text("A=1\nB='two ${A}'\n")
    spec = only(
        house.load(
            '[servers.git]\ntype = "stdio"\ncommand = "uvx"\nargs = ["mcp-server-git", "${X:-y}"]\n'
            'cwd = "~/code"\nenvFile = ".env"\nenv = { A = "over", PORT = 80 }\ntimeout = 60000\n'
            'replay = ["read_*"]\nconcurrency = 3\n'
            'tools = []\nlimits = { memory = "1MiB", idle = "5m" }\npermissions = { net = ["a.b:443"] }\n'
        )
    )
    assert spec.command == ("uvx", "mcp-server-git", "y")
    assert spec.cwd == f"{HOME}/code"
    assert spec.env == {"A": "over", "B": "two ${A}", "PORT": "80"}
    assert (spec.limits.timeout, spec.limits.memory, spec.limits.idle) == (60.0, 1 << 20, 300.0)
    assert spec.replay == ("read_*",)
    assert spec.tools == (("!*",),)
    assert spec.permissions == {"net": ("a.b:443",)}


@pytest.mark.parametrize(("timeout", "seconds"), [("1500", 1.5), ('"2m"', 120.0), ('"500ms"', 0.5)])
def test_a_servers_timeout_is_milliseconds_or_a_duration(house: House, timeout: str, seconds: float) -> None:
    spec = only(house.load(f'[servers.a]\ncommand = "x"\ntimeout = {timeout}\n'))
    assert spec.limits.timeout == seconds


def test_a_timeout_that_must_be_seconds_is_asked_about(house: House) -> None:
    settings = house.load('[servers.a]\ncommand = "x"\ntimeout = 60\n')
    assert 'write "60s" if seconds are meant' in complaint(settings)


def test_a_timeout_above_the_cap_lifts_the_cap(house: House) -> None:
    limits = only(house.load('[servers.a]\ncommand = "x"\ntimeout = "1h"\n')).limits
    assert limits.cap == limits.timeout == 3600.0


def test_the_top_of_the_file_tunes_the_broker(house: House) -> None:
    settings = house.load('max_frame = "1MiB"\nconcurrency = 4\n')
    assert (settings.max_frame, settings.concurrency, settings.problems) == (1 << 20, 4, [])


def test_what_clients_are_shown_is_read_for_all_and_for_each(house: House) -> None:
    text = 'expose = "search"\nalways = ["git__*"]\n[clients."Claude*"]\nexpose = "all"\n[clients.x]\nalways = []\n'
    settings = house.load(text)
    assert settings.problems == []
    assert settings.surface == Surface(expose="search", always=("git__*",))
    assert settings.clients == {"Claude*": Surface(expose="all"), "x": Surface(always=())}
    assert list(settings.clients) == ["Claude*", "x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('expose = "searching"\n', '"all", "search"'),
        ("always = 1\n", "`always` must be a list"),
        ("clients = 1\n", "[clients.NAME]"),
        ('[clients.a]\nexpoze = "all"\n', "did you mean `expose`"),
        ("[clients]\na = 1\n", "`clients.a`"),
    ],
)
def test_a_mistake_about_clients_costs_only_itself(house: House, text: str, said: str) -> None:
    settings = house.load(text + '[clients.b]\nexpose = "search"\n' * ("clients" not in text))
    assert said in complaint(settings)
    assert "clients" in text or settings.clients == {"b": Surface(expose="search")}


def test_a_cap_on_results_is_a_size_with_a_least(house: House) -> None:
    text = '[servers.a]\ncommand = "x"\nmax_result = "256KiB"\n' + house.plugin("todos")
    specs = house.load(text.replace('path = "', 'max_result = 20000\npath = "')).plugins
    assert sorted((spec.name, spec.max_result) for spec in specs) == [("a", 256 << 10), ("todos", 20000)]
    for wrong in ('"15KiB"', "0", '"much"'):
        settings = house.load(f'[servers.a]\ncommand = "x"\nmax_result = {wrong}\n')
        assert "`max_result`" in complaint(settings) and settings.plugins == []


def test_an_unknown_key_names_the_line_and_the_nearest_key(house: House) -> None:
    settings = house.load('[servers.good]\ncommand = "x"\n[servers.bad]\ncommand = "y"\nargz = []\n')
    said = complaint(settings)
    assert said.startswith(f"{house.config}:5: `servers.bad`: unknown key `argz`; did you mean `args`?")
    assert "The line says: argz = []" in said
    assert [spec.name for spec in settings.plugins] == ["good"]


def test_every_bad_thing_costs_only_itself(house: House) -> None:
    text = (
        'max_frame = "tiny"\nconcurrency = 0\nplugin = 1\n'
        + house.plugin("good")
        + '[plugins.gone]\npath = "gone"\n[plugins.nopath]\n[plugins.Upper]\npath = "x"\n'
        + "[servers.nocommand]\nargs = []\n[servers.wrong]\ncommand = 3\n"
        + '[servers.ok]\ncommand = "x"\n[servers]\nflat = 1\n'
    )
    settings = house.load(text.replace("[servers]\nflat = 1\n", ""))
    assert [spec.name for spec in settings.plugins] == ["good", "ok"]
    said = "\n".join(problem.what for problem in settings.problems)
    for words in ("`max_frame`", "`concurrency`", "`plugins`?", "no plugin.toml", "`path` is missing"):
        assert words in said
    for words in ("1 to 32", "no `command`", "`command` must be text, not a whole number"):
        assert words in said
    assert len(settings.problems) == 8


def test_a_table_that_is_no_table_is_a_problem(house: House) -> None:
    settings = house.load("plugins = 3\nservers = { a = 1 }\n")
    assert [problem.where for problem in settings.problems] == [f"{house.config}:1", f"{house.config}:2"]


def test_a_manifest_that_is_wrong_is_named_with_its_own_line(house: House) -> None:
    said = complaint(house.load(house.plugin("todos", "concurency = 1\n")))
    assert said.startswith(f"{house.root}/todos/plugin.toml:5: `plugins.todos`: unknown key `concurency`")


def test_a_plugin_must_be_called_what_it_calls_itself(house: House) -> None:
    said = complaint(house.load(house.plugin("todos").replace("plugins.todos", "plugins.tasks")))
    assert "is named `todos`" in said
    assert "[plugins.todos]" in said


@pytest.mark.parametrize(("value", "words"), [("limt = 1", "`limit`"), ('limit = "x"', "of type integer")])
def test_options_are_checked_against_the_manifest(house: House, value: str, words: str) -> None:
    text = house.plugin("a", '[config.limit]\ntype = "integer"\n') + f"[plugins.a.config]\n{value}\n"
    said = complaint(house.load(text))
    assert words in said
    assert "config.toml:4: " in said


def test_a_broken_plugin_can_be_switched_off(house: House) -> None:
    assert not only(house.load('[plugins.a]\npath = "gone"\nenabled = false\n')).enabled


def test_a_secret_in_a_line_is_not_quoted(house: House) -> None:
    texts = (
        '[servers.a]\ncommand = "x"\n[servers.a.env]\nWHERE = ["s3cret"]\n',
        '[servers.a]\ncommand = "x"\nenv = { A = "s3cret", B = true }\n',
        '[servers.a.env]\nTOKEN = "s3cret\n',
        '[servers.a]\ncommand = "x"\nheaders = { A = "s3cret", B = 1 }\n',
    )
    for text in texts:
        assert "s3cret" not in complaint(house.load(text))


@pytest.mark.parametrize(
    "data",
    [b"[plugins", b"a = " + b"[" * 100_000, b"\xff", b"\x00", b"#" * 10_000_000, b"a = 1\na = 2"],
)
def test_a_file_that_is_not_toml_is_one_problem(house: House, data: bytes) -> None:
    house.config.write_bytes(data)
    assert str(house.config) in complaint(house.load())


# Names


def test_a_later_definition_is_a_problem_that_names_both_files(house: House) -> None:
    first, second = house.json({"servers": {"git": {"command": "b"}}}), house.json("{}", "x.json")
    second.write_text('{"mcpServers":\n{"GIT": {"command": "c"}}}')
    settings = house.load('[servers.git]\ncommand = "a"\n', mcp_configs=[first, second])
    assert [spec.command for spec in settings.plugins] == [("a",)]
    earlier, later = settings.problems
    assert earlier.where == f"{first}:1"
    assert f"already named in {house.config}:1" in earlier.what
    assert later.where == f"{second}:2"
    assert "`GIT` (as `git`)" in later.what


def test_a_plugin_and_a_server_cannot_share_a_name(house: House) -> None:
    settings = house.load(house.plugin("a") + '[servers.a]\ncommand = "x"\n')
    assert settings.plugins[0].entry is not None
    assert "already named" in complaint(settings)


def test_a_key_twice_in_one_json_object_is_seen(house: House) -> None:
    path = house.json('{"mcpServers": {"a": {"command": "1"}, "a": {"command": "2"}}}')
    settings = house.load(mcp_configs=[path])
    assert [spec.command for spec in settings.plugins] == [("1",)]
    assert "already named" in complaint(settings)


@pytest.mark.parametrize(
    ("name", "short"),
    [("git", "git"), ("My Server", "my-server"), ("a_b.c/d", "a-b-c-d"), ("Café", "cafe"), ("-x-", "-x-")],
)
def test_a_name_becomes_a_slug(name: str, short: str) -> None:
    assert slug(name) == short


@given(st.text())
def test_every_name_has_a_slug(name: str) -> None:
    short = slug(name)
    assert 1 <= len(short) <= 32
    assert set(short) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slug(short) == short == slug(name)


def test_long_names_that_begin_alike_stay_different() -> None:
    assert slug("x" * 40 + "a") != slug("x" * 40 + "b")
    assert slug("天気") != slug("天文")


# The files of other clients


def test_claude_vscode_and_zed_files_are_read(house: House) -> None:
    claude = house.json({"mcpServers": {"a": {"command": "npx", "args": ["-y", "p"], "alwaysLoad": True}}}, "1")
    code = house.json(
        '{ // VS Code\n "inputs": [],\n "servers": {"b": {"type": "stdio", "command": "node",'
        ' "env": {"N": 1, "Z": null}, "dev": {},},}, }',
        "2",
    )
    zed = house.json(
        {
            "context_servers": {
                "c": {"source": "custom", "command": "c", "args": ["1"], "env": {"A": "b"}, "settings": {}},
                "d": {"command": {"path": "d", "args": ["2"], "env": {"E": "f"}}},
                "e": {"source": "extension", "settings": {}},
            }
        },
        "3",
    )
    settings = house.load(mcp_configs=[claude, code, zed])
    assert [spec.command for spec in settings.plugins] == [
        *(("npx", "-y", "p"), ("node",), ("c", "1"), ("d", "2")),
    ]
    assert [spec.env for spec in settings.plugins] == [{}, {"N": "1"}, {"A": "b"}, {"E": "f"}]
    assert "Zed extension" in complaint(settings)


@pytest.mark.parametrize("off", [{"disabled": True}, {"enabled": False}])
def test_a_disabled_server_is_known_and_not_looked_into(house: House, off: dict[str, bool]) -> None:
    spec = only(house.servers({"a": {"command": "x", "args": ["${NOT_SET}"], **off}}))
    assert not spec.enabled


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "https://x"},
        {"type": "http", "url": "https://x"},
        {"type": "sse"},
        {"type": "ws", "command": "x"},
    ],
)
def test_a_remote_server_is_a_problem_with_a_bridge(house: House, entry: dict[str, str]) -> None:
    assert "npx mcp-remote URL" in complaint(house.servers({"a": entry}))


def test_seconds_of_cline_are_told_from_milliseconds_of_claude(house: House) -> None:
    settings = house.servers({"a": {"command": "x", "timeout": 60}, "b": {"command": "x", "timeout": 60000}})
    assert [spec.limits.timeout for spec in settings.plugins] == [60.0, 60.0]


def test_variables_are_filled_in(house: House) -> None:
    args = ["${TOKEN}", "${NO:-a b}", "${env:TOKEN}", "${workspaceFolder}/x", "${userHome}", "$1 ${1} ${x.y}"]
    spec = only(house.servers({"a": {"command": "${userHome}/b", "args": args, "env": {"T": "<${TOKEN}>"}}}))
    work = str(house.workspace)
    assert spec.command == (f"{HOME}/b", "s3cret", "a b", "s3cret", f"{work}/x", HOME, "$1 ${1} ${x.y}")
    assert spec.env == {"T": "<s3cret>"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${NOT_SET}", "`NOT_SET` is not set"),
        ("${env:NOT_SET}", "`NOT_SET` is not set"),
        ("${input:key}", "nobody to ask"),
        ("${command:pick}", "no editor"),
        ("a\0b", "NUL"),
    ],
)
@pytest.mark.parametrize("place", ["command", "args", "env", "cwd", "envFile"])
def test_what_cannot_be_filled_in_is_a_problem_of_that_entry(house: House, text: str, words: str, place: str) -> None:
    value: object = {"args": [text], "env": {"V": text}}.get(place, text)
    settings = house.servers({"bad": {"command": "x", place: value}, "good": {"command": "x"}})
    said = complaint(settings)
    assert words in said
    assert "`bad`: " in said
    assert place in said
    assert [spec.name for spec in settings.plugins] == ["good"]


def test_a_workspace_folder_without_a_workspace_is_a_problem(house: House) -> None:
    settings = house.servers({"a": {"command": "x", "cwd": "${workspaceFolder}"}}, workspace=None)
    assert "no workspace" in complaint(settings)


def test_a_problem_of_an_entry_has_the_line_of_its_name(house: House) -> None:
    path = house.json('{\n // c\n "mcpServers": {\n  "a": {"command": "x"},\n\n  "b": {}\n }\n}')
    assert complaint(house.load(mcp_configs=[path])).startswith(f"{path}:6: `b`: there is no `command`")


@pytest.mark.parametrize(
    ("text", "line"),
    [("{", 1), ('{\n"a": x}', 2), ("[]", 1), ("3", 1), ("{}", 1), ('{"mcpServers":\n3}', 2), ("", 1)],
)
def test_a_file_that_holds_no_servers_is_one_problem(house: House, text: str, line: int) -> None:
    path = house.json(text)
    assert complaint(house.load(mcp_configs=[path])).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff{}",
        b'{"mcpServers": ' + b"[" * 200_000,
        b'{"mcpServers": {"a": ' + b'{"a":' * 200_000,
        b"[" * 10_000_000,
        b'"' * 10_000_000,
        b"/*" * 5_000_000,
        b'{"mcpServers": {"a": "' + b"x" * 10_000_000 + b'"}}',
        b" " * (17 << 20),
        b'{"mcpServers": {}}\x00',
    ],
)
def test_hostile_bytes_are_one_problem(house: House, data: bytes) -> None:
    path = house.root / "mcp.json"
    path.write_bytes(data)
    assert complaint(house.load(mcp_configs=[path])).startswith(f"{path}")


def test_a_large_file_with_few_servers_is_read(house: House) -> None:
    path = house.json({"history": ["x" * 1000] * 10_000, "mcpServers": {"a": {"command": "x"}}})
    assert only(house.load(mcp_configs=[path])).name == "a"


def test_thousands_of_bad_entries_are_thousands_of_problems(house: House) -> None:
    entries = {f"s{n}": n for n in range(5000)}
    assert len(house.servers(entries).problems) == 5000


WRONG = [None, True, 0, -1, 1.5, "", "x", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize(
    "key",
    [
        *("type", "command", "args", "env", "envFile", "cwd", "url", "headers", "timeout", "disabled"),
        *("enabled", "concurrency", "required", "tools", "limits", "permissions", "source"),
    ],
)
def test_a_wrong_type_anywhere_is_at_most_a_problem(house: House, key: str) -> None:
    for value in WRONG:
        settings = house.servers({"a": {"command": "x", key: value}, "good": {"command": "y"}})
        assert settings.plugins[-1].name == "good"
        assert len(settings.plugins) + len(settings.problems) == 2


KEYS = st.sampled_from(["mcpServers", "servers", "context_servers", "command", "args", "env", "a", "timeout"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("${A}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
ENTRY = st.dictionaries(KEYS | st.sampled_from(["cwd", "envFile", "limits", "tools", "url", "type"]), ANY)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ANY | st.fixed_dictionaries({"mcpServers": st.dictionaries(st.text(max_size=5), ANY | ENTRY)}))
def test_no_json_value_whatsoever_makes_load_raise(tmp_path: Path, value: object) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(value))
    settings = load(mcp_configs=[path], strict=True, environ={})
    assert all(problem.where.startswith(str(path)) for problem in settings.problems)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary())
def test_no_bytes_whatsoever_make_load_raise(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ".broker.toml").write_bytes(data)
    (tmp_path / "c").write_bytes(data)
    load(config_file=tmp_path / "c", mcp_configs=[tmp_path / "c"], workspace=tmp_path, environ={})


def test_strict_reads_the_named_files_and_nothing_else(house: House) -> None:
    path = house.json({"mcpServers": {"a": {"command": "x"}}})
    settings = house.load(
        '[servers.b]\ncommand = "y"\n',
        local="[servers.a]\nenabled = false\n",
        mcp_configs=[path],
        strict=True,
    )
    assert only(settings).name == "a"
    assert only(settings).enabled


# A workspace's file

USER = '[servers.git]\ncommand = "x"\nconcurrency = 4\ntimeout = "30s"\ntools = ["git_*"]\n'


def test_a_workspace_narrows(house: House) -> None:
    local = '[servers.git]\nconcurrency = 2\ntimeout = "10s"\ntools = ["!git_push"]\nenabled = false\n'
    spec = only(house.load(USER, local=local))
    assert (spec.concurrency, spec.limits.timeout, spec.enabled) == (2, 10.0, False)
    assert spec.tools == (("git_*",), ("!git_push",))


def test_a_workspace_configures_a_plugin(house: House) -> None:
    user = house.plugin("a", '[config.limit]\ntype = "integer"\n[config.x]\ntype = "string"\ndefault = "d"\n')
    user += "[plugins.a.config]\nlimit = 1\n"
    assert only(house.load(user, local="[plugins.a.config]\nlimit = 2\n")).config == {"limit": 2, "x": "d"}
    assert "of type integer" in complaint(house.load(local='[plugins.a.config]\nlimit = "2"\n'))


@pytest.mark.parametrize(
    "line",
    [
        *('command = "rm"', 'args = ["x"]', 'env = { A = "b" }', 'cwd = "/"', 'path = "."', 'url = "u"'),
        *("permissions = {}", "limits = {}", "required = true", 'envFile = ".env"', "isolation = 1"),
        *("concurrency = 5", 'timeout = "31s"', "timeout = 31000"),
    ],
)
def test_a_workspace_cannot_start_or_widen_anything(house: House, line: str) -> None:
    settings = house.load(USER, local=f'[servers.git]\ntools = ["!git_push"]\n{line}\n')
    said = complaint(settings)
    assert "a workspace file cannot start or widen anything; put it in" in said
    assert str(house.config) in said
    assert said.startswith(f"{house.workspace}/.broker.toml:3: ")
    assert settings.plugins[0].tools == (("git_*",),)
    assert settings.plugins[0].limits.timeout == 30.0


@pytest.mark.parametrize(
    "local",
    [
        *('[servers.new]\ncommand = "evil"\n', '[plugins.new]\npath = "."\n', "[servers]\ngit = 1\n"),
        *("[mcpServers.x]\ncommand = 'y'\n", "concurrency = 9\n", 'max_frame = "1GiB"\n', "servers = 1\n"),
    ],
)
def test_a_workspace_cannot_bring_anything_new(house: House, local: str) -> None:
    settings = house.load(USER, local=local)
    assert [spec.command for spec in settings.plugins] == [("x",)]
    assert (settings.max_frame, settings.concurrency) == (8 << 20, 1)
    assert len(settings.problems) == 1


def test_a_workspace_cannot_switch_on_what_the_user_switched_off(house: House) -> None:
    settings = house.load(USER + "disabled = true\n", local="[servers.git]\nenabled = true\n")
    assert "cannot start" in complaint(settings)
    assert not settings.plugins[0].enabled


def test_without_a_number_of_the_users_a_workspace_stays_below_the_default(house: House) -> None:
    settings = house.load('[servers.a]\ncommand = "x"\n', local="[servers.a]\nconcurrency = 2\n")
    assert "cannot start or widen" in complaint(settings)
    assert settings.plugins[0].concurrency is None


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_workspace_file_that_links_elsewhere_is_not_read(house: House) -> None:
    (house.root / "key").write_text("PRIVATE s3cret\n")
    (house.workspace / ".broker.toml").symlink_to("../key")
    said = complaint(house.load(USER))
    assert "leads out of the workspace" in said
    assert "s3cret" not in said


def test_a_workspace_file_of_megabytes_is_refused(house: House) -> None:
    assert "larger than 64 KiB" in complaint(house.load(USER, local="#" * 10_000_000))


@pytest.mark.parametrize(("text", "audit"), [("", True), ("audit = true\n", True), ("audit = false\n", False)])
def test_the_audit_is_on_unless_it_is_switched_off(house: House, text: str, audit: bool) -> None:
    settings = house.load(text)
    assert (settings.audit, settings.problems) == (audit, [])


def test_an_audit_that_is_neither_on_nor_off_is_a_problem_and_stays_on(house: House) -> None:
    settings = house.load('audit = "off"\n')
    assert settings.audit and "`audit`" in settings.problems[0].what
