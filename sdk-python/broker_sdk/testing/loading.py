"""The `Plugin` that a file makes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from broker_sdk.plugin import Plugin


def loaded(plugin: Plugin | str | os.PathLike[str]) -> Plugin:
    """Itself, or the one of a file, which is run anew each time. `LookupError` when that makes none, or several."""
    if isinstance(plugin, Plugin):
        return plugin
    path = Path(plugin).resolve()
    name = f"plugin_under_test_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LookupError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # hints are looked up there
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    found = {id(each): each for each in vars(module).values() if isinstance(each, Plugin)}
    if len(found) != 1:
        raise LookupError(f"{path} makes {len(found)} plugins, and must make one")
    return next(iter(found.values()))
