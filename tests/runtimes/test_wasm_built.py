"""A guest that a real compiler built from C."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from broker.core.ports import Call, Identity
from broker.model import Limits, Spec
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf

SOURCE = Path(__file__).parent.parent / "plugins" / "size-c" / "plugin.c"
FLAGS = ("--target=wasm32-freestanding", "-O2", "-nostdlib", "-Wl,--no-entry")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason="NO C COMPILER FOR WASM: `pip install ziglang` (it is among the `dev` extras)",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zig")
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "global"), "ZIG_LOCAL_CACHE_DIR": str(folder / "local")}
    words = [sys.executable, "-m", "ziglang", "cc", *FLAGS, str(SOURCE), "-o", str(folder / "plugin.wasm")]
    subprocess.run(words, env=env, check=True, timeout=50)
    return folder / "plugin.wasm"


@pytest.mark.parametrize("instance", ["fresh", "shared"])
async def test_a_plugin_in_c_is_listed_and_called(
    built: Path, tmp_path: Path, instance: Literal["fresh", "shared"]
) -> None:
    runtime = WasmRuntime(tmp_path / "logs")
    spec = Spec(name="size", source="t", entry=str(built), limits=Limits(timeout=5), instance=instance)
    served = await runtime.start(spec, Identity(), None, Deaf())
    (tool,) = (await served.lists()).tools
    assert json.loads(bytes(tool))["description"] == "How long the request is."
    for _ in range(3):
        call = Call(PretendFace(), Identity(), "tools/call", {"name": raw("size"), "arguments": raw({"text": "hello"})})
        result = json.loads(bytes(await served.call(call)))
        assert int(result["content"][0]["text"]) > len('{"text":"hello"}')
    await runtime.close(1)
    assert "info: counting" in (tmp_path / "logs" / "size.log").read_text()
