"""Guests that real compilers build: C with WASI, the example of an Extism SDK, Python as a component.

Those that `broker new` makes (Rust, C, AssemblyScript, and Python and JavaScript as components) are built and tried in
`tests/authoring/test_templates.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import PluginFailed, TimedOut
from broker.model import Limits, Spec
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf

TESTS = Path(__file__).parent.parent
PLUGINS = TESTS / "plugins"
MODULES = TESTS / "node_modules"
WIT = TESTS.parent / "broker" / "runtimes" / "wit"
Open = Callable[..., Awaitable[Served]]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def built(words: list[str], folder: Path, cwd: Path) -> None:
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "local")}
    done = subprocess.run(words, env=env, cwd=cwd, timeout=600, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"NO {module.upper()}: `pip install -e .[dev]` brings it")


def assembly_script(source: Path, abort: str, out: Path, *options: str) -> None:
    compiler = MODULES / "assemblyscript" / "bin" / "asc.js"
    if not compiler.exists():
        pytest.skip("NO ASSEMBLYSCRIPT: `npm ci` in tests/ brings it")
    use = f"abort={source.stem}/{abort}"
    built(["node", str(compiler), source.name, "-o", str(out), "--use", use, "-O", *options], out.parent, source.parent)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[WasmRuntime]:
    async def host(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
        return b'{"asked":%b}' % params

    runtime = WasmRuntime(tmp_path / "logs", operations=host)
    yield runtime
    await runtime.close(1)


@pytest.fixture
def open_(runtime: WasmRuntime) -> Open:
    async def begin(file: Path, *granted: str, **spec: Any) -> Served:
        asked = {"env": tuple(text[4:] for text in granted if text.startswith("env:"))}
        spec.setdefault("limits", Limits(timeout=5))
        made = Spec(name="a", source="t", entry=str(file), granted=granted, permissions=asked, **spec)
        return await runtime.start(made, Identity(), None, Deaf())

    return begin


async def called(served: Served, tool: str, **given: Any) -> Any:
    asked = {"name": raw(tool), "arguments": raw(given)}
    return json.loads(bytes(await served.call(Call(PretendFace(), Identity(), "tools/call", asked))))


async def text_of(served: Served, tool: str, **given: Any) -> str:
    return (await called(served, tool, **given))["content"][0]["text"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


async def test_a_program_in_c_has_the_world_that_it_was_granted(
    open_: Open, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("ziglang")
    monkeypatch.setenv("SEEN", "seen")
    monkeypatch.setenv("UNSEEN", "unseen")
    out = tmp_path / "a.wasm"
    flags = ["--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-s"]
    source = str(PLUGINS / "files-c" / "plugin.c")
    built([sys.executable, "-m", "ziglang", "cc", *flags, source, "-o", str(out)], tmp_path, tmp_path)
    served = await open_(out, f"read:{files}", f"write:{files}", "env:SEEN", limits=Limits(timeout=0.5))

    async def does(what: str, path: object = "", text: object = "") -> str:
        return await text_of(served, "echo", do=what, path=str(path), text=str(text))

    assert await does("env", text="SEEN") == "seen"
    assert await does("env", text="UNSEEN") == "(none)"
    assert await does("time") == "now"
    assert await does("read", files / "a.txt") == "hello"
    assert await does("write", files / "b.txt", "new") == "written"
    assert await does("folder", files / "sub") == "made"
    assert await does("rename", files / "b.txt", files / "sub" / "c.txt") == "renamed"
    assert (files / "sub" / "c.txt").read_text() == "new"
    assert await does("list", files) == "a.txt,link,sub,"
    assert await does("remove", files / "sub" / "c.txt") == "removed"
    for path in (files.parent / "secret", files / ".." / "secret", files / "link", "/etc/passwd"):
        assert (await does("read", path)).startswith("read: ")
        assert (await does("write", path, "x")).startswith("write: ")
    assert (await does("link", files / "new", "/etc")).startswith("link: ")
    assert (await does("list", "/")).startswith("list: ")
    assert (files.parent / "secret").read_text() == "secret"
    assert (await does("open", files / "a.txt")).startswith("open: ")
    with pytest.raises(PluginFailed, match="the status 3"):
        await does("exit")
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await does("sleep")
    assert time.monotonic() - began < 0.75


async def test_the_example_of_the_extism_sdk_runs_as_it_is(open_: Open, tmp_path: Path) -> None:
    """Nobody here wrote it."""
    assembly_script(MODULES / "@extism" / "as-pdk" / "example.ts", "myAbort", tmp_path / "a.wasm")
    served = await open_(tmp_path / "a.wasm", wasm="extism", config={"thing": "configured"})
    found = (await called(served, "count_vowels", input="Hello world"))["structuredContent"]
    assert found == {"count": 3, "config": "configured", "a": "this is var a"}


async def test_a_component_in_python_has_the_world_that_it_was_granted(
    open_: Open, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("componentize_py")
    monkeypatch.setenv("SEEN", "seen")
    monkeypatch.setenv("UNSEEN", "unseen")
    out = tmp_path / "a.wasm"
    words = [
        str(Path(sys.executable).with_name("componentize-py")),
        "-d",
        str(WIT),
        "-w",
        "plugin",
        "componentize",
        "app",
    ]
    built([*words, "-o", str(out)], tmp_path, PLUGINS / "echo-component")
    served = await open_(out, f"read:{files}", f"write:{files}", "env:SEEN", limits=Limits(timeout=1))
    assert (await called(served, "echo", a=[1, None, "ü"]))["structuredContent"] == {"a": [1, None, "ü"]}
    assert (await called(served, "env"))["structuredContent"] == {"SEEN": "seen"}
    assert (await called(served, "ask", op="state.get", params={"key": "x"}))["structuredContent"] == {
        "asked": {"key": "x"}
    }
    assert await text_of(served, "read", path=str(files / "a.txt")) == "hello"
    assert "b.txt" in await text_of(served, "write", path=str(files / "b.txt"), text="new")
    assert (files / "b.txt").read_text() == "new"
    for path in (files.parent / "secret", files / ".." / "secret", files / "link", "/etc/passwd"):
        with pytest.raises(PluginFailed, match="Error"):
            await called(served, "read", path=str(path))
    result = await called(served, "fail", text="no such city")
    assert (result["isError"], result["content"][0]["text"]) == (True, "no such city")
    with pytest.raises(PluginFailed, match="ValueError: my own words"):
        await called(served, "fall", text="my own words")
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await called(served, "sleep", seconds=3600)
    assert time.monotonic() - began < 1.25
    await called(served, "say", text="said")
    assert (tmp_path / "logs" / "a.log").read_text().endswith("info: said\nwarning: said\ninfo: logged\n")
