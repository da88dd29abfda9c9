"""Compiles one WASM file in a process of its own, because nothing can interrupt a compiler: 31 KB can take a minute.

Started as `python -m broker.runtimes.wasm_compile FILE ANSWER SECONDS BYTES`. In the file ANSWER: "+" and the compiled
module, or "-" and why it is no valid module; nothing if it was ended at its bounds, which it sets itself.
"""

from __future__ import annotations

import sys
from pathlib import Path


def compiled(path: Path) -> bytes:
    """The answer for the file at `path`."""
    import wasmtime

    from broker.runtimes import wasm_kinds

    try:
        return b"+" + wasm_kinds.compiled(path.read_bytes())
    except wasmtime.WasmtimeError as error:
        return b"-" + str(error).strip().rpartition("\n")[2].encode()[:300]


def _bound(seconds: int, memory: int) -> None:
    if sys.platform == "win32":  # its caller's time limit is all there is
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(words: list[str]) -> None:
    """Bound this process, then compile."""
    file, answer, seconds, memory = words
    _bound(int(seconds), int(memory))
    Path(answer).write_bytes(compiled(Path(file)))


if __name__ == "__main__":
    main(sys.argv[1:])
