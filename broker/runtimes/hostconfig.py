"""A plugin changes an option of its own, where its user would: `[plugins.NAME.config]` of the file that names it.

Rule 1: the value is one that its manifest allows, and nothing else in the file changes, comments included.
Rule 2: what changed takes effect like a change by hand: the broker follows its files.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from broker.core.manifest import configured, read_manifest
from broker.core.shape import Wrong
from broker.core.source import MAX_TOML, Faulty, read_text
from broker.errors import BadArguments, ConfigError, HostFailed
from broker.model import Spec
from broker.permissions.written import alone, replace_file


async def configure(spec: Spec, key: str, value: Any) -> None:
    """Put the option there; None takes it out. Raises `BadArguments`, `HostFailed`."""
    await asyncio.to_thread(_configure, spec, key, value)


def _configure(spec: Spec, key: str, value: Any) -> None:
    if spec.cwd is None or not spec.version or not spec.source.endswith(".toml"):
        raise HostFailed(f"{spec.name} has no manifest, so it has no options")
    path = Path(os.path.realpath(spec.source))
    try:
        configured(read_manifest(Path(spec.cwd) / "plugin.toml"), {} if value is None else {key: value})
        with alone(path):
            mode = path.stat().st_mode & 0o777
            replace_file(path, _changed(read_text(path, MAX_TOML), spec.name, key, value).encode())
            path.chmod(mode)
    except Wrong as wrong:
        raise BadArguments(f"the option {wrong.what}", hint=wrong.fix or None) from None
    except (Faulty, ConfigError, OSError, ValueError) as error:
        raise HostFailed(f"the option {key[:100]!r} of {spec.name} cannot be changed: {error}") from None


def _changed(text: str, name: str, key: str, value: Any) -> str:
    """The text of a configuration with another value. ValueError if it does not name the plugin in a table."""
    import tomlkit

    held: Any = tomlkit.parse(text)
    entry = held.get("plugins", {}).get(name)
    if not hasattr(entry, "setdefault"):
        raise ValueError(f"[plugins.{name}] is not in the file any more")
    if value is None:
        entry.get("config", {}).pop(key, None)
    else:
        entry.setdefault("config", tomlkit.table())[key] = value
    return tomlkit.dumps(held)
