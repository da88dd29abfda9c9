"""A Spec as the argv of a process, and the environment it starts in. There is never a shell between.

On Windows a `.cmd` or `.bat` file can only be run by cmd.exe, which parses its command line itself (the class
of holes known as BatBadBut): each word is put in quotes, and words that no quotes protect are refused.
"""

from __future__ import annotations

import functools
import ntpath
import os
import posixpath
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

from broker.confine.tree import output_of
from broker.errors import PluginUnavailable
from broker.model import Spec
from broker.permissions.environment import POSIX_NAMES, WINDOWS_NAMES, denied

NodeVersion = Callable[[str], tuple[int, int] | None]

_NODE = "Install Node.js (https://nodejs.org)."
_UV = "Install uv: `pip install uv` (https://docs.astral.sh/uv)."
_INSTALL = {
    "node": _NODE,
    "npx": _NODE,
    "npm": _NODE,
    "uv": _UV,
    "uvx": _UV,
    "python": "Install Python (https://www.python.org), or write python3.",
    "python3": "Install Python (https://www.python.org).",
    "docker": "Install Docker (https://docs.docker.com/get-docker).",
    "deno": "Install Deno (https://deno.com).",
    "bun": "Install Bun (https://bun.sh).",
    "bunx": "Install Bun (https://bun.sh).",
}
_IN_BROKER = (".lua", ".wasm")  # entries that the broker runs itself: they are their own program
_RUN_BY_WINDOWS = (".exe", ".com", ".cmd", ".bat")
_UNKNOWN_NODE: tuple[int, int] = (0, 0)
_STRIPS_TYPES = (23, 6)
_IMPORTS = (20, 6)  # nodejs.org/api/module.html: hooks by --import
_NODE_TIMEOUT = 10.0  # seconds for `node --version`; it takes 0.05


class Which(Protocol):
    """`shutil.which`: the path of a program, looked up in `path`."""

    def __call__(self, cmd: str, *, path: str | None = None) -> str | None: ...


@functools.cache
def node_version(node: str) -> tuple[int, int] | None:
    """(major, minor) of the program `node`, by asking it; None if it does not say. Blocks for about 50 ms."""
    try:
        said = output_of([node, "--version"], timeout=_NODE_TIMEOUT)
        major, minor = said.decode("ascii").strip().removeprefix("v").split(".")[:2]
        return int(major), int(minor)
    except (OSError, ValueError):
        return None


def argv(
    spec: Spec,
    *,
    environ: Mapping[str, str],
    platform: str = sys.platform,
    which: Which = shutil.which,
    node_version: NodeVersion = node_version,
) -> list[str]:
    """What to start for `spec`, the program as a full path. Raises PluginUnavailable: what is missing.

    On Windows a script of cmd.exe comes as `[cmd.exe, "/d", "/s", "/c", line]`; `line` is quoted already, so
    the whole must be handed to the system as `windows_line` writes it.
    """
    search = _Search(spec, environ, platform, which)
    if spec.cwd is not None and not os.path.isdir(spec.cwd):
        search.missing(f"its folder {spec.cwd} does not exist", "Correct `cwd` or `path` in its entry.")
    if spec.entry is not None:
        return _entry(spec.entry, search, node_version)
    if not spec.command:
        search.missing("its entry says nothing to run", "Add `command` to its entry.")
    return search.runnable([*search.command(spec.command[0]), *spec.command[1:]])


def in_broker(spec: Spec) -> bool:
    """Whether the broker runs its entry itself: everything it may do it does by asking the broker."""
    return os.path.splitext(spec.entry or "")[1].lower() in _IN_BROKER


def program(spec: Spec, environ: Mapping[str, str]) -> str | None:
    """The path of the program that `argv` would start; None if it is not there. Starts nothing to find out."""
    try:
        return argv(spec, environ=environ, node_version=lambda node: _STRIPS_TYPES)[0]
    except PluginUnavailable:
        return None


def windows_line(words: list[str]) -> str:
    """The command line CreateProcess takes for an `argv` made for Windows."""
    from subprocess import list2cmdline

    if words[1:4] == ["/d", "/s", "/c"] and len(words) == 5:
        return f"{list2cmdline(words[:4])} {words[4]}"
    return list2cmdline(words)


