"""One WASM guest on its own thread: bytes in, bytes out, and what it calls meanwhile.

Rule 1: a `Guest` is used by one thread at a time, and closed there: wasmtime's stores are not thread-safe.
Rule 2: a pointer or length from a guest is a claim. It is taken as unsigned and compared with the memory as it is now.
Rule 3: whatever went wrong, the instance is in no known state and is never called again.
Rule 4: a host function waits no longer than its call may last: the epoch does not interrupt it.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Callable
from ctypes import byref
from typing import Any, Protocol

import wasmtime

from broker.runtimes import wasm_abi, wasm_wasi1
from broker.runtimes.wasm_engine import (
    Control,
    Refused,
    Unchecked,
    call_unchecked,
    define,
    engine,
    error_text,
    memory_address,
    memory_size,
    new_store,
    no_trap,
    raw,
    running,
    trap,
    trap_kind,
)
from broker.runtimes.wasm_world import NOTHING, Grants

MOST_OUTPUT = 8 << 20  # bytes of an answer
MOST_ASKED = 1 << 20  # bytes of one host.call, and of its answer
MOST_LOGGED = 64 << 10  # bytes of log of one call; what is beyond is counted
_FUNCTION, _MEMORY = 0, 3  # kinds of wasmtime_extern_t
numbers = itertools.count(1)  # of guests; unlike addresses never used twice


class GuestFailed(Exception):
    """A run that gave no answer. `kind` is a word of ours, the text is for a person."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def killed(self) -> bool:
        """Whether the guest was ended, rather than failed by itself."""
        return self.kind in ("deadline", "cpu_budget")


SAID = {
    "deadline": "it ran longer than it may and was ended",
    "cpu_budget": "it used more processor time than it may and was ended",
    "cancelled": "its caller gave up and it was ended",
    "stack_overflow": "it called itself too deeply",
    "memory_fault": "it reached outside of its memory",
    "guest_panic": "it gave up (unreachable)",
    "arithmetic": "it divided by zero or overflowed",
    "bad_call": "it called a function that is not there",
    "limit_exceeded": "it needs more memory or tables than it may have",
}


class AnyGuest(Protocol):
    """One instance of any kind of program, on one thread at a time."""

    memory: int  # bytes that it holds, as far as is known without asking it

    def handle(self, request: bytes, control: Control) -> bytes:
        """Its answer. Raises `GuestFailed`, after which only `close` is left."""
        ...

    def number(self, name: str, control: Control) -> int:
        """Its `protocol_version`, or its `health`: 0 if it says nothing of it. Raises `GuestFailed`."""
        ...

    def close(self) -> None: ...


class AnyProgram(Protocol):
    """What guests are made of."""

    size: int  # bytes of its code

    def guest(self, memory: int, control: Control, granted: Grants) -> AnyGuest:
        """A new instance, held to `memory` bytes. Raises `GuestFailed`."""
        ...


class Program:
    """A compiled module that may be instantiated any number of times, from any thread."""

    def __init__(self, module: wasmtime.Module, size: int) -> None:
        """Raises `Unfit`. `size`: bytes of the compiled code."""
        self.optional = wasm_abi.check(module)
        self.size = size
        self.wasi = any(each.module == wasm_abi.WASI for each in module.imports)
        self._module = module
        self.pre = _prepared(module, self.wasi)

    def guest(self, memory: int, control: Control, granted: Grants) -> Guest:
        """A new instance, held to `memory` bytes. Raises `GuestFailed`."""
        return Guest(self, memory, control, granted)


