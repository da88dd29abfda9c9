"""What a grant is bound to, and what is said when that is not so any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.model import Spec
from broker.permissions import approval as module
from broker.permissions.approval import approval, changes, examined


@pytest.fixture
def plugin(tmp_path: Path) -> Spec:
    (tmp_path / "plugin.toml").write_text('name = "todos"\n')
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    return Spec(
        name="todos",
        source=str(tmp_path / "config.toml"),
        command=("tool", "--fast", "a b"),
        cwd=str(tmp_path),
        env={"TOKEN": "1"},
        version="1.0.0",
        permissions={"read": ("${workspace}",)},
    )


def tool(spec: Spec) -> str:
    return f"{spec.cwd}/tool"


def test_what_did_not_change_is_what_was_approved(plugin: Spec) -> None:
    approved = approval(plugin, tool(plugin))
    same = replace(plugin, env={"TOKEN": "another value"}, description="x", tools=(("a",),), enabled=False)
    assert changes(approved, approval(same, tool(plugin))) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ("tool", "--fast", "a", "b")}, "its command line"),
        ({"command": ("tool", "--fast")}, "its command line"),
        ({"entry": "/x/plugin.py"}, "its command line"),
        ({"env": {}}, "the names of its environment variables"),
        (
            {"env": {"TOKEN": "1", "LD_PRELOAD": "x"}},
            "the names of its environment variables",
        ),
        ({"permissions": {"read": ("/x",)}}, "what it asks for or its manifest"),
        (
            {"permissions": {"write": ("${workspace}",)}},
            "what it asks for or its manifest",
        ),
        (
            {"command": ("x",), "env": {}, "permissions": {}},
            "what it asks for or its manifest, its command line and the names of its environment variables",
        ),
    ],
)
def test_each_change_is_named(plugin: Spec, change: dict[str, object], said: str) -> None:
    approved = approval(plugin, tool(plugin))
    now = approval(replace(plugin, **change), tool(plugin))
    assert changes(approved, now) == f"{said} changed since it was granted"


def test_another_folder_is_a_change(plugin: Spec, tmp_path: Path) -> None:
    server = replace(plugin, version="")
    moved = replace(server, cwd=str(tmp_path.parent))
    said = changes(approval(server, None), approval(moved, None))
    assert said == "the folder it is started in changed since it was granted"


def test_a_manifest_counts_to_the_last_byte(plugin: Spec, tmp_path: Path) -> None:
    approved = approval(plugin, None)
    (tmp_path / "plugin.toml").write_text('name = "todos"\n ')
    assert "manifest" in changes(approved, approval(plugin, None))
    (tmp_path / "plugin.toml").unlink()
    with pytest.raises(OSError):
        approval(plugin, None)


def test_another_program_is_a_change_and_is_named(plugin: Spec, tmp_path: Path) -> None:
    approved = approval(plugin, tool(plugin))
    (tmp_path / "tool").write_bytes(b"#!/bin/evil\n")
    assert (
        changes(approved, approval(plugin, tool(plugin))) == f"the program {tool(plugin)} changed since it was granted"
    )
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    assert changes(approved, approval(plugin, tool(plugin))) == ""
    (tmp_path / "copy").write_bytes(b"#!/bin/sh\n")
    assert "/copy" in changes(approved, approval(plugin, f"{tmp_path}/copy"))


def test_a_program_that_is_gone_is_no_change_and_one_that_appears_is(plugin: Spec) -> None:
    with_it, without = approval(plugin, tool(plugin)), approval(plugin, None)
    assert changes(with_it, without) == ""
    assert "the program" in changes(without, with_it)


def test_a_program_swapped_for_a_link_is_what_it_leads_to(plugin: Spec, tmp_path: Path) -> None:
    approved = approval(plugin, tool(plugin))
    (tmp_path / "evil").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "tool").unlink()
    (tmp_path / "tool").symlink_to("evil")
    assert f"{tmp_path}/evil" in changes(approved, approval(plugin, tool(plugin)))


def test_a_program_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node"
    path.write_bytes(b"x" * 3_000_000)
    known = examined(str(path))
    monkeypatch.setattr(module.hashlib, "sha256", lambda: pytest.fail("it is read again"))
    assert examined(str(path), [known]) is known


def test_size_and_time_of_writing_alone_make_no_program_known(tmp_path: Path) -> None:
    """Both can be set back by whoever owns the file; the time of its last change cannot."""
    path = tmp_path / "node"
    path.write_bytes(b"good")
    known = examined(str(path))
    path.write_bytes(b"evil")
    os.utime(path, ns=(known.stamp.written, known.stamp.written))
    found = examined(str(path), [known])
    assert found.stamp.written == known.stamp.written and found.stamp.size == known.stamp.size
    assert found.sha256 != known.sha256


def test_texts_that_no_file_can_hold_have_a_digest_too(plugin: Spec) -> None:
    for word in ("\ud800", "\udcff", "", "\0"):
        assert "command" in changes(approval(plugin, None), approval(replace(plugin, command=(word,)), None))


def test_a_digest_tells_nothing_of_a_token_on_the_command_line(plugin: Spec) -> None:
    assert "hunter2" not in repr(approval(replace(plugin, command=("tool", "--token=hunter2")), None))
