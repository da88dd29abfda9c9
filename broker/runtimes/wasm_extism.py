"""Extism modules, run because their user said so: each function they export is a tool, from text to text.

Such a module has no memory in common with its host: it stores and loads in a second module, the kernel, whose pointers
are 64 bits wide. Ours is `_KERNEL`: blocks one behind the other, each with its length in front, never given back,
because an instance serves one call.

Rule 1: `http_request` is the host's `http.fetch`, under the same permissions; configuration is that of the plugin;
        variables live as long as their instance.
Rule 2: kernel and module may have half of the plugin's memory each.
"""

from __future__ import annotations

import base64
import ctypes
import functools
from collections.abc import Callable, Mapping
from ctypes import byref
from typing import Any

import msgspec
import wasmtime
from msgspec import Raw, Struct

from broker.runtimes import wasm_wasi1
from broker.runtimes.wasm_abi import GIVEN, WASI, Signature, Unfit
from broker.runtimes.wasm_engine import (
    Control,
    Refused,
    Unchecked,
    define,
    engine,
    error_text,
    new_store,
    no_trap,
    raw,
    running,
    trap,
    trap_kind,
)
from broker.runtimes.wasm_guest import MOST_OUTPUT, SAID, GuestFailed, numbers
from broker.runtimes.wasm_host import operation
from broker.runtimes.wasm_world import Grants

ENV = "extism:host/env"
_encode = msgspec.json.Encoder().encode
_UNKNOWN = b'{"error":{"code":"unknown-op","message":"It has no such operation."}}'
_KERNEL = """
(module
  (memory (export "memory") 1)
  (global $next (mut i64) (i64.const 16))
  (global $input (mut i64) (i64.const 0))
  (global $input_size (mut i64) (i64.const 0))
  (global $output (mut i64) (i64.const 0))
  (global $output_size (mut i64) (i64.const 0))
  (global $error (mut i64) (i64.const 0))
  (func (export "alloc") (param $size i64) (result i64) (local $at i64) (local $end i64)
    (if (i64.eqz (local.get $size)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $size) (i64.const 0x7fffffff)) (then (return (i64.const 0))))
    (local.set $at (i64.add (global.get $next) (i64.const 8)))
    (local.set $end (i64.and (i64.add (i64.add (local.get $at) (local.get $size)) (i64.const 15)) (i64.const -8)))
    (if (i64.gt_u (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.wrap_i64 (i64.add (i64.const 1) (i64.shr_u
          (i64.sub (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))) (i64.const 16))))))
        (then (return (i64.const 0))))))
    (i64.store (i32.wrap_i64 (global.get $next)) (local.get $size))
    (global.set $next (local.get $end))
    (local.get $at))
  (func $length (export "length") (param $at i64) (result i64)
    (if (result i64) (i32.or (i64.lt_u (local.get $at) (i64.const 24)) (i64.ge_u (local.get $at) (global.get $next)))
      (then (i64.const 0)) (else (i64.load (i32.wrap_i64 (i64.sub (local.get $at) (i64.const 8)))))))
  (func (export "length_unsafe") (param i64) (result i64) (call $length (local.get 0)))
  (func (export "free") (param i64))
  (func $at (param $at i64) (result i32)
    (if (i64.gt_u (local.get $at) (i64.const 0xffffffff)) (then (unreachable)))
    (i32.wrap_i64 (local.get $at)))
  (func (export "load_u8") (param i64) (result i32) (i32.load8_u (call $at (local.get 0))))
  (func (export "load_u64") (param i64) (result i64) (i64.load (call $at (local.get 0))))
  (func (export "store_u8") (param i64 i32) (i32.store8 (call $at (local.get 0)) (local.get 1)))
  (func (export "store_u64") (param i64 i64) (i64.store (call $at (local.get 0)) (local.get 1)))
  (func (export "input_load_u8") (param i64) (result i32)
    (i32.load8_u (call $at (i64.add (global.get $input) (local.get 0)))))
  (func (export "input_load_u64") (param i64) (result i64)
    (i64.load (call $at (i64.add (global.get $input) (local.get 0)))))
  (func (export "input_set") (param i64 i64)
    (global.set $input (local.get 0)) (global.set $input_size (local.get 1)))
  (func (export "input_length") (result i64) (global.get $input_size))
  (func (export "input_offset") (result i64) (global.get $input))
  (func (export "output_set") (param i64 i64)
    (global.set $output (local.get 0)) (global.set $output_size (local.get 1)))
  (func (export "output_length") (result i64) (global.get $output_size))
  (func (export "output_offset") (result i64) (global.get $output))
  (func (export "error_set") (param i64) (global.set $error (local.get 0)))
  (func (export "error_get") (result i64) (global.get $error))
  (func (export "reset") (global.set $next (i64.const 16)) (global.set $error (i64.const 0)))
  (func (export "memory_bytes") (result i64) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
"""


