"""The runtime of subprocess MCP servers: start one, and find the era it speaks.

A server is opened in the era of the client that needs it, when it speaks that era. What is known from an earlier
start is not asked again. A `server/discover` that is not answered in time is followed by `initialize` on the same
pipe, and what the server makes of the two decides; one that exits at the probe is started again without it, and one
that refuses the version of `initialize` and then `server/discover` is started again for the modern era alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from broker.confine.tree import Child, prepare, spawn
from broker.core.ports import Host, Identity, Reply
from broker.errors import BrokerError, NotEnforced, Overloaded, PluginFailed, PluginUnavailable, RemoteError
from broker.model import Era, Listing, Spec
from broker.permissions.redaction import Redaction, Redactions
from broker.permissions.scopes import parse
from broker.runtimes.channel import NUMBER, VARIABLE, Ends, Operate
from broker.runtimes.command import argv, child_env, windows_line
from broker.runtimes.declared import Secrets, declared
from broker.runtimes.plugin_log import PluginLog
from broker.runtimes.upstream import Upstream
from broker.wire import eras

if TYPE_CHECKING:
    from broker.confine.egress.denied import Denied
    from broker.confine.witness import Witness

_UNSUPPORTED = -32022  # UnsupportedProtocolVersion of MCP 2026-07-28
PROBE = 3.0  # seconds until `initialize` follows an unanswered probe (Claude Code's number)
# What the system lacks when it starts nothing more, and what a person can do about it.
_NO_ROOM = {
    errno.EMFILE: (
        "broker may open no more file descriptors",
        "Raise its limit (`ulimit -n 4096` where your client is started), or disable plugins you do not use.",
    ),
    errno.ENFILE: ("the system has no file descriptors left", "End programs, or raise the sysctl fs.file-max."),
    errno.EAGAIN: ("you may have no more processes", "End programs, or raise the limit (`ulimit -u`)."),
    errno.ENOMEM: ("the system has no memory left", "End programs, or disable plugins you do not use."),
}
_encode = msgspec.json.Encoder().encode


class ProcessRuntime:
    """Starts subprocess MCP servers.

    `logs` is the folder of their log files, `data` that of the folders that are each plugin's own.
    """

    def __init__(
        self,
        logs: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        redactions: Redactions | None = None,
        data: Path | None = None,
    ) -> None:
        self._logs, self._environ = logs, environ
        self._redactions = redactions or Redactions()
        self._secrets = Secrets()
        self._data = data
        # Looks, right before a start, whether what was granted is so now; blocks, raises `PermissionMissing`.
        self.still: Callable[[Spec], None] = lambda spec: None
        # What no plugin may change though it may write to a folder around it: what decides what is started.
        self.kept: Callable[[], Sequence[str]] = lambda: ()
        # What a plugin asks of its host; None: plugins get no channel to one.
        self.operate: Operate | None = None
        # Who sees what a confined instance tries beside what it may; asked for once for each, None: nobody.
        self.witness: Callable[[Spec], Witness | None] = lambda spec: None
        self.tempting = False  # whether instances hear of operations they were not granted, and may ask in vain
        self._alive: set[Upstream] = set()
        self._dies: set[str] = set()  # plugins that exited at the probe and without it: not worth two starts each time

    async def start(self, spec: Spec, identity: Identity, known: Listing | None, host: Host) -> Upstream:
        """A new instance, in the identity's era if the server speaks it. Raises `PluginUnavailable`."""
        versions = dict(known.versions) if known else {}
        if spec.name in self._dies:
            versions[Era.MODERN] = None
        upstream: Upstream | None = None
        try:
            async with asyncio.timeout(spec.limits.start):
                upstream = await self._spawn(spec, host)
                try:
                    await _open(upstream, identity, versions)
                except (PluginFailed, RemoteError) as failure:
                    if not _other_era(failure, identity, versions):
                        raise
                    await upstream.stop(grace=0.5)
                    if versions.get(Era.MODERN, "?") is None:
                        self._dies.add(spec.name)
                    upstream = await self._spawn(spec, host)
                    await _open(upstream, identity, versions)
        except msgspec.MsgspecError as error:
            await _abandon(upstream)
            failure = PluginUnavailable(f"{spec.name} opens in a way that cannot be read: {error}")
            raise self._redactions.error(spec.name, failure) from None
        except BaseException as error:
            await _abandon(upstream)
            if not isinstance(error, PluginFailed):
                self._dies.discard(spec.name)
            raise self._redactions.error(spec.name, _explained(spec, upstream, error)) from None
        self._dies.discard(spec.name)
        upstream.serving = True
        return upstream

    async def close(self, grace: float) -> None:
        """End every process it started that is not gone yet."""
        await asyncio.gather(*(upstream.stop(grace) for upstream in list(self._alive)))

    async def _spawn(self, spec: Spec, host: Host) -> Upstream:
        prepare()
        secrets = await self._secrets.of(spec)
        env = child_env(spec, self._environ, secrets=secrets)
        redaction = self._redactions.declare(spec.name, declared(spec, env, secrets))
        path = self._logs / f"{spec.name}.log" if self._logs is not None else None
        log = PluginLog(path, redaction)
        if self.operate is None or spec.permissions is None or sys.platform == "win32":
            return self._begun(spec, await self._child(spec, env, log), host, log, redaction)
        from broker.core.hosttable import OPERATIONS, granted  # with all that plugins may ask for

        operations = list(OPERATIONS) if self.tempting else granted(map(parse, spec.granted))
        with Ends() as ends:
            child = await self._child(spec, {**env, VARIABLE: str(NUMBER)}, log, ends.theirs)
            upstream = self._begun(spec, child, host, log, redaction)
            upstream.converse(ends.taken(), self.operate, operations)
        return upstream

    def _begun(self, spec: Spec, child: Child, host: Host, log: PluginLog, redaction: Redaction) -> Upstream:
        upstream = Upstream(spec, child, host, log, self._alive.discard, redaction)
        self._alive.add(upstream)
        return upstream

    async def _child(self, spec: Spec, env: dict[str, str], log: PluginLog, channel: int | None = None) -> Child:
        try:
            return await self._started(spec, env, log, channel)
        except (OSError, ValueError) as error:
            raise _refused(spec, error) from None

    async def _started(self, spec: Spec, env: dict[str, str], log: PluginLog, channel: int | None) -> Child:
        words = await self._argv(spec)
        if spec.permissions is None or spec.unconfined:
            return await spawn(words, env=env, cwd=spec.cwd, channel=channel)
        if isinstance(words, str):
            raise NotEnforced(f"{spec.name} was not started: nothing can confine a program on Windows yet")
        from broker.runtimes.confined import start  # with all that confinement needs

        await asyncio.to_thread(self.still, spec)
        own = self._data / spec.name if self._data is not None else None
        kept, witness = self.kept(), self.witness(spec)

        def told(denied: Denied) -> None:
            log.write(f"broker: {denied}\n".encode())
            if witness is not None:
                witness.refused(denied)

        child = await start(spec, words, env, own, told, witness, kept, channel)
        for warning in child.warnings:
            log.write(f"broker: {warning}\n".encode())
        return child

    async def _argv(self, spec: Spec) -> list[str] | str:
        if spec.entry is not None and spec.entry.endswith((".ts", ".mts")):  # asks node for its version
            words = await asyncio.to_thread(argv, spec, environ=self._environ)
        else:
            words = argv(spec, environ=self._environ)
        return windows_line(words) if sys.platform == "win32" else words


