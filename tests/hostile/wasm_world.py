"""A hostile WASM guest and a good one beside it: how its calls end, and what they cost the other's.

Times are judged less what the system says our threads waited for a processor: the machine may be busy.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from broker.core.ports import Call, Identity
from broker.errors import PluginFailed, TimedOut
from broker.model import Limits, Spec
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.hostile.stalls import Stalls
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf

ALLOWED = 0.3  # seconds of a call here
OVER = 0.25  # seconds a guest may live beyond its time
GAP = 0.4  # seconds a good call may take while a bad one runs; it takes 0.001


async def operations(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
    """A host that has one answer."""
    return b"1"


async def started(runtime: WasmRuntime, folder: Path, wasm: bytes, name: str, /, **more: Any) -> Served:
    entry = folder / f"{name}.wasm"
    entry.write_bytes(wasm)
    spec = Spec(name=name, source="t", entry=str(entry), limits=Limits(timeout=ALLOWED), **more)
    return await runtime.start(spec, Identity(), None, Deaf())


def calling(**arguments: Any) -> Call:
    return Call(PretendFace(), Identity(), "tools/call", {"name": raw("echo"), "arguments": raw(arguments)})


def echo() -> Call:
    return calling(text="x" * 99)


async def ending(served: Served, call: Call | None = None) -> str:
    """How a call of it ends; a single digit that it answers is told."""
    try:
        result = json.loads(bytes(await served.call(call or echo())))
    except (PluginFailed, TimedOut) as error:
        return str(error.facts["kind"])
    if result.get("isError"):
        return "complains"
    said = result["content"][0]["text"]
    return f"answers {said}" if said in ("0", "1") else "answers"


async def beside(good: Served, bad: asyncio.Future[str], bound: float = ALLOWED + OVER) -> str:
    """What comes of the bad, in this time, while the good plugin is called all along and never waits long."""
    worst = 0.0
    with Stalls() as stalls:
        async with asyncio.timeout(bound + 20):
            while not bad.done():
                began = time.monotonic()
                await good.call(echo())
                worst = max(worst, time.monotonic() - began)
                await asyncio.sleep(0.001)
    assert stalls.ours < bound
    assert worst - stalls.machine < GAP
    assert await ending(good) == "answers"
    return bad.result()


def allowed(end: str, ends: str) -> bool:
    """Whether a call may end so; `ends` are divided by bars, and tell an answer's digit only where it matters."""
    return bool({end, end.partition(" ")[0]} & set(ends.split("|")))
