"""WASM components: what they may import, and one instance of one on its own thread.

Rule 1: a component is given `broker:plugin/host` and the virtual WASI of `wasm_world`; each function by its name and
        type, none as a whole. What it imports beside these is refused before it is instantiated.
Rule 2: no Python exception leaves a function that wasmtime calls, as in `wasm_engine`.
Rule 3: an instance that failed is never called again: wasmtime itself would not let anybody in.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from ctypes import byref
from typing import Any, cast

from msgspec import Struct

from broker.runtimes import wasm_wasi2
from broker.runtimes.wasm_abi import MOST_EXPORTS, Unfit
from broker.runtimes.wasm_engine import Control, Refused, engine, error_text, new_store, raw, running
from broker.runtimes.wasm_guest import SAID, GuestFailed, numbers
from broker.runtimes.wasm_host import HOST
from broker.runtimes.wasm_values import Function, Reader, Shape, Shapes, Writer
from broker.runtimes.wasm_world import Grants, World

MOST_INSTANCES, MOST_TABLES = 100, 100  # core instances and tables in one component; a Python has 20
MOST_MEMORIES = 4  # of a component that is composed of others; JavaScript has 2
UNTOUCHED = 5 << 20  # bytes an instance holds before its first call; a Python has 4.6 MB, others less
_GIVEN = "broker:plugin/host@1."
_TOO_FEW = "memory count too high"  # in what wasmtime says when an instance has more memories than it may
_component: Any = importlib.import_module("wasmtime.component")
_types: Any = importlib.import_module("wasmtime.component._types")
# Where wasmtime says only in words why it ended a guest.
_BY_WORDS = {
    "unreachable": "guest_panic",
    "stack exhausted": "stack_overflow",
    "out of bounds": "memory_fault",
    "misaligned": "memory_fault",
    "divide by zero": "arithmetic",
    "overflow": "arithmetic",
    "invalid conversion": "arithmetic",
    "indirect call": "bad_call",
    "uninitialized element": "bad_call",
    "exceed": "limit_exceeded",
    "limit": "limit_exceeded",
}


class Import(Struct, frozen=True):
    """A function that the host gives to a component."""

    name: str
    type: Function
    act: Callable[..., Any] | None  # None: it is not there; who calls it is refused
    raises: bool  # it gives what stands behind `ok`, and raises what stands behind `err`


class Inside:
    """One instance, as the functions that it calls see it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held: dict[int, Any] = {}  # resources by their number
        self._numbers = itertools.count(1)
        self.control: Control = Control(0)

    def new(self, kind: str, what: Any) -> tuple[str, int]:
        """A resource, which its guest owns. Raises `Refused`."""
        if len(self.held) > 10_000:
            raise Refused("it holds too many resources")
        number = next(self._numbers)
        self.held[number] = what
        return kind, number

    def drop(self, number: int) -> None:
        wasm_wasi2.dropped(self, self.held.pop(number, None))


class ComponentProgram:
    """A compiled component that may be instantiated any number of times, from any thread."""

    optional: frozenset[str] = frozenset()

    def __init__(self, component: Any, size: int) -> None:
        """Raises `Unfit` for what may not be imported. `size`: bytes of the compiled code."""
        self.size = size
        self.component = component
        self.memories = 1  # as far as is known; the first instance tells
        self.shapes = Shapes()
        self._resources: list[Any] = []
        self._linker: Any = _component.Linker(engine())
        with self._linker.root() as root:
            for name, extern in component.type.imports(engine()).items():
                self._give(root, name, extern.ty)

    def exports(self) -> dict[str, Function | dict[str, Function | None] | None]:
        """Its functions, and those of the interfaces it exports; None for those that cannot be called from here."""
        found = self.component.type.exports(engine())
        if len(found) > MOST_EXPORTS:
            raise Unfit(f"it has {len(found)} exports; the most is {MOST_EXPORTS}")
        return {name: self._exported(extern.ty) for name, extern in found.items()}

    def _exported(self, type: Any) -> Function | dict[str, Function | None] | None:
        if isinstance(type, _types.FuncType):
            return self._function(type)
        if not isinstance(type, _types.ComponentInstanceType):
            return None
        inner = {name: each.ty for name, each in type.exports(engine()).items()}
        return {name: self._function(each) for name, each in inner.items() if isinstance(each, _types.FuncType)}

    def _function(self, type: Any) -> Function | None:
        try:
            return self.shapes.function(type)
        except Unfit:
            return None

    def index(self, name: str, interface: str | None = None) -> Any:
        """Where an export is; None if it is not there."""
        outer = None
        if interface is not None and (outer := self.component.get_export_index(interface)) is None:
            return None
        return self.component.get_export_index(name, outer)

    def instantiate(self, context: Any) -> tuple[Any, Any]:
        """(instance, error or null)."""
        instance = raw.wasmtime_component_instance_t()
        error = raw.wasmtime_component_linker_instantiate(
            self._linker.ptr(), context, self.component.ptr(), byref(instance)
        )
        return instance, error

    # what it is given

    def _give(self, root: Any, name: str, type: Any) -> None:
        known = _given(name)
        if known is None or not isinstance(type, _types.ComponentInstanceType):
            raise Unfit(f"it imports {ascii(name[:80])[1:-1]}; broker gives only broker:plugin/host@1 and WASI 0.2")
        with root.add_instance(name) as instance:
            for field, extern in type.exports(engine()).items():
                self._give_one(instance, name, field, extern.ty, known)

    def _give_one(
        self, instance: Any, interface: str, field: str, type: Any, known: Mapping[str, Callable[..., Any]]
    ) -> None:
        if isinstance(type, _component.ResourceType):
            kind = _component.ResourceType.host(_resource_number(field))
            self._resources.append(kind)
            text = field.encode()
            _check(raw.wasmtime_component_linker_instance_add_resource(
                instance.ptr(), text, len(text), kind.ptr(), _drop, None, _nothing))  # fmt: skip
        elif isinstance(type, _types.FuncType):
            given = Import(f"{interface}#{field}", self.shapes.function(type), known.get(field), known is not HOST)
            number = next(_import_numbers)
            _imports[number] = given
            text = field.encode()
            _check(raw.wasmtime_component_linker_instance_add_func(
                instance.ptr(), text, len(text), _call, number, _forget))  # fmt: skip


