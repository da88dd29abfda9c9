"""Where the JavaScript SDK and its plugins are, and how they are started."""

from __future__ import annotations

from pathlib import Path

from tests.servers import ROOT

SDK = ROOT / "sdk-js"
HERE = Path(__file__).parent


def plugin(name: str) -> list[str]:
    """The command of a plugin of this folder."""
    return ["node", str(HERE / name)]


DEMO = plugin("demo_plugin.mjs")
CONFORMANCE_PLUGIN = plugin("conformance_plugin.mjs")
FRAME_PLUGIN = plugin("frame_plugin.mjs")
