"""The official MCP Inspector in front of one plugin: the command that runs it. It is never bundled: npx fetches it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from broker.core.shape import nearest
from broker.errors import ConfigError, NotFound
from broker.runtimes.command import node_version

PACKAGE = "@modelcontextprotocol/inspector@^2.12"
NODE = (22, 19)  # what its package.json asks for (`engines`)
MODES = ("--web", "--cli", "--tui")  # must come before all else
_UPDATE = "Install Node.js 22.19 or later (https://nodejs.org) and put it first on the PATH."

NodeVersion = Callable[[str], tuple[int, int] | None]


def command(
    target: str,
    names: Sequence[str],
    words: Sequence[str],
    environ: Mapping[str, str],
    node_version: NodeVersion = node_version,
) -> list[str]:
    """What to run for the plugin `target`, a path or one of the configured `names`; `words` are the Inspector's own.

    Raises `ConfigError` without a Node that runs it, `NotFound` for a plugin that is not there.
    """
    npx = _npx(environ, node_version)
    modes = [word for word in words[:1] if word in MODES]
    return [npx, "--yes", PACKAGE, *modes, *words[len(modes) :], "--", *_served(target, names)]


def _served(target: str, names: Sequence[str]) -> list[str]:
    """The command that serves the plugin to an MCP client."""
    broker = [sys.executable, "-m", "broker"]
    if os.path.exists(target):
        return [*broker, "dev", str(Path(target).absolute()), "--mcp"]
    if target in names:
        return [*broker, "mcp", "--passthrough", target]
    near = nearest(target, names)
    meant = f"; did you mean {near}?" if near else ""
    raise NotFound(
        f"{target} is no folder, and no plugin of your configuration is called so{meant}",
        hint="Name a plugin's folder, or a plugin that `broker list` shows.",
    )


def _npx(environ: Mapping[str, str], node_version: NodeVersion) -> str:
    path = environ.get("PATH")
    node, npx = shutil.which("node", path=path), shutil.which("npx", path=path)
    if node is None or npx is None:
        missing = "node" if node is None else "npx"
        raise ConfigError(f"the MCP Inspector runs on Node.js, and there is no {missing} on the PATH", hint=_UPDATE)
    version = node_version(node)
    if version is None or version < NODE:
        found = "one that does not say its version" if version is None else ".".join(map(str, version))
        wanted = ".".join(map(str, NODE))
        raise ConfigError(f"the MCP Inspector needs Node.js {wanted} or later, and {node} is {found}", hint=_UPDATE)
    return npx
