"""`broker new`: a folder with a plugin that works, its test and what an editor should know.

Rule 1: a template is a plugin itself, named `my-plugin`, that runs and passes its test where it lies. Nothing in it is
        a placeholder: its name is replaced, in every text, and that is all.
Rule 2: a language has the templates that have a folder here; there is no other list.
Rule 3: nothing that is there is ever overwritten: all of it is new, or nothing is written.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from broker.authoring.declarations import write
from broker.core.manifest import NAME
from broker.core.mcpservers import slug
from broker.core.shape import nearest
from broker.errors import BadArguments, ConfigError

TEMPLATES = Path(__file__).parent / "templates"
_MANIFEST = "plugin.toml"
MINE = "my-plugin"  # the name of every template
# What a template has from elsewhere in the house, so that it is only there once.
_SHARED = {
    "wasm-javascript": {"wit/plugin.wit": "runtimes/wit/plugin.wit"},
    "wasm-python": {"wit/plugin.wit": "runtimes/wit/plugin.wit"},
}
# What lies in a template that was tried where it is.
_LEFT_OVER = shutil.ignore_patterns(
    "__pycache__", ".pytest_cache", "node_modules", "target", "types", "wit", "*.wasm", "*.mcpb", "package-lock.json"
)
_HOUSE = Path(__file__).parent.parent


def offered() -> dict[str, list[str]]:
    """The templates of every language, by its name."""
    found: dict[str, list[str]] = {}
    for manifest in sorted(TEMPLATES.glob(f"*/*/{_MANIFEST}")):
        found.setdefault(manifest.parent.parent.name, []).append(manifest.parent.name)
    return found


def create(name: str, language: str, template: str, folder: Path) -> list[str]:
    """Makes the new `folder`; what lies in it, as paths relative to it. Raises `BadArguments`, `ConfigError`."""
    _check_name(name)
    _check_template(language, template)
    if os.path.lexists(folder) and not _is_empty(folder):
        raise ConfigError(f"{folder} is there already, and nothing is overwritten", hint="Name another with --path.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as place:
            made = Path(place, "plugin")
            _fill(made, name, language, template)
            made.replace(folder)  # over an empty folder, too
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be made: {error.strerror}", hint="Check the rights of its parent."
        ) from None
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or not name[0].isalpha() or name.endswith("-") or "--" in name:
        what = f"{name!r} is no name for a plugin: it is 1 to 32 of a-z, 0-9 and single -, and begins with a letter"
        near = re.sub("-+", "-", slug(name)).lstrip("0123456789-").rstrip("-")
        raise BadArguments(what, hint=f"Call it {near}." if near else "Call it something like my-plugin.")


def _check_template(language: str, template: str) -> None:
    known = offered()
    if language not in known:
        near = nearest(language, known)
        meant = f"; did you mean {near}?" if near else ""
        raise BadArguments(f"there is no template in {language!r}{meant}", hint=f"There are {', '.join(known)}.")
    if template not in known[language]:
        raise BadArguments(
            f"there is no template {template!r} in {language}", hint=f"There are {', '.join(known[language])}."
        )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _fill(made: Path, name: str, language: str, template: str) -> None:
    shutil.copytree(TEMPLATES / language / template, made, ignore=_LEFT_OVER, copy_function=shutil.copyfile)
    for path in made.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text("utf-8").replace(MINE, name), "utf-8")
    for into, source in _SHARED.get(language, {}).items():
        (made / into).parent.mkdir(parents=True)
        shutil.copyfile(_HOUSE / source, made / into)
    if language == "lua":
        write(made)
