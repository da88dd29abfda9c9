"""A component that knows nothing of broker, run because its user said so: each function it exports is a tool.

Rule 1: a function becomes a tool only if all it takes and gives can be said in JSON: no resources, streams or futures.
Rule 2: it is given the virtual WASI of `wasm_world` and nothing else.

Values as JSON: `list<u8>` is base64; an option is the value or null; a variant `{"case": …, "value": …}`; a result in
other values `{"ok": …}` or `{"err": …}`, and as a function's own result the value or the tool's error; flags a list.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from broker.runtimes.wasm_abi import Unfit
from broker.runtimes.wasm_component import UNTOUCHED, ComponentInstance, ComponentProgram
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_values import RANGES, Function, Shape
from broker.runtimes.wasm_world import Grants

_encode = msgspec.json.Encoder().encode
_UNKNOWN = b'{"error":{"code":"unknown-op","message":"It has no such operation."}}'
_Table = dict[str, Any]


class _Request(Struct):
    op: str
    params: Raw = Raw(b"{}")


class _Named(Struct):
    name: str
    arguments: dict[str, Any] = {}


class FunctionsProgram(ComponentProgram):
    """A component whose functions are tools."""

    def __init__(self, component: Any, size: int) -> None:
        """Raises `Unfit` if it has no function that can be a tool."""
        super().__init__(component, size)
        self.tools: dict[str, tuple[Any, Function]] = {}
        for name, found in self.exports().items():
            if isinstance(found, Function):
                self._add(name, self.index(name), found)
            for inner, function in (found or {}).items() if isinstance(found, dict) else ():
                if function is not None:
                    self._add(f"{_short(name)}_{inner}", self.index(inner, name), function)
        if not self.tools:
            raise Unfit("it exports no function that could be a tool")
        listed = [_tool(name, function) for name, (_, function) in self.tools.items()]
        self.listed = b'{"result":%b}' % _encode({"tools": listed})

    def _add(self, name: str, index: Any, function: Function) -> None:
        shapes = [shape for _, shape in function.params] + ([] if function.result is None else [function.result])
        if not name.startswith("[") and all(map(_sayable, shapes)):
            self.tools[name] = index, function

    def guest(self, memory: int, control: Control, granted: Grants) -> FunctionsGuest:
        """A new instance. Raises `GuestFailed`."""
        return FunctionsGuest(self, ComponentInstance(self, memory, control, granted))


def _short(interface: str) -> str:
    """`greet` of `acme:tools/greet@1.0.0`."""
    return interface.partition("@")[0].rpartition("/")[2]


def _sayable(shape: Shape) -> bool:
    return shape.kind != "resource" and all(_sayable(part) for part in shape.parts if part is not None)


def _tool(name: str, function: Function) -> _Table:
    properties = {param: schema(shape) for param, shape in function.params}
    required = [param for param, shape in function.params if shape.kind != "option"]
    rules = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": name, "description": f"The function {name} of a WebAssembly component.", "inputSchema": rules}


class FunctionsGuest:
    """One instance of it."""

    def __init__(self, program: FunctionsProgram, instance: ComponentInstance) -> None:
        self._program, self._instance = program, instance
        self.memory = UNTOUCHED

    def handle(self, request: bytes, control: Control) -> bytes:
        """The answer to a request. Raises `GuestFailed`."""
        asked = msgspec.json.decode(request, type=_Request)
        if asked.op == "tools/list":
            return self._program.listed
        if asked.op != "tools/call":
            return _UNKNOWN
        named = msgspec.json.decode(asked.params, type=_Named)
        index, function = self._program.tools[named.name]
        try:
            given = [_argument(param, shape, named.arguments.get(param)) for param, shape in function.params]
            found = self._instance.call(control, index, function, given)
        except (ValueError, TypeError) as error:
            return _failed("invalid-params", f"The arguments do not fit: {error}")
        return _answer(function.result, found)

    def number(self, name: str, control: Control) -> int:
        """It says nothing of a protocol, nor of its health."""
        return 1 if name == "protocol_version" else 0

    def close(self) -> None:
        self._instance.close()


def _argument(param: str, shape: Shape, given: Any) -> Any:
    try:
        return value(shape, given)
    except (ValueError, TypeError) as error:
        raise ValueError(f"`{param}`: {error}") from None


def _answer(shape: Shape | None, found: Any) -> bytes:
    if shape is not None and shape.kind == "result":
        kind, found = cast(tuple[str, Any], found)
        part = shape.parts[int(kind == "err")]
        said = None if part is None else plain(part, found)
        if kind == "err":
            return _failed("failed", said if isinstance(said, str) else _encode(said).decode())
        return b'{"result":%b}' % _encode(said)
    return b'{"result":%b}' % _encode(None if shape is None else plain(shape, found))


def _failed(code: str, message: str) -> bytes:
    return _encode({"error": {"code": code, "message": message}})


# types as JSON Schema


def schema(shape: Shape) -> _Table:
    """What JSON must be to become such a value."""
    if shape.kind in RANGES:
        low, high = RANGES[shape.kind]
        return {"type": "integer", "minimum": low, "maximum": high}
    return _SCHEMAS[shape.kind](shape)


def _record_schema(shape: Shape) -> _Table:
    fields = dict(zip(shape.names, cast(Sequence[Shape], shape.parts), strict=True))
    return {
        "type": "object",
        "properties": {name: schema(part) for name, part in fields.items()},
        "required": [name for name, part in fields.items() if part.kind != "option"],
        "additionalProperties": False,
    }


def _tuple_schema(shape: Shape) -> _Table:
    items = [schema(cast(Shape, part)) for part in shape.parts]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _case_schema(name: str, part: Shape | None) -> _Table:
    properties: _Table = {"case": {"const": name}} | ({} if part is None else {"value": schema(part)})
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _result_schema(shape: Shape) -> _Table:
    parts = dict(zip(shape.names, shape.parts, strict=True))
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {name: {"type": "null"} if part is None else schema(part)},
                "required": [name],
                "additionalProperties": False,
            }
            for name, part in parts.items()
        ]
    }


_SCHEMAS: dict[str, Callable[[Shape], _Table]] = {
    "bool": lambda shape: {"type": "boolean"},
    "f32": lambda shape: {"type": "number"},
    "f64": lambda shape: {"type": "number"},
    "char": lambda shape: {"type": "string", "minLength": 1, "maxLength": 1},
    "string": lambda shape: {"type": "string"},
    "bytes": lambda shape: {"type": "string", "contentEncoding": "base64"},
    "list": lambda shape: {"type": "array", "items": schema(shape.only)},
    "record": _record_schema,
    "tuple": _tuple_schema,
    "variant": lambda shape: {"oneOf": [*map(_case_schema, shape.names, shape.parts)]},
    "enum": lambda shape: {"type": "string", "enum": list(shape.names)},
    "option": lambda shape: {"anyOf": [schema(shape.only), {"type": "null"}]},
    "result": _result_schema,
    "flags": lambda shape: {"type": "array", "items": {"enum": list(shape.names)}, "uniqueItems": True},
}

# JSON to values


def value(shape: Shape, given: Any) -> Any:
    """A value of this type. Raises `ValueError`, `TypeError`."""
    make = _VALUES.get(shape.kind)
    return given if make is None else make(shape, given)


def _bytes_value(shape: Shape, given: Any) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None


def _float_value(shape: Shape, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError("a number was expected")
    return float(given)


def _text_value(shape: Shape, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError("a text was expected")
    return given


def _bool_value(shape: Shape, given: Any) -> bool:
    if not isinstance(given, bool):
        raise TypeError("true or false was expected")
    return given


def _list_value(shape: Shape, given: Any) -> list[Any]:
    return [value(shape.only, each) for each in _listed(given)]


def _tuple_value(shape: Shape, given: Any) -> list[Any]:
    return [value(cast(Shape, part), each) for part, each in zip(shape.parts, _listed(given), strict=True)]


def _listed(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise TypeError("a list was expected")
    return cast(list[Any], given)


def _fields(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise TypeError("an object was expected")
    return cast(dict[str, Any], given)


def _record_value(shape: Shape, given: Any) -> _Table:
    fields = _fields(given)
    return {
        name: value(cast(Shape, part), fields.get(name)) for name, part in zip(shape.names, shape.parts, strict=True)
    }


def _case_value(shape: Shape, given: Any) -> tuple[str, Any]:
    fields = _fields(given)
    return _cased(shape, fields.get("case"), fields.get("value"))


def _result_value(shape: Shape, given: Any) -> tuple[str, Any]:
    (name, payload), *_ = [*_fields(given).items()] or [("", None)]
    return _cased(shape, name, payload)


def _cased(shape: Shape, name: Any, payload: Any) -> tuple[str, Any]:
    if name not in shape.names:
        raise ValueError(f"{name!r:.60} is none of {', '.join(shape.names)}")
    part = shape.parts[shape.names.index(name)]
    return name, None if part is None else value(part, payload)


_VALUES: dict[str, Callable[[Shape, Any], Any]] = {
    "bool": _bool_value,
    "f32": _float_value,
    "f64": _float_value,
    "char": _text_value,
    "string": _text_value,
    "bytes": _bytes_value,
    "list": _list_value,
    "record": _record_value,
    "tuple": _tuple_value,
    "variant": _case_value,
    "option": lambda shape, given: None if given is None else value(shape.only, given),
    "result": _result_value,
    "flags": lambda shape, given: _listed(given),
}

# values to JSON


def plain(shape: Shape, found: Any) -> Any:
    """What stands for it in JSON, which has no infinity: such a number becomes a text."""
    make = _PLAIN.get(shape.kind)
    return found if make is None or found is None else make(shape, found)


def _float_plain(shape: Shape, found: float) -> float | str:
    return found if math.isfinite(found) else str(found)


def _case_plain(shape: Shape, found: tuple[str, Any]) -> _Table:
    part = shape.parts[shape.names.index(found[0])]
    return {"case": found[0]} | ({} if part is None else {"value": plain(part, found[1])})


def _result_plain(shape: Shape, found: tuple[str, Any]) -> _Table:
    part = shape.parts[shape.names.index(found[0])]
    return {found[0]: None if part is None else plain(part, found[1])}


_PLAIN: dict[str, Callable[[Shape, Any], Any]] = {
    "f32": _float_plain,
    "f64": _float_plain,
    "bytes": lambda shape, found: base64.b64encode(found).decode(),
    "list": lambda shape, found: [plain(shape.only, each) for each in found],
    "record": lambda shape, found: {
        name: plain(cast(Shape, part), found[name]) for name, part in zip(shape.names, shape.parts, strict=True)
    },
    "tuple": lambda shape, found: [plain(cast(Shape, p), each) for p, each in zip(shape.parts, found, strict=True)],
    "variant": _case_plain,
    "option": lambda shape, found: plain(shape.only, found),
    "result": _result_plain,
}
