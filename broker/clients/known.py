"""The AI clients of a person: where each keeps its MCP servers, and how it writes one down.

A folder is the first one whose `${VARIABLES}` are all set; `~` is the user's folder. In it, the first file that
is there is meant, the last one if there is none.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Literal, cast

from msgspec import Struct

from broker.core.shape import table

NAME = "broker"  # of the entry in every client
PROGRAMS = ("broker", "plugin-broker")
ARGUMENTS = ["mcp"]

Entry = dict[str, object]
# What a client fills in for: nothing, ${VAR}, ${env:VAR}, $VAR as well as ${VAR}, {env:VAR}.
Variables = Literal["none", "braces", "editor", "shell", "curly"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Client(Struct, frozen=True, kw_only=True):
    """One client, as data."""

    key: str  # as the command line names it
    title: str
    folders: Mapping[str, Sequence[str]]  # by sys.platform; those of "linux" hold where a platform has none
    files: Sequence[str]
    section: str  # the key that holds the servers
    shape: Callable[[str], Entry]  # broker's own entry, from its command
    variables: Variables = "none"
    milliseconds: bool = False  # `timeout` always is; elsewhere a small number means seconds
    format: Literal["json", "toml"] = "json"  # comments are fine in every JSON

    def file(self, environ: Mapping[str, str], platform: str = sys.platform) -> Path:
        """The file of this user, whether it is there or not."""
        home = _home(environ, platform)
        folders = self.folders.get(platform, self.folders["linux"])
        folder = next(found for text in folders if (found := _filled(text, environ, home)) is not None)
        places = [Path(folder) / name for name in self.files]
        return next((place for place in places if os.path.lexists(place)), places[-1])


def _plain(command: str) -> Entry:
    return {"command": command, "args": ARGUMENTS}


def _stdio(command: str) -> Entry:
    return {"type": "stdio", "command": command, "args": ARGUMENTS}


def _applications(name: str) -> dict[str, tuple[str, ...]]:
    """Where a desktop application keeps its files."""
    return {
        "linux": (f"${{XDG_CONFIG_HOME}}/{name}", f"~/.config/{name}"),
        "darwin": (f"~/Library/Application Support/{name}",),
        "win32": (f"${{APPDATA}}/{name}", f"~/AppData/Roaming/{name}"),
    }


_CODE = {
    platform: ("${VSCODE_PORTABLE}/user-data/User", "${VSCODE_APPDATA}/Code/User", *folders)
    for platform, folders in _applications("Code/User").items()
}

CLIENTS = (
    Client(
        key="claude",
        title="Claude Code",
        folders={"linux": ("${CLAUDE_CONFIG_DIR}", "~")},
        files=(".claude/.config.json", ".claude.json"),  # the first is that of its early versions
        section="mcpServers",
        shape=_stdio,
        variables="braces",
    ),
    Client(
        key="claude-desktop",
        title="Claude Desktop",
        folders=_applications("Claude"),
        files=("claude_desktop_config.json",),
        section="mcpServers",
        shape=_plain,
    ),
    Client(
        key="cursor",
        title="Cursor",
        folders={"linux": ("~/.cursor",)},
        files=("mcp.json",),
        section="mcpServers",
        shape=_plain,
        variables="editor",
    ),
    Client(
        key="vscode",
        title="VS Code",
        folders=_CODE,
        files=("mcp.json",),
        section="servers",
        shape=_stdio,
        variables="editor",
    ),
    Client(
        key="codex",
        title="Codex",
        folders={"linux": ("${CODEX_HOME}", "~/.codex")},
        files=("config.toml",),
        section="mcp_servers",
        shape=_plain,
        format="toml",
    ),
    Client(
        key="gemini",
        title="Gemini CLI",
        folders={"linux": ("${GEMINI_CLI_HOME}/.gemini", "~/.gemini")},
        files=("settings.json",),
        section="mcpServers",
        shape=_plain,
        variables="shell",
        milliseconds=True,
    ),
    Client(
        key="zed",
        title="Zed",
        folders={
            "linux": ("${FLATPAK_XDG_CONFIG_HOME}/zed", "${XDG_CONFIG_HOME}/zed", "~/.config/zed"),
            "darwin": ("~/.config/zed",),
            "win32": ("${APPDATA}/Zed", "~/AppData/Roaming/Zed"),
        },
        files=("settings.json",),
        section="context_servers",
        shape=lambda command: {"source": "custom", "command": command, "args": ARGUMENTS},
    ),
    Client(
        key="windsurf",
        title="Windsurf",
        folders={"linux": ("~/.codeium/windsurf",)},
        files=("mcp_config.json",),
        section="mcpServers",
        shape=_plain,
        variables="editor",
    ),
    Client(
        key="copilot",
        title="Copilot CLI",
        folders={"linux": ("${COPILOT_HOME}", "~/.copilot")},
        files=("mcp-config.json",),
        section="mcpServers",
        shape=lambda command: {"type": "local", "command": command, "args": ARGUMENTS, "tools": ["*"]},
        variables="shell",
        milliseconds=True,
    ),
    Client(
        key="opencode",
        title="opencode",
        folders={"linux": ("${XDG_CONFIG_HOME}/opencode", "~/.config/opencode")},
        files=("opencode.jsonc", "opencode.json"),
        section="mcp",
        shape=lambda command: {"type": "local", "command": [command, *ARGUMENTS], "enabled": True},
        variables="curly",
        milliseconds=True,
    ),
)
BY_KEY = {client.key: client for client in CLIENTS}


def words(entry: Mapping[str, object]) -> list[str]:
    """What an entry of any client runs, as it is written; empty if it runs nothing."""
    command, args = entry.get("command"), entry.get("args")
    if older := table(command):  # Zed before 2025-06: {"path": …, "args": …, "env": …}
        command, args = older.get("path"), older.get("args", args)
    first = cast("list[object]", command) if isinstance(command, list) else [command] if command else []
    rest = cast("list[object]", args) if isinstance(args, list) else []
    return [str(word) for word in (*first, *rest)]


def runs_broker(entry: Mapping[str, object]) -> bool:
    """Whether it is an entry of broker itself: `broker mcp`, also by its path, or through uvx or python -m."""
    line = words(entry)
    programs = [place for place, word in enumerate(line) if _stem(word) in PROGRAMS]
    return bool(programs) and "mcp" in line[programs[0] + 1 :]


def client_of(path: Path, section: str) -> Client:
    """The client that writes a file like this one; a project's file is laid out as its user's is."""
    for client in CLIENTS:
        if client.section == section and path.name in client.files and _folder_of(client) == path.parent.name:
            return client
    alike = [client for client in CLIENTS if client.section == section]
    return next((client for client in alike if path.name in client.files), alike[0])


def _folder_of(client: Client) -> str:
    return client.folders["linux"][-1].rpartition("/")[2]


def _stem(word: str) -> str:
    return PureWindowsPath(word).name.lower().removesuffix(".exe")  # it knows both kinds of slashes


def _home(environ: Mapping[str, str], platform: str) -> str:
    names = ("USERPROFILE", "HOME") if platform == "win32" else ("HOME",)
    return next((environ[name] for name in names if environ.get(name)), None) or str(Path.home())


def _filled(text: str, environ: Mapping[str, str], home: str) -> str | None:
    """The folder; None if a variable in it is not set."""
    if not all(environ.get(name) for name in _VARIABLE.findall(text)):
        return None
    text = _VARIABLE.sub(lambda found: environ[found[1]], text)
    return home + text[1:] if text.startswith("~") else text
