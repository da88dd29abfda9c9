"""One Lua plugin as a `Guest`: its script in a state, wherever that runs, and a new state when that one was ended.

Rule 1: one call at a time; the others wait in line.
Rule 2: a state whose script was ended, cancelled or left behind is never used again. The next call loads the same
        script anew: the files are read once.
Rule 3: a plugin whose thread did not come back has its next state in a process that can be killed, and for good.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import msgspec

from broker.core.ports import Call
from broker.errors import BrokerError, PluginFailed, PluginUnavailable, TimedOut
from broker.model import Spec
from broker.runtimes.lua_inprocess import InProcess, Wedged
from broker.runtimes.lua_offers import commands, offers
from broker.runtimes.lua_sandbox import MAX_SOURCE, MEMORY, Killed, Refused, ScriptError
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.served import Ended, GuestError, Offers, Work

if TYPE_CHECKING:
    from broker.runtimes.lua_spare import Workers

log = logging.getLogger("broker.lua")

HOOK = 0.1  # seconds of its own work in a hook
LOAD = 2.0  # seconds for the script itself, once per state
MOST_ASKED = 10_000  # operations of the host in one call
MOST_PARAMS = 1 << 20  # bytes of what one of them is given

Operations = Callable[[Spec, str, bytes, Call | None], Awaitable[bytes]]  # the host, for everybody
Place = Literal["inprocess", "process"]
T = TypeVar("T")


_encode = msgspec.json.Encoder().encode


class _Event(msgspec.Struct):
    type: str


class Executor(Protocol):
    """Where a state runs: `InProcess` or `InWorker`."""

    @property
    def pid(self) -> int | None: ...
    async def load(self, source: bytes, seconds: float) -> bytes: ...
    async def invoke(self, kind: str, name: str, arguments: bytes, seconds: float) -> bytes | str: ...
    async def cancel(self, reason: str) -> bool: ...
    async def close(self) -> None: ...


class LuaGuest:
    """See above. `operations` None: the script has no host beside its own files and its log.

    `workers` gives where processes for scripts come from; it is asked when the first is needed.
    """

    def __init__(
        self,
        spec: Spec,
        place: Place,
        log: PluginLog,
        workers: Callable[[], Workers],
        operations: Operations | None = None,
        on_gone: Callable[[LuaGuest], None] = lambda guest: None,
    ) -> None:
        assert spec.entry is not None
        self.spec, self.place, self._log = spec, place, log
        self._operations, self._workers, self._on_gone = operations, workers, on_gone
        self._folder = os.path.realpath(os.path.dirname(spec.entry))
        self._seconds, self._memory = spec.limits.script, spec.limits.memory or MEMORY
        self._files: dict[str, bytes] = {}
        self._executor: Executor | None = None
        self._turn = asyncio.Lock()
        self._call: Call | None = None
        self._asked = 0
        self._stopped = False
        self._leaving: set[asyncio.Task[None]] = set()  # states that are being ended

    @property
    def pid(self) -> int | None:
        return None if self._executor is None else self._executor.pid

    async def begin(self) -> Offers:
        """Load the script; what it offers. Raises `PluginUnavailable`, `NotEnforced`."""
        async with self._turn:
            registered = await self._load()
            found = offers(self.spec.name, registered)
            for command in commands(registered):
                await self._tell("register_command", command, f"the command {command.name} is not shown")
            if found.events:
                await self._tell("events.subscribe", {"names": sorted(found.events)}, "it hears of no events")
            return found

    async def invoke(self, kind: Work, name: str, arguments: bytes, call: Call) -> bytes | str:
        """Run what the script registered. Raises `GuestError`, `Ended`, `BrokerError`."""
        return await self._invoke(kind, name, arguments, call, self._seconds)

    async def hook(self, event: bytes) -> bytes:
        """Run what the script has for this event. Raises `GuestError`, `Ended`, `BrokerError`."""
        name = msgspec.json.decode(event, type=_Event).type
        said = await self._invoke("hooks", name, event, None, HOOK)
        return _encode(said) if isinstance(said, str) else said

    async def _invoke(
        self, kind: Work | Literal["hooks"], name: str, arguments: bytes, call: Call | None, seconds: float
    ) -> bytes | str:
        async with self._turn:
            if self._executor is None:
                await self._load()
            self._call, self._asked = call, 0
            try:
                return await self._run(lambda executor: executor.invoke(kind, name, arguments, seconds))
            except Killed as killed:
                raise Ended(self._killed(str(killed), seconds)) from None
            finally:
                self._call = None

    async def _tell(self, op: str, params: object, otherwise: str) -> None:
        """Tell the host what the script has; a plugin goes on without what it may not have."""
        try:
            if self._operations is not None:
                await self._operations(self.spec, op, _encode(params), None)
        except BrokerError as error:
            self._log.write(f"broker: {otherwise}: {error}\n".encode())

    async def stop(self, grace: float) -> None:
        """End it."""
        self._stopped = True
        self._drop()
        await asyncio.gather(*self._leaving)
        self._log.close()
        self._on_gone(self)

    async def _load(self) -> bytes:
        if self._stopped:
            raise PluginFailed(f"{self.spec.name} was stopped")
        assert self.spec.entry is not None
        name = self.spec.name
        try:
            source = self._read(self.spec.entry)
            self._executor = await self._place()
            return await self._run(lambda executor: executor.load(source, max(LOAD, self._seconds)))
        except (GuestError, Refused) as error:
            self._drop()
            raise PluginUnavailable(f"{name} cannot be loaded: {error}", hint="Correct its script.") from None
        except Killed as killed:
            raise PluginUnavailable(f"{name} cannot be loaded: {self._killed(str(killed), LOAD)}") from None
        except OSError as error:
            raise PluginUnavailable(f"{name} cannot be started: {error}") from None

    async def _place(self) -> Executor:
        if self.place == "inprocess":
            return InProcess(self.spec.name, self._memory, self._answer)
        from broker.runtimes.lua_process import InWorker

        child = await self._workers().begin(self.spec, self._memory, self._log)
        return InWorker(child, self._answer, self._log)

    async def _run(self, work: Callable[[Executor], Awaitable[T]]) -> T:
        """Have the state do something; afterwards it is gone unless it may be used again."""
        executor = self._executor
        assert executor is not None
        try:
            return await work(executor)
        except ScriptError as error:
            raise GuestError(str(error)) from None
        except Killed:
            self._drop()
            raise
        except Wedged:
            self._leave()
            raise Killed("time") from None
        except asyncio.CancelledError:
            await asyncio.shield(self._cancelled(executor))
            raise

    async def _cancelled(self, executor: Executor) -> None:
        if await executor.cancel("cancelled"):
            self._drop()
        else:
            self._leave()

    def _leave(self) -> None:
        """The state does not come back: leave it to itself, and have the next one where it can be killed."""
        if self.place == "inprocess":
            self.place = "process"
            said = f"{self.spec.name} could not be stopped and runs in a process of its own from now on"
            log.warning("%s; one thread is busy until broker ends", said)
            self._log.write(f"broker: {said}\n".encode())
        self._drop()

    def _drop(self) -> None:
        """Never use the state again; whoever waits for an answer does not wait for its end."""
        executor, self._executor = self._executor, None
        if executor is not None:
            task = asyncio.get_running_loop().create_task(executor.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _killed(self, why: str, seconds: float) -> BrokerError:
        name = self.spec.name
        if why == "time":
            what = f"{name} worked for more than {1000 * seconds:g} ms and was ended"
            error: BrokerError = TimedOut(
                what, hint=f"Raise `timeout` under [plugins.{name}] if it really needs longer."
            )
        elif "memory" in why:
            what = f"{name} used more than {self._memory >> 20} MiB and was ended"
            error = PluginFailed(what, hint=f"Raise `limits.memory` under [plugins.{name}] if it really needs more.")
        else:
            error = PluginFailed(f"{name} was ended: {why}")
        self._log.write(f"broker: {error}\n".encode())
        return error

    # what a script asks for

    async def _answer(self, op: bytes, params: bytes) -> bytes:
        """One operation. Raises `Refused`, `BrokerError`."""
        self._asked += 1
        if self._asked > MOST_ASKED:
            raise Refused(f"one call may ask broker {MOST_ASKED} times")
        if len(params) > MOST_PARAMS or len(op) > 100:
            raise Refused(f"an operation takes at most {MOST_PARAMS >> 20} MiB")
        name = op.decode("utf-8", "replace")
        if name in ("print", "require"):
            try:
                text = msgspec.json.decode(params, type=str)
            except msgspec.MsgspecError:
                raise Refused(f"{name} takes a text") from None
            if name == "require":
                return self._module(text)
            self._log.write(text.encode() + b"\n")
            return b"null"
        if self._operations is None:
            raise Refused(f"there is no operation {name}")
        return await self._operations(self.spec, name, params, self._call)

    def _module(self, name: str) -> bytes:
        path = os.path.join(self._folder, *name.split(".")) + ".lua"
        if "/" in name or "\0" in name or "" in name.split("."):
            raise Refused(f"{name!r} is no name of a module")
        try:
            return self._read(path)
        except OSError:
            raise Refused(f"there is no module {name} in the folder of {self.spec.name}") from None

    def _read(self, path: str) -> bytes:
        """A file of the plugin's folder, as it was when it was first read. Raises `Refused`, `OSError`."""
        if path not in self._files:
            self._files[path] = self._read_now(path)
        return self._files[path]

    def _read_now(self, path: str) -> bytes:
        if os.path.commonpath([self._folder, os.path.realpath(path)]) != self._folder:
            raise Refused(f"{path} lies outside of the folder of {self.spec.name}")
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused(f"{path} is no file")
            source = file.read(MAX_SOURCE + 1)
        if len(source) > MAX_SOURCE:
            raise Refused(f"{path} is larger than {MAX_SOURCE >> 20} MiB")
        if source[:1] == b"\x1b":
            raise Refused(f"{path} is compiled Lua; only text is run")
        return source