class _Request(Struct):
    op: str
    params: Raw = Raw(b"{}")
    config: dict[str, Any] = {}


class _Named(Struct):
    name: str
    arguments: dict[str, Any] = {}


class ExtismProgram:
    """A compiled Extism module."""

    def __init__(self, module: wasmtime.Module, size: int) -> None:
        """Raises `Unfit` for what imports something else, or exports nothing to call."""
        self.size, self.module = size, module
        self.imports = [(each.module, each.name or "") for each in module.imports]
        kernel = {each.name for each in _kernel().exports}
        for place, name in self.imports:
            if not (place == ENV and (name in kernel or name in HOST)) and name not in GIVEN.get(place, {}):
                what = f"{place}.{name}"[:80]
                raise Unfit(f"it imports {ascii(what)[1:-1]}; broker gives only what every Extism host gives, and WASI")
            if place == "host":
                raise Unfit("it imports `host`, and is no Extism module")
        self.wasi = any(place == WASI for place, _ in self.imports)
        exports = {each.name: each.type for each in module.exports}
        self.first = next((name for name in ("_initialize", "__wasm_call_ctors") if name in exports), None)
        self.tools = [name for name, type in exports.items() if _is_tool(name, type)]
        if not self.tools:
            raise Unfit("it exports no function that could be a tool")
        self.listed = b'{"result":%b}' % _encode({"tools": [_tool(name) for name in self.tools]})

    def guest(self, memory: int, control: Control, granted: Grants) -> ExtismGuest:
        """A new instance. Raises `GuestFailed`."""
        return ExtismGuest(self, memory, control, granted)


def _is_tool(name: str, type: Any) -> bool:
    if not isinstance(type, wasmtime.FuncType) or name.startswith("_"):
        return False
    return not type.params and [*map(str, type.results)] in ([], ["i32"])


def _tool(name: str) -> dict[str, Any]:
    given = {"description": "A text is handed over as it is, anything else as JSON."}
    rules = {"type": "object", "properties": {"input": given}, "additionalProperties": False}
    return {"name": name, "description": f"The function {name} of an Extism plugin.", "inputSchema": rules}


