"""WASI of core modules: a plugin has the variables and files that were granted, and nothing else is there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.ports import Call, Identity
from broker.errors import PluginFailed, PluginUnavailable, TimedOut
from broker.model import Limits, Spec
from broker.runtimes import wasm_cache
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from broker.runtimes.wasm_abi import GIVEN, WASI
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_components import compiled_here
from tests.runtimes.wasm_guests import HOST, Data, Deaf, guest

Open = Callable[..., Awaitable[Served]]
READ, WRITE = 1 << 1, 1 << 6
FINE, ACCES, BADF, EXIST, LOOP, NOENT, NOTDIR, PERM = 0, 2, 8, 20, 32, 44, 54, 63
# Answers with two digits and a text that lies at 2048, as long as the number at 2040 says.
_ANSWER = """(i32.store8 (i32.const {at}) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
  (i32.store8 (i32.const {next}) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
  (call $pack (i32.const {start}) (i32.const {size}))"""


def imports(*names: str) -> str:
    lines = [HOST]
    for name in names:
        params, results = GIVEN[WASI][name]
        result = f"(result {' '.join(results)})" if results else ""
        lines.append(f'(import "{WASI}" "{name}" (func ${name} (param {" ".join(params)}) {result}))')
    return "\n".join(lines)


def answering(code: str, *names: str, texts: tuple[str, ...] = (), more: str = "") -> bytes:
    """A plugin that runs `code`, which leaves a number in `$n`, and answers with it; `{0}`, `{1}`: the first text."""
    data = Data()
    places = [number for text in texts for number in data.put(text)]
    start, size = data.put('{"result":"??"}')
    answer = _ANSWER.format(at=start + 11, next=start + 12, start=start, size=size)
    return guest(code.format(*places) + answer, imports=imports(*names), data=data, more=more)


def opening(path: str, rights: int = READ, how: int = 0, folder: int = 3) -> bytes:
    """A plugin that answers with the number of the error of opening this path."""
    code = f"""(local.set $n (call $path_open (i32.const {folder}) (i32.const 0) (i32.const {{0}}) (i32.const {{1}})
      (i32.const {how}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 128)))"""
    return answering(code, "path_open", texts=(path,))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "way").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
async def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WasmRuntime]:
    monkeypatch.setattr(wasm_cache, "compile_apart", compiled_here)
    runtime = WasmRuntime(tmp_path / "logs")
    runtime.kept = lambda: [str(tmp_path / "files" / "kept")]
    yield runtime
    await runtime.close(1)


@pytest.fixture
def open_(runtime: WasmRuntime, tmp_path: Path) -> Open:
    async def begin(file: bytes, *granted: str, **spec: Any) -> Served:
        entry = tmp_path / "a.wasm"
        entry.write_bytes(file)
        asked = {"env": tuple(text[4:] for text in granted if text.startswith("env:"))}
        spec.setdefault("limits", Limits(timeout=5))
        made = Spec(name="a", source="t", entry=str(entry), granted=granted, permissions=asked, **spec)
        return await runtime.start(made, Identity(), None, Deaf())

    return begin


async def answer(served: Served) -> str:
    given = {"name": raw("echo"), "arguments": raw({"text": "x"})}
    result = json.loads(bytes(await served.call(Call(PretendFace(), Identity(), "tools/call", given))))
    return str(result["content"][0]["text"])


@pytest.mark.parametrize(
    ("path", "rights", "how", "error"),
    [
        ("a.txt", READ, 0, FINE),
        ("sub/../a.txt", READ, 0, FINE),
        ("sub", READ, 2, FINE),
        ("missing", READ, 0, NOENT),
        ("../secret", READ, 0, PERM),
        ("sub/../../secret", READ, 0, PERM),
        ("..", READ, 2, PERM),
        ("/etc/passwd", READ, 0, PERM),
        ("a.txt\\00b", READ, 0, PERM),
        ("link", READ, 0, LOOP),
        ("way/secret", READ, 0, LOOP),
        ("pipe", READ, 0, PERM),
        ("a.txt", READ, 2, NOTDIR),
        ("a.txt", WRITE, 0, ACCES),
        ("new", WRITE, 1, ACCES),
        ("a.txt", READ, 8, ACCES),
    ],
)
async def test_a_path_leads_only_to_what_may_be_read(
    open_: Open, files: Path, path: str, rights: int, how: int, error: int
) -> None:
    served = await open_(opening(path.replace("\\00", "\0"), rights, how), f"read:{files}")
    assert await answer(served) == f"{error:02}"
    assert (files / "a.txt").read_text() == "hello"
    assert not (files / "new").exists()


@pytest.mark.parametrize(
    ("path", "rights", "how", "error"),
    [
        ("new", WRITE, 1, FINE),
        ("a.txt", WRITE, 8, FINE),
        ("a.txt", WRITE, 5, EXIST),
        ("link", WRITE, 8, LOOP),
        ("a.txt", READ, 0, ACCES),
        ("kept", WRITE, 1, ACCES),
        (".git", WRITE, 1, ACCES),
        (".git/config", WRITE, 1, ACCES),
    ],
)
async def test_a_path_leads_only_to_what_may_be_written(
    open_: Open, files: Path, path: str, rights: int, how: int, error: int
) -> None:
    served = await open_(opening(path, rights, how), f"write:{files}")
    assert await answer(served) == f"{error:02}"
    assert (files.parent / "secret").read_text() == "secret"


async def test_without_a_grant_there_is_no_folder(open_: Open, files: Path) -> None:
    assert await answer(await open_(opening("a.txt"))) == f"{BADF:02}"
    assert await answer(await open_(opening(".", folder=4, how=2), f"read:{files}")) == f"{BADF:02}"


async def test_one_file_that_was_granted_is_all_there_is(open_: Open, files: Path) -> None:
    (files / "b.txt").write_text("b")
    granted = f"read:{files}/a.txt"
    assert await answer(await open_(opening("a.txt"), granted)) == f"{FINE:02}"
    assert await answer(await open_(opening("b.txt"), granted)) == f"{ACCES:02}"


async def test_only_granted_variables_are_there(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN", "12")
    monkeypatch.setenv("UNSEEN", "34")
    code = (
        """(drop (call $environ_sizes_get (i32.const 128) (i32.const 132))) (local.set $n (i32.load (i32.const {})))"""
    )
    count = answering(code.replace("{}", "128"), "environ_sizes_get")
    size = answering(code.replace("{}", "132"), "environ_sizes_get")
    assert await answer(await open_(count)) == "00"
    assert await answer(await open_(count, "env:SEEN")) == "01"
    assert await answer(await open_(size, "env:SEEN")) == f"{len('SEEN=12') + 1:02}"


async def test_what_it_writes_is_in_its_log_line_by_line(open_: Open, tmp_path: Path) -> None:
    code = """(i32.store (i32.const 128) (i32.const {0})) (i32.store (i32.const 132) (i32.const {1}))
      (local.set $n (call $fd_write (i32.const 2) (i32.const 128) (i32.const 1) (i32.const 136)))
      (local.set $n (call $fd_write (i32.const 1) (i32.const 128) (i32.const 1) (i32.const 136)))"""
    served = await open_(answering(code, "fd_write", texts=("one\ntwo",)))
    assert await answer(served) == "00"
    await served.stop(1)
    assert (tmp_path / "logs" / "a.log").read_text() == "warning: one\ninfo: one\ninfo: two\nwarning: two\n"


async def test_ending_itself_costs_a_guest_its_call_only(open_: Open) -> None:
    served = await open_(answering("(call $proc_exit (i32.const 3))", "proc_exit"))
    for _ in range(2):
        with pytest.raises(PluginFailed, match="the status 3") as caught:
            await answer(served)
        assert caught.value.facts["kind"] == "exit(3)"


async def test_an_hour_of_sleep_ends_with_the_call(open_: Open) -> None:
    sleep = """(i64.store (i32.const 152) (i64.const 3600000000000))
      (local.set $n (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 300)))"""
    served = await open_(answering(sleep, "poll_oneoff"), limits=Limits(timeout=0.2))
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await answer(served)
    assert time.monotonic() - began < 0.45


@pytest.mark.parametrize("name", ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"])
async def test_sockets_are_refused(open_: Open, name: str) -> None:
    zeros = " ".join("(i32.const 0)" for _ in GIVEN[WASI][name][0])
    assert await answer(await open_(answering(f"(local.set $n (call ${name} {zeros}))", name))) == f"{ACCES:02}"


async def test_what_a_compiler_wants_done_first_is_done(open_: Open) -> None:
    first = '(func (export "_initialize") (global.set $calls (i32.const 7)))'
    assert await answer(await open_(answering("(local.set $n (global.get $calls))", more=first))) == "07"


async def test_a_function_that_wasi_has_not_is_refused_at_the_start(open_: Open) -> None:
    with pytest.raises(PluginUnavailable, match=r"imports wasi_snapshot_preview1\.sock_open"):
        await open_(guest(imports=f'(import "{WASI}" "sock_open" (func (param i32) (result i32)))'))
