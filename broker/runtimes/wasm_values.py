"""Values of WASM components, from and to Python, by the types that a component says its functions have.

Ours and not wasmtime's Python face: that one looks at types anew for every value, takes a second for a MiB of bytes,
and wraps a number that does not fit.

    bool, char, string, s8 to u64, float    bool, str, str, int, float
    list<u8>, list, tuple                   bytes, list, list
    record, flags, enum                     dict, list of names, str
    variant, result                         (case, value), ("ok" or "err", value)
    option                                  None or the value
    own, borrow                             int, by which the host knows its resource

Rule 1: a type comes from a stranger: it is looked at to a depth and a number of parts, and no further.
Rule 2: so does a value: no more than `MOST` parts of one are looked at, bytes and texts counting once.
Rule 3: what is made for wasmtime can be freed at any time, also when only half of it was filled in.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from msgspec import Struct

from broker.runtimes.wasm_abi import Unfit
from broker.runtimes.wasm_engine import raw

MOST = 100_000  # parts of one value; about 0.1 s, in which its guest cannot be ended
DEPTH = 32  # of a type
MOST_TYPES = 5000  # parts of the types of one component

_types: Any = importlib.import_module("wasmtime.component._types")
_Value: Any = raw.wasmtime_component_val_t
_Pointer: Any = cast(Any, ctypes).POINTER(raw.wasmtime_component_resource_host_t)
_SIZE, _AT = ctypes.sizeof(_Value), _Value.of.offset
_PIECE = 1 << 16  # bytes at once: each takes `_SIZE` bytes meanwhile
# By wasmtime's name of a type: ours, and the number and member of its values.
_PLAIN = {
    "Bool": ("bool", 0, "boolean"),
    "S8": ("s8", 1, "s8"),
    "U8": ("u8", 2, "u8"),
    "S16": ("s16", 3, "s16"),
    "U16": ("u16", 4, "u16"),
    "S32": ("s32", 5, "s32"),
    "U32": ("u32", 6, "u32"),
    "S64": ("s64", 7, "s64"),
    "U64": ("u64", 8, "u64"),
    "F32": ("f32", 9, "f32"),
    "F64": ("f64", 10, "f64"),
    "Char": ("char", 11, "character"),
    "String": ("string", 12, "string"),
}
_KIND = {name: kind for name, kind, _ in _PLAIN.values()} | {
    "bytes": 13,
    "list": 13,
    "record": 14,
    "tuple": 15,
    "variant": 16,
    "enum": 17,
    "option": 18,
    "result": 19,
    "flags": 20,
    "resource": 21,
}
_MEMBER = {name: member for name, _, member in _PLAIN.values()}
RANGES = {f"{sign}{bits}": (_low, _low + 2**bits - 1)
          for bits in (8, 16, 32, 64) for sign, _low in (("s", -(2 ** (bits - 1))), ("u", 0))}  # fmt: skip


class Shape(Struct, frozen=True):
    """A type. `names` of fields, cases or flags; `parts` are the types in it, None for a case without a value."""

    kind: str
    names: tuple[str, ...] = ()
    parts: tuple[Shape | None, ...] = ()
    resource: Any = None  # wasmtime's word for it

    @property
    def only(self) -> Shape:
        """The type in a list or an option."""
        part = self.parts[0]
        assert part is not None
        return part


class Shapes:
    """Makes the shapes of one component's types."""

    def __init__(self) -> None:
        self._left = MOST_TYPES

    def of(self, type: Any, depth: int = 0) -> Shape:
        """Raises `Unfit` for what cannot be passed on."""
        self._left -= 1
        if depth > DEPTH or self._left < 0:
            raise Unfit("its functions have types that are too large or too deep")
        name = type.__class__.__name__
        if name in _PLAIN:
            return Shape(_PLAIN[name][0])
        make = _SHAPES.get(name)
        if make is None:
            raise Unfit(f"its functions have types that broker cannot pass on ({name})")
        return make(lambda part: self.of(part, depth + 1), type)

    def function(self, type: Any) -> Function:
        """The same for a function."""
        params = tuple((name, self.of(each)) for name, each in type.params)
        result = type.result
        return Function(params, None if result is None else self.of(result))


class Function(Struct, frozen=True):
    """What a function takes and gives."""

    params: tuple[tuple[str, Shape], ...]
    result: Shape | None


_Of = Callable[[Any], Shape]


def _list(of: _Of, type: Any) -> Shape:
    element = of(type.element)
    return Shape("bytes") if element.kind == "u8" else Shape("list", (), (element,))


def _cases(kind: str, of: _Of, cases: Sequence[tuple[str, Any]]) -> Shape:
    parts = tuple(None if part is None else of(part) for _, part in cases)
    return Shape(kind, tuple(name for name, _ in cases), parts)


