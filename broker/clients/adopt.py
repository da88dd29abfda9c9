"""An entry of another client's as a `[servers.NAME]` table of config.toml that means the same.

Rule 1: what a client fills in stays to be filled in, in the words of `expand`; what it would not fill in and
        `expand` would, is written so that it passes as it is.
Rule 2: what has no meaning here is said: the entry is refused, or a note goes with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard, cast

from msgspec import Struct

from broker.clients.foreign import Foreign
from broker.clients.known import Entry, words
from broker.core.expand import Surroundings
from broker.core.mcpservers import Server, server_spec, slug
from broker.core.sandbox import mapped
from broker.core.shape import Wrong, dotted, shaped, table

_BRACES = re.compile(r"\$\{([^{}]*)\}")
_SHELL = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([^{}]*)\})", re.ASCII)
_CURLY = re.compile(r"\{(env|file):([^{}]*)\}")
_NAMED = re.compile(r"([A-Za-z_]\w*)(:-.*)?", re.ASCII | re.DOTALL)
_NEEDED = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)\}", re.ASCII)
_DOLLAR = "${BROKER_DOLLAR:-$}"  # a variable nobody sets: its default is a dollar that `expand` leaves alone
_FILLED = ("userHome", "workspaceFolder")
_EDITORS_OWN = re.compile(
    r"(?:command|config|file|cmd|workspaceFolder|env):.*|workspaceFolderBasename|workspaceRoot|cwd|execPath"
    r"|(?:relative)?[fF]ile(?:Basename|Dirname|Extname|BasenameNoExtension|WorkspaceFolder)?|selectedText|lineNumber"
)
_KEPT = ("concurrency", "limits", "permissions")  # ours, in a file that was written for broker


class Adopted(Struct, frozen=True):
    """The entry as config.toml holds it, and what its user should know."""

    entry: Entry
    notes: tuple[str, ...] = ()


def adopted(found: Foreign, environ: Mapping[str, str], *, anchor: Path, workspace: Path | None = None) -> Adopted:
    """The entry for a config.toml in the folder `anchor`. Wrong says why there can be none."""
    work = _Adoption(found, environ, anchor, workspace)
    entry = dict(work.members())
    needed = unset(str(entry), environ)
    around = Surroundings({**environ, **dict.fromkeys(needed, "set")}, workspace or anchor)
    server_spec(slug(found.label), shaped(entry, Server), source=found.where, around=around, anchor=anchor)
    for name in needed:
        work.notes.append(f"{name} is not set here; set it where broker is started.")
    return Adopted(entry, tuple(dict.fromkeys(work.notes)))


def unset(text: str, environ: Mapping[str, str]) -> list[str]:
    """The variables that `text` refers to, without a default, and that have no value."""
    return [name for name in dict.fromkeys(_NEEDED.findall(text)) if name not in environ and name not in _FILLED]


class _Adoption:
    """One entry on its way, with the notes made so far."""

    def __init__(self, found: Foreign, environ: Mapping[str, str], anchor: Path, workspace: Path | None) -> None:
        self.found, self.client, self.environ = found, found.client, environ
        self.anchor, self.around = anchor, Surroundings(environ, workspace or anchor)
        self.notes: list[str] = []
        held = found.entry
        older = table(held.get("command")) or {}
        given = held.get("env", held.get("environment", older.get("env")))
        self.env = dict(table(given) or {})
        if given is not None and table(given) is None:
            raise Wrong("`env` must be a table of texts.", keys=["env"])

    def members(self) -> Iterator[tuple[str, object]]:
        """The keys of config.toml, in the order people write them."""
        held = self.found.entry
        line = [self._filled(word) for word in self._words()]
        yield "command", line[0]
        yield from _said("args", line[1:])
        yield from _said("env", dict(self._environment()))
        for key in ("envFile", "cwd"):
            if held.get(key):
                yield key, self._path(str(held[key]))
        yield from _said("timeout", self._timeout())
        yield from self._tools()
        if self._off():
            yield "enabled", False
        yield from self._ours()
        yield from self._boxed()

    def _words(self) -> list[str]:
        held = self.found.entry
        if held.get("source") == "extension":
            raise Wrong("it belongs to a Zed extension.", fix="Write the command that the extension runs.")
        line = words(held)
        if not line or not line[0]:
            raise Wrong("there is no `command`, so there is nothing to run.", keys=["command"])
        args = held.get("args")
        listed = cast("list[object]", args) if isinstance(args, list) else []
        if (args is not None and not isinstance(args, list)) or any(not _is_text(word) for word in listed):
            raise Wrong("`args` must be a list of texts.", keys=["args"])
        return line

    def _environment(self) -> Iterator[tuple[str, str]]:
        for name, value in self.env.items():
            if isinstance(value, bool):
                yield name, str(value).lower()
            elif _is_text(value):
                yield name, self._filled(str(value), passed=True)
            elif value is not None:
                raise Wrong(f"{dotted(['env', name])} must be text.", keys=["env", name])
        forwarded = self.found.entry.get("env_vars")  # Codex: names that are passed on
        for each in cast("list[object]", forwarded) if isinstance(forwarded, list) else []:
            name = (table(each) or {}).get("name", each)
            if isinstance(name, str):
                yield name, f"${{{name}}}"

    def _path(self, text: str) -> str:
        """A relative one starts where the client starts its servers: in the workspace."""
        text = self._filled(text)
        if text.startswith(("~", "${")) or os.path.isabs(text) or re.match(r"[A-Za-z]:[\\/]", text):
            return text
        return f"{self.found.project or '${workspaceFolder}'}/{text.removeprefix('./')}"

    def _timeout(self) -> str | None:
        held = self.found.entry
        seconds, number = held.get("tool_timeout_sec"), held.get("timeout")
        if _is_number(seconds):
            return f"{seconds:g}s"
        if isinstance(number, str):
            return number
        if not _is_number(number):
            return None
        return f"{number / 1000:g}s" if self.client.milliseconds or number >= 1000 else f"{number:g}s"

    def _tools(self) -> Iterator[tuple[str, object]]:
        shown = self._names("tools", "includeTools", "enabled_tools")
        hidden = self._names("excludeTools", "disabled_tools", "disabledTools") or []
        if shown == ["*"]:
            shown = None
        if shown is not None or hidden:
            globs = (["!*"] if shown == [] else shown or []) + [f"!{name}" for name in hidden]
            yield "tools", globs

    def _names(self, *keys: str) -> list[str] | None:
        value = next((self.found.entry[key] for key in keys if isinstance(self.found.entry.get(key), list)), None)
        return None if value is None else [str(name) for name in cast("list[object]", value)]

    def _off(self) -> bool:
        held = self.found.entry
        return self.found.off or held.get("disabled") is True or held.get("enabled") is False

    def _ours(self) -> Iterator[tuple[str, object]]:
        held = self.found.entry
        start, milliseconds = held.get("startup_timeout_sec"), held.get("startup_timeout_ms")
        if _is_number(start):
            yield "limits", {"start": f"{start:g}s"}
        elif _is_number(milliseconds):
            yield "limits", {"start": f"{milliseconds:g}ms"}
        elif self.client.format == "json":
            for key in _KEPT:
                value = held.get(key)
                inner = table(value)
                if value is not None:
                    yield key, value if inner is None else {k: v for k, v in inner.items() if v is not None}

    def _boxed(self) -> Iterator[tuple[str, object]]:
        """VS Code's sandbox as permissions; its own come first."""
        if self.found.entry.get("permissions") is None:
            found = mapped(self.found.entry, self.around, self.anchor)
            if found is not None:
                yield (
                    "permissions",
                    {kind: list(cast("tuple[str, ...]", each)) for kind, each in found.permissions.items()},
                )
                self.notes += [f"{what} {fix}".replace("NAME", slug(self.found.label)) for what, fix in found.notes]

    # what clients fill in

    def _filled(self, text: str, *, passed: bool = False) -> str:
        """`text` in the words of `expand`; `passed`: it is a value of `env`."""
        kind = self.client.variables
        if kind == "shell":
            return _SHELL.sub(lambda found: self._shell(found, passed), text)
        if kind == "curly":
            return _CURLY.sub(self._curly, _BRACES.sub(_literal, text))
        ways: dict[str, Callable[[re.Match[str]], str]] = {"braces": self._braces, "editor": self._editor}
        return _BRACES.sub(ways.get(kind, _literal), text)

    def _braces(self, found: re.Match[str]) -> str:
        named = _NAMED.fullmatch(found[1])
        if not named or (named[2] is None and self._set_by_itself(named[1])):
            return _literal(found)
        return "${workspaceFolder}" if named[1] == "CLAUDE_PROJECT_DIR" else found[0]

    def _shell(self, found: re.Match[str], passed: bool) -> str:
        name = found[1]
        if not name:
            named = _NAMED.fullmatch(found[2])
            known = named and not (named[2] is None and self._set_by_itself(named[1]))
            return found[0] if known else _literal(found)
        # In a line for a shell, a name without a value is most likely the shell's own.
        known = name in self.environ or (passed and not self._set_by_itself(name))
        return f"${{{name}}}" if known else found[0]

    def _editor(self, found: re.Match[str]) -> str:
        body = found[1]
        kind, _, rest = body.partition(":")
        if body in _FILLED or (kind == "env" and _NAMED.fullmatch(rest)):
            return found[0]
        if body in ("pathSeparator", "/"):
            return os.sep
        if kind == "input" and rest:
            name = re.sub(r"\W", "_", rest, flags=re.ASCII).upper()
            self.notes.append(f"{self.client.title} asks for `{rest}`; here it is the variable {name}.")
            return f"${{{name if _NAMED.fullmatch(name) else f'_{name}'}}}"
        if _EDITORS_OWN.fullmatch(body):
            raise Wrong(f"`{found[0][:100]}` is known only to {self.client.title}.", fix="Write its value there.")
        return _literal(found)

    def _curly(self, found: re.Match[str]) -> str:
        if found[1] == "file":
            raise Wrong(f"`{found[0][:100]}` reads a file, which broker does not.", fix="Use a variable, or `envFile`.")
        return f"${{env:{found[2]}}}"

    def _set_by_itself(self, name: str) -> bool:
        """Whether the entry sets the variable for its own program, which then reads it (as mcp-remote does)."""
        return name in self.env and name not in self.environ


def _literal(found: re.Match[str]) -> str:
    """The reference so that `expand` gives back its very words."""
    body = found[0][2:-1]
    touched = body in _FILLED or _NAMED.fullmatch(body) or re.match(r"(?:env|input|command|cmd|config):", body)
    return _DOLLAR + found[0][1:] if touched else found[0]


def _said(key: str, value: object) -> Iterator[tuple[str, object]]:
    """The key, if there is anything to say."""
    if value not in (None, [], {}):
        yield key, value


def _is_text(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
