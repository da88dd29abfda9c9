"""The packages that a plugin needs to run and that no user of it may have: they go into its archive.

Of JavaScript: what its package.json needs, and what these need in turn; not what only its author needs. Of Python: our
own SDK, which is Python alone, where its source imports it. msgspec, on which that stands, is broker's too.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from broker.authoring.contents import everything
from broker.core.shape import Wrong, table

_SDK = "broker_sdk"
_NOT_TO_RUN = ("testing",)  # folders of the SDK that need pytest
_MAX_MANIFEST = 1 << 20  # bytes of a package.json


def of_node(folder: Path) -> dict[str, Path]:
    """The files of all packages that package.json needs, by their names in the archive. Raises Wrong."""
    if not (folder / "package.json").is_file():
        return {}
    files: dict[str, Path] = {}
    seen: set[Path] = set()
    left = [folder]
    while left:
        package = left.pop()
        for name, optional in _needed(package):
            found = _installed(name, package, folder)
            if found is None and not optional:
                raise Wrong(f"the package {name}, which it needs, is not installed.", fix="Run `npm install` there.")
            if found is not None and found not in seen:
                seen.add(found)
                left.append(found)
                files |= everything(found, folder)
    return files


def of_python(folder: Path, sources: Iterable[Path]) -> dict[str, Path]:
    """The files of our SDK, if one of the sources imports it and it is not in the folder. Raises Wrong."""
    if (folder / _SDK).is_dir() or not any(map(_imports_sdk, sources)):
        return {}
    sdk = _sdk(folder)
    if sdk is None:
        fix = "Run `python3 -m pip install plugin-broker-sdk` in the environment of the plugin, or in broker's."
        raise Wrong("its source imports broker_sdk, which is not installed.", fix=fix)
    names = ((path.relative_to(sdk), path) for suffix in ("*.py", "py.typed") for path in sdk.rglob(suffix))
    return {f"{_SDK}/{name.as_posix()}": path for name, path in names if name.parts[0] not in _NOT_TO_RUN}


def _needed(package: Path) -> Iterator[tuple[str, bool]]:
    """Each name, and whether it may be missing."""
    held = _read(package / "package.json")
    optional = table(held.get("optionalDependencies")) or {}
    peers = table(held.get("peerDependenciesMeta")) or {}
    for key in ("dependencies", "optionalDependencies", "peerDependencies"):
        for name in table(held.get(key)) or {}:
            yield name, name in optional or (key == "peerDependencies" and name in peers)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            return table(msgspec.json.decode(file.read(_MAX_MANIFEST))) or {}
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise Wrong(
            f"{path.parent.name}/package.json cannot be read: {error}.", fix="Run `npm install` again."
        ) from None


def _installed(name: str, package: Path, folder: Path) -> Path | None:
    """Where Node finds a package from within another, and not above the plugin."""
    if not re.fullmatch(r"(@[\w.~-]+/)?[\w.~-]+", name) or ".." in name:
        raise Wrong(f"{package.name}/package.json needs {name!r}, which is no package.")
    for place in (package, *package.parents):
        found = place / "node_modules" / name
        if found.is_symlink():
            fix = "Install it with npm, and with `--install-links` if it is a folder of yours."
            raise Wrong(f"node_modules/{name} is a link, and would not be in the archive.", fix=fix)
        if found.is_dir():
            return found
        if place == folder:
            return None
    return None


def _imports_sdk(path: Path) -> bool:
    return re.search(rf"^\s*(from|import)\s+{_SDK}\b", path.read_text("utf-8", "replace"), re.MULTILINE) is not None


def _sdk(folder: Path) -> Path | None:
    """In the plugin's own environment, else in the one broker runs in."""
    own = sorted(folder.glob(f".venv/lib/python3*/site-packages/{_SDK}"))
    if own:
        return own[0]
    spec = importlib.util.find_spec(_SDK)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None
