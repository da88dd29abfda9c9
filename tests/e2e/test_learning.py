"""Real servers that nobody wrote permissions for: what `broker learn` proposes lets them do their work, and no more."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.confine.jailed import native
from tests.e2e.harness import Home, opened
from tests.e2e.test_confined_servers import answers, commits, repository, web
from tests.servers import BY_NAME

pytestmark = [native, pytest.mark.timeout(300), pytest.mark.slow]

ROUNDS = 6  # a server that needs more looks for things one after another


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that starts on a busy machine is no scripted server."""
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)


def plain(folder: Path, name: str, *more: str) -> Home:
    """A home with one server without a table of permissions; `more` arguments."""
    own = folder / "own"
    own.mkdir(exist_ok=True)
    entry = BY_NAME[name].entry(own)
    lines = [f"[servers.{name}]  # as its user wrote it", f"command = {json.dumps(entry['command'])}"]
    lines.append(f"args = {json.dumps([*entry['args'], *more])}")
    lines += [f"env.{key} = {json.dumps(value)}" for key, value in entry["env"].items()]
    return Home.of_toml(folder / "home", "\n".join(lines) + "\n")


def learn(home: Home, name: str, *calls: str, write: bool = True) -> tuple[int, str]:
    """The exit code of one round, and what it said."""
    words = [home.command, "learn", name, *home.flags, *(["--write"] if write else []), "--", *calls]
    done = subprocess.run(words, env=home.env, cwd=home.folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def learned(home: Home, name: str, *calls: str) -> str:
    """Learn and write until it is refused nothing more; the table that was written."""
    said = ""
    for _ in range(ROUNDS):
        code, said = learn(home, name, *calls)
        if code == 0:
            text = (home.folder / "config.toml").read_text()
            assert "# as its user wrote it" in text
            return text.partition("permissions]")[2]
    raise AssertionError(said)


async def test_git_is_proposed_its_repository_and_git(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repository")
    here = f"repo_path={folder}"
    calls = ["git_status", here, "--", "git_add", here, 'files=["file"]', "--", "git_commit", here, "message=first"]
    home = plain(tmp_path, "git")
    assert 'run = ["git"]' in learn(home, "git", write=False)[1]
    table = learned(home, "git", *calls)
    assert f'read = ["{folder}"]' in table and f'write = ["{folder}/.git"]' in table and 'run = ["git"]' in table
    (folder / "file").write_text("two\n")
    async with opened(home) as line:
        await line.text("git__git_add", {"repo_path": str(folder), "files": ["file"]})
        await line.text("git__git_commit", {"repo_path": str(folder), "message": "a second commit"})
        assert (await line.call("git__git_status", {"repo_path": str(tmp_path)})).get("isError")
    assert "a second commit" in commits(folder)


@pytest.mark.long
async def test_the_memory_is_proposed_the_folder_of_its_file(tmp_path: Path) -> None:
    graph = {"entities": [{"name": "broker", "entityType": "program", "observations": ["learns"]}]}
    home = plain(tmp_path, "memory")
    words = f"entities={json.dumps(graph['entities'])}"
    assert learned(home, "memory", "create_entities", words) == f'\nwrite = ["{tmp_path}/own"]\n'
    (tmp_path / "own" / "memory.jsonl").unlink()
    async with opened(home) as line:
        await line.text("memory__create_entities", graph)
    assert "learns" in (tmp_path / "own" / "memory.jsonl").read_text()


@pytest.mark.long
async def test_the_file_server_is_proposed_reading_first_and_writing_when_it_writes(tmp_path: Path) -> None:
    home = plain(tmp_path, "filesystem")
    note = tmp_path / "own" / "note"
    note.write_text("a note")
    assert learned(home, "filesystem", "read_text_file", f"path={note}") == f'\nread = ["{tmp_path}/own"]\n'
    table = learned(home, "filesystem", "write_file", f"path={tmp_path}/own/new", "content=x")
    assert table == f'\nwrite = ["{tmp_path}/own"]\n'
    async with opened(home) as line:
        assert await line.text("filesystem__read_text_file", {"path": str(note)}) == "a note"
        await line.text("filesystem__write_file", {"path": str(note), "content": "written"})
    assert note.read_text() == "written"


@pytest.mark.long
async def test_fetch_is_proposed_the_host_it_was_sent_to(tmp_path: Path) -> None:
    home = plain(tmp_path, "fetch", "--allow-private-ips")
    with web() as (port, asked):
        url = f"http://localhost:{port}/page"
        table = learned(home, "fetch", "fetch", f"url={url}")
        assert f'net = ["localhost:{port}"]' in table
        async with opened(home) as line:
            assert "the page itself" in await answers(line, "fetch__fetch", url=url)
        assert "/page" in asked


@pytest.mark.long
def test_servers_that_need_nothing_are_proposed_nothing(tmp_path: Path) -> None:
    for name, call in (
        ("time", ["get_current_time", "timezone=Europe/Berlin"]),
        ("everything", ["echo", "message=hi"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        home = plain(folder, name)
        before = (home.folder / "config.toml").read_bytes()
        code, said = learn(home, name, *call)
        assert code == 0 and "it answered" in said and "nothing that it could be granted" in said
        assert (home.folder / "config.toml").read_bytes() == before
        assert [each for each in os.listdir(home.folder) if ".bak-" in each] == []


def test_a_tool_that_is_not_there_is_said_with_the_nearest_name(tmp_path: Path) -> None:
    home = plain(tmp_path, "time")
    code, said = learn(home, "time", "get_curent_time", "timezone=UTC")
    assert code == 2 and "get_current_time" in said


def test_arguments_the_tool_does_not_take_are_said(tmp_path: Path) -> None:
    home = plain(tmp_path, "time")
    code, said = learn(home, "time", "get_current_time")
    assert code == 2 and "`timezone`" in said


def test_a_server_without_a_table_is_not_let_do_more_while_it_is_watched(tmp_path: Path) -> None:
    home = plain(tmp_path, "filesystem")
    secret = tmp_path / "own" / "secret"
    secret.write_text("canary")
    code, said = learn(home, "filesystem", "read_text_file", f"path={secret}", write=False)
    assert code == 1 and "with nothing granted" in said and "canary" not in said
    assert f"refused: read:{tmp_path}/own" in said
    assert "permissions" not in (home.folder / "config.toml").read_text()


def test_what_it_leaves_behind_is_nothing(tmp_path: Path) -> None:
    home = plain(tmp_path, "time")
    assert learn(home, "time", "get_current_time", "timezone=UTC")[0] == 0
    kept = (
        [path for path in (home.folder / "home").rglob("*") if path.is_file()]
        if (home.folder / "home").exists()
        else []
    )
    assert kept == []


def test_it_is_watched_as_long_as_it_is_told(tmp_path: Path) -> None:
    home = plain(tmp_path, "time")
    words = [home.command, "learn", "time", *home.flags, "--seconds", "0.2"]
    done = subprocess.run(words, env=home.env, cwd=home.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "watched for 0.2 s more" in done.stdout