def _other_era(failure: PluginFailed | RemoteError, identity: Identity, versions: dict[Era, str | None]) -> bool:
    """Whether a second process may open where the first did not, because `versions` now has an era less to try."""
    if isinstance(failure, RemoteError):  # it refused `initialize`, and may be locked in the era it does not speak
        hopeless, era = failure.code != _UNSUPPORTED or versions.get(Era.LEGACY, "?") is None, Era.LEGACY
    else:  # it exited at the probe
        hopeless, era = Era.MODERN in versions or identity.era is Era.LEGACY, Era.MODERN
    if not hopeless:
        versions[era] = None
    return not hopeless


async def _abandon(upstream: Upstream | None) -> None:
    if upstream is not None:
        await upstream.stop(grace=0.5)


def _refused(spec: Spec, error: OSError | ValueError) -> BrokerError:
    """Why there is no process: because of the plugin, or because the system has no room for one more."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _NO_ROOM:
        what, hint = _NO_ROOM[number]
        return Overloaded(f"{spec.name} cannot be started: {what}", hint=hint)
    return PluginUnavailable(f"{spec.name} cannot be started: {error}")


def _explained(spec: Spec, upstream: Upstream | None, error: BaseException) -> BaseException:
    if isinstance(error, TimeoutError):
        tail = upstream.tail() if upstream is not None else ""
        said = f"; the last it wrote:\n{tail}" if tail else ""
        return PluginUnavailable(
            f"{spec.name} did not answer within {spec.limits.start:g} s of its start{said}",
            hint="Raise `start` under its `limits` if it really needs longer.",
        )
    if isinstance(error, PluginUnavailable | Overloaded) or not isinstance(error, BrokerError):
        return error
    return PluginUnavailable(f"{spec.name} could not be opened: {error}")


async def _open(upstream: Upstream, identity: Identity, versions: dict[Era, str | None]) -> None:
    """Agree with the server on an era; leaves `upstream.listing` with what it said of itself."""
    wants_modern = identity.era is Era.MODERN and versions.get(Era.MODERN, "?") is not None
    if versions.get(Era.LEGACY, "?") is None:
        wants_modern = True
    opened = await (_modern_first if wants_modern else _legacy_first)(upstream, identity, versions)
    if not opened:
        raise PluginFailed(f"{upstream.spec.name} speaks no version of MCP that broker knows")
    upstream.listing = msgspec.structs.replace(upstream.listing, versions=versions)
    upstream.listen_for_changes()


async def _legacy_first(upstream: Upstream, identity: Identity, versions: dict[Era, str | None]) -> bool:
    try:
        _take_initialize(upstream, await _initialize(upstream, identity), versions)
        return True
    except RemoteError as refusal:
        if versions.get(Era.MODERN, "?") is None:
            raise
        try:
            found = await _discover(upstream, identity)
        except RemoteError:
            raise refusal from None
        if _take_discover(upstream, identity, found, versions):
            versions[Era.LEGACY] = None
            return True
        raise


async def _modern_first(upstream: Upstream, identity: Identity, versions: dict[Era, str | None]) -> bool:
    loop = asyncio.get_running_loop()
    probe = loop.create_task(_discover(upstream, identity))
    try:
        await asyncio.wait([probe], timeout=PROBE)
        if probe.done():
            return await _after_probe(upstream, identity, probe, versions)
        try:
            _take_initialize(upstream, await _initialize(upstream, identity), versions)
            if probe.done() and probe.exception() is not None:
                versions[Era.MODERN] = None
            return True
        except RemoteError:
            return _take_discover(upstream, identity, await probe, versions)
    finally:
        probe.cancel()
        await asyncio.wait([probe])
        if not probe.cancelled():
            probe.exception()


async def _after_probe(
    upstream: Upstream, identity: Identity, probe: asyncio.Task[Reply], versions: dict[Era, str | None]
) -> bool:
    try:
        if _take_discover(upstream, identity, probe.result(), versions):
            return True
    except (RemoteError, msgspec.MsgspecError):
        pass
    versions[Era.MODERN] = None
    _take_initialize(upstream, await _initialize(upstream, identity), versions)
    return True


def _initialize(upstream: Upstream, identity: Identity) -> Any:
    return upstream.request(
        "initialize",
        {
            "protocolVersion": Raw(_encode(eras.LATEST_LEGACY)),
            "capabilities": Raw(_encode(dict(identity.capabilities))),
            "clientInfo": identity.info,
        },
    )


def _take_initialize(upstream: Upstream, result: Reply, versions: dict[Era, str | None]) -> None:
    found = eras.members(result)
    version = _text(found.get("protocolVersion"))
    if version not in eras.LEGACY_VERSIONS:
        raise PluginFailed(f"{upstream.spec.name} answered with protocol version {version!r}, which nobody knows")
    versions[Era.LEGACY] = version
    upstream.era = Era.LEGACY
    _describe(upstream, found, found.get("serverInfo"))
    upstream.tell("notifications/initialized")


async def _discover(upstream: Upstream, identity: Identity) -> Reply:
    upstream.meta = eras.modern_meta(None, identity.info, identity.capabilities, None)
    try:
        return await upstream.request("server/discover")
    finally:
        upstream.meta = None


def _take_discover(upstream: Upstream, identity: Identity, result: Reply, versions: dict[Era, str | None]) -> bool:
    found = eras.members(result)
    offered = msgspec.json.decode(found.get("supportedVersions", Raw(b"[]")), type=list[str])
    if eras.LATEST_MODERN not in offered:
        return False
    versions[Era.MODERN] = eras.LATEST_MODERN
    upstream.era = Era.MODERN
    upstream.meta = eras.modern_meta(None, identity.info, identity.capabilities, None)
    meta = eras.members(found["_meta"]) if "_meta" in found else {}
    _describe(upstream, found, meta.get(eras.SERVER_INFO))
    return True


def _describe(upstream: Upstream, found: eras.Members, info: Raw | None) -> None:
    upstream.listing = Listing(
        info=Raw(bytes(info)) if info is not None else Raw(_encode({"name": upstream.spec.name, "version": ""})),
        capabilities={key: Raw(bytes(value)) for key, value in _object(found.get("capabilities")).items()},
        instructions=_text(found.get("instructions")),
    )


def _object(value: Raw | None) -> eras.Members:
    return eras.members(value) if value is not None else {}


def _text(value: Raw | None) -> str | None:
    return msgspec.json.decode(value, type=str | None) if value is not None else None
