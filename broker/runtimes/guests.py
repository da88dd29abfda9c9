"""The runtimes in the broker's own process, with the one host that their guests call; made when the first is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from broker.core.audit import Audit
from broker.core.ports import Call, Runtime
from broker.core.router import Router
from broker.model import Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.process import ProcessRuntime

if TYPE_CHECKING:
    from broker.core.hostapi import HostApi


class Guests(Struct, frozen=True, dict=True, kw_only=True):
    """What they are made of; the first three are the folders of plugins' logs, of what they know, and of the cache."""

    logs: Path
    state: Path
    cache: Path
    data: Path  # in which each plugin has a folder of its own
    workspace: Path | None
    redactions: Redactions
    audit: Audit | None
    processes: ProcessRuntime  # which knows what was granted and what no plugin may change
    router: Callable[[], Router]

    @property
    def makers(self) -> dict[str, Callable[[], Runtime]]:
        """By the suffix of an entry, how its runtime is made."""
        return {".lua": self._lua, ".wasm": self._wasm}

    @cached_property
    def host(self) -> HostApi:
        from broker.core.hostapi import HostApi
        from broker.runtimes.powers import powers

        given = powers(
            logs=self.logs,
            data=self.data,
            workspace=self.workspace,
            environ=os.environ,
            redactions=self.redactions,
            kept=lambda: self.processes.kept(),
        )
        host = HostApi(self.state, given, audit=self.audit, redactions=self.redactions)
        host.serve(self.router())
        return host

    async def ask(self, spec: Spec, op: str, params: bytes, call: Call | None) -> bytes:
        """One operation of the host. Raises `BrokerError`."""
        return await self.host.call(spec, op, params, call)

    def _lua(self) -> Runtime:
        from broker.runtimes.lua_runtime import LuaRuntime

        runtime = LuaRuntime(self.logs, self.redactions, self.ask)
        runtime.still, runtime.kept = self.processes.still, self.processes.kept
        runtime.gone = self._gone
        return runtime

    def _wasm(self) -> Runtime:
        from broker.runtimes.wasm import WasmRuntime

        async def ask(spec: Spec, call: Call | None, op: str, params: bytes) -> bytes:
            return await self.ask(spec, op, params, call)

        runtime = WasmRuntime(self.logs, self.cache / "wasm", self.state / "wasm.key", self.redactions, ask)
        runtime.still, runtime.kept, runtime.data = self.processes.still, self.processes.kept, self.data
        runtime.gone = self._gone
        return runtime

    def _gone(self, spec: Spec) -> None:
        """An instance has ended."""
        if "host" in self.__dict__:  # else it never asked for anything
            self.host.drop(spec)