_SHAPES: dict[str, Callable[[_Of, Any], Shape]] = {
    "ListType": _list,
    "RecordType": lambda of, type: _cases("record", of, type.fields),
    "TupleType": lambda of, type: Shape("tuple", (), tuple(map(of, type.elements))),
    "VariantType": lambda of, type: _cases("variant", of, type.cases),
    "EnumType": lambda of, type: Shape("enum", tuple(type.names)),
    "OptionType": lambda of, type: Shape("option", (), (of(type.payload),)),
    "ResultType": lambda of, type: _cases("result", of, [("ok", type.ok), ("err", type.err)]),
    "FlagsType": lambda of, type: Shape("flags", tuple(type.names)),
    "OwnType": lambda of, type: Shape("resource", resource=type.ty),
    "BorrowType": lambda of, type: Shape("resource", resource=type.ty),
}


class Reader:
    """Reads values that wasmtime gave; it keeps them."""

    def __init__(self, context: Any) -> None:
        self._context, self._left = context, MOST

    def value(self, shape: Shape, given: Any) -> Any:
        """Raises `ValueError` for one with too many parts."""
        self._left -= 1
        self.bound(0)
        held = given.of
        kind = shape.kind
        if kind in RANGES or kind in ("bool", "f32", "f64"):
            return getattr(held, _MEMBER[kind])
        return _READ[kind](self, shape, held)

    def bound(self, parts: int) -> None:
        """Raises `ValueError` if so many more are too many."""
        if self._left < parts:
            raise ValueError(f"a value of more than {MOST} parts was handed over")

    def listed(self, shape: Shape, items: Any) -> list[Any]:
        self.bound(items.size)
        return [self.value(shape, items.data[place]) for place in range(items.size)]

    def many(self, data: Any, shapes: Sequence[Shape | None]) -> list[Any]:
        return [self.value(cast(Shape, shape), data[place]) for place, shape in enumerate(shapes)]

    def case(self, shape: Shape, name: str, pointer: Any) -> tuple[str, Any]:
        part = shape.parts[shape.names.index(name)]
        return name, None if part is None else self.value(part, pointer[0])

    def resource(self, pointer: Any) -> int:
        """Its number. A borrowed one is given back by this."""
        host: Any = _Pointer()
        error = raw.wasmtime_component_resource_any_to_host(self._context, pointer, ctypes.byref(host))
        if error:
            raw.wasmtime_error_delete(error)
            raise ValueError("a resource that is not the host's was handed over")
        number = raw.wasmtime_component_resource_host_rep(host)
        raw.wasmtime_component_resource_host_delete(host)
        return number


def _text(vector: Any) -> str:
    return ctypes.string_at(vector.data, vector.size).decode("utf-8", "replace") if vector.size else ""


def _bytes_of(list: Any) -> bytes:
    if not list.size:
        return b""
    start = ctypes.cast(list.data, ctypes.c_void_p).value or 0
    pieces = range(0, list.size, _PIECE)
    return b"".join(
        ctypes.string_at(start + at * _SIZE, min(_PIECE, list.size - at) * _SIZE)[_AT::_SIZE] for at in pieces
    )


def _record_read(reader: Reader, shape: Shape, held: Any) -> dict[str, Any]:
    entries = held.record.data
    return {
        name: reader.value(cast(Shape, part), entries[place].val)
        for place, (name, part) in enumerate(zip(shape.names, shape.parts, strict=True))
    }


def _result_read(reader: Reader, shape: Shape, held: Any) -> tuple[str, Any]:
    return reader.case(shape, "ok" if held.result.is_ok else "err", held.result.val)


_READ: dict[str, Callable[[Reader, Shape, Any], Any]] = {
    "char": lambda reader, shape, held: chr(held.character),
    "string": lambda reader, shape, held: _text(held.string),
    "bytes": lambda reader, shape, held: _bytes_of(held.list),
    "list": lambda reader, shape, held: reader.listed(shape.only, held.list),
    "record": _record_read,
    "tuple": lambda reader, shape, held: reader.many(held.tuple.data, shape.parts),
    "variant": lambda reader, shape, held: reader.case(shape, _text(held.variant.discriminant), held.variant.val),
    "enum": lambda reader, shape, held: _text(held.enumeration),
    "option": lambda reader, shape, held: reader.value(shape.only, held.option[0]) if held.option else None,
    "result": _result_read,
    "flags": lambda reader, shape, held: [_text(held.flags.data[place]) for place in range(held.flags.size)],
    "resource": lambda reader, shape, held: reader.resource(held.resource),
}


