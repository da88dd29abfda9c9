"""From type hints to JSON Schema, and from JSON to what a function expects.

Rule 1: nothing here runs before a client lists or calls something: a plugin starts faster than its hints are read.
Rule 2: a hint that cannot be described is an error with file, line and what to write instead; it is never guessed at.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Meta, Raw

from broker_sdk.docstring import parsed
from broker_sdk.errors import Misdeclared

Json = dict[str, Any]
_REFERENCE = "#/$defs/{name}"
_MEMBERS = ("title", "description", "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
_DATE_TIME = Meta(extra_json_schema={"format": "date-time"})  # which msgspec says only of those with a zone
_PLAIN = (type(None), bool, int, float, str)  # defaults that msgspec describes itself


class Signature:
    """The parameters of a function: their schema, and how JSON becomes its keyword arguments.

    `ctx`: the name of the parameter that takes the `Ctx`, or None. `offered`: what the schema may have of them, in
    order (all but `ctx`). Raises `Misdeclared` when something of it is not understood.
    """

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self._function, self._what = function, what
        self.place = _place(function)
        self.description, self._told = parsed(function.__doc__)
        hints = self._hints()
        self.returns = hints.pop("return", Any)
        self.ctx: str | None = None
        self.offered: dict[str, tuple[Any, Any]] = {}  # name -> hint, default (`REQUIRED` if there is none)
        self._read(hints)
        self.names = tuple(self.offered)
        self._struct = self._defined()
        self._decode = self._guarded(lambda: msgspec.json.Decoder(self._struct, dec_hook=from_json).decode)

    def arguments(self, given: bytes | Raw) -> Json:
        """The keyword arguments in a JSON object. Raises `ValueError` with a text for who called."""
        try:
            found = self._decode(given)
        except msgspec.MsgspecError as error:
            raise ValueError(_worded(str(error))) from None
        except RecursionError:
            raise ValueError("the arguments are nested too deep") from None
        return {name: getattr(found, name) for name in self.names}

    def texts(self, given: Json) -> Json:
        """The keyword arguments in texts, which prompts and URIs have. Raises `ValueError`."""
        try:
            found = msgspec.convert(given, self._struct, strict=False, dec_hook=from_json)
        except msgspec.ValidationError as error:
            raise ValueError(_worded(str(error))) from None
        return {name: getattr(found, name) for name in self.names}

    def schema(self) -> Json:
        """The JSON Schema of the parameters; an object that takes no other members."""
        found = self._guarded(lambda: described(self._struct))
        found.pop("title", None)
        for name, member in found.get("properties", {}).items():
            if self._told.get(name):
                member.setdefault("description", self._told[name])
            default = self.offered[name][1]
            if "default" not in member and default is not REQUIRED:
                _note_default(member, default)
        return found

    def output(self) -> Output:
        """What the function returns."""
        return Output(self.returns)

    def _hints(self) -> Json:
        try:
            return typing.get_type_hints(self._function, include_extras=True)
        except Exception as error:
            raise Misdeclared(
                f"{self._what} ({self.place}): its hints cannot be read: {error}. Import the names at run time, at the "
                "top of the file, not under `if TYPE_CHECKING`."
            ) from error

    def _read(self, hints: Mapping[str, Any]) -> None:
        from inspect import Parameter, signature

        from broker_sdk.ctx import Ctx

        for name, parameter in signature(self._function).parameters.items():
            hint = hints.get(name, Any)
            if hint is Ctx or (name == "ctx" and name not in hints):
                self.ctx = name
            elif parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD, Parameter.POSITIONAL_ONLY):
                raise Misdeclared(f"{self._what} ({self.place}): `{parameter}` cannot be offered; name every parameter")
            else:
                default = REQUIRED if parameter.default is Parameter.empty else parameter.default
                self.offered[name] = plain(hint), default

    def _defined(self) -> type[msgspec.Struct]:
        fields = [_field(name, hint, default) for name, (hint, default) in self.offered.items()]
        return self._guarded(lambda: msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True))

    def _guarded(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (TypeError, NotImplementedError) as error:
            raise Misdeclared(f"{self._what} ({self.place}): {_advised(str(error))}") from error


class _Required:
    """Stands where a parameter has no default."""


REQUIRED = _Required()


class Output:
    """What a hint of a result means: whether it is structured, its schema, and how a value becomes JSON.

    Structured is everything but texts, contents, None and what has no hint. MCP before 2026-07-28 knows only objects
    there, so anything else is put into one, as its member `result`.
    """

    def __init__(self, hint: Any) -> None:
        self.schema: Json | None = None
        self.wrapped = False
        self._type: Any = None
        if not _unstructured(hint):
            self._describe(plain(hint))

    def _describe(self, hint: Any) -> None:
        try:
            found = described(hint)
            self._check = msgspec.json.Decoder(hint, dec_hook=from_json).decode
        except (TypeError, NotImplementedError):  # a class of the author's own: its text is the result
            return
        self._type = hint
        self.wrapped = found.get("type") != "object"
        if self.wrapped:
            shared = found.pop("$defs", None)
            found = {"type": "object", "properties": {"result": found}, "required": ["result"]}
            found.update({"$defs": shared} if shared else {})
        found.pop("title", None)
        self.schema = found

    def encoded(self, value: Any) -> bytes:
        """The value as JSON. Raises `ValueError` when it is not what the hint promised to the client."""
        try:
            data = encode(value)
            if self._type is not None:
                self._check(data)
        except (msgspec.MsgspecError, TypeError) as error:
            raise ValueError(f"it returned what its hint does not allow: {error}") from None
        return data


def _unstructured(hint: Any) -> bool:
    from broker_sdk.content import Content, Message

    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, list, tuple, typing.Annotated) or origin in _ITERABLES:
        parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
        contents = any(_is(part, Content) or _is(part, Message) or _of_contents(part) for part in parts)
        return contents or (origin not in (list, tuple, *_ITERABLES) and all(_unstructured(part) for part in parts))
    return hint in (Any, str, bytes, None, type(None), object) or _is(hint, Content) or _is(hint, Message)


def _of_contents(hint: Any) -> bool:
    """Whether some of a union are contents."""
    from broker_sdk.content import Content

    return any(_is(part, Content) for part in typing.get_args(hint))


_ITERABLES = tuple(typing.get_origin(each) for each in (Iterable[int], typing.Sequence[int]))


def _is(hint: Any, kind: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)


# Hints


def plain(hint: Any) -> Any:
    """A hint as msgspec knows it: `Annotated` texts and other libraries' constraints become `Meta`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        annotated: Any = typing.Annotated
        return annotated[(plain(inner[0]), *_metas(inner[1:]))]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(plain(part) for part in inner)]  # noqa: UP007
    if origin in (None, typing.Literal) or not inner:
        dated = getattr(hint, "__module__", "") == "datetime" and hint.__name__ == "datetime"
        return typing.Annotated[hint, _DATE_TIME] if dated else hint
    parts = tuple(part if part is Ellipsis else plain(part) for part in inner)
    return hint if parts == inner else hint.copy_with(parts) if hasattr(hint, "copy_with") else origin[parts]


