"""The table of permissions of one server, put into the text of a config.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any


def with_permissions(text: str, name: str, table: Mapping[str, Sequence[str] | bool]) -> str:
    """`text` with `[servers.NAME.permissions]` as `table`, in the place of the one that is there; the rest stays.

    Raises ValueError if the server is not in it, or is written in a way that this cannot change.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    data = tomllib.loads(text)
    if not isinstance(data.get("servers", {}).get(name), dict):
        raise ValueError(f"[servers.{name}] is not there")
    data["servers"][name]["permissions"] = _plain(table)
    file: Any = tomlkit.parse(text)
    entry = file["servers"][name]
    if "permissions" not in entry:
        entry["permissions"] = tomlkit.inline_table() if isinstance(entry, InlineTable) else tomlkit.table()
    held = entry["permissions"]
    for kind in [kind for kind in held if kind not in table]:
        del held[kind]
    for kind, targets in _plain(table).items():
        if held.get(kind) != targets:
            held[kind] = targets
    changed = tomlkit.dumps(file)
    if tomllib.loads(changed) != data:
        raise ValueError(f"[servers.{name}] is written in a way that cannot be changed")
    return changed


def _plain(table: Mapping[str, Sequence[str] | bool]) -> dict[str, list[str] | bool]:
    return {kind: targets if isinstance(targets, bool) else list(targets) for kind, targets in table.items()}
