"""Where the paths of a permission lie: `${workspace}` and its like filled in, links followed, dangerous ones refused.

Rule 1: a path is resolved when it is approved, and kept resolved. Whoever uses it later asks `moved` first: a folder
        that became a link since then is another folder.
Rule 2: what holds everything is never given away: the root, home and all above it, the system's own folders, the
        broker's own files and what is above them. Of `guarded`, a plugin has its own data folder and nothing else.
        Nor may a plugin write to what its user or the system runs later: that would be outside of any confinement.
Rule 3: paths are compared name by name. `/home/x/docs-old` is not below `/home/x/docs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from broker.errors import DangerousGrant
from broker.permissions.environment import denied
from broker.permissions.scopes import PATHS, SOCKET, Permission, permission

DATA = "data"  # folder of the plugins' own folders, in the state folder
# None of these as a whole: each holds the keys to the rest of a machine, or to all of its users' files.
SYSTEM = (
    *("/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/var", "/var/run", "/usr", "/root", "/home"),
    *("/Users", "/System", "/Library", "/private", "/private/etc", "/private/var"),
)
BELOW = ("/proc",)  # nothing below either: `/proc/1/root` is the root again
# Written to, these start programs for everybody; with other rights than the plugin's, and outside of any confinement.
_RUN_BY_SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/sbin", "/sys", "/usr", "/var/spool/cron", "/run/user"),
    *("/Library", "/System", "/private/etc"),
)
# And these for its user, at the next login or the next shell. Below home.
_RUN_BY_USER = (
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile"),
    *(".zlogin", ".config/fish", ".config/autostart", ".config/systemd", ".config/environment.d", ".config/git"),
    *(".local/bin", ".local/share/applications", ".local/share/systemd", ".cargo/bin", "bin", "go/bin"),
    *(".ssh", ".gnupg", ".gitconfig", ".pam_environment", ".xprofile", ".xinitrc", ".xsessionrc", ".xsession"),
    *(".claude.json", ".claude", ".codex", ".cursor", ".gemini", ".vscode", "Library/LaunchAgents"),
)
# Whoever may speak to one of these can have programs started outside of any confinement.
_MASTERS = re.compile(
    r"/(docker|podman|containerd|crio)\.sock$|/(bus|system_bus_socket)$|/systemd/(private|notify)$"
    r"|/(agent|ssh-agent|keyring)[^/]*(/|$)|/S\.gpg-agent[^/]*$|/\.X11-unix/|/wayland-[^/]*$"
    r"|/tmux-[0-9]+/|/(S-[^/]+|vscode-(ipc|git)-[^/]*|nvim\.[^/]*|sway-ipc[^/]*|ipc-socket[^/]*)$|/emacs/|/hypr/"
    r"|/(libvirt|lxd|incus)/|/(snapd|snapd-snap|buildkitd)\.(socket|sock)$",
)
_BEGINNING = re.compile(r"~|\$\{([^{}]*)\}")
_SAY_FEWER = "Take it out of what is asked for."


class Places(Struct, frozen=True):
    """What the paths of one plugin's permissions may begin with; all absolute."""

    home: str
    workspace: str | None  # None: nobody knows one
    data: str  # the folder the plugin keeps its own things in
    plugin: str | None  # its own folder; None for a plain server
    guarded: tuple[str, ...] = ()  # the broker's own files and folders

    def resolved(self, wanted: Permission) -> Permission:
        """`wanted` as it is granted: its path absolute, without links.

        Raises `DangerousGrant` for what gives away everything else; ValueError, a sentence, for what is no place.
        """
        if wanted.kind == "env" and denied(wanted.target):
            raise _dangerous(wanted, "its value can name code that is run", _SAY_FEWER)
        path = _path_of(wanted)
        if not path:
            return wanted
        found = self._real(self._filled(path, wanted), wanted)
        self._check(wanted, found)
        return _with_path(wanted, found)

    def _filled(self, path: str, wanted: Permission) -> str:
        """`path` with the place it begins with."""
        head, slash, rest = path.partition("/")
        if found := _BEGINNING.fullmatch(head):
            head = self._place("home" if head == "~" else found[1], wanted)
        if "${" in rest or not head.startswith("/" * bool(head)) or not (head or slash):
            places = ", ".join(f"${{{name}}}" for name in self._known())
            raise ValueError(f"`{wanted}` must be absolute, or begin with ~/ or one of {places} and a slash.")
        return head + slash + rest

    def _place(self, name: str, wanted: Permission) -> str:
        known = self._known()
        if name not in known:
            places = ", ".join(f"${{{each}}}" for each in known)
            raise ValueError(f"`{wanted}` begins with an unknown place; there are {places}.")
        place = known[name]
        if place is None:
            raise ValueError(f"`{wanted}` has no meaning here: there is no {name} folder.")
        if "*" in place:
            raise _starred(wanted, place)
        return place

    def _known(self) -> dict[str, str | None]:
        return {"workspace": self.workspace, "data": self.data, "plugin": self.plugin, "home": self.home}

    def _real(self, path: str, wanted: Permission) -> str:
        folder, pattern = _cut(path)
        try:
            real = os.path.realpath(folder)
        except OSError as error:  # a link that may not be read, as `/proc/1/root`
            raise ValueError(f"`{wanted}` cannot be followed: {error.strerror}.") from None
        if "*" in real:
            raise _starred(wanted, real)
        return real.rstrip("/") + pattern if pattern else real

    def _check(self, wanted: Permission, path: str) -> None:
        folder, _ = _cut(path)
        if wanted.socket and (_MASTERS.search(folder) or _MASTERS.search(wanted.socket)):
            raise _dangerous(wanted, f"whoever speaks to {folder} acts outside of any confinement", _SAY_FEWER)
        if folder == "/":
            raise _dangerous(wanted, "it is the whole machine")
        if _is_in(os.path.realpath(self.home), folder):
            raise _dangerous(wanted, f"{folder} holds the whole home folder")
        if folder in SYSTEM or any(_is_in(folder, each) for each in BELOW):
            raise _dangerous(wanted, f"{folder} belongs to the system")
        if not _is_in(folder, os.path.realpath(self.data)):
            self._check_guarded(wanted, folder)
            if wanted.kind == "write":
                self._check_run(wanted, folder)

    def _check_run(self, wanted: Permission, folder: str) -> None:
        """Whether what is written there is run by others."""
        home = os.path.realpath(self.home)
        for each in (*(os.path.realpath(os.path.join(home, name)) for name in _RUN_BY_USER), *_RUN_BY_SYSTEM):
            if _is_in(folder, each) or _is_in(each, folder):
                raise _dangerous(wanted, f"what lies in {each} is run by others, outside of any confinement")

    def _check_guarded(self, wanted: Permission, folder: str) -> None:
        for each in map(os.path.realpath, self.guarded):
            if _is_in(folder, each) or _is_in(each, folder):
                raise _dangerous(wanted, f"{each} is broker's own, and with it every permission could be had")


