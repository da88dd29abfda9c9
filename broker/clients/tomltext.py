"""One table put into the text of a TOML file, or taken out of it again; every other byte stays.

Rule 1: a table goes to the end, behind a blank line; the first one of a file that is made has none.
Rule 2: a text without a last line end gets none, so that it comes back as it was.
Rule 3: where these words do not stand any more, or cannot, tomlkit changes what it must.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from broker.core.shape import table

if TYPE_CHECKING:
    from tomlkit.items import InlineTable, Table

Data = dict[str, Any]


def put(text: str | None, section: str, name: str, entry: Mapping[str, object]) -> str:
    """`text` with the table `[section.name]`; None: there is no file. The name must be new.

    Raises ValueError if the text has a `section` that is no table.
    """
    if text is None:
        return _block(section, name, entry, "\n") + "\n"
    data = tomllib.loads(text)
    if table(data.get(section, {})) is None:
        raise ValueError(f"`{section}` is not a table")
    newline = "\r\n" if "\r\n" in text else "\n"
    block = newline + _block(section, name, entry, newline)
    added = text + block + newline if not text or text.endswith("\n") else text + newline + block
    if _parsed(added) == _with(data, section, name, entry):
        return added
    return _set(text, section, name, entry)


def swap(text: str, section: str, name: str, entry: Mapping[str, object]) -> str:
    """`text` with another table in the place of one that is there; it moves to the end."""
    return put(take(text, section, name), section, name, entry)


def take(text: str, section: str, name: str) -> str | None:
    """`text` without that table, and without what was put in with it; None: the file was made for it."""
    data = tomllib.loads(text)
    if name not in (table(data.get(section)) or {}):
        return text
    rest = _cut(text, section, name)
    left = _parsed(rest)
    if left is None or name in left.get(section, {}) or _without(left, section, name) != _without(data, section, name):
        rest = _removed(text, section, name)
    return None if not rest and text.startswith("[") else rest


def _cut(text: str, section: str, name: str) -> str:
    """`text` without the lines of the table and of those below it; comments behind their last line stay."""
    kept: list[str] = []
    loose: list[str] = []  # comments and blank lines that may belong to what follows
    inside = False
    for line in re.split(r"(?<=\n)", text):
        if line.lstrip().startswith("[") and (header := _parsed(line)) is not None:
            kept += loose
            loose = []
            inside = name in (table(header.get(section)) or {})
            if inside and kept and not kept[-1].strip():
                kept.pop()
        if not inside:
            kept.append(line)
        elif not line.strip() or line.lstrip().startswith("#"):
            loose.append(line)
        else:
            loose = []
    rest = "".join([*kept, *loose])
    return rest if not inside or loose or text.endswith("\n") else rest.removesuffix("\n").removesuffix("\r")


def _block(section: str, name: str, entry: Mapping[str, object], newline: str) -> str:
    """The table as text, without its last line end."""
    import tomlkit

    outer = tomlkit.table(is_super_table=True)
    outer.append(name, _table(entry))
    text = tomlkit.dumps(tomlkit.document().append(section, outer)).rstrip("\n")
    return text.replace("\n", newline)


def _table(entry: Mapping[str, object]) -> Table:
    import tomlkit

    made = tomlkit.table()
    for key, value in entry.items():
        inner = table(value)
        if inner is None:
            made.append(key, tomlkit.item(value))
        else:
            made.append(key, _inline(inner))
    return made


def _inline(entry: Mapping[str, object]) -> InlineTable:
    import tomlkit

    made = tomlkit.inline_table()
    for key, value in entry.items():
        made.append(key, value)
    return made


def _set(text: str, section: str, name: str, entry: Mapping[str, object]) -> str:
    import tomlkit

    file: Any = tomlkit.parse(text)
    file.setdefault(section, tomlkit.table(is_super_table=True))[name] = _inline(entry)
    return tomlkit.dumps(file)


def _removed(text: str, section: str, name: str) -> str:
    import tomlkit

    file: Any = tomlkit.parse(text)
    del file[section][name]
    return tomlkit.dumps(file)


def _parsed(text: str) -> Data | None:
    try:
        return tomllib.loads(text)
    except ValueError:
        return None


def _with(data: Data, section: str, name: str, entry: Mapping[str, object]) -> Data:
    return {**data, section: {**data.get(section, {}), name: dict(entry)}}


def _without(data: Data, section: str, name: str) -> Data:
    """`data` without the entry, and without the section if it was all there was."""
    rest = {key: value for key, value in data.get(section, {}).items() if key != name}
    outer = {key: value for key, value in data.items() if key != section}
    return {**outer, section: rest} if rest else outer
