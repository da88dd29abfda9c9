"""The one function every call passes: `Router.call`.

Rule 1: the catalog decides whose a name is; what it does not list cannot be called.
Rule 2: arguments pass undecoded; only the name is exchanged for the plugin's own.
Rule 3: a call that would wait for itself (A calls B calls A) is refused at once.
Rule 4: clients share plugins and nothing else: what one cancels, floods or breaks never touches another's calls.
Rule 5: a changed plugin is a new generation of it. A call goes to the generation that has the name, and stays there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker.core import commands, skills, tasks
from broker.core.audit import Audit
from broker.core.catalog import Catalog
from broker.core.commands import Offered
from broker.core.consent import Consent, Ledger
from broker.core.events import CANCELLED, CONFIG, Events
from broker.core.generations import Generations
from broker.core.listings import Listings
from broker.core.parking import Parking
from broker.core.pinning import Pinning
from broker.core.plugins import Plugin
from broker.core.ports import Call, Caller, Face, Identity, Nobody, Reply, Runtime, Showing
from broker.core.views import contents_named
from broker.errors import BadArguments, BrokerError, NotFound, PluginUnavailable, SelfWait
from broker.model import Era, Hook, Kind, Listing, Spec
from broker.permissions.lack import asks_through_broker, may_guard, refusal
from broker.wire.eras import LOG_LEVELS

if TYPE_CHECKING:
    from broker.core.hooks import Hooks

log = logging.getLogger("broker.router")

LEARN_WAIT = 3.5  # seconds a first list waits for plugins never met; `claude mcp list` gives it 5 s in all

_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(str).decode


class Router:
    """All plugins of one broker, and every client's way to them.

    `generations` says which plugins there are: what changes them (`apply`, `restart`, `stop_one`, `disable`, `enable`)
    and what shows them (`statuses`) is there.
    """

    def __init__(
        self,
        specs: Iterable[Spec],
        runtime: Runtime,
        listings: Listings,
        *,
        alone: str | None = None,
        audit: Audit | None = None,
        ledger: Callable[[], Ledger] | None = None,
        pinning: Pinning | None = None,
    ) -> None:
        self.catalog = Catalog(alone)
        self.alone = alone
        self._runtime, self._audit, self._parking = runtime, audit, Parking()
        self._hooks: Hooks | None = None  # until a plugin has some
        self.generations = Generations(runtime, listings, self.catalog, self, alone, pinning)
        self.plugins = self.generations.plugins
        self._consent = Consent(ledger, lambda name: self.generations.named(name).spec, self.generations.change)
        self._unknown = self.generations.unknown
        self._faces: dict[str, Face] = {}
        self.client: tuple[Identity, Caller] = (Identity(), Nobody())  # who asked for lists last
        self._levels: dict[str, str] = {}
        self.events = Events(self._tell_event)
        self.showing: Showing | None = None  # until a plugin may show something
        self._watchers: dict[tuple[str, str], dict[str, str]] = {}  # (plugin, own uri) -> face -> its uri
        for spec in specs:
            self.generations.add(spec)

    async def call(self, call: Call) -> Reply:
        """Run a client's request on the plugin it is for, under the plugin's own names.

        Returns the result in the era of the caller. Raises `NotFound`, `BadArguments`, `SelfWait`,
        `PluginFailed`, `TimedOut`, `Overloaded`, `Denied`, or the plugin's own `RemoteError`.
        """
        began, name = monotonic(), ""
        try:
            name = self._plugin_of(call)
            if name in call.chain:
                raise SelfWait(f"{' -> '.join((*call.chain, name))}: {name} would wait for itself")
            call.chain = (*call.chain, name)
            call.identity = self.plugins[name].seen(call.identity)
            if self._hooks is None:
                reply = await self._run(self.plugins[name], call)
            else:
                reply = await self._hooks.around(call, partial(self._run, self.plugins[name], call))
            if call.outward is not None:
                reply = call.outward(reply)
        except BaseException as error:
            if self._audit is not None:
                self._audit.note(call, name, began, error)
            if call.method == commands.METHOD and name and isinstance(error, NotFound):
                self.generations.unregister(name, _string(call, "name"))
            raise
        if self._audit is not None:
            self._audit.note(call, name, began, reply)
        return reply

    async def _run(self, plugin: Plugin, call: Call) -> Reply:
        if call.identity.era is Era.MODERN and len(call.chain) == 1:  # else a plugin calls, which no one parks
            if self._parking.resumes(call):
                return await self._parking.resume(call)
            asks = plugin.spec.missing or not plugin.speaks(Era.MODERN) or asks_through_broker(plugin.spec)
            if asks and self._parking.may_ask(call):
                listing = None if plugin.spec.missing else plugin.listing  # then it is broker that asks
                info = listing.info if listing is not None else Identity().info
                return await self._parking.begin(call, partial(self._permitted, plugin), info)
        return await self._permitted(plugin, call)

    async def _permitted(self, plugin: Plugin, call: Call) -> Reply:
        if plugin.spec.missing:
            await self._consent.obtain(call, plugin.spec.name)
            plugin = self.plugins[plugin.spec.name]  # the generation that has what was granted
        return await plugin.call(call)

    def join(self, face: Face) -> None:
        """A client is here."""
        self._faces[face.key] = face

    def met(self, face: Face, identity: Identity) -> None:
        """A client said who it is."""
        if self._hooks is not None:
            self._hooks.met(face, identity)

    def leave(self, face: Face) -> None:
        """A client is gone; its calls are ended by its face."""
        if self._hooks is not None:
            self._hooks.left(face, self.client[0])
        self._faces.pop(face.key, None)
        self._levels.pop(face.key, None)
        if self.client[1] is face:
            self.client = Identity(), Nobody()
        self._parking.leave(face.key)
        for uri in {faces[face.key] for faces in self._watchers.values() if face.key in faces}:
            task = asyncio.get_running_loop().create_task(self.unwatch(face, uri))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def unknown(self, identity: Identity, opener: Caller) -> list[asyncio.Task[None]]:
        """Begin to learn the lists nobody has seen yet; the tasks worth waiting for: those that never failed."""
        self.client = identity, opener
        if not self._unknown:
            return []
        plugins = [self.plugins[name] for name in sorted(self._unknown)]
        tasks = [(plugin.learn(identity, opener), plugin.failure) for plugin in plugins]
        return [task for task, failure in tasks if failure is None and task is not None and not task.done()]

    @property
    def attended(self) -> bool:
        """Whether any client is here."""
        return bool(self._faces)

    @property
    def all_known(self) -> bool:
        """Whether the lists of every plugin are known."""
        return not self._unknown

    async def learned(self, identity: Identity, opener: Caller, bound: float = LEARN_WAIT) -> None:
        """Wait until every plugin's lists are known, or the bound passed."""
        tasks = self.unknown(identity, opener)
        if tasks:
            await asyncio.wait(tasks, timeout=bound)

    async def learned_for(self, call: Call) -> None:
        """Wait for the lists that may hold the name of `call`, if those known so far do not."""
        owner, is_command = self._owner(call), call.method == commands.METHOD
        try:
            self._address(msgspec.structs.replace(call, params=dict(call.params)))
            if not is_command:  # it may turn out to be a tool
                return
        except NotFound:
            if owner not in self._unknown and not is_command:
                await self.learned(call.identity, call.caller)
        if owner in self._unknown and (task := self.plugins[owner].learn(call.identity, call.caller)) is not None:
            await asyncio.wait([task])

    async def watch(self, face: Face, identity: Identity, uri: str) -> None:
        """Tell `face` when a resource changes. Raises `NotFound` or what its plugin answers."""
        plugin, own = self._watchable(uri)
        if self.plugins[plugin].spec.missing:
            raise refusal(self.plugins[plugin].spec)
        await self.plugins[plugin].lane(identity).watch(own, identity, face)
        self._watchers.setdefault((plugin, own), {})[face.key] = uri

    def _watchable(self, uri: str) -> tuple[str, str]:
        """(plugin, its own name) of a resource, or of a task that is marked as one."""
        if not uri.startswith(tasks.WATCHED):
            return self.catalog.resource(uri)
        plugin, own = self._task_owner(uri.removeprefix(tasks.WATCHED))
        return plugin, tasks.WATCHED + own

    async def unwatch(self, face: Face, uri: str) -> None:
        """Stop telling `face`; the plugin is told when nobody is left."""
        for (plugin, own), faces in list(self._watchers.items()):
            if faces.get(face.key) == uri:
                del faces[face.key]
                if not faces:
                    del self._watchers[plugin, own]
                    await self._unwatched(plugin, own)

    async def _unwatched(self, plugin: str, own: str) -> None:
        if plugin in self.plugins:  # else it was taken away meanwhile
            for lane in self.plugins[plugin].lanes:
                with suppress(BrokerError):
                    await lane.unwatch(own)

    def set_level(self, face: Face, level: str) -> None:
        """The least severe log messages `face` wants; plugins are asked for the least of all faces."""
        if level not in LOG_LEVELS:
            raise BadArguments(f"{level!r} is no log level; one of {', '.join(LOG_LEVELS)}")
        self._levels[face.key] = level
        for instance in self._instances():
            instance.level(self.log_level or level)

    def tell_all(self, method: str, params: Reply) -> None:
        """Hand a client's notification to every running instance."""
        for instance in self._instances():
            instance.tell(method, params)

    async def stop(self, grace: float = 2.0) -> None:
        """End every plugin."""
        self._parking.close()
        self.events.close()
        if self._hooks is not None:
            await self._hooks.finish()
        await self.generations.stop(grace)
        await self._runtime.close(grace)
        if self._audit is not None:
            self._audit.close()

    # what plugins show beside their lists, and what they hear of

    @property
    def faces(self) -> list[Face]:
        """The clients that are here, in the order in which they came."""
        return list(self._faces.values())

    def commands(self) -> list[Offered]:
        """What a person can run, known without starting anything; `commands/run` runs it."""
        return self.generations.offered()

    def happened(self, name: str, params: bytes) -> None:
        """A face tells that something happened (see `events`): whoever listens is told, soon."""
        self.events.happened(name, params)

    def hears_config(self, name: str) -> bool:
        """Whether a running plugin wants to be told of new options of its own, instead of being started anew."""
        return self.events.listens(name, CONFIG)

    def configured(self, spec: Spec) -> None:
        """A running plugin has other options."""
        self.events.happened(CONFIG, _encode({"config": spec.config}), only=spec.name)

    def config_of(self, spec: Spec) -> Mapping[str, object]:
        """The options of the instance that runs as `spec`: those of now, if it wants to hear when they change."""
        plugin = self.plugins.get(spec.name)
        return plugin.spec.config if plugin is not None and self.events.hears(spec, CONFIG) else spec.config

    def cancelled(self, plugin: str, id: str) -> None:
        """A person wants work that a plugin shows (`progress.begin`) to end."""
        if self.showing is not None and self.showing.cancelled(plugin, id):
            self.events.happened(CANCELLED, _encode({"id": id}), only=plugin)

    def commands_changed(self) -> None:
        for face in self.faces:
            face.commands_changed()

    def rested(self, plugin: Plugin) -> None:
        """No instance of this lane runs; if it was the last of its plugin, what that showed goes too."""
        name = plugin.spec.name
        if not any(lane.instance for each in (plugin, self.plugins.get(name)) for lane in (each.lanes if each else ())):
            self.events.forget(name)
            if self.showing is not None:
                self.showing.rested(name)

    def _tell_event(self, plugin: str, name: str, params: bytes) -> None:
        for lane in self.plugins[plugin].lanes if plugin in self.plugins else ():
            if lane.instance is not None:
                lane.instance.happened(name, params)

    # what plugins tell

    @property
    def log_level(self) -> str | None:
        return min(self._levels.values(), key=LOG_LEVELS.index, default=None)

    def listed(self, plugin: Plugin, listing: Listing, kinds: set[Kind], *, first: bool) -> None:
        changed = self.generations.learned(plugin, listing, kinds)
        for face in list(self._faces.values()) if changed else ():
            face.changed(changed, first=first)

    def present(self, plugin: Plugin) -> None:
        """A generation has its name: its hooks count now, but those that its user never granted."""
        hooks = tuple(hook for hook in plugin.spec.hooks if may_guard(plugin.spec, hook.on))
        if hooks or self._hooks is not None:
            self._hooked(plugin.spec.name, hooks)

    def gone(self, name: str) -> None:
        """A plugin was taken away."""
        if self._hooks is not None:
            self._hooked(name, ())

    def _hooked(self, name: str, hooks: tuple[Hook, ...]) -> None:
        from broker.core.hooks import Hooks  # most brokers have none

        held = self._hooks or Hooks(self._ask_hook)
        self._hooks = held if held.put(name, hooks) else None

    async def _ask_hook(self, name: str, event: bytes, call: Call, bound: float) -> Reply:
        """What a plugin's hook says. Raises `PermissionMissing` if it lacks some, `BrokerError`."""
        plugin = self.plugins[name]
        if plugin.spec.missing:
            raise refusal(plugin.spec)
        return await plugin.hook(event, call, bound)

    def relisted(self, kinds: set[Kind]) -> None:
        for face in list(self._faces.values()):
            face.changed(kinds, first=False)

    def replaced(self, plugin: Plugin) -> None:
        """Have the new generation watch what clients watch; what only the old one showed or heard is over."""
        self.events.replaced(plugin.spec)
        if self.showing is not None:
            self.showing.replaced(plugin.spec)
        for name, own in self._watchers:
            if name == plugin.spec.name:
                task = asyncio.get_running_loop().create_task(self._rewatch(plugin, own))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _rewatch(self, plugin: Plugin, own: str) -> None:
        identity, opener = (plugin.lanes[0].identity, Nobody()) if plugin.lanes else self.client
        await plugin.lane(identity).watch(own, identity, opener)
        self.updated(plugin, own)  # it may have changed between the two

    def absent(self, plugin: Plugin) -> None:
        """A plugin that must be there, or lacks permissions, cannot be started, and nobody knows its tools."""
        failure = refusal(plugin.spec) if plugin.spec.missing else plugin.failure
        if failure is None or self.plugins.get(plugin.spec.name) is not plugin:
            return
        self.catalog.miss(plugin.spec.name, f"{failure}. {failure.hint}" if plugin.spec.missing else str(failure))
        self.relisted({"tools"})
        if not plugin.spec.required:
            return
        text = f"{plugin.spec.name} is required and is not there: {failure}"
        self.logged(_encode({"level": "error", "logger": "broker", "data": text}))

    def updated(self, plugin: Plugin, uri: str) -> None:
        for key, shown in list(self._watchers.get((plugin.spec.name, uri), {}).items()):
            if key in self._faces:
                self._faces[key].updated(shown)

    def task_changed(self, plugin: Plugin, params: Reply) -> None:
        own = tasks.own_of(params)
        if own is not None:
            said = plugin.outward(params)
            for key, shown in list(self._watchers.get((plugin.spec.name, tasks.WATCHED + own), {}).items()):
                if key in self._faces:
                    self._faces[key].task_changed(shown, said)

    def logged(self, params: Reply) -> None:
        for face in list(self._faces.values()):
            face.logged(params)

    # whose a call is

    def _plugin_of(self, call: Call) -> str:
        try:
            return self._address(call)
        except NotFound:
            owner = self._owner(call)
            plugin = self.plugins.get(owner)
            if plugin is not None and plugin.listing is None and plugin.spec.missing:
                raise refusal(plugin.spec) from None  # its names are unknown because of what it lacks
            if plugin is not None and plugin.listing is None and plugin.failure is not None:
                raise plugin.refusal() or plugin.failure from None  # its names are unknown because it cannot be started
            if owner in self.generations.disabled:
                self.generations.named(owner)
            raise

    def _owner(self, call: Call) -> str:
        """The plugin that a name nobody knows seems to belong to."""
        return self.alone or _prefix(call, "." if call.method == commands.METHOD else "__")

    def _address(self, call: Call) -> str:
        """The plugin a call is for; puts the plugin's own name into its params."""
        find = _ADDRESS.get(call.method)
        if find is None:
            if self.alone is None:
                raise NotFound(f"nobody knows which plugin {call.method} is for")
            return self.alone
        return find(self, call)

    def _tool(self, call: Call) -> str:
        entry = self.catalog.tool(_string(call, "name"))
        if not entry.own:
            plugin = self.plugins[entry.plugin]
            if plugin.spec.missing:
                raise refusal(plugin.spec)
            raise plugin.refusal() or plugin.failure or PluginUnavailable(f"{entry.plugin} is not there yet")
        call.params["name"] = Raw(_encode(entry.own))
        if entry.as_task and "task" not in call.params:  # one that is passed through says so itself, if it can
            call.as_task = self.alone is None or call.identity.era is Era.MODERN
            call.outward = tasks.unrelated if call.as_task else None
        elif "task" in call.params or tasks.declares(call.identity):
            call.outward = self.plugins[entry.plugin].outward
        return entry.plugin

    def _command(self, call: Call) -> str:
        shown = _string(call, "name")
        offered = self.commands()
        found = next((each for each in offered if each.shown == shown), None)
        if found is None:
            raise commands.missing(shown, offered)
        module = (self.plugins[found.plugin].spec.entry or "").endswith(".wasm")  # its tools are all it can be asked
        if module or not self.generations.commands.handles(found.plugin, found.name):
            tool = next((each for each in self.catalog.entries("tools") if (each.plugin, each.own) == found.own), None)
            if tool is not None:
                arguments = commands.arguments_of_tool(call.params.get("arguments"))
                call.method, call.params = "tools/call", {"name": Raw(_encode(tool.name)), "arguments": arguments}
                return self._tool(call)
        call.params["name"] = Raw(_encode(found.name))
        return found.plugin

    def _task(self, call: Call) -> str:
        if self.alone is not None:
            return self.alone
        tasks.check(call.identity, call.method)
        shown = _string(call, "taskId")
        plugin, own = self._task_owner(shown)
        call.params["taskId"] = Raw(_encode(own))
        call.outward = self.plugins[plugin].outward
        return plugin

    def _tasks(self, call: Call) -> str:
        if self.alone is not None:
            return self.alone
        plugin, own = self._task_owner(_string(call, "cursor"))
        del call.params["cursor"]
        if own:
            call.params["cursor"] = Raw(_encode(own))
        call.outward = self.plugins[plugin].outward
        return plugin

    def _skill(self, call: Call) -> str:
        if self.alone is not None:
            return self.alone
        shown = _string(call, "uri")
        plugin, own = self.catalog.resource(shown)
        if not self._has_skills(plugin):
            raise NotFound(f"no skill is served at {shown}")
        call.params["uri"] = Raw(_encode(own))
        call.outward = partial(skills.outward, plugin)
        return plugin

    def _skills(self, call: Call) -> str:
        if self.alone is not None:
            return self.alone
        plugin, _, own = _string(call, "cursor").partition(":")
        if not self._has_skills(plugin):
            raise NotFound(f"no plugin {plugin[:200]!r} has skills")
        del call.params["cursor"]
        if own:
            call.params["cursor"] = Raw(_encode(own))
        call.outward = partial(skills.outward, plugin)
        return plugin

    def _has_skills(self, plugin: str) -> bool:
        listing = self.catalog.listing(plugin)
        return plugin in self.plugins and listing is not None and skills.offers(listing)

    def _task_owner(self, shown: str) -> tuple[str, str]:
        """(plugin, the plugin's own id) of a task. Raises `NotFound`."""
        plugin, own = tasks.own_id(shown) if self.alone is None else (self.alone, shown)
        if plugin not in self.plugins or self.catalog.listing(plugin) is None:
            raise NotFound(f"no plugin has a task {shown[:200]!r}", hint="Its plugin may have been taken away.")
        return plugin, own

    def _prompt(self, call: Call) -> str:
        entry = self.catalog.prompt(_string(call, "name"))
        call.params["name"] = Raw(_encode(entry.own))
        return entry.plugin

    def _resource(self, call: Call) -> str:
        shown = _string(call, "uri")
        plugin, own = self.catalog.resource(shown)
        call.params["uri"] = Raw(_encode(own))
        if own != shown:
            call.outward = partial(contents_named, own, shown)
        return plugin

    def _reference(self, call: Call) -> str:
        ref = _object(call, "ref")
        if ref.get("type") == "ref/prompt" and isinstance(ref.get("name"), str):
            entry = self.catalog.prompt(ref["name"])
            plugin, ref["name"] = entry.plugin, entry.own
        elif ref.get("type") == "ref/resource" and isinstance(ref.get("uri"), str):
            plugin, ref["uri"] = self.catalog.template(ref["uri"])
        else:
            raise BadArguments("`ref` must be a ref/prompt with a name or a ref/resource with a uri")
        call.params["ref"] = Raw(_encode(ref))
        return plugin

    def _instances(self) -> list[Any]:
        return [lane.instance for plugin in self.plugins.values() for lane in plugin.lanes if lane.instance is not None]