def _given(name: str) -> Mapping[str, Callable[..., Any]] | None:
    """The functions of an interface that may be imported."""
    if name.startswith(_GIVEN):
        return HOST
    base, _, version = name.partition("@")
    return wasm_wasi2.INTERFACES.get(base, {}) if base.startswith("wasi:") and version.startswith("0.2.") else None


def _check(error: Any) -> None:
    if error:
        raise Unfit(f"its imports cannot be given: {error_text(error)}")


class ComponentInstance:
    """One instance of a component."""

    def __init__(self, program: ComponentProgram, memory: int, control: Control, granted: Grants) -> None:
        """Instantiates it. Raises `GuestFailed`."""
        self._number = next(numbers)
        self._inside = Inside(World(granted))
        self._functions: dict[int, Any] = {}
        self._store: Any = None
        _instances[self._number] = self._inside
        control.starting = True
        try:
            while self._lacks_memories(program, memory, count := program.memories, control):
                program.memories = count + 1
        except GuestFailed:
            self.close()
            raise

    def _lacks_memories(self, program: ComponentProgram, memory: int, count: int, control: Control) -> bool:
        """Instantiate it with `count` memories; whether it wants and may have one more. Raises `GuestFailed`."""
        if self._store is not None:
            raw.wasmtime_store_delete(self._store)
        share = memory if memory < 0 else memory // count  # the limit is of each for itself
        self._store = new_store(self._number, share, instances=MOST_INSTANCES, tables=MOST_TABLES, memories=count)
        self._context: Any = raw.wasmtime_store_context(self._store)
        with _Turn(self._number, self._inside, control):
            self._instance, error = program.instantiate(self._context)
            if not error:
                return False
            text = error_text(error)
            if _TOO_FEW in text and count < MOST_MEMORIES:
                return True
            raise self._failed(control, text)

    def call(self, control: Control, index: Any, type: Function, arguments: Sequence[Any]) -> Any:
        """What an exported function gives. Raises `GuestFailed`, after which only `close` is left; `ValueError` for
        arguments that do not fit.
        """
        control.starting = False
        function = self._function(index)
        given = (raw.wasmtime_component_val_t * max(len(arguments), 1))()
        try:
            writer = Writer(self._context)
            for place, ((_, shape), value) in enumerate(zip(type.params, arguments, strict=True)):
                writer.value(shape, value, given[place])
            with _Turn(self._number, self._inside, control):
                return self._called(control, function, type.result, given, len(arguments))
        finally:
            for place in range(len(arguments)):
                raw.wasmtime_component_val_delete(byref(given[place]))

    def _called(self, control: Control, function: Any, shape: Shape | None, given: Any, count: int) -> Any:
        result = raw.wasmtime_component_val_t()
        many = 0 if shape is None else 1
        error = raw.wasmtime_component_func_call(byref(function), self._context, given, count, byref(result), many)
        self._raise(control, error)
        try:
            return None if shape is None else Reader(self._context).value(shape, result)
        except ValueError as failure:
            raise GuestFailed("bad_abi", str(failure)) from None
        finally:
            if many:
                raw.wasmtime_component_val_delete(byref(result))
            self._inside.world.flush(control)

    def _function(self, index: Any) -> Any:
        found = self._functions.get(id(index))
        if found is None:
            found = raw.wasmtime_component_func_t()
            if not raw.wasmtime_component_instance_get_func(
                byref(self._instance), self._context, index.ptr(), byref(found)
            ):
                raise GuestFailed("bad_abi", "it has not the export that its type says")
            self._functions[id(index)] = found
        return found

    def close(self) -> None:
        """Give its memory and files back. Safe to call twice."""
        if self._store is not None:
            raw.wasmtime_store_delete(self._store)
            self._store = None
            _instances.pop(self._number, None)
            self._inside.world.close()

    def _raise(self, control: Control, error: Any) -> None:
        if error:
            raise self._failed(control, error_text(error))

    def _failed(self, control: Control, text: str) -> GuestFailed:
        self._inside.world.flush(control)
        if control.reason is not None:
            return GuestFailed(control.reason, SAID[control.reason])
        if control.failure is not None:
            return GuestFailed(control.kind, control.failure)
        kind = next((kind for words, kind in _BY_WORDS.items() if words in text), "trap")
        said = SAID.get(kind) or f"it was ended by an error: {text}"
        last = self._inside.world.said
        return GuestFailed(kind, f"{said}; the last that it wrote: {last}" if last else said)


