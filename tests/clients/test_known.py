"""Where clients keep their servers, how they write them down, and what their entries mean here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.clients.adopt import Adopted, adopted
from broker.clients.foreign import Foreign, address, entries
from broker.clients.known import BY_KEY, CLIENTS, client_of, runs_broker, words
from broker.core.expand import Surroundings
from broker.core.shape import Wrong
from broker.model import Problem

HOME = {"HOME": "/home/ada", "USERPROFILE": "C:/Users/ada"}
ENV = {"HOME": "/home/ada", "SET": "value"}
SETTINGS = "Library/Application Support"


@pytest.mark.parametrize(
    ("key", "linux", "darwin", "win32"),
    [
        ("claude", ".claude.json", ".claude.json", ".claude.json"),
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            f"{SETTINGS}/Claude/claude_desktop_config.json",
            "AppData/Roaming/Claude/claude_desktop_config.json",
        ),
        ("cursor", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
        (
            "vscode",
            ".config/Code/User/mcp.json",
            f"{SETTINGS}/Code/User/mcp.json",
            "AppData/Roaming/Code/User/mcp.json",
        ),
        ("codex", ".codex/config.toml", ".codex/config.toml", ".codex/config.toml"),
        ("gemini", ".gemini/settings.json", ".gemini/settings.json", ".gemini/settings.json"),
        ("zed", ".config/zed/settings.json", ".config/zed/settings.json", "AppData/Roaming/Zed/settings.json"),
        *[("windsurf", *[".codeium/windsurf/mcp_config.json"] * 3)],
        *[("copilot", *[".copilot/mcp-config.json"] * 3)],
        *[("opencode", *[".config/opencode/opencode.json"] * 3)],
    ],
)
def test_each_client_has_its_place_on_each_platform(key: str, linux: str, darwin: str, win32: str) -> None:
    client = BY_KEY[key]
    assert client.file(HOME, "linux") == Path("/home/ada") / linux
    assert client.file(HOME, "darwin") == Path("/home/ada") / darwin
    assert client.file(HOME, "win32") == Path("C:/Users/ada") / win32


@pytest.mark.parametrize(
    ("key", "platform", "variable", "place"),
    [
        ("claude", "linux", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "darwin", "CODEX_HOME", "config.toml"),
        ("gemini", "linux", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("copilot", "linux", "COPILOT_HOME", "mcp-config.json"),
        ("opencode", "darwin", "XDG_CONFIG_HOME", "opencode/opencode.json"),
        ("zed", "linux", "XDG_CONFIG_HOME", "zed/settings.json"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
        ("vscode", "darwin", "VSCODE_PORTABLE", "user-data/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
        ("claude-desktop", "win32", "APPDATA", "Claude/claude_desktop_config.json"),
    ],
)
def test_the_variables_of_the_client_move_its_folder(key: str, platform: str, variable: str, place: str) -> None:
    assert BY_KEY[key].file({**HOME, variable: "/else"}, platform) == Path("/else") / place
    assert str(BY_KEY[key].file({**HOME, variable: ""}, platform)).startswith(("/home/ada", "C:/Users/ada"))


def test_of_two_names_a_client_knows_the_one_that_is_there_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text("{}")
    assert BY_KEY["opencode"].file({"HOME": str(tmp_path)}).name == "opencode.jsonc"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.key)
def test_brokers_own_entry_is_known_again_in_every_shape(client: Any) -> None:
    for command in ("broker", "/opt/b/broker", "C:\\b\\broker.exe", "plugin-broker"):
        entry = client.shape(command)
        assert words(entry) == [command, "mcp"]
        assert runs_broker(entry)


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        (["uvx", "plugin-broker", "mcp"], True),
        (["python3", "-m", "broker", "mcp"], True),
        (["broker", "-v", "mcp", "--strict"], True),
        (["npx", "-y", "ib-broker-mcp"], False),
        (["broker", "serve"], False),
        ([], False),
    ],
)
def test_broker_is_told_from_what_only_sounds_like_it(line: list[str], ours: bool) -> None:
    entry: dict[str, object] = {"command": line[0], "args": line[1:]} if line else {}
    assert runs_broker(entry) is ours


@pytest.mark.parametrize(
    ("path", "section", "key"),
    [
        (".vscode/mcp.json", "servers", "vscode"),
        (".cursor/mcp.json", "mcpServers", "cursor"),
        (".gemini/settings.json", "mcpServers", "gemini"),
        ("x/.mcp.json", "mcpServers", "claude"),
        ("x/claude_desktop_config.json", "mcpServers", "claude-desktop"),
        (".zed/settings.json", "context_servers", "zed"),
        ("x/opencode.json", "mcp", "opencode"),
        (".codex/config.toml", "mcp_servers", "codex"),
    ],
)
def test_a_file_is_read_as_that_of_the_client_that_writes_such_files(path: str, section: str, key: str) -> None:
    assert client_of(Path(path), section).key == key


# What is in the files


def read(tmp_path: Path, key: str, text: str) -> list[Foreign | Problem]:
    file = tmp_path / BY_KEY[key].files[-1]
    file.write_text(text)
    return list(entries(file, BY_KEY[key]))


def test_claude_codes_projects_are_read_too(tmp_path: Path) -> None:
    project = '{"mcpServers": {"b": {"command": "y"}}}'
    text = f'{{"mcpServers": {{"a": {{"command": "x"}}}},\n "projects": {{"/p": {project}, "/q": {{}}}}}}'
    found = [one for one in read(tmp_path, "claude", text) if isinstance(one, Foreign)]
    assert [(one.label, one.project, one.where.rpartition(":")[2]) for one in found] == [
        ("a", None, "1"),
        ("b", "/p", "2"),
    ]


def test_a_history_that_is_no_unicode_does_not_hide_the_servers(tmp_path: Path) -> None:
    text = '{"history": ["\\ud83d"], "mcpServers": {"a": {"command": "x"}}}'
    assert [one.label for one in read(tmp_path, "claude", text) if isinstance(one, Foreign)] == ["a"]


@pytest.mark.parametrize(
    ("key", "text", "line", "what"),
    [
        ("cursor", '{\n "mcpServers": {\n  "a" {}\n}}', 3, "not JSON"),
        ("cursor", "[]", 1, "one JSON object"),
        ("cursor", '{"mcpServers": {\n"a": 1}}', 2, "`a`"),
        ("codex", "a = 1\nb =\n", 2, "not TOML"),
        ("codex", "[mcp_servers]\na = 1\n", 2, "`a`"),
    ],
)
def test_what_is_broken_is_named_with_its_line(tmp_path: Path, key: str, text: str, line: int, what: str) -> None:
    (problem,) = read(tmp_path, key, text)
    assert isinstance(problem, Problem)
    assert problem.where == f"{tmp_path / BY_KEY[key].files[-1]}:{line}"
    assert what in problem.what


def test_geminis_lists_of_servers_switch_them_off(tmp_path: Path) -> None:
    servers = {"a": {"command": "x"}, "b": {"command": "x"}, "c": {"command": "x"}}
    text = json.dumps({"mcp": {"allowed": ["a", "b"], "excluded": ["b"]}, "mcpServers": servers})
    assert [one.off for one in read(tmp_path, "gemini", text) if isinstance(one, Foreign)] == [False, True, True]


def test_a_remote_server_is_known_by_any_of_its_keys_and_its_secrets_are_not_said() -> None:
    for key in ("url", "httpUrl", "serverUrl"):
        assert address({key: "https://u:p@host.example/s3cret?key=1"}) == "https://host.example"
    assert address({"type": "http"}) == "URL"
    assert address({"command": "x", "type": "stdio"}) is None


# What the entries mean here


def taken(key: str, entry: dict[str, Any], **more: Any) -> Adopted:
    found = Foreign(client=BY_KEY[key], where="f:1", label="x", entry=entry, **more)
    return adopted(found, ENV, anchor=Path("/home/ada"), workspace=Path("/work"))


def args(key: str, *given: str, env: dict[str, str] | None = None) -> object:
    return taken(key, {"command": "x", "args": list(given), "env": env or {}}).entry.get("args")


@pytest.mark.parametrize(
    ("key", "given", "here"),
    [
        ("claude", "${SET}/${NONE:-a}", "${SET}/${NONE:-a}"),
        ("claude", "${CLAUDE_PROJECT_DIR:-.}", "${workspaceFolder}"),
        ("cursor", "${env:SET}${/}${userHome}", "${env:SET}/${userHome}"),
        ("vscode", "${workspaceFolder}/a", "${workspaceFolder}/a"),
        ("gemini", "$SET ${SET} $NONE", "${SET} ${SET} $NONE"),
        ("copilot", "${NONE:-a}", "${NONE:-a}"),
        ("opencode", "{env:SET}/a", "${env:SET}/a"),
    ],
)
def test_what_a_client_fills_in_is_filled_in_here(key: str, given: str, here: str) -> None:
    assert args(key, given) == [here]


@pytest.mark.parametrize("key", ["claude-desktop", "codex", "zed", "cursor", "vscode", "windsurf", "opencode"])
def test_what_a_client_passes_as_it_is_is_passed_as_it_is(key: str) -> None:
    (here,) = args(key, "Authorization:${SET} ${NONE:-a} ${x y}")  # type: ignore[misc]
    assert Surroundings(ENV).expand(here) == "Authorization:${SET} ${NONE:-a} ${x y}"


@pytest.mark.parametrize("key", ["claude", "gemini", "claude-desktop"])
def test_what_the_entry_sets_for_its_own_program_is_left_to_it(key: str) -> None:
    (here,) = args(key, "Authorization:${AUTH}", env={"AUTH": "Bearer s3cret"})  # type: ignore[misc]
    assert Surroundings(ENV).expand(here) == "Authorization:${AUTH}"


def test_what_vs_code_asks_for_becomes_a_variable_and_is_said() -> None:
    found = taken("vscode", {"command": "x", "env": {"T": "${input:github-token}"}})
    assert found.entry["env"] == {"T": "${GITHUB_TOKEN}"}
    assert found.notes == (
        "VS Code asks for `github-token`; here it is the variable GITHUB_TOKEN.",
        "GITHUB_TOKEN is not set here; set it where broker is started.",
    )


@pytest.mark.parametrize(
    ("key", "given", "here"),
    [
        ("cursor", {"disabled": True}, {"enabled": False}),
        ("zed", {"enabled": False}, {"enabled": False}),
        ("claude", {"timeout": 90_000}, {"timeout": "90s"}),
        ("zed", {"timeout": 90}, {"timeout": "90s"}),
        ("gemini", {"timeout": 600}, {"timeout": "0.6s"}),
        ("codex", {"tool_timeout_sec": 90.5}, {"timeout": "90.5s"}),
        ("codex", {"startup_timeout_sec": 20}, {"limits": {"start": "20s"}}),
        ("codex", {"env_vars": ["SET", {"name": "HOME"}]}, {"env": {"SET": "${SET}", "HOME": "${HOME}"}}),
        ("codex", {"enabled_tools": ["a"], "disabled_tools": ["b"]}, {"tools": ["a", "!b"]}),
        ("gemini", {"includeTools": ["a"], "trust": True}, {"tools": ["a"]}),
        ("windsurf", {"disabledTools": ["b"]}, {"tools": ["!b"]}),
        ("copilot", {"type": "local", "tools": ["*"]}, {}),
        ("copilot", {"tools": []}, {"tools": ["!*"]}),
        ("vscode", {"env": {"A": 1, "B": None, "C": "c"}}, {"env": {"A": "1", "C": "c"}}),
        ("vscode", {"cwd": "sub"}, {"cwd": "${workspaceFolder}/sub"}),
        ("claude", {"concurrency": 3, "permissions": {}}, {"concurrency": 3, "permissions": {}}),
    ],
)
def test_the_keys_of_each_client_become_those_of_config_toml(
    key: str, given: dict[str, Any], here: dict[str, Any]
) -> None:
    assert taken(key, {"command": "x", **given}).entry == {"command": "x", **here}


def test_the_older_entry_of_zed_and_the_list_of_opencode_are_understood() -> None:
    older = {"command": {"path": "x", "args": ["a"], "env": {"A": "b"}}}
    assert taken("zed", older).entry == {"command": "x", "args": ["a"], "env": {"A": "b"}}
    listed = {"type": "local", "command": ["x", "a"], "environment": {"A": "b"}, "enabled": False}
    assert taken("opencode", listed).entry == {"command": "x", "args": ["a"], "env": {"A": "b"}, "enabled": False}


def test_a_relative_folder_of_a_project_starts_in_it() -> None:
    assert taken("claude", {"command": "x", "cwd": "./sub"}, project="/p").entry["cwd"] == "/p/sub"


def test_a_sandbox_becomes_permissions_and_what_it_loses_is_said() -> None:
    box = {"filesystem": {"allowWrite": ["${workspaceFolder}"]}, "network": {"allowedDomains": ["a.dev:443"]}}
    made = taken("vscode", {"command": "x", "sandboxEnabled": True, "sandbox": box})
    assert made.entry["permissions"] == {"write": ["${workspace}"], "net": ["a.dev:443"]}
    assert "reading open" in made.notes[0]
    assert "permissions" not in taken("vscode", {"command": "x", "sandbox": box}).entry


def test_a_sandbox_that_cannot_be_kept_is_not_lost_but_refused() -> None:
    with pytest.raises(Wrong, match="denyExecute"):
        taken("vscode", {"command": "x", "sandboxEnabled": True, "sandbox": {"filesystem": {"denyExecute": ["/"]}}})


@pytest.mark.parametrize(
    ("key", "entry", "why"),
    [
        ("zed", {"source": "extension"}, "Zed extension"),
        ("cursor", {}, "no `command`"),
        ("cursor", {"command": "x", "args": "a"}, "`args` must be"),
        ("cursor", {"command": "x", "args": [{}]}, "`args` must be"),
        ("cursor", {"command": "x", "env": {"A": []}}, "must be text"),
        ("cursor", {"command": "x", "env": {"A=": ""}}, "contains ="),
        ("cursor", {"command": "x", "env": []}, "`env` must be"),
        ("cursor", {"command": "x\0"}, "NUL"),
        ("cursor", {"command": "x", "args": ["${file:/t}"]}, "known only to Cursor"),
        ("vscode", {"command": "x", "args": ["${workspaceFolderBasename}"]}, "known only to VS Code"),
        ("opencode", {"command": ["x", "{file:~/t}"]}, "reads a file"),
        ("vscode", {"command": "x", "envFile": "/no/such"}, "envFile"),
    ],
)
def test_what_cannot_mean_anything_here_is_refused_with_the_reason(key: str, entry: dict[str, Any], why: str) -> None:
    with pytest.raises(Wrong) as caught:
        taken(key, entry)
    assert why in caught.value.what
