"""Components that no one here wrote, as their makers publish them: each function is a tool.

Both come with jco 1.0.0 of the Bytecode Alliance (later ones bring them in pieces): `wasm-tools`, which reads and
writes WebAssembly, and `js-component-bindgen`, which writes JavaScript around a component.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import PluginUnavailable
from broker.model import Limits, Spec
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf
from tests.servers import NODE_MODULES

PUBLISHED = NODE_MODULES / "jco-1.0" / "obj"
WAT = '(module (memory (export "m") 1) (func (export "seven") (result i32) i32.const 7))'
WIT = "package a:b; world w { export shout: func(text: string) -> string; }"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PUBLISHED.is_dir(), reason="NO FOREIGN COMPONENT: `npm ci` in tests/ brings it"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled code is kept, so that each file is compiled once."""
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture
async def runtime(kept: Path, tmp_path: Path) -> AsyncIterator[WasmRuntime]:
    runtime = WasmRuntime(tmp_path / "logs", kept / "cache", kept / "wasm.key")
    yield runtime
    await runtime.close(1)


async def begun(runtime: WasmRuntime, name: str, **spec: Any) -> Served:
    made = Spec(name="a", source="t", entry=str(PUBLISHED / name), limits=Limits(timeout=20), **spec)
    return await runtime.start(made, Identity(), None, Deaf())


async def called(served: Served, tool: str, **given: Any) -> tuple[bool, Any]:
    """Whether it failed, and its value if it has one, else its text."""
    call = Call(PretendFace(), Identity(), "tools/call", {"name": raw(tool), "arguments": raw(given)})
    result = json.loads(bytes(await served.call(call)))
    return result.get("isError", False), result.get("structuredContent", result["content"][0]["text"])


async def made(served: Served, tool: str, **given: Any) -> str:
    failed, value = await called(served, tool, **given)
    assert not failed, value
    return value


async def test_it_runs_only_if_its_user_says_so(runtime: WasmRuntime) -> None:
    with pytest.raises(PluginUnavailable, match='wasm = "functions"'):
        await begun(runtime, "wasm-tools.component.wasm")


async def test_wasm_tools_reads_and_writes_webassembly(runtime: WasmRuntime) -> None:
    served = await begun(runtime, "wasm-tools.component.wasm", wasm="functions")
    tools = [json.loads(bytes(each)) for each in (await served.lists()).tools]
    assert {"tools_parse", "tools_print", "tools_component-new", "tools_component-embed"} <= {
        each["name"] for each in tools
    }
    binary = await made(served, "tools_parse", wat=WAT)
    assert base64.b64decode(binary)[:8] == b"\0asm\1\0\0\0"
    text = await made(served, "tools_print", binary=binary)
    assert 'export "seven"' in text and "i32.const 7" in text
    assert await made(served, "tools_parse", wat=text)
    failed, why = await called(served, "tools_parse", wat="(modul")
    assert failed and "expected valid module field" in why
    failed, why = await called(served, "tools_print", binary=base64.b64encode(b"\0asm\1").decode())
    assert failed and "unexpected end" in why
    failed, why = await called(served, "tools_print", binary="no base64!")
    assert failed and "`binary`: no base64" in why


async def test_records_options_and_lists_of_tuples_reach_it(runtime: WasmRuntime) -> None:
    """A core module becomes a component with a world that is written there: the whole road of a tool chain."""
    served = await begun(runtime, "wasm-tools.component.wasm", wasm="functions")
    dummy = await made(served, "tools_component-embed", **{"embed-opts": {"wit-source": WIT, "dummy": True}})
    component = await made(served, "tools_component-new", binary=dummy)
    assert "export shout: func(text: string) -> string;" in await made(served, "tools_component-wit", binary=component)
    metadata = [["language", [["Rust", "1.63"]]]]
    marked = await made(served, "tools_metadata-add", binary=component, metadata=metadata)
    assert "Rust" in json.dumps(await made(served, "tools_metadata-show", binary=marked))


async def test_js_component_bindgen_writes_javascript_around_a_component(runtime: WasmRuntime) -> None:
    served = await begun(runtime, "js-component-bindgen-component.component.wasm", wasm="functions")
    names = {json.loads(bytes(each))["name"] for each in (await served.lists()).tools}
    assert names == {"generate", "generate-types"}
    tools = await begun(runtime, "wasm-tools.component.wasm", wasm="functions")
    dummy = await made(tools, "tools_component-embed", **{"embed-opts": {"wit-source": WIT, "dummy": True}})
    component = await made(tools, "tools_component-new", binary=dummy)
    options = {"name": "shouter", "map": [["a:*", "./a.js"]], "instantiation": None}
    failed, found = await called(served, "generate", component=component, options=options)
    assert not failed, found
    files = {name: base64.b64decode(data) for name, data in found["files"]}
    assert b"shout" in files["shouter.js"] and b"shout" in files["shouter.d.ts"]
