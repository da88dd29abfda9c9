"""What plugins show to whoever is in front of the broker, and ask of them: an editor, or an AI client.

Rule 1: what belongs to a call goes to who made it. What does not is shown to all clients that can, and asked of the
        first that can.
Rule 2: a client does what is among its `operations`. For another there is less: a toast is a log message, work that
        is reported is a progress notification, a question is an elicitation; the rest is `NotInClient`.
Rule 3: what an instance shows ends with it.
Rule 4: a client that does not answer is waited for, but not for long; only a person has time to think.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec import Raw, Struct, field

from broker.core import hostparams as given
from broker.core.hostasking import Asking
from broker.core.ports import Call, Caller, Nobody
from broker.core.router import Router
from broker.core.status import Surface
from broker.errors import BadArguments, BrokerError, HostFailed, NotAnswered, NotFound, NotInClient, Overloaded
from broker.model import Command, Era, Spec
from broker.permissions.redaction import Redactions
from broker.wire import eras

log = logging.getLogger("broker.host")

MOST_STATUS, MOST_COMMANDS, MOST_WORKS, MOST_MARKED = 16, 64, 8, 2000  # of one plugin
PROMPTLY = 10.0  # seconds a client has for what asks no person; vim-lsp answers some requests never
SEVERITY = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}

_encode = msgspec.json.Encoder().encode


class Work(Struct):
    """What a plugin works at beside any call."""

    title: str
    call: Call | None  # in whose course it was begun
    reports: int = 0
    cancelled: bool = False


class Shows(Struct):
    """What the instances of one plugin show; `spec` is what they run as."""

    spec: Spec
    surface: Surface = field(default_factory=Surface)
    marked: set[str] = field(default_factory=set[str])  # documents with diagnostics of its
    works: dict[str, Work] = field(default_factory=dict[str, Work])


class Front:
    """Of one broker; `router` says whom there is, once there is one."""

    def __init__(self, redactions: Redactions, router: Callable[[], Router | None]) -> None:
        self._redactions, self._router = redactions, router
        self._shows: dict[str, Shows] = {}
        self._asking: Asking | None = None
        self._clearing: set[asyncio.Task[None]] = set()

    def surface(self, name: str) -> Surface:
        """What the newest generation of a plugin shows."""
        held = self._shows.get(name)
        return held.surface if held is not None else Surface()

    def replaced(self, spec: Spec) -> None:
        """This is what the plugin runs as from now on."""
        held = self._shows.get(spec.name)
        if held is not None and held.spec is not spec:
            self.rested(spec.name)

    def rested(self, name: str) -> None:
        """No instance of the plugin runs any more: what it showed is taken away."""
        held = self._shows.pop(name, None)
        if held is not None and (held.surface.notes or held.marked or held.works):
            task = asyncio.get_running_loop().create_task(self._clear(name, held))
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    def ended(self, spec: Spec) -> None:
        """The instance that ran as this is over."""
        held = self._shows.get(spec.name)
        if held is not None and held.spec is spec:
            self.rested(spec.name)

    def cancelled(self, name: str, id: str) -> bool:
        """A person wants work of a plugin to end; whether there is such work."""
        held = self._shows.get(name)
        if held is None or id not in held.works:
            return False
        held.works[id].cancelled = True
        return True

    async def _clear(self, name: str, held: Shows) -> None:
        gone: list[tuple[str, dict[str, Any]]] = []
        gone += [("set_status", {"key": key, "value": ""}) for key in held.surface.notes]
        gone += [("editor.diagnostics", {"uri": uri, "diagnostics": []}) for uri in held.marked]
        gone += [("progress.end", {"id": id, "message": ""}) for id in held.works]
        for op, params in gone:
            await self._to_all(op, name, _encode(params), None)

    def _mine(self, spec: Spec) -> Shows:
        """What this instance shows, to be changed."""
        held = self._shows.get(spec.name)
        if held is None or held.spec is not spec:
            self.rested(spec.name)
            held = self._shows[spec.name] = Shows(spec)
        return held

    # whom there is

    @property
    def served(self) -> Router:
        """Raises `HostFailed` while there is none."""
        router = self._router()
        if router is None:
            raise HostFailed("the broker is not ready yet")
        return router

    def _able(self, op: str, call: Call | None) -> list[Caller]:
        """The clients that do this themselves."""
        callers: Iterable[Caller] = self.served.faces if call is None else [call.caller]
        return [caller for caller in callers if op in caller.operations]

    async def _to_all(self, op: str, plugin: str, params: bytes, call: Call | None) -> bool:
        """Have every client do it that can; whether one did."""
        done = await asyncio.gather(*(self._tried(each, op, plugin, params) for each in self._able(op, call)))
        return any(done)

    async def _tried(self, caller: Caller, op: str, plugin: str, params: bytes) -> bool:
        try:
            async with asyncio.timeout(PROMPTLY):
                await caller.perform(op, plugin, params)
            return True
        except (BrokerError, TimeoutError) as error:
            log.info("%s of %s is not done by %s: %s", op, plugin, caller.title, error)
            return False

    async def _by_first(self, op: str, spec: Spec, params: bytes, call: Call | None) -> bytes:
        """Have the first client do it that can. Raises `NotInClient`, `NotAnswered` and what that answers."""
        able = self._able(op, call)
        if not able:
            raise _nowhere(op, spec.name, call)
        try:
            async with asyncio.timeout(PROMPTLY):
                return bytes(await able[0].perform(op, spec.name, params))
        except TimeoutError:
            raise NotAnswered(f"{able[0].title} did not answer {op} of {spec.name} within {PROMPTLY:g} s") from None

    def _clean(self, spec: Spec, params: Struct) -> bytes:
        """Params as JSON, without secrets of the plugin's."""
        return bytes(self._redactions.raw(spec.name, Raw(_encode(params))))

    # messages

    def tell(self, spec: Spec, level: str, text: str, call: Call | None) -> bool:
        """Send a log message; whether it was sent to anybody."""
        said = _encode({"level": SEVERITY[level], "logger": spec.name, "data": text})
        if call is None:
            self.served.logged(said)
            return self.served.attended
        if not _wants(call, SEVERITY[level]):
            return False
        call.caller.tell("notifications/message", said)
        return not isinstance(call.caller, Nobody)

    async def toast(self, spec: Spec, params: given.Toast, call: Call | None) -> bytes:
        if await self._to_all("toast", spec.name, self._clean(spec, params), call):
            return _shown(True)
        text = f"{params.title}: {params.message}" if params.message else params.title
        return _shown(self.tell(spec, params.kind, self._redactions.text(spec.name, text), call))

    async def register_command(self, spec: Spec, params: given.RegisterCommand, call: Call | None) -> bytes:
        commands = self._mine(spec).surface.commands
        if params.name not in commands and len(commands) >= MOST_COMMANDS:
            raise Overloaded(f"{spec.name} has {MOST_COMMANDS} commands already", hint="It can offer no more.")
        commands[params.name] = params.description
        self.served.generations.register(spec.name, Command(params.name, params.title, params.description))
        return _shown(self.served.attended)

    async def set_status(self, spec: Spec, params: given.SetStatus, call: Call | None) -> bytes:
        notes = self._mine(spec).surface.notes
        if not params.value:
            notes.pop(params.key, None)
        elif params.key not in notes and len(notes) >= MOST_STATUS:
            raise Overloaded(f"{spec.name} shows {MOST_STATUS} texts already", hint="Set one of them to an empty text.")
        else:
            notes[params.key] = params.value = self._redactions.text(spec.name, params.value)
        await self._to_all("set_status", spec.name, _encode(params), None)
        return _shown(self.served.attended)

    # progress

    async def progress(self, spec: Spec, params: given.Progress, call: Call | None) -> bytes:
        if call is None:
            return _shown(False)
        call.heard = True
        self.served.generations.deadlines.progressed(call)
        said = {name: value for name, value in msgspec.structs.asdict(params).items() if value is not None}
        return _shown(_progressed(call, said))

    async def begin(self, spec: Spec, params: given.Begin, call: Call | None) -> bytes:
        works = self._mine(spec).works
        if params.id in works or len(works) >= MOST_WORKS:
            raise Overloaded(f"{spec.name} shows {params.id} or {MOST_WORKS} works already", hint="End one of them.")
        works[params.id] = work = Work(self._redactions.text(spec.name, params.title), call)
        if await self._to_all("progress.begin", spec.name, self._clean(spec, params), None):
            return _shown(True)
        return _shown(self._noted(spec, work, params.message))

    async def report(self, spec: Spec, params: given.Report, call: Call | None) -> bytes:
        work = self._work(spec, params.id)
        shown = await self._to_all("progress.report", spec.name, self._clean(spec, params), None)
        if not shown:
            far = "" if params.percentage is None else f"{params.percentage:.0f} %"
            shown = self._noted(spec, work, " ".join(filter(None, [params.message, far])))
        return _encode(given.Reported(shown, work.cancelled))

    async def finish(self, spec: Spec, params: given.Finish, call: Call | None) -> bytes:
        work = self._work(spec, params.id)
        del self._mine(spec).works[params.id]
        if await self._to_all("progress.end", spec.name, self._clean(spec, params), None):
            return _shown(True)
        return _shown(self._noted(spec, work, params.message))

    def _work(self, spec: Spec, id: str) -> Work:
        work = self._mine(spec).works.get(id)
        if work is None:
            raise NotFound(f"{spec.name} works at nothing called {id}", hint="`progress.begin` comes first.")
        return work

    def _noted(self, spec: Spec, work: Work, message: str) -> bool:
        """Tell it as progress of the call in whose course it was begun, where that still runs."""
        if work.call is None:
            return False
        work.reports += 1
        text = f"{work.title}: {self._redactions.text(spec.name, message)}" if message else work.title
        return _progressed(work.call, {"progress": work.reports, "message": text})

    # questions

    async def ask(self, spec: Spec, params: given.Ask, call: Call | None) -> bytes:
        params.message = self._redactions.text(spec.name, params.message)
        return await self._put("ask", spec, params, call) or await self._elicited(spec, params, call)

    async def pick(self, spec: Spec, params: given.Pick, call: Call | None) -> bytes:
        if said := await self._put("pick", spec, params, call):
            return said
        return _encode(given.Chosen(await self._field(spec, params.message, _choice(params.items), call)))

    async def input(self, spec: Spec, params: given.Input, call: Call | None) -> bytes:
        if said := await self._put("input", spec, params, call):
            return said
        if params.secret:  # MCP: a form must not ask for secrets
            raise _nowhere("a secret to be typed", spec.name, call)
        text = {"type": "string", "title": "Answer", **({"default": params.default} if params.default else {})}
        return _encode(given.Chosen(await self._field(spec, params.message, text, call)))

    async def confirm(self, spec: Spec, params: given.Confirm, call: Call | None) -> bytes:
        if said := await self._put("confirm", spec, params, call):
            return said
        chosen = await self._field(spec, params.message, _choice([params.yes, params.no]), call)
        return _encode(given.Confirmed(chosen == params.yes))

    async def _put(self, op: str, spec: Spec, params: Struct, call: Call | None) -> bytes:
        """The answer of a client that puts such questions itself; empty if there is none."""
        able = self._able(op, call)
        return await self._questions.perform(able[0], op, spec.name, self._clean(spec, params), call) if able else b""

    async def _elicited(self, spec: Spec, params: given.Ask, call: Call | None) -> bytes:
        return await self._questions.ask(spec.name, params, call)

    async def _field(self, spec: Spec, message: str, field: dict[str, Any], call: Call | None) -> str | None:
        """What was answered to a form of one field; None if it was closed without an answer."""
        form = {"type": "object", "properties": {"answer": field}, "required": ["answer"]}
        put = given.Ask(message=self._redactions.text(spec.name, message), schema=form)
        answer = msgspec.json.decode(await self._elicited(spec, put, call), type=given.Answer)
        value = (answer.content or {}).get("answer") if answer.action == "accept" else None
        return value if isinstance(value, str) else None

    @property
    def _questions(self) -> Asking:
        if self._asking is None:
            self._asking = Asking(self.served.generations.deadlines)
        return self._asking

    # the editor

    async def show(self, spec: Spec, params: given.Show, call: Call | None) -> bytes:
        if urlsplit(params.uri).scheme not in ("file", "https"):
            raise BadArguments(f"{params.uri[:200]!r} must be a `file:` or `https:` URI, or a path")
        return await self._by_first("show", spec, self._clean(spec, params), call)

    async def active(self, spec: Spec, params: given.Active, call: Call | None) -> bytes:
        return await self._by_first("editor.active", spec, b"{}", call)

    async def read(self, spec: Spec, params: given.ReadDocument, call: Call | None) -> bytes:
        return await self._by_first("editor.read", spec, _encode(params), call)

    async def edit(self, spec: Spec, params: given.Edit, unwritable: list[str], call: Call | None) -> bytes:
        """`unwritable`: those of the documents that must be open, because the plugin may not write to their files."""
        said = {**msgspec.structs.asdict(params), "open": unwritable}
        return await self._by_first("editor.edit", spec, _encode(said), call)

    async def diagnostics(self, spec: Spec, params: given.Diagnostics, call: Call | None) -> bytes:
        marked = self._mine(spec).marked
        if not params.diagnostics:
            marked.discard(params.uri)
        elif params.uri not in marked and len(marked) >= MOST_MARKED:
            raise Overloaded(f"{spec.name} marks {MOST_MARKED} documents already", hint="Clear some of them.")
        else:
            marked.add(params.uri)
        return _shown(await self._to_all("editor.diagnostics", spec.name, self._clean(spec, params), None))