class ExtismGuest:
    """One instance of it, beside a kernel."""

    def __init__(self, program: ExtismProgram, memory: int, control: Control, granted: Grants) -> None:
        """Instantiates both. Raises `GuestFailed`."""
        self._program, self._number = program, next(numbers)
        self.config: Mapping[str, Any] = {}
        self.variables: dict[bytes, bytes] = {}
        self.status = 0  # of the last answer to `http_request`
        half = memory // 2 if memory > 0 else memory
        self._store: Any = new_store(self._number, half, instances=2, memories=2, tables=8)
        self._context: Any = raw.wasmtime_store_context(self._store)
        self._values: Any = (raw.wasmtime_val_raw_t * 4)()
        self._world = wasm_wasi1.enter(self._number, granted)
        _guests[self._number] = self
        control.starting = True
        running.enter(self._number, control)
        try:
            self._kernel = self._instance(control, _kernel(), [])
            self._main = self._instance(control, program.module, [self._import(*each) for each in program.imports])
            self.memory = 2 * raw.wasmtime_memory_data_size(self._context, byref(self._export(b"memory", 3).of.memory))
            if program.first is not None:
                self._call(control, self._main, program.first)
        except BaseException:
            self.close()
            raise
        finally:
            running.leave(self._number)

    def handle(self, request: bytes, control: Control) -> bytes:
        """The answer to a request. Raises `GuestFailed`."""
        asked = msgspec.json.decode(request, type=_Request)
        if asked.op == "tools/list":
            return self._program.listed
        if asked.op != "tools/call":
            return _UNKNOWN
        named, self.config = msgspec.json.decode(asked.params, type=_Named), asked.config
        control.starting = False
        running.enter(self._number, control)
        try:
            return self._ran(control, named)
        except Refused as error:
            raise GuestFailed("bad_abi", str(error)) from None
        finally:
            self._world.flush(control)
            running.leave(self._number)

    def _ran(self, control: Control, named: _Named) -> bytes:
        given = named.arguments.get("input", "")
        data = given.encode() if isinstance(given, str) else _encode(given)
        self._call(control, self._kernel, "input_set", self.put(control, data), len(data))
        code = self._call(control, self._main, named.name) & 0xFFFFFFFF
        error = self.text(control, self._call(control, self._kernel, "error_get"))
        if error or code:
            said = error.decode("utf-8", "replace") or f"It ended with {code}."
            return _encode({"error": {"code": "failed", "message": said[:4096]}})
        at, size = (self._call(control, self._kernel, name) for name in ("output_offset", "output_length"))
        return b'{"result":%b}' % _shown(self.block(at, size))

    def number(self, name: str, control: Control) -> int:
        """It says nothing of a protocol, nor of its health."""
        return 1 if name == "protocol_version" else 0

    def close(self) -> None:
        """Give its memory back. Safe to call twice."""
        if self._store is not None:
            raw.wasmtime_store_delete(self._store)
            self._store = None
            _guests.pop(self._number, None)
            wasm_wasi1.leave(self._number)

    # the kernel's memory

    def put(self, control: Control, data: bytes) -> int:
        """Where `data` lies from now on; 0 for nothing. Raises `Refused`."""
        if not data:
            return 0
        at = self._call(control, self._kernel, "alloc", len(data))
        if not at:
            raise Refused("its memory is full")
        ctypes.memmove(self._place(at, len(data)), data, len(data))
        return at

    def text(self, control: Control, at: int) -> bytes:
        """What lies there, by the length in front of it."""
        return self.block(at, self._call(control, self._kernel, "length", at)) if at else b""

    def block(self, at: int, size: int) -> bytes:
        at, size = at & 0xFFFFFFFFFFFFFFFF, size & 0xFFFFFFFFFFFFFFFF
        if size > MOST_OUTPUT:
            raise Refused(f"it handed its host {size} bytes; the most is {MOST_OUTPUT}")
        return ctypes.string_at(self._place(at, size), size) if size else b""

    def _place(self, at: int, size: int) -> int:
        memory = self._export(b"memory", 3).of.memory
        if at + size > raw.wasmtime_memory_data_size(self._context, byref(memory)):
            raise Refused(f"it handed its host {size} bytes at {at:#x}, outside of its memory")
        return (ctypes.cast(raw.wasmtime_memory_data(self._context, byref(memory)), ctypes.c_void_p).value or 0) + at

    def _export(self, name: bytes, kind: int) -> Any:
        found = raw.wasmtime_extern_t()
        raw.wasmtime_instance_export_get(self._context, byref(self._kernel), name, len(name), byref(found))
        assert found.kind == kind
        return found

    # wasmtime

    def _import(self, module: str, name: str) -> Any:
        found = raw.wasmtime_extern_t()
        place, field = module.encode(), name.encode()
        if module == ENV and name not in HOST:
            raw.wasmtime_instance_export_get(self._context, byref(self._kernel), field, len(field), byref(found))
        else:
            raw.wasmtime_linker_get(_linker().ptr(), self._context, place, len(place), field, len(field), byref(found))
        return found

    def _instance(self, control: Control, module: wasmtime.Module, imports: list[Any]) -> Any:
        instance, pointer = raw.wasmtime_instance_t(), no_trap()
        given = (raw.wasmtime_extern_t * max(len(imports), 1))(*imports)
        error = raw.wasmtime_instance_new(
            self._context, module.ptr(), given, len(imports), byref(instance), byref(pointer)
        )
        self._raise(control, error, pointer)
        return instance

    def _call(self, control: Control, instance: Any, name: str, *arguments: int) -> int:
        found, field, pointer = raw.wasmtime_extern_t(), name.encode(), no_trap()
        raw.wasmtime_instance_export_get(self._context, byref(instance), field, len(field), byref(found))
        self._values[0].i64 = 0
        for place, value in enumerate(arguments):
            self._values[place].i64 = value
        error = raw.wasmtime_func_call_unchecked(
            self._context, byref(found.of.func), self._values, len(self._values), byref(pointer)
        )
        self._raise(control, error, pointer)
        return self._values[0].i64

    def _raise(self, control: Control, error: Any, pointer: Any) -> None:
        if not pointer and not error:
            return
        kind, text = trap_kind(pointer) if pointer else ("trap", error_text(error))
        if control.reason is not None:
            kind = control.reason
        elif control.failure is not None:
            raise GuestFailed(control.kind, control.failure)
        elif "exceed" in text or "limit" in text:
            kind = "limit_exceeded"
        raise GuestFailed(kind, SAID.get(kind) or f"it was ended by an error: {text}")


def _shown(data: bytes) -> bytes:
    """The output as JSON: as it is where it is an object or a list, else as a text."""
    try:
        if data.lstrip()[:1] in (b"{", b"["):
            msgspec.json.decode(data)
            data.decode()
            return data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _encode(data.decode())
    except UnicodeDecodeError:
        return _encode({"base64": base64.b64encode(data).decode()})


