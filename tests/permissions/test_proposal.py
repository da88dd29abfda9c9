"""What a plugin was refused becomes the smallest permissions that allow it, without what every program looks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.permissions.proposal import Proposal, Tried, proposal
from broker.permissions.scopes import Permission, parse


def proposed(*tried: Tried, held: tuple[str, ...] = (), path: str = "/usr/bin:/bin", starts: bool = False) -> Proposal:
    counted = {each: tried.count(each) for each in tried}
    return proposal(counted, map(parse, held), lambda one: "", path=path, starts=starts)


def wanted(*tried: Tried, held: tuple[str, ...] = (), starts: bool = False) -> list[str]:
    return [str(one.permission) for one in proposed(*tried, held=held, starts=starts).wanted]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("repo/.git", "notes"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes" / "a").write_text("a")
    return tmp_path


def test_what_was_read_is_proposed_to_be_read(folder: Path) -> None:
    assert wanted(("read", f"{folder}/notes/a", "openat")) == [f"read:{folder}/notes/a"]
    assert wanted(("look", f"{folder}/repo", "newfstatat")) == [f"read:{folder}/repo"]


def test_what_appears_needs_its_folder_and_what_is_there_only_itself(folder: Path) -> None:
    assert wanted(("write", f"{folder}/notes/new", "openat")) == [f"write:{folder}/notes"]
    assert wanted(("write", f"{folder}/notes/a", "openat")) == [f"write:{folder}/notes/a"]
    assert wanted(("write", f"{folder}/notes/a", "rename")) == [f"write:{folder}/notes"]


def test_who_may_write_may_read(folder: Path) -> None:
    tried = [("read", f"{folder}/notes/a", "openat"), ("write", f"{folder}/notes/b", "openat")]
    assert wanted(*tried) == [f"write:{folder}/notes"]


def test_a_folder_on_the_way_to_what_was_wanted_is_not_proposed(folder: Path) -> None:
    tried = [
        ("look", str(folder.parent), "lstat"),
        ("look", str(folder), "lstat"),
        ("read", f"{folder}/notes/a", "open"),
    ]
    assert wanted(*tried) == [f"read:{folder}/notes/a"]


def test_a_folder_that_was_listed_is_proposed_with_all_that_is_in_it(folder: Path) -> None:
    tried = [("read", f"{folder}/notes", "openat"), ("read", f"{folder}/notes/a", "openat")]
    assert wanted(*tried) == [f"read:{folder}/notes"]


def test_a_few_siblings_stay_apart_and_more_become_their_folder(folder: Path) -> None:
    files = [("read", f"{folder}/notes/{name}", "openat") for name in "abcd"]
    assert wanted(*files[:3]) == [f"read:{folder}/notes/{name}" for name in "abc"]
    assert wanted(*files) == [f"read:{folder}/notes"]


def test_siblings_do_not_become_a_folder_that_nobody_may_be_granted(folder: Path) -> None:
    files = {("read", f"{folder}/{name}", "openat"): 1 for name in "abcd"}
    dangerous = Permission("read", str(folder))
    found = proposal(files, [], lambda one: "it is home" if one == dangerous else "")
    assert [one.permission.target for one in found.wanted] == [f"{folder}/{name}" for name in "abcd"]


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/resolv.conf", "/usr/lib/x.so", "/proc/1/root", "/var/lib/x", "/", "/opt/x", "/dev/kvm"),
        *("/home/x/v/lib/python3/site-packages/a.py", "/home/x/node_modules/a.js", "/home/x/__pycache__/a.pyc"),
        "/home/x/v/pyvenv.cfg",
    ],
)
def test_what_every_program_looks_for_is_left_out(path: str) -> None:
    assert proposed(("read", path, "openat"), ("look", path, "stat")) == Proposal()


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("read", f"/home/x/{name}") for name in (".ssh/id", ".aws/credentials", ".netrc", ".config/gh/hosts.yml")),
        *(("read", f"/home/x/{name}") for name in (".bash_history", "work/.env", ".gnupg", ".kube/config")),
        *(("write", f"/home/x/{name}/f") for name in ("w/.git/hooks", ".config/autostart", ".local/bin", ".vscode")),
    ],
)
def test_what_leads_to_keys_or_to_code_its_user_runs_is_named_and_not_proposed(kind: str, path: str) -> None:
    found = proposed((kind, path, "openat"))
    assert found.wanted == () and [one.permission.kind for one in found.withheld] == [kind]
    assert found.withheld[0].note


def test_what_nobody_may_be_granted_is_named_with_its_reason(folder: Path) -> None:
    found = proposal({("read", str(folder), "openat"): 2}, [], lambda one: "it holds the whole home folder")
    assert found.wanted == () and found.withheld[0].note == "it holds the whole home folder"
    assert found.withheld[0].calls == {"openat": 2}


def test_credentials_of_a_cloud_are_not_proposed() -> None:
    assert proposed(("net", "169.254.169.254:80", "connect")).wanted == ()


def test_a_program_is_proposed_by_name_if_that_finds_it(folder: Path) -> None:
    own = folder / "tool"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert wanted(("run", "/usr/bin/env", "execve")) == ["run:env"]
    assert wanted(("run", str(own), "execve")) == [f"run:{own}"]


def test_a_shell_and_a_program_that_was_only_looked_for_are_noted() -> None:
    shell, looked = proposed(("run", "/bin/sh", "execve"), ("run", "/usr/bin/true", "stat")).wanted
    assert "A shell" in shell.note and "only looked for" in looked.note


def test_one_that_starts_what_is_not_here_may_start_something_harmless() -> None:
    assert wanted(starts=True) == ["run:true"]
    assert wanted(starts=True, held=("run:git",)) == [] and wanted() == []


def test_a_host_without_a_port_is_a_guess_and_said_to_be() -> None:
    guessed, known = proposed(("net", "a.dev", "dns"), ("net", "b.dev:8443", "connect")).wanted
    assert (str(guessed.permission), str(known.permission)) == ("net:a.dev:443", "net:b.dev:8443")
    assert "guess" in guessed.note and not known.note


def test_a_host_whose_port_was_seen_too_is_no_guess() -> None:
    (found,) = proposed(("net", "a.dev", "dns"), ("net", "a.dev:443", "http")).wanted
    assert not found.note and found.calls == {"dns": 1, "http": 1}


def test_what_is_held_already_is_not_proposed(folder: Path) -> None:
    tried = [("read", f"{folder}/notes/a", "openat"), ("net", "x.a.dev:443", "http"), ("run", "/usr/bin/env", "execve")]
    assert wanted(*tried, held=(f"read:{folder}", "net:*.a.dev:443", "run:env")) == []


def test_a_path_that_leads_elsewhere_is_proposed_where_it_is(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "notes")
    assert wanted(("read", f"{folder}/link/a", "openat")) == [f"read:{folder}/notes/a"]


@pytest.mark.parametrize("name", ["a*b", "new\nline", "x" * 5000])
def test_a_name_that_is_no_permission_is_left_out(folder: Path, name: str) -> None:
    assert wanted(("read", f"{folder}/{name}", "openat"), ("net", name, "dns")) == []


def test_a_folder_with_hooks_that_its_user_runs_is_noted(folder: Path) -> None:
    for path in (f"{folder}/repo/.git/index.lock", f"{folder}/repo/file"):
        (found,) = proposed(("write", path, "openat")).wanted
        assert "hooks" in found.note
    assert os.path.isdir(folder / "repo" / ".git")
