"""`broker types`: what a plugin's manifest says, written down for the tools that read its code while it is written.

For TypeScript and JavaScript a `broker-env.d.ts`, by which an option or a secret that the manifest does not list is an
error of the compiler. For Lua the definitions for its language server, with the plugin's own options among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from broker.core.manifest import Manifest, Option, examine
from broker.core.source import Faulty
from broker.errors import ConfigError

HOUSE = Path(__file__).parent.parent
TYPESCRIPT = "broker-env.d.ts"
LUA, LUARC = "types/broker.d.lua", ".luarc.json"
_SCRIPTS = (".ts", ".mts", ".cts", ".js", ".mjs", ".cjs")
_TS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "array": "unknown[]"}
_LUA = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "array": "any[]"}


def declarations(folder: Path) -> dict[str, str]:
    """The texts of all files to write, by their paths in the plugin's folder; empty for other languages.

    Raises `ConfigError` for a manifest that is wrong.
    """
    try:
        manifest = examine(folder / "plugin.toml")
    except Faulty as faulty:
        problem = faulty.problem
        raise ConfigError(f"{problem.where}: {problem.what}", hint=problem.fix or None) from None
    entry = manifest.entry or ""
    if entry.endswith(_SCRIPTS):
        return {TYPESCRIPT: _typescript(manifest)}
    if entry.endswith(".lua"):
        # Whoever changed how their language server is set up wants it so.
        settings = {} if (folder / LUARC).exists() else {LUARC: _luarc()}
        return {LUA: _lua(manifest), **settings}
    return {}


def write(folder: Path) -> list[str]:
    """Put them there, over older ones; their paths in it. Raises `ConfigError`."""
    files = declarations(folder)
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}", hint="Check its rights.") from None
    return sorted(files)


def _typescript(manifest: Manifest) -> str:
    options = "".join(_member(name, option) for name, option in manifest.config.items())
    secrets = " | ".join(map(json.dumps, manifest.permissions.secrets))
    return (
        "// Written by `broker types` from plugin.toml; run it again when that changes.\n"
        'import "@plugin-broker/sdk";\n\n'
        'declare module "@plugin-broker/sdk" {\n'
        "  interface Manifest {\n"
        f"    config: {{{options and chr(10)}{options}{options and '    '}}};\n"
        f"    secrets: {secrets or 'never'};\n"
        "  }\n"
        "}\n"
    )


def _member(name: str, option: Option) -> str:
    key = name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json.dumps(name)
    kind = " | ".join(map(json.dumps, option.enum)) or _TS[option.type]
    about = " ".join(option.description.split()).replace("*/", "* /")
    said = f"      /** {about} */\n" if about else ""
    return f"{said}      {key}{'?' if option.default is None else ''}: {kind};\n"


def _lua(manifest: Manifest) -> str:
    """The definitions of the house; what a plugin may ask `config.get` and `secrets.get` for stands with these."""
    text = (HOUSE / "runtimes" / "lua" / "broker.d.lua").read_text("utf-8")
    for function, lines in (
        ("function broker.config.get(key) end", list(_options(manifest))),
        ("function broker.secrets.get(name) end", list(_secrets(manifest))),
    ):
        text = text.replace(function, "".join(f"---@overload fun({line}\n" for line in lines) + function)
    return text


def _options(manifest: Manifest) -> Iterator[str]:
    for name, option in manifest.config.items():
        yield f"key: {json.dumps(name)}): {_LUA[option.type]}{'?' if option.default is None else ''}"


def _secrets(manifest: Manifest) -> Iterator[str]:
    for name in manifest.permissions.secrets:
        yield f"name: {json.dumps(name)}): string?"


def _luarc() -> str:
    return (Path(__file__).parent / "templates" / "lua" / "tool" / LUARC).read_text("utf-8")
