"""What can be asked for, as text and as values: `kind:target`, one spelling for each, and which one covers which.

    read, write   a path. A file or folder stands for itself and all below it, with or without `/**` at its end. `*` is
                  anything within one name, `**` any number of folders; what such a glob names stands for itself alone
    net           see `hosts`; or `unix:` and the path of a socket
    env, secrets  a name
    run           a program by name, or by path; `*` is any
    ui            toast, ask (also pick, input, confirm), status, command, show (files and pages), edit (open documents;
                  others need `write` too), diagnostics, documents (what is open, its text, and news of it), config
                  (change its own options)
    call          another plugin; `*` is any
    hooks         pre_request, post_response, on_connect, on_close; asked for by a manifest's `[[hooks]]`
    sampling      without a target

Rule 1: pure: no file is looked at. `${workspace}` and its like stay text until `places` fills them in.
Rule 2: `covers` may say no where a yes would be right. It never says yes where anything more would be allowed.
Rule 3: a target has no character that a person could not see when asked about it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from broker.permissions.hosts import parse_target

KINDS = ("read", "write", "net", "env", "run", "secrets", "ui", "call", "hooks", "sampling")
PATHS = ("read", "write")
SOCKET = "unix:"
HOOKS = ("pre_request", "post_response", "on_connect", "on_close")
UI = ("toast", "ask", "status", "command", "show", "edit", "diagnostics", "documents", "config")

_LONGEST = 4096  # characters of a target: PATH_MAX of Linux
_SHAPES = {
    "env": (re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII), "is not the name of an environment variable."),
    "secrets": (
        re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII),
        "must be 1 to 64 of the characters a-z, 0-9, _, . and -.",
    ),
    "call": (re.compile(r"[a-z0-9-]{1,32}|\*", re.ASCII), "is not the name of a plugin."),
    "ui": (re.compile("|".join(UI)), f"must be one of {', '.join(UI)}."),
    "hooks": (re.compile("|".join(HOOKS)), f"must be one of {', '.join(HOOKS)}."),
}
_PROGRAM = re.compile(r"[A-Za-z0-9_+.-]{1,255}|\*", re.ASCII)

# The same kinds as in a manifest: lists of targets, and `sampling`.
Table = Mapping[str, tuple[str, ...] | bool]


class Permission(Struct, frozen=True, order=True):
    """One thing a plugin may do. Made by `permission` or `parse`, so that equal ones are written the same."""

    kind: str
    target: str = ""  # empty for `sampling`

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}" if self.target else self.kind

    @property
    def is_glob(self) -> bool:
        """Whether it names what a pattern matches, instead of one file or folder."""
        return self.kind in PATHS and "*" in self.target

    @property
    def socket(self) -> str:
        """The path of the unix socket it is about; empty if it is about none."""
        return self.target.removeprefix(SOCKET) if self.kind == "net" and self.target.startswith(SOCKET) else ""


def parse(text: str) -> Permission:
    """The permission written as `kind:target`. ValueError says why it is none."""
    kind, colon, target = text.partition(":")
    if kind not in KINDS:
        raise ValueError(f"`{shown(text)}` is no permission; it must begin with one of {', '.join(KINDS)}.")
    if kind == "sampling":
        if colon:
            raise ValueError("`sampling` is written alone, without a target.")
        return Permission(kind)
    if not target:
        raise ValueError(f"`{kind}` needs a target, as in {_EXAMPLES[kind]}.")
    return permission(kind, target)


def permission(kind: str, target: str) -> Permission:
    """The permission of this kind. ValueError says why the target is none."""
    try:
        return Permission(kind, _normal(kind, target))
    except ValueError as error:
        raise ValueError(f"`{kind}:{shown(target)}` {error}") from None


def asked(table: Table) -> tuple[Permission, ...]:
    """What a manifest's table asks for, in the order of the kinds, each once. ValueError says what is wrong in it."""
    return tuple(dict.fromkeys(parse(text) for text in texts(table)))


def texts(table: Table) -> Iterator[str]:
    """What a table asks for as `kind:target`, as it is written there."""
    for kind in (*KINDS, *(kind for kind in table if kind not in KINDS)):
        targets = table.get(kind, ())
        if targets is True:
            yield kind
        elif targets is not False:
            yield from (f"{kind}:{target}" for target in targets)