def path_of(uri: str) -> str | None:
    """The path that a `file:` URI of this machine names; None if it names none."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        return None
    path = unquote(parts.path)
    return path if path.startswith("/") and "\0" not in path else None


def uri_of(path: str) -> str:
    """The URI of an absolute path."""
    return "file://" + quote(os.fsencode(path))


def _nowhere(op: str, plugin: str, call: Call | None) -> NotInClient:
    where = "in no client that is here" if call is None else f"not in {call.caller.title}"
    return NotInClient(f"{plugin} asked for {op}, which works {where}")


def _progressed(call: Call, said: dict[str, Any]) -> bool:
    if call.token is None:
        return False
    call.caller.tell("notifications/progress", _encode({"progressToken": call.token, **said}))
    return True


def _choice(items: list[str]) -> dict[str, Any]:
    return {"type": "string", "title": "Choice", "enum": items}


def _wants(call: Call, severity: str) -> bool:
    """Whether the client of `call` wants messages as severe as this; in the modern era only if it asked for them."""
    if call.log_level is None:
        return call.identity.era is Era.LEGACY
    return eras.LOG_LEVELS.index(severity) >= eras.LOG_LEVELS.index(call.log_level)


def _shown(shown: bool) -> bytes:
    return b'{"shown":true}' if shown else b'{"shown":false}'
