"""The files whose content makes the broker and its plugins what they are, and what is in them now.

Rule 1: of a plugin folder it is code and manifests; of a plain server, the code files its command line names.
Rule 2: data never counts: a database or a folder of notes among the arguments changes all the time.
Rule 3: what counts is content. A file that was only touched is the same file.
Rule 4: a plugin that is not there as a whole is no change: its folder may be on its way back.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from broker.model import Settings, Spec

CODE = frozenset((".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".lua", ".wasm", ".sh"))
MANIFEST = "plugin.toml"
MANIFESTS = frozenset((MANIFEST, "pyproject.toml", "package.json"))
OTHERS = frozenset(("node_modules", "venv", "__pycache__", "site-packages"))  # and every folder with a leading dot
MOST_FOLDERS = 500  # of one plugin; what lies beyond is not watched
MOST_BYTES = 4 << 20  # a larger file is known by its size and times alone
MOST_LINKS = 40  # one after the other, as the kernel's own limit
EMPTY = hashlib.sha256().hexdigest()

Stamp = tuple[int, int, int, int]  # size, both times, inode
Digests = dict[str, str]  # path -> what is in it; a path that cannot be read is not there


class Files(Struct, frozen=True):
    """What one plugin is made of: its folder, if it has one, and single files."""

    folder: str = ""
    single: tuple[str, ...] = ()


class Watched(Struct, frozen=True):
    """Everything worth a look: the configuration, and the files of each plugin."""

    config: tuple[str, ...] = ()
    plugins: Mapping[str, Files] = {}

    @property
    def everything(self) -> tuple[str, ...]:
        """All of these files and folders."""
        folders = (files.folder for files in self.plugins.values() if files.folder)
        return (*self.config, *folders, *(path for files in self.plugins.values() for path in files.single))


def watched(config: Iterable[Path], found: Settings) -> Watched:
    """What to watch: these configuration files and those they name, which need not exist, and what was found in them.

    A file with a problem is watched as well: a plugin that could not be taken up is, once its manifest is mended.
    Manifests are configuration, too.
    """
    blamed = (re.sub(r":\d+$", "", problem.where) for problem in found.problems)
    manifests = (os.path.join(spec.cwd, MANIFEST) for spec in found.plugins if spec.cwd and spec.version)
    paths = {os.path.abspath(path) for path in (*config, *found.named, *blamed, *manifests)}
    plugins = {spec.name: files_of(spec) for spec in found.plugins if spec.enabled}
    return Watched(tuple(sorted(paths)), plugins)


def files_of(spec: Spec) -> Files:
    """What the plugin of `spec` is made of."""
    if spec.cwd and spec.version:  # only a manifest gives a version: this is a plugin's own folder
        return Files(os.path.abspath(spec.cwd), (spec.entry,) if spec.entry else ())
    paths = (os.path.abspath(os.path.join(spec.cwd or "", word)) for word in spec.command if _is_code(word))
    return Files("", tuple(path for path in paths if os.path.isfile(path)))


class Contents:
    """Reads files, and only those again that were written since."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def of(self, paths: Iterable[str], fresh: Collection[str] = ()) -> Digests:
        """What is in each of `paths` that can be read. Those in `fresh` are read even if they look the same."""
        found: Digests = {}
        for path in paths:
            if path in fresh:
                self._known.pop(path, None)
            if (digest := self._digest(path)) is not None:
                found[path] = digest
        return found

    def of_plugin(self, files: Files, fresh: Collection[str] = ()) -> Digests | None:
        """What is in a plugin's files; None while it is not there as a whole."""
        found = self.of(files.single, fresh)
        if len(found) < len(files.single):
            return None
        if files.folder:
            found |= self.of(_parts(files.folder), fresh)
            if os.path.join(files.folder, MANIFEST) not in found:
                return None
        return found

    def _digest(self, path: str) -> str | None:
        now = _stamp(path)
        if now is None:
            return None
        known = self._known.get(path)
        if known is not None and known[0] == now:
            return known[1]
        digest = repr(now) if now[0] > MOST_BYTES else _sha256(path)
        if digest is not None:
            self._known[path] = (now, digest)
        return digest


class Places:
    """The folders to be told of events in, none of them with all below it, and which events matter.

    Every path is without links, so that a folder with two names is watched under one.
    """

    def __init__(self, config: Iterable[str], plugins: Iterable[Files]) -> None:
        self._real: dict[str, str] = {}
        self._exact: set[str] = set()
        self._inner: set[str] = set()
        self._around: set[str] = set()
        for path in config:
            self._add(path)
        for files in plugins:
            for path in files.single:
                self._add(path)
            if files.folder:
                self._add(files.folder)
                self._inner.update(_folders_in(self._resolved(files.folder)))
        self.folders = frozenset(self._inner | self._around)

    def concern(self, paths: Iterable[str]) -> bool:
        """Whether events on these paths are a reason to look."""
        return any(self._concerns(path) for path in paths)

    def _concerns(self, path: str) -> bool:
        if path in self._exact or path in self.folders:
            return True
        folder, name = os.path.split(path)
        return folder in self._inner and (_is_part(name) or (name not in OTHERS and os.path.isdir(path)))

    def _add(self, path: str) -> None:
        """The path, what it leads to, and what must exist for it to be there: all of that may come and go."""
        for hop in _hops(path):
            for each in _with_parents(hop):
                self._exact.add(os.path.join(self._resolved(os.path.dirname(each)), os.path.basename(each)))
            folder = next((each for each in _with_parents(os.path.dirname(hop)) if os.path.isdir(each)), None)
            if folder is not None:
                real = self._resolved(folder)
                self._around |= {real, os.path.dirname(real)}

    def _resolved(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]


def _stamp(path: str) -> Stamp | None:
    """What tells, without reading, that a file was written; None if it is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):  # to open a FIFO would wait for its writer
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_code(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in CODE


def _is_part(name: str) -> bool:
    return name in MANIFESTS or _is_code(name)


def _parts(top: str) -> Iterator[str]:
    for folder in _folders_in(top):
        with suppress(OSError):
            yield from (os.path.join(folder, name) for name in os.listdir(folder) if _is_part(name))


def _folders_in(top: str) -> Iterator[str]:
    """`top` and the folders below it that may hold parts of the plugin."""
    left = MOST_FOLDERS
    for folder, inner, _ in os.walk(top):
        yield folder
        left -= 1
        if left <= 0:
            return
        inner[:] = [name for name in inner if name not in OTHERS and not name.startswith(".")]


def _with_parents(path: str) -> Iterator[str]:
    yield path
    while (parent := os.path.dirname(path)) != path:
        path = parent
        yield path


def _hops(path: str) -> Iterator[str]:
    """`path`, and what it leads to link by link."""
    for _ in range(MOST_LINKS):
        yield path
        try:
            path = os.path.abspath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:  # no link, or nothing there
            return


def _sha256(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(MOST_BYTES + 1)).hexdigest()
    except OSError:
        return None