def child_env(
    spec: Spec, environ: Mapping[str, str], platform: str = sys.platform, secrets: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of the process: names of `environ`, then what the entry gives, then its secrets.

    The names are the safe ones and, for a plugin with permissions, the variables it asked for and was granted.
    `secrets` are variables with their values.
    """
    names = (*(WINDOWS_NAMES if platform == "win32" else POSIX_NAMES), *granted_env(spec))
    # A value that starts with "()" is a function exported by a shell: code, not a setting (Shellshock).
    safe = {name: environ[name] for name in names if name in environ and not environ[name].startswith("()")}
    own = {**spec.env, **(secrets or {})}
    if platform != "win32":
        return {**safe, **own}
    given = {name.upper() for name in own}  # Windows takes Path and PATH as one name
    return {**{name: value for name, value in safe.items() if name not in given}, **own}


def granted_env(spec: Spec) -> list[str]:
    """The variables of the broker's own environment that the plugin is given beside the safe names."""
    return [name for name in both_keys(spec, "env") if not denied(name)]


def both_keys(spec: Spec, kind: str) -> list[str]:
    """The targets of a kind that the plugin asks for and that its user granted."""
    asked = (spec.permissions or {}).get(kind, ())
    return [name for name in asked if f"{kind}:{name}" in spec.granted] if isinstance(asked, tuple) else []


class _Search:
    """Finds programs as the plugin would: its platform, its PATH, its folder."""

    def __init__(self, spec: Spec, environ: Mapping[str, str], platform: str, which: Which) -> None:
        self.name = spec.name
        self.windows = platform == "win32"
        self.folder = spec.cwd
        self._paths = ntpath if self.windows else posixpath
        self._environ = environ
        self._which = which
        self._path = child_env(spec, environ, platform).get("PATH")
        if self.windows:
            self._path = next((v for k, v in spec.env.items() if k.upper() == "PATH"), self._path)

    def missing(self, why: str, hint: str) -> NoReturn:
        raise PluginUnavailable(f"{self.name} cannot be started: {why}", hint=hint)

    def join(self, *parts: str) -> str:
        return self._paths.join(*parts)

    def parents(self, folder: str) -> list[str]:
        """`folder` and all above it, nearest first."""
        found = [folder]
        while (above := self._paths.dirname(found[-1])) != found[-1]:
            found.append(above)
        return found

    def program(self, word: str) -> str:
        """The full path of what `command` names."""
        found = self.on_path(word)
        return found if found is not None else self._not_found(word)

    def command(self, word: str) -> list[str]:
        """The first words of a `command`; one, but for `py -3`."""
        if self.windows and word.lower() in ("python", "python3"):
            return self._windows_python(word)
        return [self.program(word)]

    def on_path(self, word: str) -> str | None:
        """The full path of `word` on PATH; a word with a slash is a path, relative to the plugin's folder."""
        if self._paths.dirname(word):
            word = self._paths.join(self.folder or os.getcwd(), word)
        found = self._which(word, path=self._path)
        # A relative result comes from "." on PATH, or from Windows looking there first: whoever wrote the
        # current folder would choose the program.
        return found if found is not None and self._paths.isabs(found) else None

    def runnable(self, words: list[str]) -> list[str]:
        """`words`, run by cmd.exe if on Windows the first is a script of it."""
        # Windows drops dots and spaces at the end of a name, so "x.bat." is a script too.
        if not self.windows or not words[0].rstrip(" .").lower().endswith((".cmd", ".bat")):
            return words
        shell = self._environ.get("COMSPEC") or self._environ.get("ComSpec") or "cmd.exe"
        return [shell, "/d", "/s", "/c", self._cmd_line(words)]

    def _cmd_line(self, words: list[str]) -> str:
        for word in words:
            if any(mark in word for mark in '\r\n\0"'):
                self._unquotable(words[0], "a quote or a line break")
        # One percent sign is only itself; two can be the name of a variable, also across words.
        if sum(word.count("%") for word in words) > 1:
            self._unquotable(words[0], "percent signs")
        # /s takes the outer quotes off and leaves the rest alone.
        return f'"{" ".join(map(_quoted, words))}"'

    def _unquotable(self, script: str, what: str) -> NoReturn:
        why = f"an argument with {what} cannot be passed safely to {script}, which cmd.exe runs"
        self.missing(why, "Name the program behind the script instead, for npx: node and its npx-cli.js.")

    def _windows_python(self, word: str) -> list[str]:
        found = self.on_path(word)
        # The alias in WindowsApps opens the Store instead of running anything.
        if found is not None and "\\microsoft\\windowsapps\\" not in found.lower():
            return [found]
        launcher = self.on_path("py")
        return [launcher, "-3"] if launcher is not None else [sys.executable]

    def _not_found(self, word: str) -> NoReturn:
        if self._paths.dirname(word):
            self.missing(f"{word} is not a program that can be run", "Correct `command`, or `chmod +x` the file.")
        install = _INSTALL.get(word.lower().removesuffix(".exe").removesuffix(".cmd"))
        self.missing(f"{word} is not on the PATH", f"{install or 'Install it.'} If it is installed, {_PATH_HINT}")


_PATH_HINT = "write its full path as `command`: programs started by a desktop see a shorter PATH than a terminal."


def _quoted(word: str) -> str:
    # The program behind the script reads \" as a quote of its text; doubled backslashes stay backslashes.
    backslashes = len(word) - len(word.rstrip("\\"))
    return '"' + word + "\\" * backslashes + '"'


def _entry(entry: str, search: _Search, node_version: NodeVersion) -> list[str]:
    suffix = os.path.splitext(entry)[1].lower()
    if suffix in _IN_BROKER:
        return [entry]
    if suffix == ".py":
        return [_python(entry, search), entry]
    if suffix in (".js", ".mjs", ".cjs"):
        return [search.program("node"), entry]
    if suffix in (".ts", ".mts", ".cts"):
        return _typescript(entry, search, node_version)
    return _program(entry, search)


def _python(entry: str, search: _Search) -> str:
    """The plugin's own virtual environment, else the Python broker runs on."""
    inner = ("Scripts", "python.exe") if search.windows else ("bin", "python")
    own = search.join(_folder(entry, search), ".venv", *inner)
    return own if os.path.isfile(own) else sys.executable


def _typescript(entry: str, search: _Search, node_version: NodeVersion) -> list[str]:
    node = search.program("node")
    version = node_version(node) or _UNKNOWN_NODE
    # nodejs.org/api/typescript.html: on by default in these versions, behind a flag in those before.
    if version >= _STRIPS_TYPES or (22, 18) <= version < (23, 0):
        return [node, entry]
    if version >= (22, 6):
        return [node, "--experimental-strip-types", entry]
    loader = _tsx_loader(entry, search)
    if version >= _IMPORTS and loader is not None:  # without a second process, and without sockets between the two
        return [node, "--import", loader, entry]
    return search.runnable([_tsx(entry, search), entry])


def _tsx_loader(entry: str, search: _Search) -> str | None:
    """What `--import tsx` would find from the entry."""
    for folder in search.parents(_folder(entry, search)):
        path = search.join(folder, "node_modules", "tsx", "dist", "loader.mjs")
        if os.path.isfile(path):
            return path
    return None


def _tsx(entry: str, search: _Search) -> str:
    program = "tsx.cmd" if search.windows else "tsx"
    for folder in search.parents(_folder(entry, search)):
        path = search.join(folder, "node_modules", ".bin", program)
        if os.path.isfile(path):
            return path
    hint = "Update Node.js to 22.18 or later, or run `npm install tsx` in the plugin's folder."
    return search.on_path("tsx") or search.missing("this Node.js cannot run TypeScript and there is no tsx", hint)


def _program(entry: str, search: _Search) -> list[str]:
    if search.windows:
        if not entry.lower().endswith(_RUN_BY_WINDOWS):
            search.missing(f"Windows cannot run {entry}", "It runs .exe, .com, .cmd and .bat files.")
    elif not os.access(entry, os.X_OK):
        search.missing(f"{entry} is not executable", f"Run `chmod +x {entry}`.")
    return search.runnable([entry])


def _folder(entry: str, search: _Search) -> str:
    return search.folder or os.path.dirname(entry)
