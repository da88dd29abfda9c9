"""What the host of plugins in the broker's own runtimes does with files, the network, programs and logs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.core.hostapi import Powers
from broker.core.hostparams import Exec, Fetch, Read, Write
from broker.model import Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.plugin_log import PluginLog

if TYPE_CHECKING:
    from broker.permissions.secrets import Keyring


def powers(
    *,
    logs: Path,
    data: Path,
    workspace: Path | None,
    environ: Mapping[str, str],
    redactions: Redactions,
    kept: Callable[[], Sequence[str]],
) -> Powers:
    """The real ones. `logs` and `data` hold all plugins' logs and own folders; what is `kept` no plugin changes."""

    async def read(spec: Spec, params: Read) -> dict[str, Any]:
        from broker.runtimes import hostfiles

        return await hostfiles.read(spec, params)

    async def write(spec: Spec, params: Write) -> dict[str, Any]:
        from broker.runtimes import hostfiles

        _make(data / spec.name, params.path)
        return await hostfiles.write(spec, params, kept())

    async def fetch(spec: Spec, params: Fetch) -> dict[str, Any]:
        from broker.runtimes import hosthttp

        return await hosthttp.fetch(spec, params)

    async def execute(spec: Spec, params: Exec) -> dict[str, Any]:
        from broker.runtimes import hostexec

        return await hostexec.execute(spec, params, environ, data / spec.name, kept(), redactions)

    keyring: list[Keyring] = []  # made when the first secret is asked for

    def ring() -> Keyring:
        from broker.permissions.secrets import Keyring

        if not keyring:
            keyring.append(Keyring())
        return keyring[0]

    async def secret(spec: Spec, name: str) -> str | None:
        return await ring().value(spec.name, name)

    async def keep(spec: Spec, name: str, value: str | None) -> bool:
        return await ring().keep(spec.name, name, value)

    async def configure(spec: Spec, key: str, value: Any) -> None:
        from broker.runtimes import hostconfig

        await hostconfig.configure(spec, key, value)

    def log(spec: Spec, line: str) -> None:
        file = PluginLog(logs / f"{spec.name}.log", None)
        file.write(f"{line}\n".encode("utf-8", "replace"))
        file.close()

    def places(spec: Spec) -> dict[str, str]:
        known = {"home": os.path.expanduser("~"), "workspace": workspace, "plugin": spec.cwd, "data": data / spec.name}
        return {name: os.path.realpath(place) for name, place in known.items() if place is not None}

    return Powers(
        read=read,
        write=write,
        fetch=fetch,
        execute=execute,
        secret=secret,
        keep=keep,
        configure=configure,
        log=log,
        places=places,
    )


def _make(own: Path, path: str) -> None:
    """The plugin's own folder, before something is written in it."""
    if path.startswith(f"{os.path.realpath(own)}/"):
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
