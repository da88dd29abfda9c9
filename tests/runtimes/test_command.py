"""A Spec as argv and environment, on systems this one is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.errors import PluginUnavailable
from broker.model import Spec
from broker.runtimes import command
from broker.runtimes.command import argv, child_env, windows_line


def which(**programs: str) -> Any:
    def find(cmd: str, *, path: str | None = None) -> str | None:
        return programs.get(cmd.replace("-", "_"))

    return find


def spec(*words: str, env: Mapping[str, str] | None = None, **more: Any) -> Spec:
    return Spec(name="p", source="config.toml", command=words, env=env or {}, **more)


def run(one: Spec, *, platform: str = "linux", version: tuple[int, int] | None = None, **more: Any) -> list[str]:
    more.setdefault("environ", {"PATH": "/bin", "COMSPEC": r"C:\Windows\System32\cmd.exe"})
    return argv(one, platform=platform, node_version=lambda _: version, **more)


def refusal(one: Spec, **more: Any) -> str:
    with pytest.raises(PluginUnavailable) as caught:
        run(one, **more)
    return f"{caught.value} | {caught.value.hint}"


def entry(folder: Path, name: str, mode: int = 0o644) -> Spec:
    path = folder / name
    path.write_text("")
    path.chmod(mode)
    return spec(entry=str(path), cwd=str(folder))


# Commands


def test_a_command_is_resolved_on_the_path_and_its_words_are_kept() -> None:
    words = run(spec("uvx", "a b", "$HOME", ";rm"), which=which(uvx="/usr/bin/uvx"))
    assert words == ["/usr/bin/uvx", "a b", "$HOME", ";rm"]


def test_the_path_of_the_entry_comes_before_ours(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("")
    tool.chmod(0o755)
    assert run(spec("tool", env={"PATH": str(tmp_path)})) == [str(tool)]


def test_a_command_with_a_slash_is_relative_to_the_plugins_folder(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("")
    (tmp_path / "server").chmod(0o755)
    assert run(spec("./server", cwd=str(tmp_path)))[0] == f"{tmp_path}/./server"
    (tmp_path / "server").chmod(0o644)
    assert "chmod +x" in refusal(spec("./server", cwd=str(tmp_path)))


def test_a_program_of_the_current_folder_is_not_taken_from_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "npx").write_text("")
    (tmp_path / "npx").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert "not on the PATH" in refusal(spec("npx"), environ={"PATH": "."})


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        *(("uvx", "pip install uv"), ("npx", "Node.js"), ("node", "Node.js"), ("npx.cmd", "Node.js")),
        *(("python3", "python.org"), ("docker", "Docker"), ("nobody-knows", "full path")),
    ],
)
def test_a_missing_program_says_what_to_install(word: str, hint: str) -> None:
    said = refusal(spec(word), which=which())
    assert f"{word} is not on the PATH" in said
    assert hint in said


def test_a_missing_folder_and_a_missing_command_are_said(tmp_path: Path) -> None:
    assert "does not exist" in refusal(spec("x", cwd=str(tmp_path / "gone")))
    assert "nothing to run" in refusal(spec())


# Entries


def test_python_runs_on_the_plugins_own_environment_if_it_has_one(tmp_path: Path) -> None:
    one = entry(tmp_path, "plugin.py")
    assert run(one) == [sys.executable, one.entry]
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text("")
    assert run(one) == [str(tmp_path / ".venv/bin/python"), one.entry]


def test_python_of_an_environment_is_elsewhere_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{tmp_path}\\.venv\\Scripts\\python.exe"
    monkeypatch.setattr(os.path, "isfile", own.__eq__)
    one = entry(tmp_path, "plugin.py")
    assert run(one, platform="win32") == [own, one.entry]


@pytest.mark.parametrize("name", ["a.js", "a.mjs", "a.cjs"])
def test_javascript_runs_on_node(tmp_path: Path, name: str) -> None:
    one = entry(tmp_path, name)
    assert run(one, which=which(node="/n/node")) == ["/n/node", one.entry]
    assert "Install Node.js" in refusal(one, which=which())


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        *(((22, 18), []), ((22, 20), []), ((23, 6), []), ((24, 0), [])),
        *(((22, 6), ["--experimental-strip-types"]), ((22, 17), ["--experimental-strip-types"])),
        *(((23, 0), ["--experimental-strip-types"]), ((23, 5), ["--experimental-strip-types"])),
    ],
)
def test_typescript_runs_on_a_node_that_takes_it(tmp_path: Path, version: tuple[int, int], flags: list[str]) -> None:
    one = entry(tmp_path, "a.ts")
    assert run(one, version=version, which=which(node="/n/node")) == ["/n/node", *flags, one.entry]


@pytest.mark.parametrize("version", [None, (20, 19), (22, 5)])
def test_typescript_runs_on_the_nearest_tsx_with_an_older_node(tmp_path: Path, version: tuple[int, int] | None) -> None:
    folder = tmp_path / "in" / "plugin"
    folder.mkdir(parents=True)
    one = entry(folder, "a.ts")
    node = which(node="/n/node")
    assert "npm install tsx" in refusal(one, version=version, which=node)
    assert run(one, version=version, which=which(node="/n/node", tsx="/n/tsx"))[0] == "/n/tsx"
    for place in (tmp_path, folder):
        tsx = place / "node_modules/.bin/tsx"
        tsx.parent.mkdir(parents=True)
        tsx.write_text("")
        assert run(one, version=version, which=node) == [str(tsx), one.entry]


def test_typescript_is_loaded_by_tsx_in_the_same_process_where_node_can_do_that(tmp_path: Path) -> None:
    one = entry(tmp_path, "plugin.ts")
    loader = tmp_path / "node_modules" / "tsx" / "dist" / "loader.mjs"
    loader.parent.mkdir(parents=True)
    loader.write_text("")
    assert run(one, version=(20, 6), which=which(node="/n/node")) == ["/n/node", "--import", str(loader), one.entry]
    assert run(one, version=(20, 5), which=which(node="/n/node", tsx="/n/tsx"))[0] == "/n/tsx"


def test_a_program_must_be_executable(tmp_path: Path) -> None:
    assert "chmod +x" in refusal(entry(tmp_path, "server"))
    one = entry(tmp_path, "server", 0o755)
    assert run(one) == [one.entry]


def test_node_is_asked_for_its_version_without_raising(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v22.18.0\n")
    node.chmod(0o755)
    assert command.node_version(str(node)) == (22, 18)
    assert command.node_version(str(tmp_path / "gone")) is None


# Windows

NPX = r"C:\Program Files\nodejs\npx.cmd"
CMD = r"C:\Windows\System32\cmd.exe"


def test_a_cmd_script_is_run_by_cmd_with_every_word_quoted() -> None:
    words = run(spec("npx", "-y", "a&b", r"C:\x y" + "\\"), platform="win32", which=which(npx=NPX))
    line = rf'""{NPX}" "-y" "a&b" "C:\x y\\""'
    assert words == [CMD, "/d", "/s", "/c", line]
    assert windows_line(words) == rf"{CMD} /d /s /c {line}"


@pytest.mark.parametrize("word", ["a\nb", "a\rb", 'a"&calc', "%PATH%", "%CMDCMDLINE:~-1%&calc"])
def test_a_word_that_no_quotes_protect_is_refused(word: str) -> None:
    said = refusal(spec("npx", word), platform="win32", which=which(npx=NPX))
    assert "cannot be passed safely" in said
    assert "npx-cli.js" in said


def test_percent_signs_are_counted_across_words() -> None:
    find = which(npx=NPX)
    assert run(spec("npx", "100%"), platform="win32", which=find)[-1].endswith('"100%""')
    assert "percent" in refusal(spec("npx", "%PA", "TH%"), platform="win32", which=find)


@pytest.mark.parametrize("path", [r"C:\a\x.BAT", r"C:\a\x.cmd.", r"C:\a\x.bat. ."])
def test_a_script_in_disguise_is_still_a_script(path: str) -> None:
    assert run(spec("x"), platform="win32", which=which(x=path))[0] == CMD


def test_an_exe_takes_every_word_without_cmd() -> None:
    words = run(spec("uvx", '"%A%"'), platform="win32", which=which(uvx=r"C:\b\uvx.exe"))
    assert words == [r"C:\b\uvx.exe", '"%A%"']


def test_the_python_alias_of_the_store_is_not_python() -> None:
    alias = r"C:\Users\a\AppData\Local\Microsoft\WindowsApps\python.exe"
    real, py = r"C:\Py\python.exe", r"C:\Windows\py.exe"
    assert run(spec("python", "x"), platform="win32", which=which(python=real)) == [real, "x"]
    found = run(spec("python", "x"), platform="win32", which=which(python=alias, py=py))
    assert found == [py, "-3", "x"]
    assert run(spec("python3"), platform="win32", which=which(python3=alias)) == [sys.executable]


def test_a_program_of_the_current_folder_is_not_taken_on_windows() -> None:
    assert "not on the PATH" in refusal(spec("npx"), platform="win32", which=which(npx=r".\npx.cmd"))


def test_an_entry_windows_cannot_run_is_said(tmp_path: Path) -> None:
    assert "Windows cannot run" in refusal(entry(tmp_path, "server"), platform="win32")
    one = entry(tmp_path, "server.exe")
    assert run(one, platform="win32") == [one.entry]


# Environment


def test_only_safe_names_and_what_the_entry_gives_reach_the_plugin() -> None:
    environ = {"HOME": "/h", "PATH": "/bin", "LANG": "C", "AWS_SECRET": "x", "TERM": "() { :; }", "TZ": "UTC"}
    env = child_env(spec("x", env={"PATH": "/p", "KEY": "v"}), environ, "linux")
    assert env == {"HOME": "/h", "PATH": "/p", "LANG": "C", "TZ": "UTC", "KEY": "v"}


def test_windows_has_its_own_safe_names_in_one_case() -> None:
    environ = {"PATH": "a", "SYSTEMROOT": "r", "HOME": "h", "SECRET": "x"}
    assert child_env(spec("x", env={"Path": "b"}), environ, "win32") == {"SYSTEMROOT": "r", "Path": "b"}


def test_a_plugin_is_given_the_variables_it_asked_for_and_was_granted_and_no_others() -> None:
    environ = {"PATH": "/bin", "A": "1", "B": "2", "C": "3", "LD_PRELOAD": "x", "F": "() { :; }"}
    asked = {"env": ("A", "B", "LD_PRELOAD", "F", "UNSET"), "read": ("C",)}
    granted = ("env:A", "env:C", "env:LD_PRELOAD", "env:F", "env:UNSET", "secrets:B")
    one = spec("x", permissions=asked, granted=granted, env={"LD_PRELOAD": "of the user"})
    assert child_env(one, environ, "linux") == {"PATH": "/bin", "A": "1", "LD_PRELOAD": "of the user"}
    plain = spec("x", granted=granted)
    assert child_env(plain, environ, "linux") == {"PATH": "/bin"}


def test_what_is_granted_is_one_variable_on_windows_whatever_its_case() -> None:
    one = spec("x", permissions={"env": ("TOKEN",)}, granted=("env:TOKEN",), env={"Token": "mine"})
    assert child_env(one, {"TOKEN": "other"}, "win32") == {"Token": "mine"}


def test_a_secret_stands_above_what_is_inherited() -> None:
    one = spec("x", permissions={"env": ("KEY",)}, granted=("env:KEY",))
    assert child_env(one, {"KEY": "inherited"}, "linux", {"KEY": "of the keyring"}) == {"KEY": "of the keyring"}
