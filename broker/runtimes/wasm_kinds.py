"""The kinds of programs in a `.wasm` file: told by its header and, where it is not ours, by what its user allows.

Rule 1: the header decides, never the name of the file. What is foreign runs only if `wasm = "functions"` or
        `wasm = "extism"` stands in the entry of the plugin in config.toml, where only its user writes.
"""

from __future__ import annotations

from typing import Literal

from broker.runtimes.wasm_abi import Unfit, is_component
from broker.runtimes.wasm_guest import AnyProgram

Abi = Literal["plugin", "functions", "extism"]


def kind_of(wasm: bytes, abi: Abi) -> str:
    """`module`, `component`, `functions` or `extism`. Raises `Unfit` when the user's word does not agree with it."""
    if is_component(wasm):
        if abi == "extism":
            raise Unfit('it is a component, and `wasm = "extism"` is for core modules')
        return "functions" if abi == "functions" else "component"
    if abi == "functions":
        raise Unfit('it is a core module, and `wasm = "functions"` is for components')
    return "extism" if abi == "extism" else "module"


def compiled(wasm: bytes) -> bytes:
    """The code for a file's program; takes seconds for large ones. Raises `wasmtime.WasmtimeError`."""
    import wasmtime
    from wasmtime.component import Component

    from broker.runtimes.wasm_engine import engine

    return bytes((Component if is_component(wasm) else wasmtime.Module)(engine(), wasm).serialize())


def program(kind: str, code: bytes) -> AnyProgram:
    """The program of what `compiled` gave. Raises `Unfit`; `wasmtime.WasmtimeError` if another wasmtime made it."""
    import wasmtime

    from broker.runtimes.wasm_engine import engine

    if kind in ("module", "extism"):
        module = wasmtime.Module.deserialize(engine(), code)
        if kind == "extism":
            from broker.runtimes.wasm_extism import ExtismProgram

            return ExtismProgram(module, len(code))
        from broker.runtimes.wasm_guest import Program

        return Program(module, len(code))
    from wasmtime.component import Component

    component = Component.deserialize(engine(), code)
    if kind == "functions":
        from broker.runtimes.wasm_functions import FunctionsProgram

        return FunctionsProgram(component, len(code))
    from broker.runtimes.wasm_wit import WitProgram

    return WitProgram(component, len(code))
