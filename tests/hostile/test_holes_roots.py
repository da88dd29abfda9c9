"""A plugin's own files choose what is looked for before it starts. None of them can have a secret shown that way."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from broker.confine import roots
from broker.errors import PluginUnavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="roots are looked for where a plugin is confined")

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a project that nobody granted."""
    home = tmp_path / "home"
    (home / "project" / "lib").mkdir(parents=True)
    (home / "project" / "secret").write_text("secret")
    return home


@pytest.fixture
def plugin(home: Path) -> Path:
    """The folder of a plugin that a stranger wrote."""
    folder = home / "plugins" / "evil"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("")
    return folder


@pytest.fixture
def venv(plugin: Path) -> Path:
    """The virtual environment that it brings."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(plugin / ".venv")], check=True)
    return plugin / ".venv"


def found(home: Path, plugin: Path, *argv: Path | str, **more: str) -> roots.Found:
    words = [str(word) for word in argv]
    return roots.find(words, environ={**ENV, "HOME": str(home), **more}, cwd=str(plugin), own=str(plugin))


def shows(needs: roots.Found, path: Path) -> bool:
    return any(f"{os.path.realpath(path)}/".startswith(f"{root}/") for root in needs.roots)


def packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def test_a_path_file_that_it_brings_shows_nothing_outside_of_its_folder(home: Path, plugin: Path, venv: Path) -> None:
    (packages(venv) / "x.pth").write_text(f"{home}/project\n{plugin}\n")
    (packages(venv) / "__editable___x_finder.py").write_text(f"MAPPING = {{'x': '{home}/project'}}\n")
    needs = found(home, plugin, venv / "bin" / "python", "main.py")
    assert not shows(needs, home / "project" / "secret")
    assert shows(needs, plugin / "main.py")
    assert any("project is not shown" in note for note in needs.notes)


def test_the_python_that_its_environment_names_must_be_one(home: Path, plugin: Path, venv: Path) -> None:
    (home / "project" / "bin").mkdir()
    (home / "project" / "lib" / "python3.11").mkdir()
    (venv / "pyvenv.cfg").write_text(f"home = {home}/project/bin\n")
    needs = found(home, plugin, venv / "bin" / "python", "main.py")
    assert not shows(needs, home / "project" / "secret")
    assert not shows(needs, home / "project" / "lib" / "python3.11")


def test_a_link_called_node_does_not_show_the_folder_it_leads_into(home: Path, plugin: Path) -> None:
    (home / "project" / "build").mkdir()
    program = home / "project" / "build" / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    (plugin / "node").symlink_to(program)
    (plugin / "x.js").write_text("")
    assert not shows(found(home, plugin, plugin / "node", "x.js"), home / "project" / "secret")


@pytest.mark.parametrize("name", ["node_modules", "package.json", "tsconfig.json"])
def test_a_link_in_its_folder_shows_nothing_outside_of_it(home: Path, plugin: Path, name: str) -> None:
    node = plugin / "bin" / "node"
    node.parent.mkdir()
    node.write_bytes(Path("/bin/true").read_bytes())
    node.chmod(0o755)
    (plugin / "x.js").write_text("")
    (plugin / name).symlink_to(home / "project")
    assert not shows(found(home, plugin, node, "x.js"), home / "project" / "secret")


def test_its_manifest_shows_no_file_by_calling_it_a_script(home: Path, plugin: Path) -> None:
    for word in (home / "project" / "secret", home / "project"):
        needs = found(home, plugin, sys.executable, word)
        assert not shows(needs, home / "project" / "secret")
        assert needs.notes


def test_a_script_of_somebody_elses_as_its_interpreter_shows_only_that(home: Path, plugin: Path) -> None:
    script = home / "project" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (plugin / "main").write_text(f"#!{script}\n")
    (plugin / "main").chmod(0o755)
    assert not shows(found(home, plugin, plugin / "main"), home / "project" / "secret")


def test_an_environment_of_its_users_does_not_show_what_is_developed_in_it(home: Path, plugin: Path) -> None:
    venv = home / "project" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages(venv) / "x.pth").write_text(f"{home}/project\n")
    assert not shows(found(home, plugin, venv / "bin" / "python", "main.py"), home / "project" / "secret")


@pytest.mark.parametrize("what", ["loader", "library"])
def test_the_headers_of_its_program_show_no_file_that_is_no_program(home: Path, plugin: Path, what: str) -> None:
    program = plugin / "program"
    program.write_bytes(elf(str(home / "project"), "secret", loader=what == "loader"))
    program.chmod(0o755)
    assert not shows(found(home, plugin, program), home / "project" / "secret")


def elf(folder: str, name: str, *, loader: bool) -> bytes:
    """A program for the kernel's eyes: its loader, or a library it needs, is `name` in `folder`."""
    strings = b"\0" + name.encode() + b"\0" + folder.encode() + b"\0"
    dynamic = struct.pack("<8Q", 5, 0, 1, 1, 29, 2 + len(name), 0, 0)
    interp = f"{folder}/{name}".encode() + b"\0"
    at = 64 + 56 * 3
    parts = [(1, 0, 4096), (2, at + len(strings), len(dynamic))]
    parts += [(3, at + len(strings) + len(dynamic), len(interp))] if loader else [(4, 0, 0)]
    table = b"".join(
        struct.pack("<IIQQQQQQ", kind, 4, place, place, place, size, size, 1) for kind, place, size in parts
    )
    dynamic = struct.pack("<8Q", 5, at, *struct.unpack("<6Q", dynamic[16:]))
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    return (head + table + strings + dynamic + interp).ljust(4096, b"\0")


