"""Real servers that know nothing of permissions, each with exactly those it needs, and without."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.confine import backends
from tests.e2e.harness import ERAS, Home, Line, opened
from tests.servers import BY_NAME

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that starts on a busy machine is no scripted server."""
    monkeypatch.setattr("tests.e2e.harness.BOUND", 60.0)


# A broker on a machine that has only this mechanism: nothing a person can set does that.
ONLY = """
import functools, sys
from broker.confine import backends
backends.abilities = functools.partial(backends.examine, everything=False, without={without!r})
from broker.cli import main
sys.argv[0] = "broker"
sys.exit(main())
"""
OTHERS: dict[str, tuple[backends.Layer, ...]] = {
    "native": (),
    "bwrap": ("native",),
    "landlock": ("native", "bwrap"),
}


@dataclass(frozen=True)
class Held(Home):
    """A home whose broker has one mechanism."""

    backend: str = "native"

    @property
    def command(self) -> str:
        return sys.executable

    @property
    def args(self) -> list[str]:
        return ["-c", ONLY.format(without=OTHERS[self.backend]), *super().args]


@pytest.fixture(
    params=["native", *(pytest.param(each, marks=pytest.mark.long) for each in ("landlock", "bwrap"))], autouse=True
)
async def backend(request: pytest.FixtureRequest) -> str:
    """Each mechanism; skips where this machine does not have it."""
    found = await backends.examine(everything=False, without=OTHERS[request.param])
    if found.backend != request.param:
        pytest.skip(f"NOT TESTED on {request.param}: {backends.tried(found)}")
    return request.param


def confined(folder: Path, backend: str, name: str, *more: str, **permissions: Any) -> Home:
    """A home with one server, held to what the user wrote; `more` arguments."""
    own = folder / "own"
    own.mkdir(exist_ok=True)
    entry = BY_NAME[name].entry(own)
    lines = [
        f"[servers.{name}]",
        f"command = {json.dumps(entry['command'])}",
        f"args = {json.dumps([*entry['args'], *more])}",
    ]
    lines += [f"[servers.{name}.env]", *(f"{key} = {json.dumps(value)}" for key, value in entry["env"].items())]
    lines += [
        f"[servers.{name}.permissions]",
        *(f"{kind} = {json.dumps(value)}" for kind, value in permissions.items()),
    ]
    home = Home.of_toml(folder / "home", "\n".join(lines) + "\n")
    return Held(home.folder, home.flags, backend)


async def answers(line: Line, tool: str, **arguments: Any) -> str:
    """What a tool says; an error is an answer."""
    result = await line.call(tool, arguments)
    return "\n".join(block.get("text", "") for block in result["content"])


