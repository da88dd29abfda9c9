"""Collects paths that a program needs to see, with the symbolic links on the way to them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from broker.errors import PluginUnavailable

_MOST_LINKS = 40  # on one way, as in the kernel
# Where everybody's things lie beside the program's own: never seen as a whole for the sake of one file in them.
_SHARED = (
    *("/", "/bin", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys"),
    *("/tmp", "/usr", "/usr/bin", "/usr/local", "/usr/local/bin", "/usr/sbin", "/var", "/var/tmp"),
)
_SHARED_AT_HOME = (
    *("", ".cache", ".cargo/bin", ".config", ".local", ".local/bin", ".local/lib", ".local/share", ".npm", ".ssh"),
    *("Desktop", "Documents", "Downloads", "bin", "go/bin", "src"),
)
_WRITE_IT = "Write the full path of its program as `command`."


class Trail:
    """What is to be seen. A home is never seen as a whole.

    `own` is the folder of a plugin that a stranger wrote: what its files and words name outside of it is seen only
    where it is something installed. What lies in `written` the plugin itself can change, so that counts as its words.
    """

    def __init__(self, *homes: str, own: str | None = None, written: Sequence[str] = ()) -> None:
        self._homes = [os.path.realpath(home) for home in homes]
        at_home = (os.path.join(home, name) for home in self._homes for name in _SHARED_AT_HOME)
        self._shared = {*_SHARED, *map(os.path.normpath, at_home)}
        self._own = own is not None
        self._its = tuple(map(os.path.realpath, (*(() if own is None else (own,)), *written)))
        self._paths = set[str]()
        self._links = dict[str, str]()
        self.notes: list[str] = []

    def see(self, path: str) -> str:
        """Have a file or folder seen, if it is there; where it really is."""
        real = self.follow(path)
        if os.path.exists(real):
            self._paths.add(real)
        return real

    def see_program(self, path: str) -> None:
        """Have a script seen with what lies beside it; alone, where it lies beside other people's things."""
        folder = os.path.dirname(path)
        alone = self.is_shared(folder) or (self._own and not self._is_its(folder))
        self.see(path if alone else folder)

    def see_code(self, path: str) -> None:
        """The same for a file that an interpreter is told to run: of a stranger's choice it need not be code at all."""
        if self._own and not self._is_its(path) and not _is_installed(path):
            self.notes.append(f"{path} is not shown to it: it lies outside of the plugin's folder")
        else:
            self.see_program(path)

    def see_folder(self, path: str, by: str) -> None:
        """Have a folder seen that the file `by` names, unless it holds more than anybody's code."""
        real = os.path.realpath(path)
        if self.is_shared(real) or ((self._own or self._is_its(by)) and not self._is_its(real)):
            self.notes.append(f"{path} is not shown to it as a whole (from {os.path.realpath(by)})")
        else:
            self.see(path)

    def see_beside(self, path: str) -> None:
        """Have something seen that is looked for by this name; not where a link of the plugin's own makes it lead."""
        if self._is_its(os.path.dirname(path)) and not self._is_its(path):
            self.notes.append(f"{path} is not shown to it: it leads to {os.path.realpath(path)}")
        else:
            self.see(path)

    def is_shared(self, folder: str) -> bool:
        """Whether other things than one program's lie in this folder."""
        folder = os.path.normpath(folder)
        return folder in self._shared or any(f"{home}/".startswith(f"{folder}/") for home in self._homes)

    def _is_its(self, path: str) -> bool:
        """Whether the plugin's author, or the plugin itself, decides what is there."""
        real = os.path.realpath(path)
        return any(f"{real}/".startswith(f"{folder}/") for folder in self._its)

    def follow(self, path: str) -> str:
        """Where a path really leads; the links on the way are noted."""
        waiting = [part for part in os.path.normpath(path).split("/") if part][::-1]
        at, hops = "/", 0
        while waiting:
            part = waiting.pop()
            if part in (".", ".."):
                at = os.path.dirname(at) if part == ".." else at
                continue
            step = os.path.join(at, part)
            target = _link(step)
            if target is None:
                at = step
                continue
            hops += 1
            if hops > _MOST_LINKS:
                raise unrunnable(path, "its symbolic links go in a circle")
            self._links[step] = target
            waiting += [word for word in target.split("/") if word][::-1]
            at = "/" if target.startswith("/") else at
        return at

    def outcome(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """The paths, none below another, and the links that lie below none of them."""
        kept = list[str]()
        for path in sorted(self._paths, key=lambda path: (path.count("/"), path)):
            if not any(path.startswith(f"{folder}/") for folder in kept):
                kept.append(path)
        outside = {at: to for at, to in self._links.items() if not any(at.startswith(f"{folder}/") for folder in kept)}
        return tuple(kept), tuple(sorted(outside.items()))


def unrunnable(path: str, why: str, hint: str = _WRITE_IT) -> PluginUnavailable:
    """A program that cannot be run in a confinement."""
    return PluginUnavailable(f"{path} cannot be run in its confinement: {why}", hint=hint)


def _is_installed(path: str) -> bool:
    """Whether an installer put it there: into packages, or into a virtual environment."""
    folders = os.path.dirname(path).split(os.sep)
    in_packages = any(name in folders for name in ("node_modules", "site-packages", "dist-packages"))
    return in_packages or os.path.isfile(os.path.join(path, "..", "..", "pyvenv.cfg")) or path.startswith("/usr/")


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