def covers(granted: Permission, wanted: Permission) -> bool:
    """Whether whoever was granted the one may do the other."""
    if granted == wanted:
        return True
    if granted.kind != wanted.kind or granted.socket or wanted.socket:
        return False
    if granted.kind in PATHS:
        return _fits(_parts(wanted.target), _parts(granted.target), "**", _name_fits)
    if granted.kind == "net":
        return parse_target(granted.target).covers(parse_target(wanted.target))
    return granted.kind in ("run", "call") and granted.target == "*"


def allowed(granted: Iterable[Permission], wanted: Permission) -> bool:
    """Whether any of `granted` covers `wanted`."""
    return any(covers(one, wanted) for one in granted)


def shown(text: str) -> str:
    """A text of a stranger's for a message: short, and with nothing invisible in it."""
    seen = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[:200])
    return seen + "…" * (len(text) > 200)


_EXAMPLES = {
    "read": "read:${workspace}",
    "write": "write:${data}",
    "net": "net:api.acme.dev:443",
    "env": "env:ACME_TOKEN",
    "run": "run:git",
    "secrets": "secrets:api_key",
    "ui": "ui:toast",
    "call": "call:other-plugin",
    "hooks": "hooks:pre_request",
}


def _normal(kind: str, target: str) -> str:
    if not target or len(target) > _LONGEST or not target.isprintable():
        raise ValueError("is empty, too long, or has a character that cannot be seen.")
    if kind in PATHS:
        return _path(target)
    if kind == "net":
        return _net(target)
    if kind == "run":
        return _program(target)
    shape, complaint = _SHAPES[kind]
    if not shape.fullmatch(target):
        raise ValueError(complaint)
    return target


def _net(target: str) -> str:
    if not target.startswith(SOCKET):
        return str(parse_target(target))
    return SOCKET + _plain_path(target.removeprefix(SOCKET))


def _program(target: str) -> str:
    if "/" in target:
        path = _plain_path(target)
        if "/" not in path:  # `./git` would be read as the `git` of PATH
            raise ValueError("must be a name alone, an absolute path, or begin with ${plugin} or the like.")
        return path
    if not _PROGRAM.fullmatch(target):
        raise ValueError("is not the name of a program.")
    return target


def _plain_path(target: str) -> str:
    if "*" in target:
        raise ValueError("must be one path, without `*`.")
    return _path(target)


def _path(target: str) -> str:
    """The path in one spelling; a folder loses its `/**`."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError("must not lead upwards by `..`; write the folder itself.")
    if any("**" in name and name != "**" for name in names):
        raise ValueError("has a `**` beside other characters; between two slashes it stands alone.")
    kept = [name for place, name in enumerate(names) if name != "**" or names[place - 1 : place] != ["**"]]
    if kept[-1:] == ["**"] and "*" not in "".join(kept[:-1]):
        kept.pop()
    if not kept and not target.startswith("/"):
        raise ValueError("must be absolute, or begin with ${workspace} or the like.")
    return "/" * target.startswith("/") + "/".join(kept)


def _parts(path: str) -> list[str]:
    names = [name for name in path.split("/") if name]
    return names if "*" in path else [*names, "**"]


def _name_fits(wanted: str, granted: str) -> bool:
    return _fits(wanted, granted, "*", operator.eq)


def _fits(wanted: Sequence[Any], granted: Sequence[Any], many: str, one: Callable[[Any, Any], bool]) -> bool:
    """Whether all that the pattern `wanted` matches, `granted` matches; `many` stands for any run of parts.

    A part of `granted` takes one part of `wanted` that it covers, `many` takes any number of them, other `many`s too.
    """
    # row[i]: whether the first i parts of `wanted` fit the parts of `granted` so far
    row = [True] + [False] * len(wanted)
    for part in granted:
        before, row = row, [part == many and row[0]]
        for place, other in enumerate(wanted):
            if part == many:
                row.append(before[place + 1] or row[place])
            else:
                row.append(before[place] and other != many and one(other, part))
    return row[-1]
