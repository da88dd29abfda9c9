"""Archives that want out of their folder, want to be something else, or want the whole disk."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.clients import unpack
from broker.clients.unpack import unpacked
from broker.core.shape import Wrong

Fill = Callable[[zipfile.ZipFile], None]


def archive(folder: Path, fill: Fill) -> Path:
    path = folder / "bundle.mcpb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as held:
        fill(held)
    return path


def file(name: str, mode: int = 0o644, kind: int = stat.S_IFREG, content: bytes = b"x") -> Fill:
    def fill(held: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name  # as it is: the constructor would make it harmless
        info.external_attr = (kind | mode) << 16
        held.writestr(info, content)

    return fill


def both(*fills: Fill) -> Fill:
    def fill(held: zipfile.ZipFile) -> None:
        for each in fills:
            each(held)

    return fill


def nothing_is_left(place: Path) -> bool:
    return os.listdir(place) == [] and sorted(os.listdir(place.parent)) == ["bundle.mcpb", "place"]


OUT = [
    *("../out", "a/../../out", "/out", "//out", "a//b", "./a", "a/.", "..", "a/..", "/"),
    *("..\\out", "a\\..\\..\\out", "C:\\out", "C:out", "\\\\host\\share", "a:stream", "~/../x/.."),
    *(" a", "a ", "a.", "a/ /b", "con", "NUL.txt", "a/com1", "aux.js"),
    *("a\nb", "a\x1b[2J", "a\u202ego.js", "a\u200b", "a*", "a?", 'a"', "a|b", "<a>"),
    *("x" * 2000, "a/" * 70 + "b"),
]


@pytest.mark.parametrize("name", OUT, ids=lambda name: ascii(name[:30]))
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Wrong):
        unpacked(archive(tmp_path, both(file("good"), file(name))), tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_a_name_that_ends_early_on_some_systems_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, file("safe!evil"))
    path.write_bytes(path.read_bytes().replace(b"safe!evil", b"safe\0evil"))
    with pytest.raises(Wrong):
        unpacked(path, tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


KINDS = {
    "link": stat.S_IFLNK,
    "pipe": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "device": stat.S_IFCHR,
    "disk": stat.S_IFBLK,
    "folder that is a file": stat.S_IFDIR,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(Wrong, match="neither a file nor a folder"):
        unpacked(archive(tmp_path, file("a", 0o777, kind, b"/etc/passwd")), tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_a_file_behind_a_link_of_the_archive_is_not_written(tmp_path: Path) -> None:
    link = file("out", 0o777, stat.S_IFLNK, str(tmp_path).encode())
    with pytest.raises(Wrong):
        unpacked(archive(tmp_path, both(link, file("out/pwned"))), tmp_path / "place")
    assert not (tmp_path / "pwned").exists()


TWICE = [
    ("a", "a"),
    ("Manifest.json", "manifest.JSON"),
    ("stra\u00dfe", "STRASSE"),
    ("\u00e9", "e\u0301"),
    ("\ufb01le", "file"),
    ("a", "a/b"),
    ("a/b", "a"),
    ("A/b", "a"),
    ("a/b/c", "A/B"),
]


@pytest.mark.parametrize(("first", "second"), TWICE)
@pytest.mark.filterwarnings("ignore:Duplicate name")  # of the library that writes it
def test_two_names_that_are_one_file_somewhere_are_refused(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(Wrong, match="twice"):
        unpacked(archive(tmp_path, both(file(first), file(second))), tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_set_id_bits_are_lost_and_only_its_user_reads_it(tmp_path: Path) -> None:
    folder = unpacked(archive(tmp_path, both(file("run", 0o6777), file("sub/data", 0o666))), tmp_path / "place")
    modes = {each: stat.S_IMODE((folder / each).stat().st_mode) for each in ("run", "sub/data", "sub", ".")}
    assert modes == {"run": 0o700, "sub/data": 0o600, "sub": 0o700, ".": 0o700}


def test_a_bomb_ends_at_its_bound_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_ALL", 3 << 20)
    bomb = both(*(file(f"{n}", content=bytes(1 << 20)) for n in range(5)))
    with pytest.raises(Wrong, match="larger than"):
        unpacked(archive(tmp_path, bomb), tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_one_file_has_a_bound_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_FILE", 1 << 20)
    with pytest.raises(Wrong, match="larger than"):
        unpacked(archive(tmp_path, file("a", content=bytes((1 << 20) + 1))), tmp_path / "place")
    assert len(list(unpacked(archive(tmp_path, file("a", content=bytes(1 << 20))), tmp_path / "place").iterdir())) == 1


def test_a_size_that_is_a_lie_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_FILE", 1 << 20)
    path = archive(tmp_path, file("a", content=bytes(4 << 20)))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 4 << 20), struct.pack("<I", 10)))
    with pytest.raises(Wrong):
        unpacked(path, tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_the_number_of_files_and_the_archive_have_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, both(*(file(f"{n}") for n in range(9))))
    monkeypatch.setattr(unpack, "MAX_FILES", 8)
    with pytest.raises(Wrong, match="more than 8 files"):
        unpacked(path, tmp_path / "place")
    monkeypatch.setattr(unpack, "MAX_ARCHIVE", 100)
    with pytest.raises(Wrong, match="larger than"):
        unpacked(path, tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_members_that_share_their_bytes_are_bounded_by_what_they_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the overlapping bombs of 2019: many entries, one compressed body."""
    monkeypatch.setattr(unpack, "MAX_ALL", 4 << 20)
    path = archive(tmp_path, file("a", content=bytes(1 << 20)))
    with zipfile.ZipFile(path, "a") as held:
        held.filelist += [_twin(held.filelist[0], f"b{n}") for n in range(50)]
        held._didModify = True  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Wrong):
        unpacked(path, tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def _twin(member: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    twin = zipfile.ZipInfo(name)
    for field in ("compress_type", "external_attr", "CRC", "compress_size", "file_size", "header_offset"):
        setattr(twin, field, getattr(member, field))
    return twin


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "encrypted", "method"])
def test_a_broken_archive_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    path = archive(tmp_path, file("a", content=os.urandom(1000)))
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\x01\x02")
    if damage == "flipped":
        data[100] ^= 0xFF
    elif damage == "encrypted":
        data[start + 8] |= 1
    elif damage == "method":
        data[start + 10] = 99
    made = {"empty": b"", "text": b"not a zip", "cut": bytes(data[: len(data) // 2])}
    path.write_bytes(made.get(damage, bytes(data)))
    with pytest.raises(Wrong):
        unpacked(path, tmp_path / "place")
    assert nothing_is_left(tmp_path / "place")


def test_what_is_appended_behind_it_as_a_signature_is_no_part_of_it(tmp_path: Path) -> None:
    path = archive(tmp_path, file("manifest.json", content=b"{}"))
    path.write_bytes(path.read_bytes() + b"MCPB_SIG_V1" + struct.pack("<I", 3) + b"abc" + b"MCPB_SIG_END")
    assert os.listdir(unpacked(path, tmp_path / "place")) == ["manifest.json"]
