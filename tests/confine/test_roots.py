"""What a program needs to see, found in files; nothing of the plugin runs meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.confine import roots
from broker.errors import PluginUnavailable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no roots on Windows: nothing is confined")

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that holds secrets beside programs."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id").write_text("secret")
    return home


@pytest.fixture
def venv(home: Path) -> Path:
    """A virtual environment without pip."""
    path = home / "apps" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    return path


def find(home: Path, *argv: str | Path, run: tuple[str, ...] | None = (), cwd: Path | None = None) -> roots.Found:
    environ = {**ENV, "HOME": str(home)}
    return roots.find([str(word) for word in argv], environ=environ, cwd=str(cwd) if cwd else None, run=run)


def shows(found: roots.Found, path: Path | str) -> bool:
    real = os.path.realpath(path)
    return any(real == root or real.startswith(f"{root}/") for root in found.roots)


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def shebang(venv: Path) -> str:
    return f"#!{venv}/bin/python"


# Python


def test_an_environment_is_seen_with_the_python_it_was_made_from(home: Path, venv: Path) -> None:
    found = find(home, venv / "bin" / "python", "-c", "")
    assert shows(found, venv) and shows(found, os.__file__)
    assert found.runtime == "python"


def test_the_home_around_an_environment_is_not_seen(home: Path, venv: Path) -> None:
    found = find(home, venv / "bin" / "python", script(home / "server.py"))
    assert shows(found, home / "server.py")
    assert not shows(found, home / ".ssh" / "id")


def test_a_script_is_seen_with_what_lies_beside_it(home: Path, venv: Path) -> None:
    server = script(home / "server" / "main.py")
    script(home / "server" / "lib.py")
    assert shows(find(home, venv / "bin" / "python", "-u", server), home / "server" / "lib.py")


def test_a_module_of_the_working_folder_is_seen(home: Path, venv: Path) -> None:
    script(home / "server" / "mine" / "__main__.py")
    found = find(home, venv / "bin" / "python", "-m", "mine", cwd=home / "server")
    assert shows(found, home / "server" / "mine" / "__main__.py")


def test_an_environment_whose_python_is_gone_says_how_to_make_it_again(home: Path, venv: Path) -> None:
    (venv / "pyvenv.cfg").write_text("home = /gone/bin\n")
    with pytest.raises(PluginUnavailable, match=r"/gone/bin\) is gone") as caught:
        find(home, venv / "bin" / "python")
    assert f"python3 -m venv {venv}" in caught.value.hint


def test_a_package_installed_editable_is_seen(home: Path, venv: Path) -> None:
    packages = next(venv.glob("lib/python*/site-packages"))
    (home / "dev" / "mine").mkdir(parents=True)
    (home / "dev" / "other" / "pkg").mkdir(parents=True)
    (packages / "mine.pth").write_text(f"{home}/dev/mine\n")
    (packages / "__editable___other_finder.py").write_text(f"MAPPING: dict = {{'pkg': '{home}/dev/other/pkg'}}\n")
    found = find(home, venv / "bin" / "python")
    assert shows(found, home / "dev" / "mine") and shows(found, home / "dev" / "other" / "pkg")


def test_a_package_cannot_have_the_home_shown_by_naming_it(home: Path, venv: Path) -> None:
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "greedy.pth").write_text(f"{home}\n/\n/home\n")
    found = find(home, venv / "bin" / "python")
    assert not shows(found, home / ".ssh" / "id")
    assert any("not shown" in note for note in found.notes)


def test_nothing_of_the_plugin_runs_while_its_roots_are_found(home: Path, venv: Path) -> None:
    ran = home / "ran"
    packages = next(venv.glob("lib/python*/site-packages"))
    touch = f"open({str(ran)!r}, 'w')"
    (packages / "evil.pth").write_text(f"import os; {touch}\n")
    (packages / "sitecustomize.py").write_text(f"{touch}\n")
    (packages / "__editable___x_finder.py").write_text(f"MAPPING = {{'x': {touch}}}\n")
    subprocess.run([venv / "bin" / "python", "-c", ""], check=True)
    assert ran.exists(), "the trap must work"
    ran.unlink()
    find(home, script(home / "app" / "tool", shebang(venv), touch))
    assert not ran.exists()


# scripts and links


def test_a_script_is_started_by_its_interpreter(home: Path, venv: Path) -> None:
    tool = script(venv / "bin" / "tool", shebang(venv))
    assert find(home, tool, "--x").argv == (f"{venv}/bin/python", str(tool), "--x")


@pytest.mark.parametrize(
    "lines",
    [
        ("#!/bin/sh", '\'\'\'exec\' "{python}" "$0" "$@"', "' '''"),
        ("#!/bin/sh", '\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'python\' "$0" "$@"', "' '''"),
    ],
    ids=["pip with a long path", "uv, relocatable"],
)
def test_a_script_that_a_shell_would_hand_on_needs_no_shell(home: Path, venv: Path, lines: tuple[str, ...]) -> None:
    python = f"{venv}/bin/python"
    tool = script(venv / "bin" / "tool", *(line.format(python=python) if "{" in line else line for line in lines))
    assert find(home, tool).argv == (python, str(tool))


def test_env_is_not_needed_to_find_an_interpreter(home: Path) -> None:
    tool = script(home / "app" / "tool", "#!/usr/bin/env -S sh -e")
    assert find(home, tool).argv[1:] == ("-e", str(tool))
    assert find(home, tool).argv[0].endswith("/sh")


def test_an_interpreter_that_is_missing_is_named(home: Path) -> None:
    with pytest.raises(PluginUnavailable, match="asks for 'ruby9'"):
        find(home, script(home / "app" / "tool", "#!/usr/bin/env ruby9"))


def test_links_on_the_way_are_told_with_what_they_say(home: Path, venv: Path) -> None:
    tool = script(venv / "bin" / "tool", shebang(venv))
    (home / ".local" / "bin").mkdir(parents=True)
    link = home / ".local" / "bin" / "tool"
    link.symlink_to(tool)
    assert (str(link), str(tool)) in find(home, link).links


def test_links_that_go_in_a_circle_are_refused(home: Path) -> None:
    (home / "a").symlink_to(home / "b")
    (home / "b").symlink_to(home / "a")
    with pytest.raises(PluginUnavailable):
        find(home, home / "a")


def test_no_root_lies_below_another(home: Path, venv: Path) -> None:
    found = find(home, venv / "bin" / "python").roots
    assert not [root for root in found if any(root.startswith(f"{other}/") for other in found)]


def test_every_root_is_its_own_real_path(home: Path, venv: Path) -> None:
    found = find(home, venv / "bin" / "python")
    assert [root for root in found.roots if os.path.realpath(root) != root] == []


def test_programs_of_the_system_are_seen_by_name_only(home: Path) -> None:
    found = find(home, "/usr/bin/true", run=("cat",))
    assert shows(found, "/usr/bin/true") and shows(found, "/usr/bin/cat")
    assert not shows(found, "/usr/bin/ls")


def test_a_plugin_that_may_start_anything_sees_all_programs(home: Path) -> None:
    assert shows(find(home, "/usr/bin/true", run=None), "/usr/bin/ls")


# shims and launchers


@pytest.mark.parametrize("manager", [".pyenv/shims", ".asdf/shims", ".local/share/mise/shims", ".volta/bin"])
def test_a_shim_is_refused_with_the_program_behind_it(home: Path, manager: str) -> None:
    shim = script(home / manager / "python3", "#!/usr/bin/env bash")
    with pytest.raises(PluginUnavailable, match="is a shim of") as caught:
        find(home, shim)
    assert "Write the real program" in caught.value.hint


def test_the_newest_program_behind_a_shim_is_named_last(home: Path) -> None:
    for version in ("3.9.1", "3.12.1"):
        script(home / ".pyenv" / "versions" / version / "bin" / "python3", "")
    shim = script(home / ".pyenv" / "shims" / "python3", "#!/usr/bin/env bash")
    with pytest.raises(PluginUnavailable) as caught:
        find(home, shim)
    assert caught.value.hint.endswith("3.12.1/bin/python3.")


def uv_environment(path: Path, venv: Path, version: str) -> Path:
    script(path / "bin" / "serve", shebang(venv))
    (path / "pyvenv.cfg").write_text((venv / "pyvenv.cfg").read_text())
    (path / "lib" / "python3.11" / "site-packages" / f"my_server-{version}.dist-info").mkdir(parents=True)
    return path


def test_uvx_is_replaced_by_the_tool_that_is_installed(home: Path, venv: Path) -> None:
    tool = uv_environment(home / ".local/share/uv/tools/my-server", venv, "1.2")
    uvx = script(home / "bin" / "uvx")
    found = find(home, uvx, "--from", "my-server", "serve", "--port", "1")
    assert found.argv == (f"{venv}/bin/python", f"{tool}/bin/serve", "--port", "1")


def test_uvx_is_replaced_by_what_it_keeps_in_its_cache(home: Path, venv: Path) -> None:
    uv_environment(home / ".cache/uv/archive-v0/x", venv, "1.2")
    (home / ".cache/uv/environments-v2/h").mkdir(parents=True)
    (home / ".cache/uv/environments-v2/h/x").symlink_to(home / ".cache/uv/archive-v0/x")
    uvx = script(home / "bin" / "uvx")
    assert find(home, uvx, "--from", "my-server==1.2", "serve").argv[1].endswith("archive-v0/x/bin/serve")
    with pytest.raises(PluginUnavailable) as caught:
        find(home, uvx, "--from", "my-server==9.9", "serve")
    assert caught.value.hint == "Run `uv tool install my-server==9.9` once."


def npm_package(modules: Path, name: str, version: str) -> Path:
    folder = modules / name
    cli = script(folder / "cli.js", "#!/bin/sh")  # a machine need not have node
    (folder / "package.json").write_text(f'{{"name": "{name}", "version": "{version}", "bin": {{"srv": "cli.js"}}}}')
    return cli


def test_npx_is_replaced_by_what_it_keeps_in_its_cache(home: Path) -> None:
    cli = npm_package(home / ".npm/_npx/abc/node_modules", "@acme/srv", "1.2.3")
    npx = script(home / "bin" / "npx")
    assert find(home, npx, "-y", "@acme/srv", "--x").argv[1:] == (str(cli), "--x")
    assert find(home, npx, "-y", "@acme/srv@1.2.3").argv[1:] == (str(cli),)


def test_npx_of_what_is_not_installed_says_how_to_install_it(home: Path) -> None:
    npm_package(home / ".npm/_npx/abc/node_modules", "@acme/srv", "1.2.3")
    npx = script(home / "bin" / "npx")
    with pytest.raises(PluginUnavailable) as caught:
        find(home, npx, "@acme/srv@2.0.0")
    assert caught.value.hint == "Run `npm install -g @acme/srv@2.0.0` once."


def test_tsx_is_refused_where_it_may_start_nothing(home: Path) -> None:
    node = script(home / "nodes" / "bin" / "node", "")
    node.write_bytes(Path("/usr/bin/true").read_bytes())
    tsx = script(home / "app/node_modules/tsx/dist/cli.mjs", f"#!{node}")
    with pytest.raises(PluginUnavailable, match="tsx starts a compiler") as caught:
        find(home, tsx, "server.ts")
    assert "22.18" in caught.value.hint
    assert find(home, tsx, "server.ts", run=None).argv[0] == str(node)


def test_packages_above_a_script_of_node_are_seen(home: Path) -> None:
    node = script(home / "nodes" / "bin" / "node", "")
    node.write_bytes(Path("/usr/bin/true").read_bytes())
    server = script(home / "project" / "dist" / "index.js")
    (home / "project" / "node_modules" / "left-pad").mkdir(parents=True)
    (home / "project" / "package.json").write_text("{}")
    (home / "project" / ".env").write_text("TOKEN=1")
    found = find(home, node, server)
    assert shows(found, home / "project" / "node_modules" / "left-pad") and shows(found, home / "project/package.json")
    assert not shows(found, home / "project" / ".env")


def test_a_program_is_seen_with_the_libraries_that_lie_beside_it(home: Path) -> None:
    real = os.path.realpath(sys.executable)
    found = find(home, real)
    assert shows(found, real) and found.runtime == "python"


def test_an_interpreter_of_which_less_is_known_sees_itself_and_its_script(home: Path) -> None:
    bun = script(home / ".bun" / "bin" / "bun")
    bun.write_bytes(Path("/usr/bin/true").read_bytes())
    server = script(home / "app" / "server.ts")
    script(home / "secret.ts")
    found = find(home, bun, "run", "--hot", server, home / "secret.ts")
    assert shows(found, server) and shows(found, bun)
    assert not shows(found, home / "secret.ts")


@pytest.mark.parametrize("words", [("uv", "sync"), ("bunx", "x"), ("bun", "x", "y"), ("poetry", "run", "x")])
def test_what_installs_at_every_start_is_refused(home: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(PluginUnavailable, match="looks for what to run, or installs it, at every start") as caught:
        find(home, script(home / "bin" / words[0]), *words[1:])
    assert "Install what it starts" in caught.value.hint


def test_a_program_that_is_no_interpreter_is_not_shown_the_files_it_is_given(home: Path) -> None:
    assert not shows(find(home, "/usr/bin/true", home / ".ssh" / "id"), home / ".ssh" / "id")


@pytest.mark.parametrize("before", [(), ("--quiet",)])
def test_uv_run_is_replaced_by_the_environment_of_its_folder(home: Path, venv: Path, before: tuple[str, ...]) -> None:
    project = home / "weather"
    project.mkdir()
    (project / ".venv").symlink_to(venv)
    server = script(project / "server.py")
    tool = script(venv / "bin" / "weather", shebang(venv))
    uv = script(home / "bin" / "uv")
    found = find(home, uv, *before, "--directory", project, "run", "server.py", "--x")
    assert found.argv == (f"{project}/.venv/bin/python", str(server), "--x")
    assert shows(found, server)
    assert find(home, uv, "run", "weather", cwd=project).argv[1] == f"{project}/.venv/bin/{tool.name}"


def test_uv_run_without_an_environment_says_how_to_make_it(home: Path) -> None:
    with pytest.raises(PluginUnavailable) as caught:
        find(home, script(home / "bin" / "uv"), "run", "server.py", cwd=home)
    assert caught.value.hint == f"Run `uv sync` in {home} once."
