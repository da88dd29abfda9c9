"""A whole broker around one plugin, for its author: the same router and runtimes, with somebody who watches.

Rule 1: what the plugin is held to is what it would be held to anywhere. Watching decides nothing (see `Witness`), and
        costs a confined plugin some time at each call of the kernel.
Rule 2: it is told of every operation of the host, so that one it uses without the permission is seen to be refused.
Rule 3: where this machine cannot watch, the session goes on without, and says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from broker.app import Folders
from broker.confine.witness import Witness
from broker.core.audit import Audit
from broker.core.listings import Listings
from broker.core.ports import Call, Reply
from broker.core.router import Router
from broker.errors import BrokerError
from broker.model import Settings, Spec
from broker.permissions import DATA
from broker.permissions.redaction import Redactions
from broker.runtimes.channel import Operate
from broker.runtimes.command import in_broker
from broker.runtimes.guests import Guests
from broker.runtimes.kinds import Kinds
from broker.runtimes.process import ProcessRuntime

Hear = Callable[[Call, str, "Reply | BaseException"], None]


class House:
    """What one session is made of; it keeps its things in `folders`, and what plugins show in `lists`, a fresh folder.

    `hear` is told of each call and of what a plugin asks its host for: (the call, its plugin, how it ended).
    """

    def __init__(self, folders: Folders, lists: Path, *, watch: bool = True) -> None:
        self.folders = folders
        self.hear: Hear = lambda call, plugin, ended: None
        self.operate: Operate | None = None  # what the plugin asks its host for, once there is a router
        self.witnesses: list[Witness] = []
        self._lists, self._watch = lists, watch

    async def examine(self, spec: Spec) -> str:
        """Whether what this plugin is refused can be seen here; if not, it is not tried, and why."""
        if not self._watch or spec.permissions is None or in_broker(spec):
            return ""
        try:
            await _watched_trial()
        except (BrokerError, OSError) as error:
            self._watch = False
            return str(error)
        return ""

    def router(self, found: Settings) -> Router:
        """The core over the one plugin of these settings, under its own names."""
        folders, redactions = self.folders, Redactions()
        processes = ProcessRuntime(folders.logs / "plugins", redactions=redactions, data=folders.state / DATA)
        processes.witness, processes.tempting = self.witness, True
        audit = _Ear(folders.logs, redactions, self._heard)
        around = Guests(
            logs=folders.logs / "plugins",
            state=folders.state,
            cache=folders.cache,
            data=folders.state / DATA,
            workspace=Path.cwd(),
            redactions=redactions,
            audit=audit,
            processes=processes,
            router=lambda: core,
        )
        processes.operate = self.operate = around.ask
        alone = found.plugins[0].name if found.plugins else None
        listings = Listings(self._lists)
        core = Router(found.plugins, Kinds(processes, around.makers), listings, alone=alone, audit=audit)
        return core

    def log_of(self, spec: Spec) -> Path:
        """The file with what the plugin prints."""
        return self.folders.logs / "plugins" / f"{spec.name}.log"

    def _heard(self, call: Call, plugin: str, ended: Reply | BaseException) -> None:
        self.hear(call, plugin, ended)

    def witness(self, spec: Spec) -> Witness | None:
        """Who sees what one more instance tries; None: nobody looks."""
        if not self._watch:
            return None
        witness = Witness(dict(os.environ))
        self.witnesses.append(witness)
        return witness


async def _watched_trial() -> None:
    """Start something harmless that is watched, and end it. Raises `BrokerError`, `OSError`."""
    from broker.runtimes.confined import start

    program = shutil.which("cat", path=os.defpath) or "cat"
    spec = Spec(name="trial", source="", permissions={})
    child = await start(spec, [program], {"PATH": os.defpath}, None, lambda denied: None, Witness())
    await child.end(grace=0)
    for fd in (child.stdin, child.stdout, child.stderr):
        os.close(fd)


class _Ear(Audit):
    """Hears what an audit file would be told; nothing is written."""

    def __init__(self, logs: Path, redactions: Redactions, hear: Hear) -> None:
        super().__init__(logs, redactions)
        self._hear = hear

    def note(self, call: Call, plugin: str, began: float, ended: Reply | BaseException) -> None:
        self._hear(call, plugin, ended)
