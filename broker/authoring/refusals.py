"""What a plugin was refused in a session, as the lines that would allow it, each said once.

It comes from two sides: what the kernel was seen refusing to its process, and what the host refused to do for it.

Rule 1: a folder that an editable install names in a `.pth` file is no wish of the plugin's: every Python looks there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.confine.witness import Witness
from broker.core.ports import Call, Reply
from broker.errors import PermissionMissing
from broker.model import Spec
from broker.permissions.gate import Gate
from broker.permissions.proposal import Proposal, proposal
from broker.permissions.scopes import SOCKET, Permission, allowed, parse, permission, texts

HOST = "host/"  # before the name of an operation, as the method of a call that is audited


class Refusal(Struct, frozen=True, kw_only=True):
    """One thing it was refused."""

    permission: Permission
    by: str  # how it asked for it: operations of the host, or system calls
    note: str = ""  # what its author should know; of one that nobody can grant, why
    line: str = ""  # what to write under [permissions] in plugin.toml; empty if nothing helps


class Refusals:
    """Of one plugin; `witnesses` grows with each of its instances."""

    def __init__(self, gate: Gate, witnesses: Sequence[Witness]) -> None:
        self._gate, self._witnesses = gate, witnesses
        self._said: set[Permission] = set()
        self._asked: dict[Permission, str] = {}
        self._looked = (0, 0)

    def hear(self, call: Call, plugin: str, ended: Reply | BaseException) -> None:
        """How a call ended; of interest is what the host refused."""
        missing = ended.facts.get("missing") if isinstance(ended, PermissionMissing) else None
        if call.method.startswith(HOST) and isinstance(missing, list):
            for text in msgspec.convert(missing, list[str]):
                self._asked[parse(text)] = call.method.removeprefix(HOST)

    def fresh(self, spec: Spec) -> list[Refusal]:
        """Those that were not given before."""
        now = (sum(len(each.tried) for each in self._witnesses), len(self._asked))
        if now == self._looked:
            return []
        self._looked = now
        new = [each for each in self.all(spec) if each.permission not in self._said]
        self._said |= {each.permission for each in new}
        return new

    def all(self, spec: Spec) -> list[Refusal]:
        """Everything so far that `spec`, as it is now, may not do."""
        held = [parse(text) for text in spec.granted]
        hosts = ((one, op) for one, op in self._asked.items() if not allowed(held, one))
        return [*_by_host(spec, hosts), *_by_kernel(spec, self._seen(spec, held))]

    def unused(self, spec: Spec) -> list[str]:
        """Folders and files that it was granted, and never came to."""
        used = {place for witness in self._witnesses for place in witness.used}
        granted = [parse(text) for text in spec.granted]
        return [str(one) for one in granted if one.kind in ("read", "write") and one.target not in used]

    def _seen(self, spec: Spec, held: list[Permission]) -> Proposal:
        tried: dict[tuple[str, str, str], int] = {}
        linked = _linked(spec)
        for witness in self._witnesses:
            for each, count in list(witness.tried.items()):
                key = (each.kind, each.target, each.call)
                if each.target not in linked:
                    tried[key] = tried.get(key, 0) + count
        starts = any(witness.starts for witness in self._witnesses)
        return proposal(tried, held, lambda one: self._why(spec, one), path=os.environ.get("PATH"), starts=starts)

    def _why(self, spec: Spec, one: Permission) -> str:
        """Why nobody may be granted this; empty: it may be."""
        _, refused = self._gate.asked(replace(spec, permissions={one.kind: (one.target,)}))
        return refused[0].why if refused else ""


def _linked(spec: Spec) -> set[str]:
    """The folders that the `.pth` files of its Python name."""
    found: set[str] = set()
    for place in (sys.prefix, os.path.join(spec.cwd or "", ".venv")):
        for file in Path(place).glob("lib/python*/site-packages/*.pth"):
            lines = file.read_text("utf-8", "replace").splitlines()
            found |= {line.strip() for line in lines if line.startswith("/")}
    return found


def _by_host(spec: Spec, asked: Iterable[tuple[Permission, str]]) -> Iterator[Refusal]:
    for one, op in asked:
        yield Refusal(permission=one, by=op, line=line(one, spec))


def _by_kernel(spec: Spec, found: Proposal) -> Iterator[Refusal]:
    for one in found.wanted:
        yield Refusal(permission=one.permission, by=_how(one.calls), note=one.note, line=line(one.permission, spec))
    for one in found.withheld:
        yield Refusal(permission=one.permission, by=_how(one.calls), note=f"Nobody can grant that: {one.note}")


def _how(calls: Iterable[str]) -> str:
    return ", ".join(sorted(calls))


def line(one: Permission, spec: Spec) -> str:
    """The line of `[permissions]` with it: the whole list of its kind, as it would be then."""
    if not one.target:
        return f"{one.kind} = true"
    held = [text.partition(":")[2] for text in texts(spec.permissions or {}) if text.startswith(f"{one.kind}:")]
    listed = ", ".join(msgspec.json.encode(each).decode() for each in dict.fromkeys((*held, placed(one, spec))))
    return f"{one.kind} = [{listed}]"


def placed(one: Permission, spec: Spec) -> str:
    """The target as an author writes it: with the plugin's folder, the workspace or the home in words."""
    head, path = (SOCKET, one.socket) if one.socket else ("", one.target)
    if not path.startswith("/"):
        return one.target
    places = (("plugin", spec.cwd), ("workspace", os.getcwd()), ("home", os.path.expanduser("~")))
    for name, place in places:
        real = os.path.realpath(place) if place else "/"
        if real != "/" and (path == real or path.startswith(f"{real}/")):
            return _checked(one, f"{head}${{{name}}}{path[len(real) :]}")
    return one.target


def _checked(one: Permission, text: str) -> str:
    """`text`, if it can be written as a permission; else the path as it is."""
    try:
        permission(one.kind, text)
    except ValueError:
        return one.target
    return text
