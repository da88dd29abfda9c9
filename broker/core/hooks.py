"""What plugins say to a call before and after it, and to a client that comes or goes.

Rule 1: hooks run one after the other, in ascending priority, then in the order they were configured.
Rule 2: the first deny ends it, and the caller learns who refused and why. What the others said before is dropped.
Rule 3: a hook that fails or takes longer than `WALL` is a deny where its entry fails closed, and nothing where open.
        One that lacks a permission fails so, because it cannot be run; but calls of its own tools pass it, so that
        its user can be asked there for what it lacks. A hook that was never granted is none (see `Router.present`).
Rule 4: a plugin that waits for the call is not asked about it, nor about what its own hooks call: no hook can wait
        for itself.
Rule 5: what a hook wants a caller to know (`meta`, `status`) is in the result's `_meta`, under `META`: later keys of
        `meta` replace earlier ones, and the first `status` stays. A result of questions is passed on as it is.
Rule 6: without a hook there is no `Hooks`, and a call costs one look at that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from broker.core.ports import Call, Caller, Identity, Reply
from broker.errors import BrokerError, Denied, PermissionMissing
from broker.model import Hook
from broker.permissions.scopes import shown
from broker.wire import eras

log = logging.getLogger("broker.hooks")

WALL = 1.0  # seconds for one hook; the start of its plugin comes on top
ARGUMENTS = 64 << 10  # bytes of the arguments that hooks see; of longer ones the first, as a text
ANSWER = 1 << 20  # bytes of what one hook says
CLOSING = 0.5  # seconds that hooks of a closed connection have when the broker ends
META = "plugin-broker/hooks"
NULL = Raw(b"null")
_WITH_ARGUMENTS = ("tools/call", "prompts/get")

On = Literal["pre_request", "post_response", "on_connect", "on_close"]
Ask = Callable[[str, bytes, Call, float], Awaitable[Reply]]  # a plugin's name, the event, for which call, its bound

_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode


class Event(Struct):
    """What a hook is told, as JSON."""

    type: On
    priority: int  # of the entry that is asked
    method: str = ""
    tool: str = ""  # the plugin's own name of the tool or prompt, or the URI
    plugin: str = ""
    client: str = ""
    arguments: Raw | str | None = None  # a text if they are longer than `ARGUMENTS`
    truncated: bool = False
    meta: eras.Members = {}  # the request's `_meta`, then what earlier hooks added


class _Answer(Struct):
    """What a hook says; nothing at all allows."""

    allow: bool = True
    modified: bool = False  # `arguments` take the place of those of the call
    arguments: dict[str, Raw] | None = None
    meta: eras.Members = {}
    status: Raw = NULL
    reason: str = ""


class _Said(Struct):
    """What the hooks of one call added to it."""

    meta: eras.Members = {}
    status: Raw = NULL

    def add(self, answer: _Answer) -> None:
        self.meta = {**self.meta, **answer.meta}
        if self.status == NULL:
            self.status = Raw(bytes(answer.status))


_answer = msgspec.json.Decoder(_Answer).decode


class Hooks:
    """The hooks of all plugins. `ask` puts an event to one; it raises `BrokerError`, `TimeoutError`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._of: dict[str, tuple[Hook, ...]] = {}
        self._chains: dict[On, list[tuple[str, Hook]]] = {}
        self._met: dict[str, asyncio.Task[Denied | None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._lacking: set[tuple[str, On]] = set()  # those that lack a permission, and were warned of

    def put(self, plugin: str, hooks: tuple[Hook, ...]) -> bool:
        """These are the hooks of `plugin` from now on; whether there are any left at all."""
        self._of[plugin] = hooks
        self._lacking = {(name, on) for name, on in self._lacking if name != plugin}
        self._met = {key: task for key, task in self._met.items() if not _refused(task)}  # they are asked about anew
        listed = [(name, hook) for name, each in self._of.items() for hook in each]
        listed.sort(key=lambda entry: entry[1].priority)  # stable: equal ones stay in the order of configuration
        self._chains = {}
        for name, hook in listed:
            self._chains.setdefault(hook.on, []).append((name, hook))
        return bool(listed)

    async def around(self, call: Call, run: Callable[[], Awaitable[Reply]]) -> Reply:
        """Run `call`, whose chain ends with its plugin, if every hook allows it. Raises `Denied`."""
        if "on_connect" in self._chains and (refusal := await self._meeting(call.caller, call.identity)) is not None:
            raise refusal
        said = _Said()
        await self._pass("pre_request", call, said)
        reply = await run()
        if eras.asks(reply):
            return reply
        await self._pass("post_response", call, said)
        return _noted(reply, said)

    def met(self, caller: Caller, identity: Identity) -> None:
        """A client said who it is."""
        if "on_connect" in self._chains:
            self._meeting(caller, identity)

    def left(self, caller: Caller, identity: Identity) -> None:
        """A client is gone."""
        self._met.pop(caller.key, None)
        if "on_close" in self._chains:
            task = asyncio.get_running_loop().create_task(self._close(caller, identity))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def finish(self) -> None:
        """Give the hooks of closed connections their moment: the broker ends."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSING)
        for task in (*self._closing, *self._met.values()):
            task.cancel()

    # a client

    def _meeting(self, caller: Caller, identity: Identity) -> Awaitable[Denied | None]:
        task = self._met.get(caller.key)
        if task is None:
            task = self._met[caller.key] = asyncio.get_running_loop().create_task(self._connect(caller, identity))
        return asyncio.shield(task)

    async def _connect(self, caller: Caller, identity: Identity) -> Denied | None:
        try:
            await self._pass("on_connect", Call(caller, identity, "", {}), _Said())
        except Denied as refusal:
            log.warning("%s is refused: %s", caller.title, refusal)
            return refusal
        return None

    async def _close(self, caller: Caller, identity: Identity) -> None:
        try:
            await self._pass("on_close", Call(caller, identity, "", {}), _Said())
        except Denied as refusal:
            log.warning("%s", refusal)

    # one event

    async def _pass(self, on: On, call: Call, said: _Said) -> None:
        waiting = call.chain[:-1]
        for name, hook in self._chains.get(on, ()):
            if name not in waiting:
                answer = await self._asked(name, hook, call, said)
                if answer is not None:
                    _take(name, hook, call, answer)
                    said.add(answer)

    async def _asked(self, name: str, hook: Hook, call: Call, said: _Said) -> _Answer | None:
        """What it says; None if it fails, and fails open. Raises `Denied`."""
        asking = Call(call.caller, call.identity, call.method, {}, chain=(*call.chain[:-1], name), asked=call.asked)
        try:
            found = await self._ask(name, _encode(_event(hook, call, said)), asking, WALL)
            if len(memoryview(found)) > ANSWER:
                raise ValueError(f"its answer is longer than {ANSWER >> 20} MiB")
            answer = _answer(bytes(found))
            if answer.modified and (answer.arguments is None or call.method not in _WITH_ARGUMENTS):
                raise ValueError("it changed arguments without giving any, or of a request that has none")
        except TimeoutError:
            return self._failed(name, hook, call, f"it did not answer within {WALL:g} s")
        except PermissionMissing as error:
            return self._lacks(name, hook, call, error)
        except (BrokerError, ValueError) as error:  # msgspec's errors are ValueErrors
            return self._failed(name, hook, call, str(error))
        return answer

    def _failed(self, name: str, hook: Hook, call: Call, why: str) -> None:
        """Raises `Denied` if it fails closed."""
        log.warning("the %s hook of %s failed (%s): %s", hook.on, name, "closed" if hook.closed else "open", why)
        if hook.closed:
            hint = f"`broker log {name}` shows why it fails; `broker disable {name}` takes its hooks away."
            raise _denied(name, hook, call, f"its hook failed: {why}", hint=hint)

    def _lacks(self, name: str, hook: Hook, call: Call, error: PermissionMissing) -> None:
        """Warns once, until the plugin changes. Raises `Denied` if it fails closed."""
        if call.chain and call.chain[-1] == name:
            return
        if (name, hook.on) not in self._lacking:
            self._lacking.add((name, hook.on))
            does = "what it guards is refused" if hook.closed else "it guards nothing"
            log.warning("the %s hook of %s cannot run, and %s: %s. %s", hook.on, name, does, error, error.hint)
        if hook.closed:
            hint = f"{error.hint} `broker disable {name}` takes its hooks away.".strip()
            raise _denied(name, hook, call, f"its hook cannot run: {error}", hint=hint)


def _take(name: str, hook: Hook, call: Call, answer: _Answer) -> None:
    """Do what a hook says about a call. Raises `Denied`."""
    if not answer.allow:
        raise _denied(name, hook, call, answer.reason or "it gives no reason")
    if answer.modified and hook.on == "pre_request":
        call.params = {**call.params, "arguments": Raw(_encode(answer.arguments))}


def _refused(meeting: asyncio.Task[Denied | None]) -> bool:
    return meeting.done() and not meeting.cancelled() and meeting.result() is not None


def _denied(name: str, hook: Hook, call: Call, why: str, *, hint: str | None = None) -> Denied:
    """A refusal; with a `hint`, one by a hook that failed, and what its user does about that."""
    failed = hint is not None
    what = f"{call.method} {_tool(call)}".strip() or "this client"
    facts: dict[str, object] = {"plugin": name, "hook": hook.on, "reason": shown(why), "failed": failed}
    if call.chain:
        facts["sideEffects"] = "unknown" if hook.on == "post_response" else "none"
    return Denied(f"{name} refused {shown(what)} ({hook.on}): {shown(why)}", hint=hint, facts=facts)


def _event(hook: Hook, call: Call, said: _Said) -> Event:
    arguments, cut = _arguments(call.params.get("arguments"))
    return Event(
        type=hook.on,
        priority=hook.priority,
        method=call.method,
        tool=_tool(call),
        plugin=call.chain[-1] if call.chain else "",
        client=call.caller.title,
        arguments=arguments,
        truncated=cut,
        meta={**_own(call.meta or {}), **said.meta},
    )


def _arguments(held: Raw | None) -> tuple[Raw | str | None, bool]:
    if held is None or len(memoryview(held)) <= ARGUMENTS:
        return held, False
    return bytes(memoryview(held)[:ARGUMENTS]).decode("utf-8", "ignore"), True


def _own(meta: eras.Members) -> eras.Members:
    """Without the envelope of the modern era, which is ours."""
    return {key: value for key, value in meta.items() if not key.startswith("io.modelcontextprotocol/")}


def _tool(call: Call) -> str:
    raw = call.params.get("name") or call.params.get("uri")
    try:
        return _text(raw) if raw is not None else ""
    except msgspec.MsgspecError:
        return ""


def _noted(reply: Reply, said: _Said) -> Reply:
    """The result with what hooks added."""
    if not said.meta and said.status == NULL:
        return reply
    held = eras.members(reply)
    meta = eras.members(held["_meta"]) if "_meta" in held else {}
    added: dict[str, Any] = {"meta": said.meta, **({} if said.status == NULL else {"status": said.status})}
    return _encode({**held, "_meta": {**meta, META: added}})
