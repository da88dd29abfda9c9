"""What happens in front of the broker, told to the plugins that listen: documents, folders, configuration.

Rule 1: only a running plugin that subscribed hears an event. None is started for it.
Rule 2: events wait for `PAUSE` and are told together: of several with the same name about the same thing only the last
        is, and of more than `MOST` different ones the latest. A flood of saves costs nobody more than this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal, get_args

import msgspec
from msgspec import Raw, Struct

from broker.model import Spec

Name = Literal[
    "document.opened", "document.saved", "document.closed", "workspace.changed", "config.changed", "progress.cancelled"
]
NAMES: tuple[Name, ...] = get_args(Name)
CONFIG, CANCELLED = "config.changed", "progress.cancelled"
DOCUMENTS = frozenset(NAMES) - {CONFIG, CANCELLED}  # those that tell what a person works on

PAUSE = 0.1  # seconds between two deliveries: a person does not notice, a formatter that saves 1000 files is one of it
MOST = 100  # events of one delivery to one plugin
LARGEST = 64 << 10  # bytes of the params of one event

Tell = Callable[[str, str, bytes], None]  # a plugin's name, the event's name, its params


class _About(Struct):
    uri: str = ""
    id: str = ""


_about = msgspec.json.Decoder(_About).decode


class Events:
    """Who listens to what, and what they are still to be told; `tell` hands one event to a plugin's instances."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        # By plugin: what each of its generations runs as, and the names that it listens to.
        self._listening: dict[str, list[tuple[Spec, set[str]]]] = {}
        self._waiting: dict[str, dict[tuple[str, str], bytes]] = {}  # plugin -> (name, what about) -> params
        self._timer: asyncio.TimerHandle | None = None

    @property
    def wanted(self) -> frozenset[str]:
        """The names that anybody listens to."""
        return frozenset(name for held in self._listening.values() for _, names in held for name in names)

    def subscribe(self, spec: Spec, names: Iterable[str]) -> list[str]:
        """Have the plugin that runs as `spec` hear these too, until it ends; all that it hears then."""
        held = self._of(spec)
        if held is None:
            held = set[str]()
            self._listening.setdefault(spec.name, []).append((spec, held))
        held.update(names)
        return sorted(held)

    def hears(self, spec: Spec, name: str) -> bool:
        """Whether it is the instance that runs as `spec` that listens to this."""
        return name in (self._of(spec) or ())

    def listens(self, plugin: str, name: str) -> bool:
        return any(name in names for _, names in self._listening.get(plugin, ()))

    def _of(self, spec: Spec) -> set[str] | None:
        return next((names for one, names in self._listening.get(spec.name, ()) if one is spec), None)

    def replaced(self, spec: Spec) -> None:
        """This is what the plugin runs as from now on: what an earlier generation listened to is over."""
        kept = [each for each in self._listening.get(spec.name, ()) if each[0] is spec]
        if kept:
            self._listening[spec.name] = kept
        else:
            self.forget(spec.name)

    def forget(self, plugin: str) -> None:
        """It does not run any more."""
        self._listening.pop(plugin, None)
        self._waiting.pop(plugin, None)

    def happened(self, name: str, params: bytes, only: str | None = None) -> None:
        """Tell everybody who listens, or one of them, soon."""
        if len(params) > LARGEST:
            return
        for plugin in [only] if only is not None else list(self._listening):
            if self.listens(plugin, name):
                self._wait(plugin, name, params)

    def _wait(self, plugin: str, name: str, params: bytes) -> None:
        waiting, key = self._waiting.setdefault(plugin, {}), (name, _subject(params))
        waiting.pop(key, None)  # it is told in the place of the last
        waiting[key] = params
        if len(waiting) > MOST:
            del waiting[next(iter(waiting))]
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        all_, self._waiting = self._waiting, {}
        for plugin, waiting in all_.items():
            for (name, _), params in waiting.items():
                self._tell(plugin, name, params)

    def close(self) -> None:
        """Tell nobody anything more."""
        if self._timer is not None:
            self._timer.cancel()


def _subject(params: bytes) -> str:
    try:
        about = _about(params)
        return about.uri or about.id
    except msgspec.MsgspecError:
        return ""


def notice(name: str, params: bytes) -> bytes:
    """An event as one JSON object."""
    return msgspec.json.encode({"name": name, "params": Raw(params)})