class Writer:
    """Fills in values for wasmtime, which takes them or lets them be freed."""

    def __init__(self, context: Any, resource: Callable[[Any], Any] | None = None) -> None:
        """`resource` makes wasmtime's word for a resource of the host's."""
        self._context, self.resource = context, resource

    def value(self, shape: Shape, value: Any, place: Any) -> None:
        """Raises `ValueError` or `TypeError` for a value that is not of this type."""
        kind = shape.kind
        if kind in RANGES:
            low, high = RANGES[kind]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{value!r:.60} is no {kind}, which is {low} to {high}")
        held = place.of
        if kind in _MEMBER and kind not in ("char", "string"):
            setattr(held, _MEMBER[kind], value)
        else:
            _WRITE[kind](self, shape, value, held)
        place.kind = _KIND[kind]

    def case(self, shape: Shape, name: str, value: Any) -> Any:
        """A pointer to the value of a case."""
        if name not in shape.names:
            raise ValueError(f"{name!r:.60} is none of {', '.join(shape.names)}")
        part = shape.parts[shape.names.index(name)]
        return None if part is None else self.boxed(part, value)

    def boxed(self, shape: Shape, value: Any) -> Any:
        box = _Value()
        try:
            self.value(shape, value, box)
        except BaseException:
            raw.wasmtime_component_val_delete(ctypes.byref(box))
            raise
        return raw.wasmtime_component_val_new(ctypes.byref(box))


def put(vector: Any, text: str) -> None:
    """Let a vector of wasmtime's hold this text."""
    data = text.encode()
    raw.wasm_byte_vec_new(ctypes.byref(vector), len(data), (ctypes.c_uint8 * len(data)).from_buffer_copy(data))


def _blank(vector: Any, make: Callable[[Any, int], None], count: int, size: int) -> None:
    make(ctypes.byref(vector), count)
    if count:
        ctypes.memset(vector.data, 0, count * size)  # a list of false can be freed


def _char_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    held.character = ord(value)


def _bytes_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    data = bytes(value)
    _blank(held.list, raw.wasmtime_component_vallist_new_uninit, len(data), _SIZE)
    start = ctypes.cast(held.list.data, ctypes.c_void_p).value or 0
    for at in range(0, len(data), _PIECE):
        piece = data[at : at + _PIECE]
        values = bytearray(len(piece) * _SIZE)
        values[0::_SIZE] = bytes([_KIND["u8"]]) * len(piece)
        values[_AT::_SIZE] = piece
        ctypes.memmove(start + at * _SIZE, bytes(values), len(values))


def _list_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    items = cast(Sequence[Any], value)
    _blank(held.list, raw.wasmtime_component_vallist_new_uninit, len(items), _SIZE)
    for place, item in enumerate(items):
        writer.value(shape.only, item, held.list.data[place])


def _tuple_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    if len(value) != len(shape.parts):
        raise ValueError(f"a list of {len(shape.parts)} was expected")
    _blank(held.tuple, raw.wasmtime_component_valtuple_new_uninit, len(value), _SIZE)
    for place, (part, item) in enumerate(zip(shape.parts, value, strict=True)):
        writer.value(cast(Shape, part), item, held.tuple.data[place])


def _record_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    size = ctypes.sizeof(raw.wasmtime_component_valrecord_entry_t)
    _blank(held.record, raw.wasmtime_component_valrecord_new_uninit, len(shape.names), size)
    for place, (name, part) in enumerate(zip(shape.names, shape.parts, strict=True)):
        entry = held.record.data[place]
        put(entry.name, name)
        given = cast(Shape, part)
        if name not in value and given.kind != "option":
            raise ValueError(f"{name!r} is missing")
        writer.value(given, value.get(name), entry.val)


def _variant_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    name, payload = value
    held.variant.val = writer.case(shape, name, payload)
    put(held.variant.discriminant, name)


def _result_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    name, payload = value
    held.result.val = writer.case(shape, name, payload)
    held.result.is_ok = name == "ok"


def _enum_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    if value not in shape.names:
        raise ValueError(f"{value!r:.60} is none of {', '.join(shape.names)}")
    put(held.enumeration, value)


def _flags_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    names = list(dict.fromkeys(value))
    if not set(names) <= set(shape.names):
        raise ValueError(f"there are only the flags {', '.join(shape.names)}")
    _blank(held.flags, raw.wasmtime_component_valflags_new_uninit, len(names), ctypes.sizeof(raw.wasm_name_t))
    for place, name in enumerate(names):
        put(held.flags.data[place], name)


def _option_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    held.option = None if value is None else writer.boxed(shape.only, value)


def _resource_written(writer: Writer, shape: Shape, value: Any, held: Any) -> None:
    if writer.resource is None:
        raise ValueError("a resource cannot be made here")
    held.resource = writer.resource(value)


_WRITE: dict[str, Callable[[Writer, Shape, Any, Any], None]] = {
    "char": _char_written,
    "string": lambda writer, shape, value, held: put(held.string, value),
    "bytes": _bytes_written,
    "list": _list_written,
    "record": _record_written,
    "tuple": _tuple_written,
    "variant": _variant_written,
    "enum": _enum_written,
    "option": _option_written,
    "result": _result_written,
    "flags": _flags_written,
    "resource": _resource_written,
}
