"""What a plugin may only read though it lies in a folder that it may write to: what makes others start programs.

`.git/hooks` and their like are run by the user's own tools, outside of every confinement, and the files of broker's
configuration say what broker starts.

Rule 1: what is kept is mounted over itself, read-only, and each folder on the way to it writable: what something is
        mounted on cannot be renamed, nor put away with what is kept in it.
Rule 2: only what is there when the plugin starts can be kept. What is not there it can make, and a link it can replace.
        A file that somebody else replaces meanwhile (as git and editors do) is kept again from the next start on: the
        kernel takes a mount away with the file it is on. A folder such as `.git/hooks` stays kept.
Rule 3: what was granted by its own name is granted.
Rule 4: repositories in the granted folder are looked for three folders deep, and among some thousand folders.
Rule 5: without mounts (Landlock alone) nothing is kept, because who may write to a folder may write to all below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

# Below a granted folder: what git, shells, editors, AI clients and direnv run, or take commands from.
NAMES = (
    *(".git/hooks", ".git/config", ".git/config.worktree", ".gitconfig", ".gitmodules", ".husky", ".envrc"),
    *(".broker.toml", ".mcp.json", ".vscode", ".idea", ".cursor", ".claude", ".codex", ".gemini"),
    *(".profile", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".zshrc", ".zshenv", ".zprofile"),
    *(".zlogin", ".ripgreprc"),
)
_OF_GIT = (".git/hooks", ".git/config", ".git/config.worktree")
DEPTH, MOST_FOLDERS = 3, 2000  # of folders that are looked through for repositories
MOST_REPOSITORIES = 30  # whose files are kept; and modules of each
MOST_KEPT = 120  # files and folders of repositories: each costs the start some mounts and descriptors
_POINTER = ".git"  # of a worktree or a submodule it is a file, and says where the hooks are


def apart(write: Sequence[str], execute: Sequence[str], also: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """What is to be mounted read-only, and what writable, beside what was granted.

    `write` and `execute` are what a plugin may write to and run, resolved; `also` are other files and folders to keep.
    """
    closed, ways = set[str](), set[str]()
    for folder in write:
        named = (path for path in _candidates(folder, also) if path not in write)
        kept = list(_outermost([*named, *(path for path in execute if _is_below(path, folder))]))
        closed.update(path for path in kept if path not in execute)
        ways.update(way for path in kept for way in _way(path, folder))
    return sorted(closed), sorted(ways - closed)


def repositories(write: Sequence[str]) -> list[str]:
    """What git runs or obeys in the repositories below the folders of `write`. Reads folders, and blocks."""
    left = MOST_FOLDERS
    found = list[str]()
    for folder in write:
        waiting = [(folder, 0)]
        while waiting and left > 0 and len(found) < MOST_REPOSITORIES:
            here, depth = waiting.pop(0)
            left -= 1
            names = _folders(here)
            found += [here] if _POINTER in names or os.path.isfile(os.path.join(here, _POINTER)) else []
            inner = (name for name in names if not name.startswith(".") and name != "node_modules")
            waiting += [(os.path.join(here, name), depth + 1) for name in inner if depth < DEPTH]
    return [path for each in found for path in _of_git(each) if os.path.lexists(path)][:MOST_KEPT]


def _of_git(repository: str) -> Iterator[str]:
    """What is to be kept of it and of its submodules."""
    pointer = os.path.join(repository, _POINTER)
    if os.path.isfile(pointer):
        yield pointer
    yield from (os.path.join(repository, name) for name in _OF_GIT)
    modules = os.path.join(pointer, "modules")
    for name in _folders(modules)[:MOST_REPOSITORIES]:
        yield from (os.path.join(modules, name, each) for each in ("hooks", "config"))


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # it is a file, or nobody may look
        return []


def _candidates(folder: str, also: Iterable[str]) -> Iterator[str]:
    pointer = os.path.join(folder, _POINTER)
    named = [os.path.join(folder, name) for name in NAMES]
    for path in (*named, *also, *([pointer] if os.path.isfile(pointer) else [])):
        real = os.path.realpath(path)
        if _is_below(real, folder) and (os.path.isfile(real) or os.path.isdir(real)):
            yield real


def _outermost(paths: Iterable[str]) -> Iterator[str]:
    """Those that lie in no other."""
    found = sorted(set(paths), key=lambda path: path.count("/"))
    for nth, path in enumerate(found):
        if not any(_is_below(path, other) for other in found[:nth]):
            yield path


def _way(path: str, folder: str) -> Iterator[str]:
    """The folders between the two."""
    while (path := os.path.dirname(path)) != folder:
        yield path


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