class Guest:
    """One instance of a program."""

    def __init__(self, program: Program, memory: int, control: Control, granted: Grants = NOTHING) -> None:
        """Instantiates it, which runs its start function. `memory` in bytes. Raises `GuestFailed`."""
        self._number = next(numbers)
        self._world = wasm_wasi1.enter(self._number, granted) if program.wasi else None
        self._store: Any = new_store(self._number, memory)
        self._context: Any = raw.wasmtime_store_context(self._store)
        self._instance: Any = raw.wasmtime_instance_t()
        self._values: Any = (raw.wasmtime_val_raw_t * 2)()
        self._trap: Any = no_trap()
        self._optional = program.optional
        self._functions: dict[bytes, Any] = {}
        try:
            self._instantiate(program, control)
        except GuestFailed:
            self.close()
            raise

    def _instantiate(self, program: Program, control: Control) -> None:
        control.starting = True
        running.enter(self._number, control)
        try:
            pointer = no_trap()
            error = raw.wasmtime_instance_pre_instantiate(
                program.pre.ptr(), self._context, byref(self._instance), byref(pointer)
            )
            self._raise(control, error, pointer)
            self._memory = byref(self._export(b"memory", _MEMORY).of.memory)
            self.memory: int = memory_size(self._context, self._memory)  # bytes, since the last call
            for name in (b"alloc", b"handle"):
                self._functions[name] = byref(self._export(name, _FUNCTION).of.func)
            if "_initialize" in self._optional:  # what a compiler for WASI wants done first
                self._call(control, b"_initialize")
        finally:
            running.leave(self._number)

    def handle(self, request: bytes, control: Control) -> bytes:
        """Its answer. Raises `GuestFailed`, after which only `close` is left."""
        control.starting = False
        running.enter(self._number, control)
        try:
            at = self._placed(control, request)
            packed = self._call(control, b"handle", at, len(request)) & 0xFFFFFFFFFFFFFFFF
            answer = self._taken(packed >> 32, packed & 0xFFFFFFFF)
            if "dealloc" in self._optional:
                self._call(control, b"dealloc", packed >> 32, packed & 0xFFFFFFFF)
            if self._world is not None:
                self._world.flush(control)
            return answer
        finally:
            running.leave(self._number)
            self.memory = memory_size(self._context, self._memory)

    def number(self, name: str, control: Control) -> int:
        """What an export without parameters answers; 0 for an optional one that is not there."""
        if name in ("health", "dealloc") and name not in self._optional:
            return 0
        control.starting = False
        running.enter(self._number, control)
        try:
            value = self._call(control, name.encode()) & 0xFFFFFFFF
            return value - (1 << 32) if value >> 31 else value
        finally:
            running.leave(self._number)

    def close(self) -> None:
        """Give its memory back; takes 4 ms when it used 60 MB. Safe to call twice."""
        if self._store is not None:
            raw.wasmtime_store_delete(self._store)
            self._store = None
            if self._world is not None:
                wasm_wasi1.leave(self._number)

    def _placed(self, control: Control, data: bytes) -> int:
        at = self._call(control, b"alloc", len(data)) & 0xFFFFFFFF
        if not at or at + len(data) > memory_size(self._context, self._memory):
            raise GuestFailed("bad_abi", f"its alloc gave the address {at:#x} for {len(data)} bytes")
        # Only now: alloc may have moved the memory.
        ctypes.memmove((memory_address(self._context, self._memory) or 0) + at, data, len(data))
        return at

    def _taken(self, at: int, size: int) -> bytes:
        if size > MOST_OUTPUT:
            raise GuestFailed("bad_abi", f"its answer has {size} bytes; the most is {MOST_OUTPUT}")
        if at + size > memory_size(self._context, self._memory):
            raise GuestFailed("bad_abi", f"its answer lies outside of its memory, at {at:#x}")
        return ctypes.string_at((memory_address(self._context, self._memory) or 0) + at, size)

    def _call(self, control: Control, name: bytes, *arguments: int) -> int:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = byref(self._export(name, _FUNCTION).of.func)
        for place, value in enumerate(arguments):
            self._values[place].i64 = value
        error = call_unchecked(self._context, function, self._values, 2, byref(self._trap))
        if error or self._trap:
            pointer, self._trap = self._trap, no_trap()
            self._raise(control, error, pointer)
        return self._values[0].i64

    def _export(self, name: bytes, kind: int) -> Any:
        # Never all exports at once: listing them takes a time that grows with the square of their number.
        found = raw.wasmtime_extern_t()
        there = raw.wasmtime_instance_export_get(self._context, byref(self._instance), name, len(name), byref(found))
        if not there or found.kind != kind:
            raise GuestFailed("bad_abi", f"it has no export {name.decode()}")
        return found

    def _raise(self, control: Control, error: Any, pointer: Any) -> None:
        if not pointer and not error:
            return
        if self._world is not None:
            self._world.flush(control)
        kind, text = trap_kind(pointer) if pointer else ("trap", error_text(error))
        if control.reason is not None:
            kind = control.reason
        elif control.failure is not None:
            raise GuestFailed(control.kind, control.failure)
        elif "exceed" in text or "limit" in text:
            kind = "limit_exceeded"
        raise GuestFailed(kind, SAID.get(kind) or f"it was ended by an error: {text}")


def _address(context: Any, memory: Any) -> int:
    return memory_address(context, byref(memory)) or 0


_linking = threading.Lock()  # a linker is no thing for two threads at once


def _prepared(module: wasmtime.Module, wasi: bool) -> wasmtime.InstancePre:
    """A module bound to what every guest may import."""
    with _linking:
        return _linker(wasi).instantiate_pre(module)


