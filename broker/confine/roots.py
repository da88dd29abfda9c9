"""What a plugin's program needs to see besides what its user granted: its interpreter, its libraries, its own code.

Rule 1: nothing of the plugin is run to find out: no interpreter (a `.pth` file is code), no `ldd`, no `--version`.
Rule 2: a script is started by its interpreter, which we name ourselves: what `#!` would start needs neither `env`
        nor a shell, and no second process.
Rule 3: what looks up at every start what to run (a shim, `npx`, `uvx`) is replaced by what it would run if that is
        installed, and refused with the remedy if it is not: in its confinement a plugin can install nothing.
Rule 4: a home, or what holds one, is nobody's code: of a script that lies there only the file itself is seen.
Rule 5: what a stranger's plugin names (in its manifest, a link, a `.pth` file, `pyvenv.cfg`, the headers of a
        program) is not seen for that: outside of its folder only what is installed is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from broker.confine import elf, interpreters, launchers
from broker.confine.trail import Trail, unrunnable

Runtime = Literal["python", "node", "other"]

# Libraries and data of the system; programs (/usr/bin) are seen only by name.
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/share", "/usr/local/lib", "/usr/local/share")
_LINKS = ("/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem", "/etc/ca-certificates"),
    *("/etc/pki/tls", "/etc/pki/ca-trust", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/alternatives"),
    *("/etc/crypto-policies", "/etc/gitconfig"),
)
_STORES = ("/nix/store", "/gnu/store")  # readable by everybody, and every program in them needs others of them
_MOST_HOPS = 8  # scripts that are run by scripts


class Found(Struct, frozen=True, kw_only=True):
    """What to start, and what it needs."""

    argv: tuple[str, ...]  # the program as a full path; no script, no launcher
    roots: tuple[str, ...]  # files and folders, resolved, none below another
    links: tuple[tuple[str, str], ...]  # symbolic links on the way to them: where, and what each says
    runtime: Runtime
    notes: tuple[str, ...] = ()  # what a person may want to know


def find(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: str | None = None,
    run: Sequence[str] | None = (),
    own: str | None = None,
    written: Sequence[str] = (),
) -> Found:
    """What `argv` (its program a full path) needs. `run`: the programs it may start; None: any it sees.

    `own`: the folder of a plugin that has one; `written`: what it may write to. Reads files, and blocks for some
    milliseconds. Raises `PluginUnavailable` with the remedy.
    """
    # An entry may set HOME as well; the user's own stays what it is.
    trail = Trail(environ.get("HOME") or "~", os.path.expanduser("~"), own=own, written=written)
    if own is not None:
        _check_own(own, trail)
    for path in (*_SYSTEM, *_LINKS, *_ETC, *elf.system_folders()):
        trail.see(path)
    words = _program(launchers.installed(list(argv), environ, cwd), trail, environ)
    runtime = _runtime(words[0])
    if runtime == "python":
        interpreters.python(words, trail, cwd)
    elif runtime == "node":
        interpreters.node(words, trail, cwd, run)
    else:
        interpreters.other(words, trail, cwd)
    _load(words[0], trail)
    for name in run if run is not None else ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"):
        _may_start(name, trail, environ)
    roots, links = trail.outcome()
    return Found(argv=tuple(words), roots=roots, links=links, runtime=runtime, notes=tuple(dict.fromkeys(trail.notes)))


def _check_own(own: str, trail: Trail) -> None:
    if trail.is_shared(os.path.realpath(own)):
        hint = "Move its files into a folder of their own."
        raise unrunnable(own, "the plugin's folder would be seen, and holds more than the plugin", hint)
    trail.see(own)


def program(name: str, environ: Mapping[str, str]) -> str | None:
    """The full path of a program that a plugin may start."""
    return name if os.path.isabs(name) else shutil.which(name, path=environ.get("PATH"))


def _may_start(name: str, trail: Trail, environ: Mapping[str, str]) -> None:
    """Make a program that the plugin may start visible, with what it needs."""
    path = program(name, environ)
    if path is None:
        trail.notes.append(f"{name}, which it may start, is not on the PATH")
        return
    if os.path.isdir(path):
        trail.see(path)
        return
    words = _program([path], trail, environ)
    trail.see(path)
    if _runtime(words[0]) == "python":
        interpreters.python(words, trail, None)
    elif _runtime(words[0]) == "node":
        interpreters.node(words, trail, None, None)
    _load(words[0], trail)
    if os.path.basename(path) == "git":
        trail.see("/usr/libexec/git-core")


def _program(words: list[str], trail: Trail, environ: Mapping[str, str]) -> list[str]:
    """`words` with the interpreters of scripts before them, until the first is one that the kernel loads."""
    for _ in range(_MOST_HOPS):
        launchers.refuse_shim(words[0], environ)
        if not os.path.isfile(words[0]):
            raise unrunnable(words[0], "it does not exist")
        line = _first_line(words[0])
        if line is None:
            return words
        trail.see_program(os.path.realpath(words[0]))
        trail.follow(words[0])
        words = [*_interpreter(line, words[0], environ), *words]
    raise unrunnable(words[0], "it is a script that is run by a script, and so on")


def _first_line(path: str) -> str | None:
    """What follows `#!`; None if it is no script."""
    if elf.is_program(path):
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise unrunnable(path, error.strerror or str(error)) from None
    if not head.startswith(b"#!"):
        raise unrunnable(path, "it is neither a program of this machine nor a script with `#!`")
    first, _, rest = head[2:].partition(b"\n")
    # pip and uv write this where the path is too long, has spaces, or is to be found from the script's own.
    if rest.startswith(b"'''exec' "):
        return os.fsdecode(rest[9:].partition(b"\n")[0])
    return os.fsdecode(first).strip()


def _interpreter(line: str, script: str, environ: Mapping[str, str]) -> list[str]:
    if line.startswith('"$(dirname'):  # `'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"`
        name = line.partition("/'")[2].partition("'")[0] or "python"
        return [os.path.join(os.path.dirname(os.path.realpath(script)), name)]
    if line.startswith(("'", '"')):
        return [line[1:].partition(line[0])[0]]
    name, _, rest = line.partition(" ")
    words = [name, *filter(None, [rest.strip()])]
    if os.path.basename(name) != "env":
        return words
    named = [word for word in rest.split() if word != "-S" and "=" not in word]
    found = program(named[0], environ) if named and not named[0].startswith("-") else None
    if found is None:
        raise unrunnable(script, f"its first line asks for {rest!r}, which is not on the PATH")
    return [found, *named[1:]]


def _runtime(path: str) -> Runtime:
    for name in (os.path.basename(path), os.path.basename(os.path.realpath(path))):
        if name.startswith(("python", "pypy")):
            return "python"
        if name.split("-")[0] in ("node", "nodejs"):
            return "node"
    return "other"


def _load(path: str, trail: Trail) -> None:
    """Make a program visible with its loader and its own libraries."""
    real = trail.see(path)
    for store in _STORES:
        if real.startswith(f"{store}/"):
            trail.see(store)
    for needed in elf.libraries(real):
        trail.see(needed)
