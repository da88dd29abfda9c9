"""Files that a plugin reads and writes through the broker: what it gets, and what no path leads to."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from broker.core.hostparams import PIECE, Read, Write
from broker.errors import BadArguments, HostFailed, PermissionMissing
from broker.model import Spec
from broker.runtimes import hostfiles

SPEC = Spec(name="lua", source="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.path.realpath(tmp_path))


async def test_a_file_is_read_in_pieces(folder: Path) -> None:
    (folder / "f").write_text("a" * PIECE + "end")
    first = await hostfiles.read(SPEC, Read(path=str(folder / "f")))
    rest = await hostfiles.read(SPEC, Read(path=str(folder / "f"), offset=PIECE))
    assert (len(first["text"]), rest) == (PIECE, {"text": "end", "size": PIECE + 3})


async def test_bytes_that_are_no_text_are_read_as_base64(folder: Path) -> None:
    (folder / "f").write_bytes(b"\xff\x00")
    with pytest.raises(BadArguments, match="base64"):
        await hostfiles.read(SPEC, Read(path=str(folder / "f")))
    found = await hostfiles.read(SPEC, Read(path=str(folder / "f"), encoding="base64"))
    assert base64.b64decode(found["base64"]) == b"\xff\x00"


async def test_a_file_is_made_replaced_and_appended_to(folder: Path) -> None:
    path = str(folder / "f")
    await hostfiles.write(SPEC, Write(path=path, text="a longer text"), ())
    await hostfiles.write(SPEC, Write(path=path, text="short"), ())
    await hostfiles.write(SPEC, Write(path=path, base64=base64.b64encode(b"\xff").decode(), append=True), ())
    assert (folder / "f").read_bytes() == b"short\xff"


@pytest.mark.parametrize("given", [{}, {"text": "a", "base64": "YQ=="}, {"base64": "?"}])
async def test_what_is_to_be_written_must_be_clear(folder: Path, given: dict[str, Any]) -> None:
    with pytest.raises(BadArguments):
        await hostfiles.write(SPEC, Write(path=str(folder / "f"), **given), ())
    assert not (folder / "f").exists()


async def test_no_symbolic_link_is_followed(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "real" / "f").write_text("canary")
    (folder / "way").symlink_to(folder / "real")
    (folder / "end").symlink_to(folder / "real" / "f")
    for path in (folder / "way" / "f", folder / "end"):
        with pytest.raises(HostFailed):
            await hostfiles.read(SPEC, Read(path=str(path)))
        with pytest.raises(HostFailed):
            await hostfiles.write(SPEC, Write(path=str(path), text="x"), ())
    assert (folder / "real" / "f").read_text() == "canary"


async def test_only_files_are_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for path in (folder / "pipe", folder):
        with pytest.raises(HostFailed):
            await hostfiles.read(SPEC, Read(path=str(path)))
        with pytest.raises(HostFailed):
            await hostfiles.write(SPEC, Write(path=str(path), text="x"), ())


async def test_what_is_not_there_is_said(folder: Path) -> None:
    for path in (folder / "f", folder / "no" / "f"):
        with pytest.raises(HostFailed, match=r"/f: "):
            await hostfiles.read(SPEC, Read(path=str(path)))


@pytest.mark.parametrize(
    "name", [".git/hooks/pre-commit", "sub/.git/config", ".git", ".envrc", ".vscode/tasks.json", ".mcp.json", ".bashrc"]
)
async def test_what_others_take_commands_from_is_written_only_by_its_own_name(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(PermissionMissing, match="others take commands"):
        await hostfiles.write(SPEC, Write(path=str(path), text="x"), ())
    granted = Spec(name="lua", source="test", granted=(f"write:{path}",))
    await hostfiles.write(granted, Write(path=str(path), text="x"), ())
    assert path.read_text() == "x"


async def test_what_decides_what_is_started_is_not_written(folder: Path) -> None:
    (folder / "code").mkdir()
    with pytest.raises(PermissionMissing):
        await hostfiles.write(SPEC, Write(path=str(folder / "code" / "f.py"), text="x"), (str(folder / "code"),))