def moved(granted: Iterable[Permission]) -> Iterator[tuple[Permission, str]]:
    """Those of `granted` that do not stand for the same place any more, and where each leads now.

    To be asked right before they are used.
    """
    for one in granted:
        folder, _ = _cut(_path_of(one))
        try:
            real = os.path.realpath(folder) if folder else ""
        except OSError as error:
            real = f"a place that cannot be looked at ({error.strerror})"
        if real != folder:
            yield one, real


def _path_of(one: Permission) -> str:
    """The path a permission is about; empty if it is about none."""
    if one.kind in PATHS or (one.kind == "run" and "/" in one.target):
        return one.target
    return one.socket


def _with_path(one: Permission, path: str) -> Permission:
    return permission(one.kind, SOCKET + path if one.socket else path)


def _cut(path: str) -> tuple[str, str]:
    """A path up to its first name with a wildcard, and the rest with its slash."""
    names = path.split("/")
    fixed = next((place for place, name in enumerate(names) if "*" in name), len(names))
    rest = "/".join(names[fixed:])
    return "/".join(names[:fixed]) or path[:1], f"/{rest}" if rest else ""


def _is_in(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or below it; both without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _starred(wanted: Permission, path: str) -> ValueError:
    return ValueError(f"`{wanted}` leads to {path}, and a path with a * in its name cannot be granted.")


def _dangerous(wanted: Permission, why: str, hint: str | None = None) -> DangerousGrant:
    return DangerousGrant(f"`{wanted}` cannot be granted: {why}", hint=hint)