class _Turn:
    """While an instance runs: its control is known to the functions that it calls."""

    def __init__(self, number: int, inside: Inside, control: Control) -> None:
        self._number, self._control = number, control
        inside.control = control

    def __enter__(self) -> None:
        running.enter(self._number, self._control)

    def __exit__(self, *_: object) -> None:
        running.leave(self._number)


_Pointer: Any = cast(Any, ctypes).POINTER(raw.wasmtime_component_resource_any_t)
_instances: dict[int, Inside] = {}
_imports: dict[int, Import] = {}
_import_numbers = itertools.count(1)
_resource_numbers: dict[str, int] = {}


def _resource_number(name: str) -> int:
    return _resource_numbers.setdefault(name, len(_resource_numbers) + 1)


def _on_call(number: Any, context: Any, type: Any, arguments: Any, count: int, results: Any, many: int) -> int:
    """Any function that a component imports."""
    inside = _instances.get(raw.wasmtime_context_get_data(context) or 0)
    if inside is None:
        return _error("nobody runs")
    try:
        given = _imports[number]
        inside.world.spend(inside.control)
        reader = Reader(context)
        values = [reader.value(shape, arguments[place]) for place, (_, shape) in enumerate(given.type.params)]
        result = _acted(given, inside, values)
        if given.type.result is not None:
            Writer(context, lambda held: _owned(context, held)).value(given.type.result, result, results[0])
        return 0
    except BaseException as error:
        control = inside.control
        if control.failure is None:
            control.failure = str(error) if isinstance(error, Refused) else f"its host failed: {error!r}"
        return _error("host")


def _acted(given: Import, inside: Inside, values: Sequence[Any]) -> Any:
    shape = given.type.result
    if given.act is None:
        return wasm_wasi2.denied(inside, given.name, shape)
    if shape is None or shape.kind != "result" or not given.raises:
        return given.act(inside, *values)
    try:
        return "ok", given.act(inside, *values)
    except OSError as error:
        return "err", wasm_wasi2.failure(inside, shape, error)


def _owned(context: Any, held: tuple[str, int]) -> Any:
    """wasmtime's word for a resource that the guest owns from now on."""
    host = raw.wasmtime_component_resource_host_new(True, held[1], _resource_number(held[0]))
    found: Any = _Pointer()
    error = raw.wasmtime_component_resource_host_to_any(context, host, byref(found))
    raw.wasmtime_component_resource_host_delete(host)
    if error:
        raise Refused(f"a resource cannot be made: {error_text(error)}")
    return found


def _on_drop(data: Any, context: Any, number: int) -> int:
    """A guest dropped a resource."""
    inside = _instances.get(raw.wasmtime_context_get_data(context) or 0)
    if inside is not None:
        inside.drop(number)
    return 0


def _error(text: str) -> int:
    return ctypes.cast(raw.wasmtime_error_new(text.encode()), ctypes.c_void_p).value or 0


def _on_forget(number: Any) -> None:
    if _imports:  # at the end of the process it may be gone
        _imports.pop(number, None)


# Kept alive here: wasmtime keeps only their addresses.
_call: Any = raw.wasmtime_component_func_callback_t(_on_call)
_drop: Any = raw.wasmtime_component_resource_destructor_t(_on_drop)
_Finalizer: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_forget: Any = _Finalizer(_on_forget)
_nothing: Any = ctypes.cast(0, _Finalizer)
