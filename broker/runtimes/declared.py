"""The secrets a plugin is started with, and everything in its environment that is kept out of what is written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from broker.model import Spec
from broker.permissions.environment import variable
from broker.permissions.redaction import credentials_in
from broker.runtimes.command import both_keys, granted_env

if TYPE_CHECKING:
    from broker.permissions.secrets import Keyring


class Secrets:
    """Looks up what was granted. The keyring is imported for the first plugin that was granted something of it."""

    def __init__(self) -> None:
        self._keyring: Keyring | None = None

    async def of(self, spec: Spec) -> dict[str, str]:
        """Variables and their values. One that the user's own `env` gives is not looked up. Raises `SecretMissing`."""
        wanted = {key: variable(key) for key in both_keys(spec, "secrets")}
        wanted = {key: name for key, name in wanted.items() if name not in spec.env}
        if not wanted:
            return {}
        if self._keyring is None:
            from broker.permissions.secrets import Keyring

            self._keyring = Keyring()
        values = await self._keyring.values(spec.name, tuple(wanted))
        return {wanted[key]: value for key, value in values.items()}


def declared(spec: Spec, env: Mapping[str, str], secrets: Mapping[str, str]) -> Iterator[str]:
    """The values that must not be seen: its secrets, the variables it was granted, and the credentials in its `env`."""
    yield from secrets.values()
    given = {variable(key) for key in both_keys(spec, "secrets")}  # also where the user's own `env` gives them
    yield from (env[name] for name in (*granted_env(spec), *given) if name in env)
    yield from credentials_in(spec.env)
