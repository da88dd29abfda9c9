"""What a person is told of brokers that were asked to act, and the exit code."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.cli import brokers
from broker.cli.controlling import act, disable, enable
from broker.core.disabled import switched_off
from broker.core.meeting import Folder
from broker.core.status import Here, State, Status
from broker.errors import ConfigError, NotFound
from broker.model import Settings, Spec

GIT = Settings(plugins=[Spec(name="git", source="t")])
READY = Status(name="git", state=State.READY, pids=(7,), restarts=2)
Answer = Callable[[str], Any]


def result(value: object) -> dict[str, Any]:
    return {"result": msgspec.to_builtins(value)}


def error(name: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"error": {"code": -31001, "message": message, "data": {"name": name, "hint": hint}}}


class PretendBroker:
    """Answers `status`, and every action with `answer`; None: it never answers."""

    def __init__(self, folder: Folder, name: str, client: str, answer: dict[str, Any] | bytes | None) -> None:
        self._listener = folder.listen(name)
        self._listener.setblocking(True)
        here = Here(int(name), "1", client, 5.0, [READY])
        self._answers = {"status": result(here), "act": answer}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rb") as lines:
                    for line in lines:
                        self._reply(connection, msgspec.json.decode(line))

    def _reply(self, connection: socket.socket, asked: dict[str, Any]) -> None:
        answer = self._answers["status" if asked["method"] == "status" else "act"]
        if isinstance(answer, bytes):
            connection.sendall(answer)
        elif answer is not None:
            connection.sendall(msgspec.json.encode({"jsonrpc": "2.0", "id": asked["id"], **answer}) + b"\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


class Street:
    """A folder with pretended brokers."""

    def __init__(self, home: Path) -> None:
        self.state = home / "state"
        self._folder = Folder(home / "run", make=True)
        self._brokers: list[PretendBroker] = []

    def broker(self, client: str, answer: dict[str, Any] | bytes | None) -> None:
        name = str(len(self._brokers) + 1)
        self._brokers.append(PretendBroker(self._folder, name, client, answer))

    def close(self) -> None:
        for each in self._brokers:
            each.close()
        self._folder.close()

    def disabled(self) -> set[str]:
        return set(switched_off(self.state)[0])


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    found = Street(tmp_path)
    yield found
    found.close()


def test_each_broker_says_what_became_of_it(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    street.broker("Claude", result(READY))
    street.broker("Cursor", result(msgspec.structs.replace(READY, pids=(), restarts=0)))
    assert act("restart", "git", GIT) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Claude (pid 1): git is ready, pid 7, restarted 2 times",
        "Cursor (pid 2): git is ready",
    ]


def test_one_that_could_not_do_it_is_told_with_the_way_out(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    street.broker("Claude", error("plugin-unavailable", "git cannot be started\x1b[2J", "mend it"))
    street.broker("Cursor", result(READY))
    assert act("restart", "git", GIT) == 1
    said = capsys.readouterr()
    assert "Claude (pid 1): git cannot be started\\x1b[2J\n  fix: mend it" in said.err
    assert "Cursor (pid 2): git is ready" in said.out


def test_a_broker_without_the_plugin_is_no_failure_beside_one_with_it(street: Street) -> None:
    street.broker("Claude", error("not-found", "no plugin is called git"))
    assert act("restart", "git", GIT) == 1
    street.broker("Cursor", result(READY))
    assert act("restart", "git", GIT) == 0


@pytest.mark.parametrize("nonsense", [b"hello\n", b'{"jsonrpc":"2.0","id":2,"result":[]}\n', b"\0" * 70000 + b"\n"])
def test_a_broker_that_answers_nonsense_or_nothing_is_told(
    street: Street, nonsense: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers.acted, "__defaults__", (0.3, None))
    street.broker("Claude", nonsense)
    assert act("restart", "git", GIT) == 1


def test_one_that_never_answers_does_not_keep_the_others_from_it(
    street: Street, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(brokers.acted, "__defaults__", (0.3, None))
    street.broker("Claude", None)
    street.broker("Cursor", result(READY))
    assert act("restart", "git", GIT) == 1
    said = capsys.readouterr()
    assert "Claude (pid 1): it does not answer" in said.err and "Cursor (pid 2): git is ready" in said.out


def test_nobody_runs(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    assert act("restart", "git", GIT) == 1
    assert capsys.readouterr().err == "No broker is running now.\n"


def test_an_unknown_name_changes_nothing(street: Street) -> None:
    street.broker("Claude", result(READY))
    for command in (
        lambda: act("stop", "gti", Settings()),
        lambda: disable("gti", Settings(), street.state),
        lambda: enable("gti", Settings, lambda spec: "", street.state),
    ):
        with pytest.raises(NotFound, match=r"did you mean git\?"):
            command()
    assert street.disabled() == set()


def test_disabling_holds_for_brokers_to_come(street: Street) -> None:
    assert disable("git", GIT, street.state) == 1
    assert street.disabled() == {"git"}
    street.broker("Claude", result(msgspec.structs.replace(READY, state=State.DISABLED)))
    assert disable("git", GIT, street.state) == 0
    assert street.disabled() == {"git"}


def test_enabling_is_the_way_back(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    disable("git", GIT, street.state)
    assert enable("git", lambda: GIT, lambda spec: "", street.state) == 1
    assert street.disabled() == set()
    assert "git is enabled from now on." in capsys.readouterr().out
    enable("git", lambda: GIT, lambda spec: "", street.state)
    assert "git was not disabled by `broker disable`." in capsys.readouterr().out


def test_what_a_file_disables_is_enabled_there(street: Street) -> None:
    off = Settings(plugins=[Spec(name="git", source="t", enabled=False)])
    with pytest.raises(ConfigError, match=r"git is disabled in config\.toml:3"):
        enable("git", lambda: off, lambda spec: "config.toml:3", street.state)


def test_a_name_of_no_plugin_any_more_can_still_be_taken_off_the_list(street: Street) -> None:
    disable("git", GIT, street.state)
    assert enable("git", Settings, lambda spec: "", street.state) == 1
    assert street.disabled() == set()


def test_a_broker_that_says_nothing_of_itself_is_not_waited_for_again(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(brokers, "QUICK", 0.2)
    street.broker("Claude", result(READY))
    with Folder(tmp_path / "run") as folder:
        silent = folder.listen("9")
        assert act("restart", "git", GIT) == 1
        silent.close()
    said = capsys.readouterr()
    assert "a broker (pid 9): it does not answer" in said.err and "Claude (pid 1): git is ready" in said.out
