"""Secrets in real keyrings, and what is said when there is none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import SecretMissing
from broker.permissions import secrets
from broker.permissions.secrets import Keyring, found, remove, store, stored
from tests.keyrings import gnome, in_file, none_at_all

VALUE = 'grüße "from"\nthe keyring'


@pytest.fixture(params=["file", "gnome"])
def keyring(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "file":
        _take(monkeypatch, in_file(tmp_path))
        yield
    else:
        monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
        with gnome(tmp_path / "gnome") as env:
            _take(monkeypatch, env)
            yield


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _take(monkeypatch, in_file(tmp_path))


def _take(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("keyring")
def test_a_value_is_kept_changed_and_forgotten() -> None:
    assert stored("todos", "api_key") is None
    store("todos", "api_key", "first")
    store("todos", "api_key", VALUE)
    assert stored("todos", "api_key") == VALUE == found("todos", "api_key")
    assert remove("todos", "api_key") and stored("todos", "api_key") is None
    assert not remove("todos", "api_key")


@pytest.mark.usefixtures("keyring")
def test_a_plugin_finds_only_what_is_its_own() -> None:
    store("todos", "api_key", "of todos")
    assert stored("other", "api_key") is None and stored("todos", "other") is None


@pytest.mark.usefixtures("keyring")
async def test_values_are_found_beside_the_event_loop() -> None:
    store("todos", "api_key", "a")
    store("todos", "other", "b")
    assert await Keyring().values("todos", ("api_key", "other")) == {"api_key": "a", "other": "b"}


@pytest.mark.usefixtures("file")
async def test_a_value_that_was_never_set_is_an_error_with_the_command_that_sets_it() -> None:
    with pytest.raises(SecretMissing, match=r"todos was granted the secret api_key, and it has no value") as caught:
        await Keyring().values("todos", ("api_key",))
    assert "`broker secret set todos api_key`" in caught.value.hint


def test_without_a_keyring_it_is_said_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    _take(monkeypatch, none_at_all(tmp_path))
    for ask in (lambda: stored("a", "b"), lambda: store("a", "b", "c"), lambda: remove("a", "b")):
        with pytest.raises(SecretMissing, match="no keyring that can be used") as caught:
            ask()
        assert caught.value.hint


def test_a_keyring_that_keeps_nothing_is_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with pytest.raises(SecretMissing, match="did not keep it"):
        store("a", "b", "hunter2!")


def test_a_keyring_that_cannot_be_loaded_is_named_by_its_failure_and_no_value_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no.such.Keyring")
    with pytest.raises(SecretMissing, match="ModuleNotFoundError") as caught:
        store("a", "b", "hunter2!")
    assert "hunter2!" not in str(caught.value)


@pytest.mark.usefixtures("file")
async def test_a_keyring_that_waits_for_its_user_is_not_waited_for_and_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, release, loop = list[str](), threading.Event(), asyncio.get_running_loop()

    def slow(plugin: str, key: str) -> str:
        asked.append(key)
        release.wait(10)
        return "late"

    monkeypatch.setattr(secrets, "found", slow)
    keyring = Keyring(patience=0.05)
    began = loop.time()
    for _ in range(3):
        with pytest.raises(SecretMissing, match=r"did not answer within 0.05 s.*todos"):
            await keyring.values("todos", ("api_key",))
    assert asked == ["api_key"] and loop.time() - began < 5
    release.set()
    assert await Keyring().values("todos", ("api_key",)) == {"api_key": "late"}


async def test_the_usual_place_of_the_bus_is_known_where_a_client_hides_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.path.exists", "/run/user/1234/bus".__eq__)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert secrets.bus_address() == "unix:path=/run/user/1234/bus"
