"""What a plugin asks the broker to do: the one way for all of it, whatever the plugin runs in.

Rule 1: in this order: the operation is known, its params agree with the table, it is not asked for too often, it was
        granted; only then anything happens. What was granted is what the running instance was started with.
Rule 2: each ends with JSON or a `BrokerError`, whose `name` is for the guest to tell failures apart. Both are bounded.
Rule 3: what needs the disk, the network or a process is done by `Powers`, which are given from above.
Rule 4: nobody in front is no failure of what is only shown: the answer says so. The rest of that is in `Front`.
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

from broker.core import hostparams as given
from broker.core.audit import Audit
from broker.core.catalog import shown_name
from broker.core.hostbounds import Bounds
from broker.core.hostfront import Front, path_of, uri_of
from broker.core.hostoperation import Operation
from broker.core.hostparams import MOST
from broker.core.hoststate import Store
from broker.core.hosttable import OPERATIONS
from broker.core.ports import Call, Identity, Nobody
from broker.core.router import Router
from broker.errors import (
    BadArguments,
    BrokerError,
    FrameTooLarge,
    NotAnswered,
    NotFound,
    PermissionMissing,
)
from broker.model import Spec
from broker.permissions.redaction import Redactions
from broker.permissions.scopes import Permission, allowed, parse, permission
from broker.wire import eras

log = logging.getLogger("broker.host")

KEPT = "kept"  # folder of what plugins keep, in the state folder

_encode = msgspec.json.Encoder().encode
_NULL = b"null"


class Powers(Struct, frozen=True, kw_only=True):
    """What the host does outside of the broker, for the plugin of a `Spec`. Each raises `BrokerError`, nothing else."""

    read: Callable[[Spec, given.Read], Awaitable[dict[str, Any]]]
    write: Callable[[Spec, given.Write], Awaitable[dict[str, Any]]]
    fetch: Callable[[Spec, given.Fetch], Awaitable[dict[str, Any]]]
    execute: Callable[[Spec, given.Exec], Awaitable[dict[str, Any]]]
    secret: Callable[[Spec, str], Awaitable[str | None]]  # its value in the keyring
    keep: Callable[[Spec, str, str | None], Awaitable[bool]]  # another value; None forgets it, if there was one
    configure: Callable[[Spec, str, Any], Awaitable[None]]  # an option in its user's file; None takes it out
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
        self._router: Router | None = None
        self.front = Front(self._redactions, lambda: self._router)

    def serve(self, router: Router) -> None:
        """Plugins are called, and clients are reached, through this router."""
        self._router = router
        router.generations.surface = self.front.surface
        router.showing = self.front

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
                found = await self._done(op, spec, held, call)
            if len(found) > MOST:
                raise FrameTooLarge(f"the result of {op} is longer than {MOST >> 20} MiB", hint="Ask for less of it.")
        except BaseException as error:
            self._note(spec, op, operation, wanted, call, began, error)
            raise
        self._note(spec, op, operation, wanted, call, began, found)
        return found

    def drop(self, spec: Spec) -> None:
        """The instance that ran as `spec` has ended, and what it showed with it."""
        self.front.ended(spec)

    # what every operation passes

    def _held(self, spec: Spec, operation: Operation, params: bytes) -> Any:
        """The params, with the place filled in that a path begins with. Raises `BadArguments`, `FrameTooLarge`."""
        if len(params) > MOST:
            raise FrameTooLarge(f"the params of {operation.name} are longer than {MOST >> 20} MiB", hint="Send less.")
        try:
            held = msgspec.json.decode(params, type=operation.params)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadArguments(f"{operation.name}: {error}", hint="Compare them with the given.") from None
        if isinstance(held, given.Read | given.Write):
            held.path = self._path(spec, held.path)
        return held

    async def _done(self, op: str, spec: Spec, held: Any, call: Call | None) -> bytes:
        if op in _FRONT:
            return await _FRONT[op](self.front, spec, held, call)
        return await _DO[op](self, spec, held, call)

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

    # the operations

    async def log(self, spec: Spec, params: given.Log, call: Call | None) -> bytes:
        text = self._redactions.text(spec.name, params.message)
        self._powers.log(spec, f"{params.level}: {text}")
        self.front.tell(spec, params.level, text, call)
        return _NULL

    async def config_get(self, spec: Spec, params: given.ConfigGet, call: Call | None) -> bytes:
        config = spec.config if self._router is None else self._router.config_of(spec)
        return _encode(dict(config) if params.key is None else config.get(params.key))

    async def config_set(self, spec: Spec, params: given.ConfigSet, call: Call | None) -> bytes:
        await self._powers.configure(spec, params.key, params.value)
        return _NULL

    async def secret_get(self, spec: Spec, params: given.Secret, call: Call | None) -> bytes:
        value = await self._powers.secret(spec, params.name)
        if value is not None:
            self._redactions.learn(spec.name, value)
        return _encode(given.Held(value))

    async def secret_set(self, spec: Spec, params: given.SecretSet, call: Call | None) -> bytes:
        self._redactions.learn(spec.name, params.value)
        await self._powers.keep(spec, params.name, params.value)
        return _NULL

    async def secret_delete(self, spec: Spec, params: given.Secret, call: Call | None) -> bytes:
        return _encode(given.Deleted(await self._powers.keep(spec, params.name, None)))

    async def state_get(self, spec: Spec, params: given.StateGet, call: Call | None) -> bytes:
        return await self._store.get(spec.name, params.key)

    async def state_set(self, spec: Spec, params: given.StateSet, call: Call | None) -> bytes:
        await self._store.set(spec.name, params.key, bytes(params.value))
        return _NULL

    async def read(self, spec: Spec, params: given.Read, call: Call | None) -> bytes:
        return _encode(await self._powers.read(spec, params))

    async def write(self, spec: Spec, params: given.Write, call: Call | None) -> bytes:
        return _encode(await self._powers.write(spec, params))

    async def fetch(self, spec: Spec, params: given.Fetch, call: Call | None) -> bytes:
        return _encode(await self._powers.fetch(spec, params))

    async def execute(self, spec: Spec, params: given.Exec, call: Call | None) -> bytes:
        return _encode(await self._powers.execute(spec, params))

    async def call_tool(self, spec: Spec, params: given.CallTool, call: Call | None) -> bytes:
        router = self.front.served
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

    async def show(self, spec: Spec, params: given.Show, call: Call | None) -> bytes:
        if params.uri.startswith(("/", "${")):
            params.uri = uri_of(self._path(spec, params.uri))
        return await self.front.show(spec, params, call)

    async def edit(self, spec: Spec, params: given.Edit, call: Call | None) -> bytes:
        unwritable = [uri for uri in params.changes if not _may_write(spec, uri)]
        return await self.front.edit(spec, params, unwritable, call)

    async def diagnostics(self, spec: Spec, params: given.Diagnostics, call: Call | None) -> bytes:
        if any(fix.edits for each in params.diagnostics for fix in each.fixes):
            _check(spec, Permission("ui", "edit"))
        return await self.front.diagnostics(spec, params, call)

    async def subscribe(self, spec: Spec, params: given.Subscribe, call: Call | None) -> bytes:
        return _encode(given.Subscribed(self.front.served.events.subscribe(spec, params.names)))


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


def _may_write(spec: Spec, uri: str) -> bool:
    """Whether the plugin itself may write to this file, under the name that is given and under its own."""
    path = path_of(uri)
    if path is None or "*" in path:
        return False
    try:
        wanted = [permission("write", each) for each in (path, os.path.realpath(path))]
    except ValueError:
        return False
    return all(allowed(_granted(spec.granted), each) for each in wanted)


_DO: Mapping[str, Callable[[HostApi, Spec, Any, Call | None], Awaitable[bytes]]] = {
    "log": HostApi.log,
    "config.get": HostApi.config_get,
    "config.set": HostApi.config_set,
    "secrets.get": HostApi.secret_get,
    "secrets.set": HostApi.secret_set,
    "secrets.delete": HostApi.secret_delete,
    "state.get": HostApi.state_get,
    "state.set": HostApi.state_set,
    "fs.read": HostApi.read,
    "fs.write": HostApi.write,
    "http.fetch": HostApi.fetch,
    "exec": HostApi.execute,
    "call": HostApi.call_tool,
    "show": HostApi.show,
    "editor.edit": HostApi.edit,
    "editor.diagnostics": HostApi.diagnostics,
    "events.subscribe": HostApi.subscribe,
}
_FRONT: Mapping[str, Callable[[Front, Spec, Any, Call | None], Awaitable[bytes]]] = {
    "toast": Front.toast,
    "register_command": Front.register_command,
    "set_status": Front.set_status,
    "progress": Front.progress,
    "progress.begin": Front.begin,
    "progress.report": Front.report,
    "progress.end": Front.finish,
    "ask": Front.ask,
    "pick": Front.pick,
    "input": Front.input,
    "confirm": Front.confirm,
    "editor.active": Front.active,
    "editor.read": Front.read,
}