def _metas(marks: Iterable[Any]) -> list[Any]:
    """The `Meta`s of what stands in an `Annotated`: a text is a description, and an object says it by its members."""
    found: list[Any] = []
    for mark in marks:
        if isinstance(mark, Meta):
            found.append(mark)
        elif isinstance(mark, str):
            found.append(Meta(description=mark))
        else:
            said = {name: getattr(mark, name, None) for name in _MEMBERS}
            known = {name: value for name, value in said.items() if value is not None}
            found += [Meta(**known)] if known else []
            found += _metas(getattr(mark, "metadata", ()))
    return found or [Meta()]


def _field(name: str, hint: Any, default: Any) -> tuple[Any, ...]:
    if default is REQUIRED:
        return name, hint
    if isinstance(default, _PLAIN):
        return name, hint, default
    from copy import copy

    return name, hint, msgspec.field(default_factory=lambda: copy(default))


def described(hint: Any) -> Json:
    """The JSON Schema of a hint, by itself: what it refers to is in its `$defs`. Raises `TypeError`."""
    hoisted: Json = {}

    def hook(kind: Any) -> Json:
        return _schema_of(kind, hoisted)

    (found,), shared = msgspec.json.schema_components([hint], schema_hook=hook, ref_template=_REFERENCE)
    name = found.get("$ref", "").removeprefix("#/$defs/")
    if name and _REFERENCE.format(name=name) not in str({**shared, name: shared[name]}):
        found = shared.pop(name)
    elif name:
        found = dict(shared[name])  # it contains itself, and so stays among them too
    definitions = {**shared, **hoisted}
    return {**found, **({"$defs": definitions} if definitions else {})}


def _schema_of(kind: Any, hoisted: Json) -> Json:
    from pathlib import PurePath

    if _is(kind, PurePath):
        return {"type": "string", "format": "path"}
    if hasattr(kind, "model_json_schema"):  # pydantic
        found: Json = kind.model_json_schema(ref_template="#/$defs/{model}")
        hoisted.update(found.pop("$defs", {}))
        return found
    raise NotImplementedError(f"`{getattr(kind, '__qualname__', kind)}` has no JSON Schema")


def from_json(kind: Any, value: Any) -> Any:
    from pathlib import PurePath

    if hasattr(kind, "model_validate"):  # pydantic; its error is a ValueError
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise ValueError(str(error).split("\n    For further", 1)[0]) from None
    if _is(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"expected `{getattr(kind, '__name__', kind)}`, got `{type(value).__name__}`")


def _to_json(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    return str(value)


encode = msgspec.json.Encoder(enc_hook=_to_json).encode


def _note_default(member: Json, default: Any) -> None:
    try:
        member["default"] = msgspec.json.decode(encode(default))
    except (TypeError, ValueError):  # a default that only Python can say
        return


# Words


def _place(function: Callable[..., Any]) -> str:
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def _worded(error: str) -> str:
    """msgspec's words, with the name of the parameter first."""
    said, _, path = error.partition(" - at `$")
    where = path.rstrip("`").lstrip(".")
    return f"`{where}`: {said[:1].lower()}{said[1:]}" if where else f"{said[:1].lower()}{said[1:]}"


def _advised(error: str) -> str:
    if "Type unions may not contain" in error:
        return f"{error}. Give its classes a tag: `class A(msgspec.Struct, tag=True)`."
    return f"{error}. Use types of JSON, dataclasses, TypedDicts, msgspec.Struct or pydantic models."
