"""The commands of all plugins: what a person can run by name, known without starting anything.

Rule 1: a plugin has the commands that its manifest declares and those that it registered. What was registered is kept
        with its lists, so that the next session shows it before the plugin runs.
Rule 2: a command is run like a tool is called. One that nobody handles, and that is called like a tool of the same
        plugin, is that tool.
Rule 3: a kept command that the plugin does not register any more is forgotten when somebody runs it in vain.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from broker.errors import NotFound
from broker.model import Command, Listing, Spec

METHOD = "commands/run"
MOST = 64  # that one plugin registers

_encode = msgspec.json.Encoder().encode


class Offered(Struct, frozen=True, order=True):
    """One command as a person sees it; `broker.run` takes `plugin.name`."""

    plugin: str
    name: str
    title: str
    description: str

    @property
    def own(self) -> tuple[str, str]:
        """Whose it is, and how its plugin calls it."""
        return self.plugin, self.name

    @property
    def shown(self) -> str:
        """By which it is run."""
        return f"{self.plugin}.{self.name}"


class Commands:
    """The memory of what plugins registered."""

    def __init__(self) -> None:
        self._registered: dict[str, dict[str, Command]] = {}

    def met(self, name: str, listing: Listing | None) -> None:
        """A generation of a plugin has its name, with what was kept of an earlier run of the same."""
        self._registered[name] = {each.name: each for each in listing.commands} if listing is not None else {}

    def forget(self, name: str) -> None:
        """The plugin is gone."""
        self._registered.pop(name, None)

    def add(self, name: str, command: Command) -> bool:
        """A plugin registered this; whether that is news."""
        held = self._registered.setdefault(name, {})
        if held.get(command.name) == command:
            return False
        if len(held) >= MOST and command.name not in held:
            del held[next(iter(held))]
        held[command.name] = command
        return True

    def drop(self, name: str, command: str) -> bool:
        """It is not registered any more; whether that is news."""
        return self._registered.get(name, {}).pop(command, None) is not None

    def handles(self, name: str, command: str) -> bool:
        """Whether the plugin registered it, in this run or in an earlier one."""
        return command in self._registered.get(name, {})

    def registered(self, name: str) -> list[Command]:
        """What one plugin registered."""
        return list(self._registered.get(name, {}).values())

    def of(self, spec: Spec) -> dict[str, Command]:
        """All of one plugin, by name. What it says at run time takes the place of what its manifest says."""
        declared = {each.name: each for each in spec.commands}
        return {**declared, **{name: _joined(declared.get(name), each) for name, each in self._of(spec.name)}}

    def _of(self, name: str) -> Iterable[tuple[str, Command]]:
        return self._registered.get(name, {}).items()

    def offered(self, specs: Iterable[Spec]) -> list[Offered]:
        """The commands of these plugins, sorted."""
        return sorted(
            Offered(spec.name, name, each.title or name, each.description)
            for spec in specs
            for name, each in self.of(spec).items()
        )


def _joined(declared: Command | None, registered: Command) -> Command:
    if declared is None:
        return registered
    return Command(registered.name, registered.title or declared.title, registered.description or declared.description)


def missing(shown: str, offered: list[Offered]) -> NotFound:
    """Why this cannot be run."""
    near = difflib.get_close_matches(shown[:200], [each.shown for each in offered], 1)
    known = f"; did you mean {near[0]}?" if near else ""
    return NotFound(
        f"no plugin has the command {shown[:200]!r}{known}", hint="`broker.run` without a name lists the commands."
    )


def arguments_of_tool(arguments: Raw | None) -> Raw:
    """The arguments of a tool that stands for a command: the first one, if it is an object."""
    try:
        given = msgspec.json.decode(arguments or b"[]", type=list[Raw])
    except msgspec.MsgspecError:
        given = []
    first = bytes(given[0]) if given else b"{}"
    return Raw(first if first[:1] == b"{" else b"{}")


def result(value: bytes) -> bytes:
    """The result of `METHOD` for what a handler returned. A tool that stands for a command has its own."""
    return b'{"value":%b}' % value
