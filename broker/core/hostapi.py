"""What a plugin in one of the broker's own runtimes asks the broker to do: the one way for all of it.

Rule 1: in this order: the operation is known, its params agree with the table, it is not asked for too often, it was
        granted; only then anything happens. What was granted is what the running instance was started with.
Rule 2: each ends with JSON or a `BrokerError`, whose `name` is for the guest to tell failures apart. Both are bounded.
Rule 3: what needs the disk, the network or a process is done by `Powers`, which are given from above.
Rule 4: nobody in front is no failure of `toast`, `set_status`, `register_command`, `progress`: the answer says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from msgspec import Raw, Struct

from broker.core import hosttable as table
from broker.core.audit import Audit
from broker.core.catalog import shown_name
from broker.core.hostasking import Asking
from broker.core.hostbounds import Bounds
from broker.core.hoststate import Store
from broker.core.hosttable import MOST, OPERATIONS, Operation
from broker.core.ports import Call, Identity, Nobody
from broker.core.router import Router
from broker.core.status import Surface
from broker.errors import (
    BadArguments,
    BrokerError,
    FrameTooLarge,
    HostFailed,
    NotAnswered,
    NotFound,
    Overloaded,
    PermissionMissing,
)
from broker.model import Era, Spec
from broker.permissions.redaction import Redactions
from broker.permissions.scopes import Permission, allowed, parse
from broker.wire import eras

log = logging.getLogger("broker.host")

KEPT = "kept"  # folder of what plugins keep, in the state folder
MOST_STATUS, MOST_COMMANDS = 16, 64  # of one plugin
SEVERITY = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}

_encode = msgspec.json.Encoder().encode
_NULL = b"null"


class Powers(Struct, frozen=True, kw_only=True):
    """What the host does outside of the broker, for the plugin of a `Spec`. Each raises `BrokerError`, nothing else."""

    read: Callable[[Spec, table.Read], Awaitable[dict[str, Any]]]
    write: Callable[[Spec, table.Write], Awaitable[dict[str, Any]]]
    fetch: Callable[[Spec, table.Fetch], Awaitable[dict[str, Any]]]
    execute: Callable[[Spec, table.Exec], Awaitable[dict[str, Any]]]
    log: Callable[[Spec, str], None]  # a line for its log file
    places: Callable[[Spec], Mapping[str, str]]  # what a path may begin with: workspace, data, plugin, home


class HostApi:
    """The host of all plugins of one broker; `state` is its folder of what it knows.

    `serve` gives it the router before the first call.
    """

    def __init__(
        self, state: Path, powers: Powers, *, audit: Audit | None = None, redactions: Redactions | None = None
    ) -> None:
        self._powers, self._audit, self._redactions = powers, audit, redactions or Redactions()
        self._store, self._bounds = Store(state / KEPT), Bounds()
        self._surfaces: dict[str, tuple[Spec, Surface]] = {}
        self._router: Router | None = None
        self._asking: Asking | None = None

    def serve(self, router: Router) -> None:
        """Plugins are called, and clients are reached, through this router."""
        self._router = router
        router.generations.surface = self.surface

    async def answer(self, spec: Spec, op: str, params: bytes, call: Call | None = None) -> bytes:
        """As `call`, for a guest: `{"ok": result}`, or `{"error": {code, message, hint}}`."""
        try:
            return b'{"ok":%b}' % await self.call(spec, op, params, call)
        except BrokerError as error:
            return _encode({"error": {"code": error.name, "message": str(error), "hint": error.hint}})

    async def call(self, spec: Spec, op: str, params: bytes, call: Call | None = None) -> bytes:
        """Do `op` for the instance that runs as `spec`, in the course of `call`; the result as JSON.

        Raises `BrokerError`: the table says which.
        """
        began, operation, wanted = monotonic(), OPERATIONS.get(op), None
        try:
            if operation is None:
                raise NotFound(f"there is no operation {op[:100]!r}", hint=f"There are {', '.join(OPERATIONS)}.")
            held = self._held(spec, operation, params)
            with self._bounds.taken(spec.name, operation):
                wanted = operation.wants(held)
                _check(spec, wanted)
                found = await _DO[op](self, spec, held, call)
            if len(found) > MOST:
                raise FrameTooLarge(f"the result of {op} is longer than {MOST >> 20} MiB", hint="Ask for less of it.")
        except BaseException as error:
            self._note(spec, op, operation, wanted, call, began, error)
            raise
        self._note(spec, op, operation, wanted, call, began, found)
        return found

    def surface(self, name: str) -> Surface:
        """What the newest generation of a plugin shows."""
        held = self._surfaces.get(name)
        return held[1] if held is not None else Surface()

    def drop(self, spec: Spec) -> None:
        """The instance that ran as `spec` has ended, and what it showed with it."""
        held = self._surfaces.get(spec.name)
        if held is not None and held[0] is spec:
            del self._surfaces[spec.name]

    # what every operation passes

    def _held(self, spec: Spec, operation: Operation, params: bytes) -> Any:
        """The params, with the place filled in that a path begins with. Raises `BadArguments`, `FrameTooLarge`."""
        if len(params) > MOST:
            raise FrameTooLarge(f"the params of {operation.name} are longer than {MOST >> 20} MiB", hint="Send less.")
        try:
            held = msgspec.json.decode(params, type=operation.params)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadArguments(f"{operation.name}: {error}", hint="Compare them with the table.") from None
        if isinstance(held, table.Read | table.Write):
            held.path = self._path(spec, held.path)
        return held

    def _path(self, spec: Spec, path: str) -> str:
        if path.startswith("${"):
            name, _, rest = path[2:].partition("}")
            places = self._powers.places(spec)
            if name not in places:
                raise BadArguments(f"{path[:200]!r} begins with an unknown place; there are {', '.join(places)}")
            path = places[name] + rest
        if not os.path.isabs(path):
            raise BadArguments(f"{path[:200]!r} must be absolute, or begin with ${{data}} or the like")
        return path

    def _note(
        self,
        spec: Spec,
        op: str,
        operation: Operation | None,
        wanted: Permission | None,
        call: Call | None,
        began: float,
        ended: bytes | BaseException,
    ) -> None:
        failed = isinstance(ended, BaseException)
        if self._audit is None or (not failed and operation is not None and not operation.audited):
            return
        about = {} if wanted is None else {"name": Raw(_encode(str(wanted)))}
        caller, identity = (Nobody(), Identity()) if call is None else (call.caller, call.identity)
        self._audit.note(Call(caller, identity, f"host/{op[:100]}", about), spec.name, began, ended)

    # to whoever is in front

    def _tell(self, spec: Spec, level: str, text: str, call: Call | None) -> bool:
        """Send a log message; whether it was sent to anybody."""
        router = self._served()
        said = _encode({"level": SEVERITY[level], "logger": spec.name, "data": text})
        if call is None:
            router.logged(said)
            return router.attended
        if not _wants(call, SEVERITY[level]):
            return False
        call.caller.tell("notifications/message", said)
        return not isinstance(call.caller, Nobody)

    def _served(self) -> Router:
        if self._router is None:
            raise HostFailed("the broker is not ready yet")
        return self._router

    def _shown(self, spec: Spec) -> Surface:
        """The surface of this instance, to be changed."""
        held = self._surfaces.get(spec.name)
        if held is None or held[0] is not spec:
            held = self._surfaces[spec.name] = spec, Surface()
        return held[1]

    # the operations

    async def log(self, spec: Spec, params: table.Log, call: Call | None) -> bytes:
        text = self._redactions.text(spec.name, params.message)
        self._powers.log(spec, f"{params.level}: {text}")
        self._tell(spec, params.level, text, call)
        return _NULL

    async def toast(self, spec: Spec, params: table.Toast, call: Call | None) -> bytes:
        text = f"{params.title}: {params.message}" if params.message else params.title
        return _shown(self._tell(spec, params.kind, self._redactions.text(spec.name, text), call))

    async def register_command(self, spec: Spec, params: table.RegisterCommand, call: Call | None) -> bytes:
        commands = self._shown(spec).commands
        if params.name not in commands and len(commands) >= MOST_COMMANDS:
            raise Overloaded(f"{spec.name} has {MOST_COMMANDS} commands already", hint="It can offer no more.")
        commands[params.name] = params.description
        return _shown(self._served().attended)

    async def set_status(self, spec: Spec, params: table.SetStatus, call: Call | None) -> bytes:
        notes = self._shown(spec).notes
        if not params.value:
            notes.pop(params.key, None)
        elif params.key not in notes and len(notes) >= MOST_STATUS:
            raise Overloaded(f"{spec.name} shows {MOST_STATUS} texts already", hint="Set one of them to an empty text.")
        else:
            notes[params.key] = self._redactions.text(spec.name, params.value)
        return _shown(self._served().attended)

    async def progress(self, spec: Spec, params: table.Progress, call: Call | None) -> bytes:
        if call is None:
            return _shown(False)
        call.heard = True
        self._served().generations.deadlines.progressed(call)
        if call.token is None:
            return _shown(False)
        said = {name: value for name, value in msgspec.structs.asdict(params).items() if value is not None}
        call.caller.tell("notifications/progress", _encode({"progressToken": call.token, **said}))
        return _shown(True)

    async def config_get(self, spec: Spec, params: table.ConfigGet, call: Call | None) -> bytes:
        return _encode(dict(spec.config) if params.key is None else spec.config.get(params.key))

    async def state_get(self, spec: Spec, params: table.StateGet, call: Call | None) -> bytes:
        return await self._store.get(spec.name, params.key)

    async def state_set(self, spec: Spec, params: table.StateSet, call: Call | None) -> bytes:
        await self._store.set(spec.name, params.key, bytes(params.value))
        return _NULL

    async def read(self, spec: Spec, params: table.Read, call: Call | None) -> bytes:
        return _encode(await self._powers.read(spec, params))

    async def write(self, spec: Spec, params: table.Write, call: Call | None) -> bytes:
        return _encode(await self._powers.write(spec, params))

    async def fetch(self, spec: Spec, params: table.Fetch, call: Call | None) -> bytes:
        return _encode(await self._powers.fetch(spec, params))

    async def execute(self, spec: Spec, params: table.Exec, call: Call | None) -> bytes:
        return _encode(await self._powers.execute(spec, params))

    async def call_tool(self, spec: Spec, params: table.CallTool, call: Call | None) -> bytes:
        router = self._served()
        name = params.tool if router.alone is not None else shown_name(params.plugin, params.tool)
        given = {"name": Raw(_encode(name)), "arguments": Raw(_encode(params.arguments))}
        if call is None:
            nested = Call(Nobody(), Identity(), "tools/call", given, chain=(spec.name,))
        else:
            nested = Call(call.caller, call.identity, "tools/call", given, chain=call.chain, asked=call.asked)
            nested.log_level = call.log_level
        await router.learned_for(nested)
        entry = router.catalog.tool(name)
        if (entry.plugin, entry.own) != (params.plugin, params.tool):
            raise NotFound(f"{params.plugin} has no tool {params.tool[:100]!r}")
        found = bytes(await router.call(nested))
        if eras.asks(found):
            raise NotAnswered(f"{params.plugin} asks its client something, and {spec.name} cannot pass that on")
        return found

    async def ask(self, spec: Spec, params: table.Ask, call: Call | None) -> bytes:
        if self._asking is None:
            self._asking = Asking(self._served().generations.deadlines)
        params.message = self._redactions.text(spec.name, params.message)
        return await self._asking.ask(spec.name, params, call)


def _check(spec: Spec, wanted: Permission | None) -> None:
    """Raises `PermissionMissing`."""
    if wanted is None or allowed(_granted(spec.granted), wanted):
        return
    raise PermissionMissing(
        f"{spec.name} may not do this: {wanted} was not granted",
        hint=f"If it should, it goes into the permissions of the plugin; then `broker grant {spec.name}`.",
        facts={"plugin": spec.name, "missing": [str(wanted)]},
    )


@lru_cache(64)
def _granted(texts: tuple[str, ...]) -> tuple[Permission, ...]:
    return tuple(map(parse, texts))


def _wants(call: Call, severity: str) -> bool:
    """Whether the client of `call` wants messages as severe as this; in the modern era only if it asked for them."""
    if call.log_level is None:
        return call.identity.era is Era.LEGACY
    return eras.LOG_LEVELS.index(severity) >= eras.LOG_LEVELS.index(call.log_level)


def _shown(shown: bool) -> bytes:
    return b'{"shown":true}' if shown else b'{"shown":false}'


_DO: Mapping[str, Callable[[HostApi, Spec, Any, Call | None], Awaitable[bytes]]] = {
    "log": HostApi.log,
    "toast": HostApi.toast,
    "register_command": HostApi.register_command,
    "set_status": HostApi.set_status,
    "progress": HostApi.progress,
    "config.get": HostApi.config_get,
    "state.get": HostApi.state_get,
    "state.set": HostApi.state_set,
    "fs.read": HostApi.read,
    "fs.write": HostApi.write,
    "http.fetch": HostApi.fetch,
    "exec": HostApi.execute,
    "call": HostApi.call_tool,
    "ask": HostApi.ask,
}
