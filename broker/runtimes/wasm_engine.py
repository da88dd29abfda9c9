"""wasmtime as this house uses it: one engine, and the few calls of its C API that its Python face is too slow for.

Rule 1: imported only where a WASM plugin is run; wasmtime costs 60 ms and its library 30 MB of addresses.
Rule 2: no Python exception leaves a function that wasmtime calls: its Python face keeps them in one global, and
        two threads would get each other's. A failure is noted in the call's `Control` and told by a trap.
Rule 3: guests are ended by the epoch alone. A ticker moves it every 10 ms while any guest runs; at each tick the
        guest's own thread asks its `Control` whether it may go on.
Rule 4: what must not be stopped by that, compiling, happens in another process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import importlib
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import wasmtime

MOST_ELEMENTS = 10_000  # of a table, 8 bytes each
MOST_TABLES = 4
QUIET = 100  # ticks without a guest, after which there are none; waking the ticker for each call would cost 20 us
TICK = 0.01  # seconds; costs 0.5 % of a core while a guest runs
CONFIGURATION = "3"  # of `engine`; another number is another cache entry

# The generated bindings are the only way to the calls below, and have no types.
raw: Any = importlib.import_module("wasmtime._bindings")


def _direct(name: str, library: Any) -> Any:
    """A function of the C library without the bindings' own around it, which takes as long as a short one."""
    function, known = library[name], getattr(raw, f"_{name}")
    function.argtypes, function.restype = known.argtypes, known.restype
    return function


# What only reads a field keeps the interpreter's lock: another thread would get it in between.
_holding = ctypes.PyDLL(None, handle=raw.dll._handle)
call_unchecked: Any = _direct("wasmtime_func_call_unchecked", raw.dll)
memory_size: Any = _direct("wasmtime_memory_data_size", _holding)
memory_address: Any = _direct("wasmtime_memory_data", _holding)
memory_address.restype = ctypes.c_void_p
_NO_FINALIZER: Any = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))


_making = threading.Lock()  # threads that come at once would make several, and what is mixed ends the process


def engine() -> wasmtime.Engine:
    """The engine of this process, made at the first use."""
    with _making:
        return _engine()


@functools.cache
def _engine() -> wasmtime.Engine:
    global shown_before
    shown_before = faulthandler.is_enabled()
    return wasmtime.Engine(configuration())


shown_before = False  # whether Python showed faults when the engine was made


def configuration() -> wasmtime.Config:
    """What guests may use of WASM; the compiling process must say the same."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.wasm_exceptions = True  # what C++, Kotlin and setjmp compile to
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = True  # what carries values between the parts of a composed component sees both of theirs
    config.wasm_component_model = True
    return config


def fingerprint() -> str:
    """What a compiled module depends on beside its file."""
    import platform

    return f"{version('wasmtime')}-{CONFIGURATION}-{platform.machine()}"


class Refused(Exception):
    """What a function of the host found wrong with the guest that called it, and ends."""


class Control:
    """One run of a guest: until when it may go on, and why it was ended."""

    def __init__(
        self,
        hard: float,
        soft: float | None = None,
        cpu: float | None = None,
        slow: Callable[[], None] | None = None,
    ) -> None:
        """Seconds from now; `cpu` of its thread's own time. `slow` is called once after `soft`, on its thread."""
        now = time.monotonic()
        self.end = now + hard
        self._soft = now + soft if soft is not None else None
        self._cpu = cpu
        self._slow = slow
        self._cancelled = False
        self._began: float | None = None
        self._waits: Callable[[], object] | None = None
        self.reason: str | None = None  # deadline, cpu_budget or cancelled, once it was ended
        self.failure: str | None = None  # what a host function found wrong with the guest
        self.kind = "bad_abi"  # of that failure
        self.starting = True  # its start function runs: nobody called yet
        self.log: Callable[[int, bytes], None] = _ignored
        self.calls: Callable[[bytes], bytes] | None = None
        self.left = 10_000  # host functions it may still call; a guest that needs more is a flood
        self.inside = False  # a host.call is under way

    def cancel(self) -> None:
        """End it, from any thread."""
        self._cancelled = True
        waits = self._waits
        if waits is not None:
            waits()

    def waiting(self, wake: Callable[[], object] | None) -> None:
        """While a host function waits for something, `wake` is what ends the wait."""
        self._waits = wake
        if wake is not None and self._cancelled:
            wake()

    def over(self) -> bool:
        """Whether it must end now; notes the reason. Called on its own thread."""
        now = time.monotonic()
        if self._began is None:
            self._began = time.thread_time()
        if self._cancelled:
            self.reason = "cancelled"
        elif now > self.end:
            self.reason = "deadline"
        elif self._cpu is not None and time.thread_time() - self._began > self._cpu:
            self.reason = "cpu_budget"
        elif self._soft is not None and now > self._soft:
            self._soft = None
            if self._slow is not None:
                self._slow()
        return self.reason is not None


