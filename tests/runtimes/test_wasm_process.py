"""What a guest does to the process that it runs in: nothing, not even where Python's own handlers are in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hostile.wasm_attacks import SPIN
from tests.runtimes.wasm_guests import guest
from tests.servers import ROOT

PROGRAM = """
import asyncio, faulthandler, sys
from broker.core.ports import Call, Identity
from broker.errors import PluginFailed
from broker.model import Limits, Spec
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf

async def begun():
    spec = Spec(name="a", source="t", entry=sys.argv[1], limits=Limits(timeout=60))
    served = await WasmRuntime().start(spec, Identity(), None, Deaf())
    asked = {"name": raw("echo"), "arguments": raw({"text": "x"})}
    return lambda: served.call(Call(PretendFace(), Identity(), "tools/call", asked))
"""
FAULTS = """
async def main():
    if "before" in sys.argv: faulthandler.enable()
    call = await begun()
    if "after" in sys.argv: faulthandler.enable()
    for _ in range(2):
        try: await call()
        except PluginFailed as error: print(error.facts["kind"])
asyncio.run(main())
"""
SPINS = """
async def main():
    call = await begun()
    task = asyncio.ensure_future(call())
    await asyncio.wait([task], timeout=0.1)
    print("spinning", flush=True)
    asyncio.get_running_loop().stop()
try: asyncio.run(main())
except RuntimeError: pass
"""


def running(folder: Path, program: str, wasm: bytes, *words: str) -> subprocess.Popen[str]:
    (folder / "a.wasm").write_bytes(wasm)
    argv = [sys.executable, "-c", PROGRAM + program, str(folder / "a.wasm"), *words]
    return subprocess.Popen(
        argv, cwd=ROOT, env={**os.environ, "PYTHONFAULTHANDLER": ""}, stdout=-1, stderr=-1, text=True
    )


@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.long), "after"])
def test_a_fault_of_a_guest_is_its_own_where_python_would_show_faults(tmp_path: Path, when: str) -> None:
    """Python's handler, set after wasmtime's, takes the signal for a fault of its own."""
    process = running(tmp_path, FAULTS, guest("(drop (i32.load (i32.const -1))) (unreachable)"), when)
    said, complained = process.communicate(timeout=50)
    assert (said, process.returncode) == ("memory_fault\n" * 2, 0), complained


def test_the_process_ends_while_a_guest_spins(tmp_path: Path) -> None:
    process = running(tmp_path, SPINS, guest(f"{SPIN} (unreachable)"))
    assert process.stdout is not None and process.stdout.readline() == "spinning\n"
    began = time.monotonic()
    process.communicate(timeout=50)
    assert time.monotonic() - began < 5  # it may spin for 60
