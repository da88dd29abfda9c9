"""The values of a file against the struct they should fill; what does not fit is said in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

Key = str | int  # a name in a table, or a place in a list
T = TypeVar("T")

# Patterns of the error path are compiled when there is an error.
_AT = r"(?s)(.*) - at `\$((?:\.\w+|\[\d+\]|\[\.\.\.\])*)`"
_STEP = r"\w+|\.\.\."
_UNKNOWN = r"(?s)Object contains unknown field `(.*)`"
_MISSING = r"(?s)Object missing required field `(.*)`"
_EXPECTED = r"Expected `([^`]+)`( of length)?(?: >= (\d+))?(?:, got `([^`]+)`)?"
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "datetime": "a date",
}


class Wrong(Exception):
    """One thing wrong with a value: `keys` lead to it, `what` is a sentence, `fix` says what to do."""

    def __init__(self, what: str, *, keys: Sequence[Key] = (), fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.keys = tuple(keys)
        self.fix = fix


def shaped(data: object, kind: type[T]) -> T:
    """`data` as a `kind`, nothing coerced.

    A field whose type has a classmethod `parse` reads itself (its ValueError is a sentence). Raises Wrong.
    """
    try:
        return msgspec.convert(data, kind, dec_hook=_parse)
    except msgspec.ValidationError as error:
        raise _explained(str(error), data, kind) from None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word somebody who wrote `word` most likely meant."""
    from difflib import get_close_matches  # only a mistake pays for it

    plain = {name.lower().replace("_", "-"): name for name in known}
    close = get_close_matches(word.lower().replace("_", "-"), plain, n=1)
    return plain[close[0]] if close else None


def unknown_key(keys: Sequence[Key], known: Iterable[str]) -> Wrong:
    """What is said about the key at the end of `keys`, where only the `known` ones have a meaning."""
    known = sorted(known)
    meant = nearest(str(keys[-1]), known)
    if meant is not None:
        what = f"unknown key {dotted(keys)}; did you mean `{meant}`?"
        return Wrong(what, keys=keys, fix=f"Rename it to `{meant}`, or remove it.")
    fix = f"Remove it; the keys known here are {', '.join(known)}." if known else "Remove it."
    return Wrong(f"unknown key {dotted(keys)}.", keys=keys, fix=fix)


def dotted(keys: Sequence[Key]) -> str:
    """Keys as a person writes them: `hooks[1].on`, in backticks."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return f"`{text.removeprefix('.')[:200]}`"


def _parse(kind: type[Any], value: object) -> object:
    return value if kind is object else kind.parse(value)


def _explained(message: str, data: object, kind: type[Any]) -> Wrong:
    located = re.fullmatch(_AT, message)
    steps = re.findall(_STEP, located[2]) if located else []
    keys = _resolved(steps, message, data, kind)
    return _in_words(located[1] if located else message, keys, kind)


def _in_words(said: str, keys: list[Key], kind: type[Any]) -> Wrong:
    if found := re.fullmatch(_UNKNOWN, said):
        return unknown_key([*keys, found[1]], _fields(kind, keys))
    if found := re.fullmatch(_MISSING, said):
        return Wrong(f"{dotted([*keys, found[1]])} is missing.", keys=[*keys, found[1]])
    if said.startswith("Invalid enum value"):
        choices = ", ".join(f'"{choice}"' for choice in _choices(kind, keys))
        return Wrong(f"{dotted(keys)} must be one of {choices}.", keys=keys)
    subject = dotted(keys) if keys else "this"
    if found := re.fullmatch(_EXPECTED, said):
        return Wrong(f"{subject} {_demand(found)}.", keys=keys)
    return Wrong(f"{subject}: {said}", keys=keys)


def _demand(found: re.Match[str]) -> str:
    wanted, length, least, got = found.groups()
    if length:
        return "must not be empty"
    names = [name for name in wanted.split(" | ") if name != "null"]
    text = " or ".join(_WORDS.get(name, name) for name in names)
    if least:
        text += f" of at least {least}"
    return f"must be {text}" + (f", not {_WORDS.get(got, got)}" if got else "")


def _resolved(steps: Iterable[str], message: str, data: object, kind: type[Any]) -> list[Key]:
    """The keys of an error; msgspec writes `[...]` for "some value of this dict", so each is tried alone."""
    keys: list[Key] = []
    here = data
    for step in steps:
        key: Key = int(step) if step.isdigit() and isinstance(here, list) else step
        if step == "...":
            key = _culprit(keys, message, data, kind, cast("dict[str, object]", here))
        keys.append(key)
        here = cast("Any", here)[key]
    return keys


def _culprit(keys: list[Key], message: str, data: object, kind: type[Any], here: dict[str, object]) -> str:
    for key, value in here.items():
        try:
            msgspec.convert(_with(data, keys, {key: value}), kind, dec_hook=_parse)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    return next(iter(here))


def _with(data: object, keys: Sequence[Key], value: object) -> object:
    if not keys:
        return value
    copy = cast("Any", dict(cast("Any", data)) if isinstance(data, dict) else list(cast("Any", data)))
    copy[keys[0]] = _with(copy[keys[0]], keys[1:], value)
    return copy


def _fields(kind: type[Any], keys: Sequence[Key]) -> list[str]:
    from msgspec import inspect

    node = _node(kind, keys)
    return [field.encode_name for field in node.fields] if isinstance(node, inspect.StructType) else []


def _choices(kind: type[Any], keys: Sequence[Key]) -> Sequence[object]:
    from msgspec import inspect

    node = _node(kind, keys)
    return node.values if isinstance(node, inspect.LiteralType) else ()


def _node(kind: type[Any], keys: Sequence[Key]) -> object:
    """msgspec's description of the type that stands at `keys`."""
    from msgspec import inspect

    node = _bare(inspect.type_info(kind))
    for key in keys:
        if isinstance(node, inspect.StructType):
            node = next((field.type for field in node.fields if field.encode_name == key), None)
        elif isinstance(node, inspect.DictType):
            node = node.value_type
        elif isinstance(node, inspect.VarTupleType | inspect.ListType):
            node = node.item_type
        node = _bare(node)
    return node


def _bare(node: object) -> object:
    from msgspec import inspect

    if isinstance(node, inspect.UnionType):
        return next((part for part in node.types if not isinstance(part, inspect.NoneType)), None)
    return node


def table(value: object) -> Mapping[str, object] | None:
    """`value` if it is a table, else None."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else None