def _ignored(level: int, text: bytes) -> None:
    """Nobody reads what it writes."""


class _Running:
    """The controls of the guests that run, by the number their stores carry, and the ticker."""

    def __init__(self) -> None:
        self.controls: dict[int, Control] = {}
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._ticker: threading.Thread | None = None

    def enter(self, number: int, control: Control) -> None:
        if faulthandler.is_enabled() and not shown_before:
            faulthandler.disable()  # set after wasmtime's handler, it would end this process at a guest's fault
        with self._lock:
            self.controls[number] = control
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="wasm ticker", daemon=True)
                self._ticker.start()
            if not self._busy.is_set():
                self._busy.set()

    def leave(self, number: int) -> None:
        self.controls.pop(number, None)

    def _tick(self) -> None:
        pointer, quiet = engine().ptr(), 0
        while True:
            self._busy.wait()
            time.sleep(TICK)
            raw.wasmtime_engine_increment_epoch(pointer)
            with self._lock:
                quiet = 0 if self.controls else quiet + 1
                if quiet > QUIET:
                    self._busy.clear()


running = _Running()


def no_trap() -> Any:
    """Where a call puts the trap it ends by; false as long as there is none."""
    return _TrapPointer()


def trap(text: str) -> int:
    """What a host function returns to end its guest."""
    message = text.encode()
    return ctypes.cast(raw.wasmtime_trap_new(message, len(message)), ctypes.c_void_p).value or 0


def _at_tick(context: Any, data: int | None, delta: Any, kind: Any) -> int:
    control = running.controls.get(data or 0)
    if control is None or control.over():
        return ctypes.cast(raw.wasmtime_error_new(b"ended"), ctypes.c_void_p).value or 0
    delta[0] = 1
    kind[0] = 0  # go on
    return 0


_untyped: Any = ctypes  # whose POINTER of an unknown type is unknown, too
_TrapPointer: Any = _untyped.POINTER(raw.wasm_trap_t)
_Tick: Any = _untyped.CFUNCTYPE(
    ctypes.c_size_t,
    _untyped.POINTER(raw.wasmtime_context_t),
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.POINTER(ctypes.c_uint8),
)
_tick: Any = _Tick(_at_tick)  # kept alive here: wasmtime keeps only its address


def new_store(number: int, memory: int, *, instances: int = 1, tables: int = MOST_TABLES, memories: int = 1) -> Any:
    """A store whose guest is held to `memory` bytes, and at each tick to the control that has its number then.

    `memory` is of each memory for itself.
    """
    store = raw.wasmtime_store_new(engine().ptr(), number, _NO_FINALIZER)
    raw.wasmtime_store_limiter(store, memory, MOST_ELEMENTS, instances, tables, memories)
    raw.wasmtime_store_epoch_deadline_callback(store, _tick, number, _NO_FINALIZER)
    raw.wasmtime_context_set_epoch_deadline(raw.wasmtime_store_context(store), 1)
    return store


Unchecked: Any = raw.wasmtime_func_unchecked_callback_t


def define(
    linker: wasmtime.Linker, name: str, type: wasmtime.FuncType, function: Any, *, module_name: str = "host"
) -> None:
    """Make `function`, an `Unchecked` that its caller keeps alive, the import `name` of a module."""
    module, field = module_name.encode(), name.encode()
    error = raw.wasmtime_linker_define_func_unchecked(
        linker.ptr(), module, len(module), field, len(field), type.ptr(), function, None, _NO_FINALIZER
    )
    if error:
        raise RuntimeError(error_text(error))


_BY_CODE = {
    0: "stack_overflow",
    1: "memory_fault",
    2: "memory_fault",
    3: "memory_fault",
    4: "bad_call",
    5: "bad_call",
    6: "arithmetic",
    7: "arithmetic",
    8: "arithmetic",
    9: "guest_panic",
    10: "deadline",
}


def trap_kind(pointer: Any) -> tuple[str, str]:
    """(kind, last line of the message) of a trap, which is freed."""
    code = ctypes.c_uint8()
    kind = _BY_CODE.get(code.value, "trap") if raw.wasmtime_trap_code(pointer, ctypes.byref(code)) else "trap"
    vector = raw.wasm_byte_vec_t()
    raw.wasm_trap_message(pointer, ctypes.byref(vector))
    text = _taken(vector)
    raw.wasm_trap_delete(pointer)
    return kind, text


def error_text(pointer: Any) -> str:
    """The last line of an error's message; the error is freed."""
    vector = raw.wasm_byte_vec_t()
    raw.wasmtime_error_message(pointer, ctypes.byref(vector))
    text = _taken(vector)
    raw.wasmtime_error_delete(pointer)
    return text


def _taken(vector: Any) -> str:
    whole = ctypes.string_at(vector.data, vector.size).rstrip(b"\0").decode("utf-8", "replace")
    raw.wasm_byte_vec_delete(ctypes.byref(vector))
    # Above the last line are names that the guest chose.
    return whole.strip().rpartition("\n")[2].strip()[:300]
