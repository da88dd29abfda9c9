"""The smallest permissions that would have allowed what a plugin was refused, from what it was seen trying.

Rule 1: pure but for looking whether a path is a folder, a file or a link. Nothing is granted here.
Rule 2: what every program looks for (libraries, the system's settings, compiled code) is left out: it ran without.
Rule 3: what leads to keys and passwords, or to code that its user runs, is named and never proposed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from broker.permissions.scopes import Permission, allowed, permission

FEW = 3  # siblings that stay apart; more become their folder

Tried = tuple[str, str, str]  # what it wanted (look, read, write, run, net), of what, and by which call
Judge = Callable[[Permission], str]  # why nobody may be granted this; empty: it may be

_SYSTEM = ("/etc", "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/sys", "/proc", "/dev", "/run", "/var", "/opt")
_CODE = re.compile(r"/(site-packages|dist-packages|node_modules|__pycache__)(/|$)|\.pyc$|/pyvenv\.cfg$")
_KEYS = re.compile(
    r"/\.(ssh|gnupg|aws|azure|kube|docker|password-store|mozilla|netrc|git-credentials|pypirc|npmrc|pgpass|env)(/|$)"
    r"|/\.config/(gcloud|gh|google-chrome|chromium|op)(/|$)|/\.local/share/keyrings(/|$)|/\.[a-z_]*history$"
)
_RUN_BY_USER = re.compile(
    r"/\.(bashrc|bash_profile|profile|zshrc|zshenv|zprofile|mcp\.json|broker\.toml|gitconfig)$|/\.git/(hooks|config)(/|$)"
    r"|/\.(vscode|config/(autostart|systemd|fish))(/|$)|/(\.local/)?bin(/|$)"
)
_SHELLS = ("sh", "bash", "dash", "zsh", "fish", "env", "busybox")
_METADATA = ("169.254.169.254", "fd00:ec2::254", "metadata.google.internal")
_NOTHING = "execve of nothing that is here"
_IN_PLACE = ("open", "openat", "truncate")  # what leaves a file where it is


class Proposed(Struct, frozen=True, kw_only=True):
    """One permission, and why."""

    permission: Permission
    calls: Mapping[str, int]  # by which it was tried, and how often
    note: str = ""  # what its user should know, as a sentence; of one that is withheld, why it is


class Proposal(Struct, frozen=True, kw_only=True):
    """What would have to be added, and what is not proposed."""

    wanted: tuple[Proposed, ...] = ()
    withheld: tuple[Proposed, ...] = ()


def proposal(
    tried: Mapping[Tried, int],
    held: Iterable[Permission],
    judge: Judge,
    *,
    path: str | None = None,
    starts: bool = False,
) -> Proposal:
    """What would allow all of `tried` to somebody who has `held`.

    `path` is the PATH of programs; `starts`: it tried to start something, which may not be there.
    """
    held = list(held)
    if starts and not any(one.kind == "run" for one in held) and not any(wanted == "run" for wanted, *_ in tried):
        tried = {**tried, ("run", shutil.which("true", path=path) or "true", _NOTHING): 1}
    wanted: dict[Permission, dict[str, int]] = {}
    for one, call, count in [*_files(tried), *_programs(tried, path), *_hosts(tried)]:
        if not allowed(held, one):
            calls = wanted.setdefault(one, {})
            calls[call] = calls.get(call, 0) + count
    good: list[Proposed] = []
    withheld: list[Proposed] = []
    for one, calls in wanted.items():
        why = _peril(one) or judge(one)
        (withheld if why else good).append(Proposed(permission=one, calls=calls, note=why))
    folded = _folded(good, judge)
    kept = [one for one in folded if not _implied(one.permission, folded)]
    noted = [
        Proposed(permission=one.permission, calls=one.calls, note=_note(one, tried)) for one in sorted(kept, key=_key)
    ]
    return Proposal(wanted=tuple(noted), withheld=tuple(sorted(withheld, key=_key)))


def _files(tried: Mapping[Tried, int]) -> Iterator[tuple[Permission, str, int]]:
    places = [target for wanted, target, _ in tried if wanted in ("look", "read", "write")]
    for (wanted, target, call), count in tried.items():
        if wanted not in ("look", "read", "write") or _is_noise(target):
            continue
        if wanted == "look" and any(place.startswith(f"{target.rstrip('/')}/") for place in places):
            continue  # on the way to what it wanted
        found = _written(target, call) if wanted == "write" else os.path.realpath(target)
        if one := _permission("write" if wanted == "write" else "read", found):
            yield one, call, count


def _written(target: str, call: str) -> str:
    """A file that is there and stays is that file; else the folder in which something appears or goes."""
    real = os.path.realpath(target)
    return real if call in _IN_PLACE and os.path.isfile(real) else os.path.dirname(real)


def _programs(tried: Mapping[Tried, int], path: str | None) -> Iterator[tuple[Permission, str, int]]:
    for (wanted, target, call), count in tried.items():
        if wanted == "run":
            name = os.path.basename(target)
            found = shutil.which(name, path=path)
            known = found is not None and os.path.realpath(found) == os.path.realpath(target)
            if one := _permission("run", name if known else target):
                yield one, call, count


def _hosts(tried: Mapping[Tried, int]) -> Iterator[tuple[Permission, str, int]]:
    for (wanted, target, call), count in tried.items():
        if wanted == "net" and (one := _permission("net", target)):
            yield one, call, count


def _permission(kind: str, target: str) -> Permission | None:
    """None for what cannot be written as one, as a path with a `*` in it."""
    if "*" in target:
        return None
    try:
        return permission(kind, target)
    except ValueError:
        return None


def _is_noise(target: str) -> bool:
    return target == "/" or any(_below(target, place) for place in _SYSTEM) or bool(_CODE.search(target))


def _peril(one: Permission) -> str:
    if one.kind in ("read", "write") and _KEYS.search(one.target):
        return "keys and passwords are kept there."
    if one.kind == "write" and _RUN_BY_USER.search(one.target):
        return "what is written there is run by you, outside of any confinement."
    if one.kind == "net" and one.target.partition(":")[0].strip("[]") in _METADATA:
        return "a cloud hands out its credentials there."
    return ""


def _folded(found: list[Proposed], judge: Judge) -> list[Proposed]:
    """Files and folders that lie in one folder, as that folder when they are more than a few."""
    while True:
        folders: dict[Permission, list[Proposed]] = {}
        for one in found:
            if one.permission.kind in ("read", "write") and os.path.dirname(one.permission.target) != "/":
                folder = Permission(one.permission.kind, os.path.dirname(one.permission.target))
                folders.setdefault(folder, []).append(one)
        many = [
            (folder, inside)
            for folder, inside in folders.items()
            if len(inside) > FEW and not _peril(folder) and not judge(folder)
        ]
        if not many:
            return found
        folder, inside = many[0]
        calls: dict[str, int] = {}
        for each in inside:
            calls |= {call: calls.get(call, 0) + count for call, count in each.calls.items()}
        found = [one for one in found if one not in inside and one.permission != folder]
        found.append(Proposed(permission=folder, calls=calls))


def _implied(one: Permission, found: list[Proposed]) -> bool:
    """Whether another one allows it: a folder above it, or writing there, which is reading too."""
    others = [each.permission for each in found if each.permission != one]
    written = [Permission("read", each.target) for each in others if each.kind == "write"]
    return allowed([*others, *(written if one.kind == "read" else [])], one)


def _note(one: Proposed, tried: Mapping[Tried, int]) -> str:
    kind, target = one.permission.kind, one.permission.target
    if kind == "run" and target in _SHELLS:
        return "A shell starts whatever else it can see, in the same confinement."
    if kind == "run" and _NOTHING in one.calls:
        return "It starts programs that are not here; without any permission to start one it may fail at that."
    if kind == "run" and "execve" not in one.calls and "execveat" not in one.calls:
        return "It only looked for it, and may do without."
    if kind == "write" and (target.endswith("/.git") or os.path.isdir(os.path.join(target, ".git"))):
        return "It could leave hooks there that your own git runs."
    if kind == "net" and not any(
        wanted == "net" and named.endswith(target[target.rindex(":") :]) for wanted, named, _ in tried
    ):
        return "It only asked for the name: the port is a guess."
    return ""


def _key(one: Proposed) -> Permission:
    return one.permission


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")
