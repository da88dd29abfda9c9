"""Collects paths that a program needs to see, with the symbolic links on the way to them."""

from __future__ import annotations

import os

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
    """What is to be seen. `home` is never seen as a whole."""

    def __init__(self, home: str) -> None:
        home = os.path.realpath(home)
        self._shared = {*_SHARED, *(os.path.normpath(os.path.join(home, name)) for name in _SHARED_AT_HOME)}
        self._home = home
        self._paths = set[str]()
        self._links = dict[str, str]()
        self.notes: list[str] = []

    def see(self, path: str) -> str:
        """Have a file or folder seen, if it is there; where it really is."""
        real = self.follow(path)
        if os.path.exists(real):
            self._paths.add(real)
        return real

    def see_code(self, path: str) -> None:
        """Have a script seen with what lies beside it; alone, where it lies beside other people's things."""
        folder = os.path.dirname(path)
        self.see(path if self.is_shared(folder) else folder)

    def see_folder(self, path: str, why: str) -> None:
        """Have a folder seen that a file names, unless it holds more than anybody's code."""
        if self.is_shared(os.path.realpath(path)):
            self.notes.append(f"{path} is not shown to it as a whole ({why})")
        else:
            self.see(path)

    def is_shared(self, folder: str) -> bool:
        """Whether other things than one program's lie in this folder."""
        folder = os.path.normpath(folder)
        return folder in self._shared or f"{self._home}/".startswith(f"{folder}/")

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


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