_ADDRESS = {
    "tools/call": Router._tool,  # pyright: ignore[reportPrivateUsage]
    commands.METHOD: Router._command,  # pyright: ignore[reportPrivateUsage]
    "prompts/get": Router._prompt,  # pyright: ignore[reportPrivateUsage]
    "resources/read": Router._resource,  # pyright: ignore[reportPrivateUsage]
    "completion/complete": Router._reference,  # pyright: ignore[reportPrivateUsage]
    "tasks/get": Router._task,  # pyright: ignore[reportPrivateUsage]
    "tasks/result": Router._task,  # pyright: ignore[reportPrivateUsage]
    "tasks/update": Router._task,  # pyright: ignore[reportPrivateUsage]
    "tasks/cancel": Router._task,  # pyright: ignore[reportPrivateUsage]
    "tasks/list": Router._tasks,  # pyright: ignore[reportPrivateUsage]
    "skills/list": Router._skills,  # pyright: ignore[reportPrivateUsage]
    "skills/get": Router._skill,  # pyright: ignore[reportPrivateUsage]
    "resources/directory/read": Router._skill,  # pyright: ignore[reportPrivateUsage]
}


def _string(call: Call, member: str) -> str:
    try:
        return _decode_text(call.params[member])
    except (KeyError, msgspec.MsgspecError):
        raise BadArguments(f"{call.method} needs a string `{member}`") from None


def _prefix(call: Call, mark: str) -> str:
    """The plugin a name seems to belong to."""
    try:
        return _string(call, "name").partition(mark)[0]
    except BadArguments:
        return ""


def _object(call: Call, member: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.params[member], type=dict[str, Any])
    except (KeyError, msgspec.MsgspecError):
        raise BadArguments(f"{call.method} needs an object `{member}`") from None
