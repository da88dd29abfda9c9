"""The table of permissions of one server, put into the text of a config.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from broker.core.shape import table as as_table

Plain = dict[str, list[str] | bool]


def with_permissions(text: str, name: str, table: Mapping[str, Sequence[str] | bool]) -> str:
    """`text` with `[servers.NAME.permissions]` as `table`, in the place of the one that is there; the rest stays.

    Raises ValueError if the server is not in it, or is written in a way that this cannot change.
    """
    data = tomllib.loads(text)
    if as_table((as_table(data.get("servers")) or {}).get(name)) is None:
        raise ValueError(f"[servers.{name}] is not there")
    plain: Plain = {kind: each if isinstance(each, bool) else list(each) for kind, each in table.items()}
    data["servers"][name]["permissions"] = plain
    for inline in (False, True):  # a table of its own would end one that is written with dots
        changed = _changed(text, name, plain, inline)
        if _parsed(changed) == data:
            return changed
    raise ValueError(f"[servers.{name}] is written in a way that cannot be changed")


def _changed(text: str, name: str, table: Plain, inline: bool) -> str:
    import tomlkit
    from tomlkit.items import InlineTable

    file: Any = tomlkit.parse(text)
    entry = file["servers"][name]
    if "permissions" not in entry:
        small = inline or isinstance(entry, InlineTable)
        entry["permissions"] = tomlkit.inline_table() if small else tomlkit.table()
    held = entry["permissions"]
    for kind in [kind for kind in held if kind not in table]:
        del held[kind]
    for kind, targets in table.items():
        if held.get(kind) != targets:
            held[kind] = targets
    return tomlkit.dumps(file)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except ValueError:
        return None
