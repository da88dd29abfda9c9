"""All bad frames together, by name."""

from __future__ import annotations

from tests.hostile import frames_mcp, frames_values
from tests.hostile.frames import FRAMES

PARTS = (frames_mcp, frames_values)  # each adds its own when it is imported

__all__ = ["FRAMES"]
