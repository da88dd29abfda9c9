"""`broker pack`: a plugin's folder as one file that `broker add` takes, the same bytes each time and everywhere.

It is a zip file with `plugin.toml` at its root, and with `manifest.json` where other clients can run it too: then it is
an MCPB bundle, which is what the field installs. Names are sorted, times are those of 1980, modes 644 or 755, and
nothing is compressed: what a compressor makes of it depends on the library of the machine.

Rule 1: what is wrong with the plugin is said before anything is written.
Rule 2: the file is read back by the very code that will unpack it elsewhere, before it gets its name.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from broker.authoring.bundle import bundle
from broker.authoring.contents import contents
from broker.authoring.packages import of_node, of_python
from broker.clients.bundle import MANIFEST as BUNDLE
from broker.clients.bundle import read
from broker.clients.unpack import MAX_ARCHIVE, MAX_FILES, unpacked
from broker.core.manifest import Manifest, examine
from broker.core.shape import Wrong
from broker.core.source import Faulty
from broker.errors import ConfigError

PLUGIN = "plugin.toml"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
_UNIX = 3  # of zip's systems, the one whose members have modes


class Packed(Struct, frozen=True, kw_only=True):
    """An archive that was written."""

    file: Path
    manifest: Manifest
    digest: str  # SHA-256, in hex
    size: int  # bytes
    names: Sequence[str]
    secrets: Sequence[str]  # what was left out because it looks like one
    elsewhere: bool  # whether other clients can install it
    newer: str = ""  # a source that changed after the build that is in it


def pack(folder: Path, output: Path | None = None) -> Packed:
    """The archive of the plugin in `folder`, put at `output` or under its own name here. Raises `ConfigError`."""
    try:
        return _pack(folder, output)
    except Faulty as faulty:
        problem = faulty.problem
        raise ConfigError(f"{problem.where}: {problem.what}", hint=_fix(folder, problem.fix)) from None
    except Wrong as wrong:
        raise ConfigError(f"{folder} cannot be packed: {wrong.what}", hint=wrong.fix or None) from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be packed: {error}", hint="Check the rights of its files.") from None


def _pack(folder: Path, output: Path | None) -> Packed:
    manifest = examine(folder / PLUGIN)
    found = contents(folder, output)
    files = {**found.files, **of_node(folder), **of_python(folder, _python(found.files))}
    _check_complete(manifest, files)
    made = _made(manifest, files)
    elsewhere = BUNDLE in files or made is not None
    path = output or Path(f"{manifest.name}-{manifest.version}.{'mcpb' if elsewhere else 'zip'}")
    data = _archive(files, {} if made is None else {BUNDLE: made})
    _write(path, data)
    digest = hashlib.sha256(data).hexdigest()
    names = sorted(files if made is None else {*files, BUNDLE})
    return Packed(
        file=path, manifest=manifest, digest=digest, size=len(data), names=names, secrets=found.secrets,
        elsewhere=elsewhere, newer=_newer(manifest, found.files),
    )  # fmt: skip


def _python(files: Mapping[str, Path]) -> list[Path]:
    return [path for name, path in files.items() if name.endswith(".py")]


def _check_complete(manifest: Manifest, files: Mapping[str, Path]) -> None:
    """The entry is in it, and it is no more than can be unpacked."""
    if manifest.entry is not None and os.path.normpath(manifest.entry) not in files:
        what = f"its entry {manifest.entry} has a name that stays out of archives, as hidden files and tests do."
        raise Wrong(what, fix="Give it another name, or put it into another folder.")
    if len(files) >= MAX_FILES:
        raise Wrong(f"it has more than {MAX_FILES} files.")
    if sum(path.stat().st_size for path in files.values()) > MAX_ARCHIVE * 0.9:  # the names need room, too
        raise Wrong(f"it is larger than {MAX_ARCHIVE >> 20} MiB.")


def _newer(manifest: Manifest, files: Mapping[str, Path]) -> str:
    """The name of a source of WebAssembly that was written after it was built; empty if there is none."""
    entry = os.path.normpath(manifest.entry or "")
    if not entry.endswith(".wasm"):
        return ""
    built = files[entry].stat().st_mtime
    sources = (name for name in files if not name.endswith((".md", ".toml", ".json", ".wasm")))
    return next((name for name in sources if files[name].stat().st_mtime > built), "")


def _made(manifest: Manifest, files: Mapping[str, Path]) -> bytes | None:
    """The `manifest.json` that its author did not write; the one that is there is checked."""
    if BUNDLE in files:
        read(files[BUNDLE].read_bytes())
        return None
    return bundle(manifest, uv="pyproject.toml" in files)


def _archive(files: Mapping[str, Path], made: Mapping[str, bytes]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted({*files, *made}):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = _UNIX
            runs = name in files and files[name].stat().st_mode & 0o100
            member.external_attr = (0o100755 if runs else 0o100644) << 16
            archive.writestr(member, made[name] if name in made else files[name].read_bytes())
    return into.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Put it there whole, once it could be unpacked and read. Raises Wrong, Faulty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packing-", dir=path.parent) as place:
        draft = Path(place, "archive")
        draft.write_bytes(data)
        examine(unpacked(draft, Path(place)) / PLUGIN)
        draft.replace(path)


def _fix(folder: Path, fix: str) -> str:
    return "Run `make` there first, which builds it." if (folder / "Makefile").is_file() else fix
