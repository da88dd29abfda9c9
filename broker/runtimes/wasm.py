"""The runtime of `.wasm` plugins: one file each, in the broker's own process, a fresh instance per call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call, Host, Identity
from broker.errors import BrokerError, PluginUnavailable
from broker.model import Listing, Spec
from broker.permissions.redaction import Redactions
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Served
from broker.runtimes.thread_lane import Lane

if TYPE_CHECKING:
    from broker.runtimes.wasm_cache import ModuleCache, Statistics
    from broker.runtimes.wasm_engine import Control
    from broker.runtimes.wasm_guest import AnyProgram
    from broker.runtimes.wasm_plugin import Ask, WasmGuest
    from broker.runtimes.wasm_world import Grants

# An operation of the host, JSON in, JSON out; raises `BrokerError`.
Operations = Callable[[Spec, "Call | None", str, bytes], Awaitable[bytes]]
_encode = msgspec.json.Encoder().encode


class _Asked(Struct):
    op: str
    params: Raw = Raw(b"{}")


class WasmRuntime:
    """Runs WASM plugins.

    `logs` is the folder of their log files, `cache` that of compiled modules, `key` the file that seals those;
    `operations` is the host that they may call.
    """

    def __init__(
        self,
        logs: Path | None = None,
        cache: Path | None = None,
        key: Path | None = None,
        redactions: Redactions | None = None,
        operations: Operations | None = None,
    ) -> None:
        self._logs, self._folder, self._key, self._operations = logs, cache, key, operations
        self._redactions = redactions or Redactions()
        # Looks, right before a start, whether what was granted is so now; blocks, raises `PermissionMissing`.
        self.still: Callable[[Spec], None] = lambda spec: None
        # Hears of each instance that has ended.
        self.gone: Callable[[Spec], None] = lambda spec: None
        # Files and folders that no plugin changes, and the folder in which each has one of its own.
        self.kept: Callable[[], Sequence[str]] = tuple
        self.data: Path | None = None
        self._cache: ModuleCache | None = None
        self._alive: set[WasmGuest] = set()

    @property
    def statistics(self) -> Statistics | None:
        """Of the cache of compiled modules; None before anything was asked of it."""
        return self._cache.statistics if self._cache is not None else None

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Served:
        """Load the plugin, and ask what it offers. Raises `PluginUnavailable`."""
        from broker.runtimes.wasm_plugin import WasmGuest  # with wasmtime

        await asyncio.to_thread(self.still, spec)
        program = await self._program(spec)
        redaction = self._redactions.declare(spec.name, ())
        notes = PluginLog(self._logs / f"{spec.name}.log" if self._logs is not None else None, redaction)
        given = await asyncio.to_thread(self._grants, spec)
        guest = WasmGuest(spec, program, notes, self._bridge(spec), given)
        try:
            offers = await guest.load()
        except BaseException:
            await guest.stop(0)
            raise
        self._alive = {each for each in self._alive if not each.stopped} | {guest}
        return Served(spec, offers, guest, self.gone)

    async def close(self, grace: float) -> None:
        """End everything that runs."""
        await asyncio.gather(*(guest.stop(grace) for guest in self._alive))

    def _grants(self, spec: Spec) -> Grants:
        from broker.runtimes.wasm_world import grants

        if self.data is not None:
            own = (self.data / spec.name).resolve()
            if any(text.partition(":")[2].startswith(str(own)) for text in spec.granted):
                own.mkdir(mode=0o700, parents=True, exist_ok=True)
        return grants(spec, os.environ, self.kept)

    async def _program(self, spec: Spec) -> AnyProgram:
        from broker.runtimes.wasm_abi import Unfit
        from broker.runtimes.wasm_cache import ModuleCache

        if self._cache is None:
            self._cache = ModuleCache(self._folder, self._key)
        cache, lane = self._cache, Lane(f"wasm {spec.name} loading")
        try:
            return await lane.submit(lambda: cache.load(_file(Path(spec.entry or "")), spec.wasm))
        except (Unfit, OSError) as error:
            raise PluginUnavailable(
                f"{spec.name} cannot be started: {error}", hint="`broker check` of its entry, or build it anew."
            ) from None
        finally:
            lane.end()

    def _bridge(self, spec: Spec) -> Ask | None:
        """How a guest on its thread asks the host on the loop."""
        operations, loop = self._operations, asyncio.get_running_loop()
        if operations is None:
            return None

        async def answer(asked: _Asked, call: Call | None) -> bytes:
            return await operations(spec, call, asked.op, bytes(asked.params))

        def ask(request: bytes, call: Call | None, control: Control) -> bytes:
            try:
                asked = msgspec.json.decode(request, type=_Asked)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                return _failed("invalid-params", f"host.call wants op and params: {error}")
            return _waited(asyncio.run_coroutine_threadsafe(answer(asked, call), loop), control)

        return ask


def _waited(future: concurrent.futures.Future[bytes], control: Control) -> bytes:
    """The host's answer for a guest, for which it waits no longer than it may run."""
    control.waiting(future.cancel)
    try:
        return b'{"result":%b}' % future.result(timeout=max(control.end - time.monotonic(), 0))
    except BrokerError as error:
        return _failed(error.name, str(error), error.hint)
    except (TimeoutError, concurrent.futures.CancelledError):
        future.cancel()
        return _failed("plugin-timeout", "it was not answered in time")
    finally:
        control.waiting(None)


def _failed(code: str, message: str, hint: str = "") -> bytes:
    return _encode({"error": {"code": code, "message": message, "hint": hint}})


def _file(path: Path) -> bytes:
    """The file's bytes. Raises `Unfit` before a large one is read, and `OSError`."""
    from broker.runtimes.wasm_abi import LARGEST, Unfit

    # A pipe in its place would hold whoever opens it.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unfit("its entry is no file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unfit(f"its file has more than {LARGEST >> 20} MiB")
    return data