# what a module calls of its host; each gets the instance, its control and its arguments, and gives a number


def _config_get(guest: ExtismGuest, control: Control, key: int) -> int:
    found = guest.config.get(guest.text(control, key).decode("utf-8", "replace"))
    if found is None:
        return 0
    return guest.put(control, found.encode() if isinstance(found, str) else _encode(found))


def _var_get(guest: ExtismGuest, control: Control, key: int) -> int:
    return guest.put(control, guest.variables.get(guest.text(control, key), b""))


def _var_set(guest: ExtismGuest, control: Control, key: int, value: int) -> int:
    name = guest.text(control, key)
    guest.variables.pop(name, None)
    if value:
        guest.variables[name] = guest.text(control, value)
    if sum(map(len, guest.variables.values())) > 1 << 20 or len(guest.variables) > 1000:
        raise Refused("its variables have more than a MiB")
    return 0


class _Http(Struct):
    url: str
    method: str | None = None
    headers: dict[str, str] | None = None


class _Fetched(Struct):
    status: int
    base64: str = ""


def _http_request(guest: ExtismGuest, control: Control, request: int, body: int) -> int:
    try:
        asked = msgspec.json.decode(guest.text(control, request), type=_Http)
        text = guest.text(control, body).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(f"its http_request cannot be read: {error}") from None
    params = {"url": asked.url, "method": asked.method or "GET", "headers": asked.headers or {}, "body": text}
    kind, answer = operation(control, "http.fetch", _encode({**params, "encoding": "base64"}))
    if kind == "err":
        said = msgspec.json.decode(answer)["message"]
        control.kind = "denied"
        raise Refused(f"its http_request failed: {said}")
    found = msgspec.json.decode(answer, type=_Fetched)
    guest.status = found.status
    return guest.put(control, base64.b64decode(found.base64))


def _log(level: int) -> Callable[..., int]:
    def log(guest: ExtismGuest, control: Control, text: int) -> int:
        control.log(level, guest.text(control, text))
        return 0

    return log


def _status(guest: ExtismGuest, control: Control) -> int:
    return guest.status


def _zero(guest: ExtismGuest, control: Control) -> int:
    """No headers are told, and every level is logged."""
    return 0


HOST: dict[str, tuple[Callable[..., int], Signature]] = {
    "config_get": (_config_get, (("i64",), ("i64",))),
    "var_get": (_var_get, (("i64",), ("i64",))),
    "var_set": (_var_set, (("i64", "i64"), ())),
    "http_request": (_http_request, (("i64", "i64"), ("i64",))),
    "http_status_code": (_status, ((), ("i32",))),
    "http_headers": (_zero, ((), ("i64",))),
    "get_log_level": (_zero, ((), ("i32",))),
    **{
        f"log_{name}": (_log(level), (("i64",), ()))
        for level, name in enumerate(("error", "warn", "info", "debug", "trace"))
    },
}
_guests: dict[int, ExtismGuest] = {}


def _made(act: Callable[..., int], params: tuple[str, ...], gives: bool) -> Any:
    def called(env: Any, pointer: Any, values: Any, count: int) -> int:
        control: Control | None = None
        try:
            number = raw.wasmtime_context_get_data(raw.wasmtime_caller_context(pointer)) or 0
            control = running.controls[number]
            control.left -= 1
            if control.left < 0 or control.over():
                raise Refused("it called its host too often")
            found = act(_guests[number], control, *(values[place].i64 for place in range(len(params))))
            if gives:
                values[0].i64 = found
            return 0
        except BaseException as error:
            if control is not None and control.failure is None:
                control.failure = (
                    str(error) if isinstance(error, Refused | GuestFailed) else f"its host failed: {error!r}"
                )
            return trap("host")

    return Unchecked(called)


_functions: dict[str, Any] = {}  # kept alive here: wasmtime keeps only their addresses


@functools.cache
def _linker() -> wasmtime.Linker:
    """What the host gives; the kernel's functions are added for each instance."""
    linker = wasmtime.Linker(engine())
    kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
    for name, (act, (params, results)) in HOST.items():
        function = _functions.setdefault(name, _made(act, params, bool(results)))
        type = wasmtime.FuncType([kinds[each]() for each in params], [kinds[each]() for each in results])
        define(linker, name, type, function, module_name=ENV)
    wasm_wasi1.define_all(linker)
    return linker


@functools.cache
def _kernel() -> wasmtime.Module:
    return wasmtime.Module(engine(), _KERNEL)
