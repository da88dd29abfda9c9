"""What a program needs to be loaded, read from its file."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from broker.confine import elf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux's programs")


def test_a_program_of_the_system_names_its_loader_and_libraries() -> None:
    found = elf.needs("/bin/sh")
    assert "ld-linux" in found.loader or "ld-musl" in found.loader
    assert any(name.startswith("libc.") for name in found.libraries)


def test_a_library_beside_its_program_is_found(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmine.so").write_bytes(b"\x7fELF")
    program = tmp_path / "program"
    program.write_bytes(small_program(b"libmine.so", b"$ORIGIN/lib:relative"))
    assert elf.needs(str(program)).folders == (str(tmp_path / "lib"),)
    assert list(elf.libraries(str(program))) == [str(tmp_path / "lib" / "libmine.so")]


@pytest.mark.parametrize("size", [0, 3, 4, 5, 63, 64, 120, 200])
def test_a_file_that_was_cut_off_names_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut"
    path.write_bytes(small_program(b"libmine.so", b"$ORIGIN")[:size])
    assert elf.needs(str(path)) == elf.Needs()
    assert elf.is_program(str(path)) is (size >= 4)


def test_a_folder_of_the_loader_may_be_named_in_a_file_that_is_included(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.conf").write_text("/opt/a\n# /opt/b\n")
    (tmp_path / "ld.so.conf").write_text(f"include {tmp_path}/more/*.conf\n/opt/c # yes\n")
    assert elf.system_folders(tmp_path / "ld.so.conf") == ["/opt/a", "/opt/c"]
    assert elf.system_folders(tmp_path / "none") == []


def small_program(library: bytes, folders: bytes) -> bytes:
    """An ELF file for 64 bits with one loadable part and the table of what it needs."""
    strings = b"\0" + library + b"\0" + folders + b"\0"
    entries = [(1, 1), (29, len(library) + 2), (5, 0x1000), (0, 0)]
    table = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    at = 64 + 2 * 56
    load = struct.pack("<IIQQQQQQ", 1, 4, at, 0x1000, 0, len(strings), len(strings), 1)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, at + len(strings), 0x2000, 0, len(table), len(table), 1)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return head + load + dynamic + strings + table
