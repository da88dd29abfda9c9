"""The `manifest.json` of an archive, so that other clients can install it too (MCPB, versions 0.3 and 0.4).

They know no permissions: what the plugin asks for stands in `_meta` for brokers, and is not enforced elsewhere. They
know no commands and hooks. Options and secrets become what they ask their user, handed on as the variables that our
SDKs read outside of broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec

from broker.clients.bundle import META
from broker.core.manifest import Manifest, Option

_SCRIPTS = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
_KINDS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
_HERE = "${__dirname}"


def bundle(manifest: Manifest, *, uv: bool) -> bytes | None:
    """The text of `manifest.json`; None for a plugin that only broker can run. `uv`: it has a pyproject.toml."""
    server = _server(manifest.entry, uv=uv) if manifest.entry is not None else None
    if server is None:
        return None
    asked = dict(_options(manifest))
    if variables := {name: "${user_config." + key + "}" for key, (name, _) in asked.items()}:
        server["mcp_config"]["env"] = variables
    made: dict[str, Any] = {
        "manifest_version": "0.4" if server["type"] == "uv" else "0.3",
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description or manifest.name,
        "author": {"name": manifest.publisher or "unknown"},
        "server": server,
        "user_config": {key: option for key, (_, option) in asked.items()},
        "_meta": {META: {"permissions": manifest.permissions.asked()}},
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def _server(entry: str, *, uv: bool) -> dict[str, Any] | None:
    suffix, file = PurePosixPath(entry).suffix.lower(), f"{_HERE}/{entry}"
    if suffix in (".lua", ".wasm"):
        return None
    if suffix == ".py" and uv:
        return _started("uv", entry, "uv", ["run", "--directory", _HERE, entry])
    if suffix == ".py":
        return _started("python", entry, "python3", [file])
    if suffix in _SCRIPTS:
        return _started("node", entry, "node", [file])
    return _started("binary", entry, file, [])


def _started(kind: str, entry: str, command: str, args: list[str]) -> dict[str, Any]:
    return {"type": kind, "entry_point": entry, "mcp_config": {"command": command, "args": args}}


def _options(manifest: Manifest) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """By the key in `user_config`: the variable, and how its user is asked. Lists are no option elsewhere."""
    for name, option in manifest.config.items():
        if option.type in _KINDS:
            yield name, (f"BROKER_CONFIG_{_variable(name)}", dict(_option(name, option)))
    for name in manifest.permissions.secrets:
        about = f"The secret {name} of {manifest.name}"
        asked = {"type": "string", "title": name, "description": about, "sensitive": True, "required": False}
        yield f"secret_{name}", (f"BROKER_SECRET_{_variable(name)}", asked)


def _option(name: str, option: Option) -> Iterator[tuple[str, Any]]:
    yield "type", _KINDS[option.type]
    yield "title", option.title or name
    yield "description", option.description or option.title or name
    yield "required", False
    for key, value in (("default", option.default), ("min", option.minimum), ("max", option.maximum)):
        if value is not None:
            yield key, value


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()
