"""The guest in C that `broker new` makes, built as its README says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from broker.authoring.creating import TEMPLATES
from broker.core.ports import Call, Identity
from broker.errors import PermissionMissing
from broker.model import Limits, Spec
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf

SOURCE = TEMPLATES / "c" / "tool"
ASKING = Path(__file__).parent.parent / "plugins" / "ask-c" / "plugin.c"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason="NO C COMPILER FOR WASM: `pip install ziglang` (it is among the `dev` extras)",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zig")


@pytest.fixture(scope="module")
def built(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shutil.copytree(SOURCE, folder := tmp_path_factory.mktemp("greet") / "plugin")
    return made(folder, cache)


def made(folder: Path, cache: Path) -> Path:
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache / "global"), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    compiler = f"WASM_CC={sys.executable} -m ziglang cc --target=wasm32-freestanding"
    subprocess.run(["make", compiler], cwd=folder, env=env, check=True, timeout=50, stdout=subprocess.DEVNULL)
    return folder / "plugin.wasm"


@pytest.mark.parametrize("instance", ["fresh", "shared"])
async def test_a_plugin_in_c_is_listed_and_called(
    built: Path, tmp_path: Path, instance: Literal["fresh", "shared"]
) -> None:
    runtime = WasmRuntime(tmp_path / "logs")
    limits, config = Limits(timeout=5), {"greeting": 'Grüß\n"dich"'}
    spec = Spec(name="greet", source="t", entry=str(built), limits=limits, instance=instance, config=config)
    served = await runtime.start(spec, Identity(), None, Deaf())
    (tool,) = (await served.lists()).tools
    assert json.loads(bytes(tool))["description"] == "Greets somebody"
    for name in ("Ada", 'a "quoted" \\ name\u0001', "🙂 \u2028", ""):
        call = Call(PretendFace(), Identity(), "tools/call", {"name": raw("greet"), "arguments": raw({"name": name})})
        assert json.loads(bytes(await served.call(call)))["content"][0]["text"] == f'Grüß\n"dich", {name}!'
    call = Call(PretendFace(), Identity(), "tools/call", {"name": raw("greet"), "arguments": raw({"name": "ü" * 500})})
    assert json.loads(bytes(await served.call(call)))["content"][0]["text"] == f'Grüß\n"dich", {"ü" * 99}!'
    await runtime.close(1)
    assert "info: greeting" in (tmp_path / "logs" / "greet.log").read_text()


async def test_a_plugin_in_c_asks_its_host(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(SOURCE, folder := tmp_path / "plugin")
    shutil.copy(ASKING, folder)

    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        if op == "secrets.get":
            raise PermissionMissing('nobody granted "it", \u0001 ü')
        return b'{"asked":%b,"list":[1,{"a":"]}"}]}' % params

    runtime = WasmRuntime(tmp_path / "logs", operations=host)
    config = {"other": {"limit": 5}, "text": '"limit":7', "limit": -12}
    spec = Spec(name="ask", source="t", entry=str(made(folder, cache)), limits=Limits(timeout=5), config=config)
    served = await runtime.start(spec, Identity(), None, Deaf())

    async def asked(**arguments: Any) -> Any:
        call = Call(PretendFace(), Identity(), "tools/call", {"name": raw("ask"), "arguments": raw(arguments)})
        return json.loads(bytes(await served.call(call)))

    params = {"key": 'a "quoted" \\ key', "deep": [[], {"x": None}]}
    found = await asked(op="state.get", params=params)
    assert found["structuredContent"] == {"asked": params, "list": [1, {"a": "]}"}]}
    refused = await asked(op="secrets.get", params={})
    assert refused["isError"] and 'The host says: nobody granted "it", \u0001 ü' in refused["content"][0]["text"]
    await runtime.close(1)
