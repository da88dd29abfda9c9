"""What a plugin is started with from the keyring, and what of its environment is kept secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.errors import SecretMissing
from broker.model import Spec
from broker.permissions import secrets
from broker.runtimes.declared import Secrets, declared
from tests.keyrings import in_file

ASKED = {"secrets": ("api_key", "other-key"), "env": ("ACME",)}


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in in_file(tmp_path).items():
        monkeypatch.setenv(name, value)


def spec(*granted: str, **more: Any) -> Spec:
    return replace(Spec(name="p", source="t", permissions=ASKED, granted=granted), **more)


async def test_only_what_was_granted_is_looked_up_and_it_has_the_name_of_a_variable() -> None:
    secrets.store("p", "other-key", "value")
    assert await Secrets().of(spec("secrets:other-key")) == {"OTHER_KEY": "value"}
    assert await Secrets().of(spec()) == {}


async def test_what_was_granted_and_is_not_asked_for_any_more_is_not_given() -> None:
    secrets.store("p", "api_key", "value")
    assert await Secrets().of(spec("secrets:api_key", permissions={"secrets": ("other",)})) == {}
    assert await Secrets().of(spec("secrets:api_key", permissions=None)) == {}


async def test_a_value_that_its_user_wrote_into_the_entry_is_not_looked_up() -> None:
    assert await Secrets().of(spec("secrets:api_key", env={"API_KEY": "mine"})) == {}


async def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(SecretMissing, match="api_key"):
        await Secrets().of(spec("secrets:api_key"))


def test_secrets_granted_variables_and_credentials_of_the_entry_are_declared() -> None:
    env = {"ACME": "a", "TOKEN": "t", "API_KEY": "k", "HOME": "/h", "PLAIN": "p"}
    one = spec("secrets:api_key", "env:ACME", env={"TOKEN": "t", "PLAIN": "p"})
    assert sorted(declared(one, env, {"API_KEY": "k"})) == ["a", "k", "k", "t"]


def test_nobody_who_has_no_secrets_pays_for_the_keyring() -> None:
    program = "import sys, broker.app, broker.cli; sys.exit('keyring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0