@functools.cache
def _linker(wasi: bool) -> wasmtime.Linker:
    """Each of the two is made once."""
    linker = wasmtime.Linker(engine())
    for name, function in (("log", _log), ("call", _host_call)):
        params, results = wasm_abi.IMPORTS[name]
        kind = wasmtime.FuncType([_type(each) for each in params], [_type(each) for each in results])
        define(linker, name, kind, function)
    if wasi:
        wasm_wasi1.define_all(linker)
    return linker


def _type(name: str) -> wasmtime.ValType:
    return wasmtime.ValType.i64() if name == "i64" else wasmtime.ValType.i32()


class Caller:
    """The guest that calls a host function: its memory, and its control."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self.context = raw.wasmtime_caller_context(pointer)
        control = running.controls.get(raw.wasmtime_context_get_data(self.context) or 0)
        if control is None:
            raise Refused("it called its host while nobody called it")
        self.control: Control = control

    def spend(self) -> None:
        """One more host function is called."""
        self.control.left -= 1
        if self.control.left < 0:
            raise Refused("it called its host too often")
        if self.control.over():
            raise Refused("it must end")

    def read(self, at: int, size: int, most: int) -> bytes:
        at, size = at & 0xFFFFFFFF, size & 0xFFFFFFFF
        memory = self.export(b"memory", _MEMORY).of.memory
        if size > most:
            raise Refused(f"it handed its host {size} bytes; the most is {most}")
        if at + size > memory_size(self.context, byref(memory)):
            raise Refused(f"it handed its host {size} bytes at {at:#x}, outside of its memory")
        return ctypes.string_at(_address(self.context, memory) + at, size)

    def give(self, data: bytes) -> int:
        """Put `data` where its alloc says; the packed pointer and length."""
        at = self._alloc(len(data)) & 0xFFFFFFFF
        memory = self.export(b"memory", _MEMORY).of.memory
        if not at or at + len(data) > memory_size(self.context, byref(memory)):
            raise Refused(f"its alloc gave the address {at:#x} for {len(data)} bytes")
        ctypes.memmove(_address(self.context, memory) + at, data, len(data))
        packed = at << 32 | len(data)
        return packed - (1 << 64) if packed >> 63 else packed

    def export(self, name: bytes, kind: int) -> Any:
        found = raw.wasmtime_extern_t()
        there = raw.wasmtime_caller_export_get(self._pointer, name, len(name), byref(found))
        if not there or found.kind != kind:
            raise Refused(f"it has no export {name.decode()}")
        return found

    def _alloc(self, size: int) -> int:
        values = (raw.wasmtime_val_raw_t * 2)()
        values[0].i64 = size
        pointer = no_trap()
        function = self.export(b"alloc", _FUNCTION).of.func
        error = call_unchecked(self.context, byref(function), values, 2, byref(pointer))
        if pointer or error:
            kind, text = trap_kind(pointer) if pointer else ("trap", error_text(error))
            raise Refused(f"its alloc failed: {SAID.get(kind, text)}")
        return values[0].i64


def _on_log(env: Any, pointer: Any, values: Any, count: int) -> int:
    """`host.log(level, ptr, len)`."""
    return guarded(pointer, values, _logged)


def _logged(caller: Caller, values: Any) -> None:
    text = caller.read(values[1].i32, values[2].i32, MOST_OUTPUT)
    caller.control.log(values[0].i32, text)


def _on_call(env: Any, pointer: Any, values: Any, count: int) -> int:
    """`host.call(ptr, len)`: JSON in, JSON out."""
    return guarded(pointer, values, _asked)


def _asked(caller: Caller, values: Any) -> None:
    control = caller.control
    if control.inside:
        raise Refused("it called its host out of its alloc, which its host called")
    if control.starting or control.calls is None:
        raise Refused("it called its host while nobody called it")
    request = caller.read(values[0].i32, values[1].i32, MOST_ASKED)
    control.inside = True
    try:
        answer = control.calls(request)
        if control.over():
            raise Refused("it must end")
        values[0].i64 = caller.give(answer)
    finally:
        control.inside = False


def guarded(pointer: Any, values: Any, act: Callable[[Caller, Any], None]) -> int:
    """Run a host function; what it finds wrong ends the guest, and no exception leaves it."""
    control: Control | None = None
    try:
        caller = Caller(pointer)
        control = caller.control
        caller.spend()
        act(caller, values)
        return 0
    except BaseException as error:
        if control is not None and control.failure is None:
            control.failure = str(error) if isinstance(error, Refused) else f"its host failed: {error!r}"
        return trap("host")


# Kept alive here: wasmtime keeps only their addresses.
_log = Unchecked(_on_log)
_host_call = Unchecked(_on_call)
