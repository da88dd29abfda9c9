"""Programs that a plugin runs through the broker, held to what the plugin may do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker.core.hostparams import Exec
from broker.errors import FrameTooLarge, HostFailed, TimedOut
from broker.model import Spec
from broker.permissions.redaction import Redactions
from broker.runtimes import hostexec
from tests.confine.jailed import native

pytestmark = native


async def run(tmp_path: Path, *command: str, granted: tuple[str, ...] = (), **params: Any) -> dict[str, Any]:
    spec = Spec(name="lua", source="test", cwd=str(tmp_path), version="1.0.0", granted=granted, permissions={})
    wanted = Exec(command=list(command), **params)
    ran = hostexec.execute(spec, wanted, os.environ, tmp_path / "data", (), Redactions())
    return await asyncio.wait_for(ran, 20)


async def test_a_program_is_given_its_input_and_says_what_it_wrote(tmp_path: Path) -> None:
    found = await run(tmp_path, "cat", input="hello", granted=("run:cat",))
    assert found == {"code": 0, "stdout": "hello", "stderr": ""}


async def test_an_exit_code_is_no_failure(tmp_path: Path) -> None:
    found = await run(tmp_path, "ls", "/nowhere", granted=("run:ls",))
    assert found["code"] != 0 and "/nowhere" in found["stderr"]


async def test_it_sees_no_more_than_its_plugin(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    found = await run(tmp_path, "cat", str(tmp_path.parent / "x"), str(Path.home() / ".profile"), granted=("run:cat",))
    assert found["code"] != 0 and found["stdout"] == ""


async def test_one_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(TimedOut):
        await run(tmp_path, "sleep", "4321.125", timeout=0.5, granted=("run:sleep",))
    left = [each for each in psutil.process_iter(["cmdline"]) if "4321.125" in (each.info["cmdline"] or ())]
    assert left == []


async def test_one_that_writes_without_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(FrameTooLarge):
        await run(tmp_path, "yes", granted=("run:yes",))


async def test_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostFailed, match="no-such-program"):
        await run(tmp_path, "no-such-program", granted=("run:no-such-program",))


async def test_one_that_does_not_read_its_input_is_still_heard(tmp_path: Path) -> None:
    found = await run(tmp_path, "head", "-c", "3", input="abc" * 100_000, granted=("run:head",))
    assert found == {"code": 0, "stdout": "abc", "stderr": ""}