@pytest.mark.matrix
@pytest.mark.parametrize("era", ERAS)
async def test_the_clock_needs_nothing(tmp_path: Path, backend: str, era: str) -> None:
    async with opened(confined(tmp_path, backend, "time"), era) as line:
        assert "Berlin" in await line.text("time__get_current_time", {"timezone": "Europe/Berlin"})
        said = await line.text(
            "time__convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        )
        assert "21:00" in said


async def test_everything_sees_no_variable_of_its_user(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-user")
    async with opened(confined(tmp_path, backend, "everything")) as line:
        assert "hi" in await line.text("everything__echo", {"message": "hi"})
        assert "42" in await line.text("everything__get-sum", {"a": 40, "b": 2})
        seen = await line.text("everything__get-env")
        assert "canary" not in seen and str(Path.home()) not in json.loads(seen)["HOME"]


async def test_the_memory_is_kept_in_the_folder_it_may_write_to(tmp_path: Path, backend: str) -> None:
    graph = {"entities": [{"name": "broker", "entityType": "program", "observations": ["confines"]}]}
    async with opened(confined(tmp_path, backend, "memory", write=[str(tmp_path / "own")])) as line:
        await line.text("memory__create_entities", graph)
    assert "confines" in (tmp_path / "own" / "memory.jsonl").read_text()
    (tmp_path / "own" / "memory.jsonl").unlink()
    async with opened(confined(tmp_path, backend, "memory")) as line:
        assert (await line.call("memory__create_entities", graph)).get("isError")
    assert not (tmp_path / "own" / "memory.jsonl").exists()


async def test_the_file_server_sees_its_folder_and_nothing_else(tmp_path: Path, backend: str) -> None:
    own, secret = tmp_path / "own", tmp_path / "secret"
    own.mkdir()
    secret.write_text("canary")
    (own / "note").write_text("a note")
    (own / "link").symlink_to(secret)
    async with opened(confined(tmp_path, backend, "filesystem", write=[str(own)])) as line:
        assert await line.text("filesystem__read_text_file", {"path": str(own / "note")}) == "a note"
        await line.text("filesystem__write_file", {"path": str(own / "new"), "content": "written"})
        for path in (secret, own / "link", Path("/etc/shadow")):
            assert "canary" not in await answers(line, "filesystem__read_text_file", path=str(path))
    assert (own / "new").read_text() == "written"
    async with opened(confined(tmp_path, backend, "filesystem", read=[str(own)])) as line:
        assert await line.text("filesystem__read_text_file", {"path": str(own / "note")}) == "a note"
        refused = await line.call("filesystem__write_file", {"path": str(own / "note"), "content": "pwned"})
        assert refused.get("isError") and "pwned" not in (own / "note").read_text()


def repository(folder: Path) -> Path:
    folder.mkdir()
    for words in (["init", "-q"], ["config", "user.name", "A"], ["config", "user.email", "a@example.com"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    (folder / "file").write_text("one\n")
    return folder


def commits(folder: Path) -> str:
    words = ["git", "-C", str(folder), "log", "--oneline"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


async def test_git_commits_where_it_may_write_and_start_git(tmp_path: Path, backend: str) -> None:
    folder = repository(tmp_path / "repository")
    here = {"repo_path": str(folder)}
    async with opened(confined(tmp_path, backend, "git", write=[str(folder)], run=["git"])) as line:
        assert "file" in await line.text("git__git_status", here)
        await line.text("git__git_add", {**here, "files": ["file"]})
        await line.text("git__git_commit", {**here, "message": "a commit"})
        await line.text("git__git_create_branch", {**here, "branch_name": "other"})
        await line.text("git__git_checkout", {**here, "branch_name": "other"})
        assert "a commit" in await line.text("git__git_log", here)
    assert "a commit" in commits(folder)


async def test_git_changes_nothing_where_it_may_only_read(tmp_path: Path, backend: str) -> None:
    folder = repository(tmp_path / "repository")
    async with opened(confined(tmp_path, backend, "git", read=[str(folder)], run=["git"])) as line:
        assert "file" in await line.text("git__git_status", {"repo_path": str(folder)})
        assert (await line.call("git__git_add", {"repo_path": str(folder), "files": ["file"]})).get("isError")
    assert not (folder / ".git" / "index").exists()


@contextlib.contextmanager
def web() -> Generator[tuple[int, list[str]]]:
    """A site on this machine; its port, and the paths that were asked for."""
    asked: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><body><article><p>the page itself</p></article></body></html>")

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join(5)


async def test_fetch_reaches_the_host_it_was_granted_and_no_other(tmp_path: Path, backend: str) -> None:
    # It asks whether there is a Node.js by starting one: it has to be able to fork, and to find none.
    with web() as (allowed, asked), web() as (other, reached):
        async with opened(
            confined(tmp_path, backend, "fetch", "--allow-private-ips", net=[f"localhost:{allowed}"], run=["true"])
        ) as line:
            said = await answers(line, "fetch__fetch", url=f"http://localhost:{allowed}/page")
            assert "the page itself" in said and "/page" in asked
            for url in (f"http://localhost:{other}/", f"http://127.0.0.1:{other}/", "http://example.com/"):
                assert (await line.call("fetch__fetch", {"url": url})).get("isError"), url
        assert reached == []