def test_an_entry_cannot_make_a_home_look_like_code_by_setting_another_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "server.py").write_text("")
    words = [sys.executable, str(home / "server.py")]
    needs = roots.find(words, environ={**ENV, "HOME": "/nonexistent"})
    assert shows(needs, home / "server.py")
    assert not shows(needs, home / "project" / "secret")


def test_a_home_is_nobodys_plugin_folder(home: Path) -> None:
    (home / "main.py").write_text("")
    with pytest.raises(PluginUnavailable, match="holds more than the plugin"):
        found(home, home, sys.executable, "main.py")


def test_what_a_plugin_may_write_to_cannot_name_more_at_its_next_start(home: Path) -> None:
    venv = home / "work" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages(venv) / "x.pth").write_text(f"{home}/project\n{home}/work/src\n")
    (home / "work" / "src").mkdir()
    words = [str(venv / "bin" / "python"), "-c", ""]
    needs = roots.find(words, environ={**ENV, "HOME": str(home)}, written=[str(home / "work")])
    assert shows(needs, home / "work" / "src")
    assert not shows(needs, home / "project" / "secret")


def test_what_is_installed_is_seen_wherever_it_lies(home: Path, plugin: Path) -> None:
    venv = home / ".local" / "share" / "uv" / "tools" / "thing"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    tool = venv / "bin" / "thing"
    tool.write_text(f"#!{venv}/bin/python\n")
    tool.chmod(0o755)
    needs = found(home, plugin, tool)
    assert shows(needs, tool) and shows(needs, packages(venv)) and shows(needs, Path(os.__file__))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def an_endless_file(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def a_deep_one(path: Path) -> None:
    path.write_text("MAPPING = " + "{1:" * 20_000 + "-" * 10_000 + "1" + "}" * 20_000 + "\n")


@pytest.mark.parametrize("make", [a_pipe, an_endless_file, a_huge_file, a_deep_one])
@pytest.mark.parametrize("name", ["x.pth", "__editable___x_finder.py", "pyvenv.cfg", "package.json"])
@pytest.mark.timeout(20)
def test_no_file_that_it_brings_is_waited_for_or_read_without_end(
    home: Path, plugin: Path, venv: Path, name: str, make: Callable[[Path], None]
) -> None:
    path = venv / name if name == "pyvenv.cfg" else plugin / name if name == "package.json" else packages(venv) / name
    path.unlink(missing_ok=True)
    make(path)
    with suppress(PluginUnavailable):  # that its environment cannot be used
        found(home, plugin, venv / "bin" / "python", "main.py")
