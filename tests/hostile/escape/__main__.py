"""Run attempts inside a confinement: `python -P __main__.py`, a world and names as one JSON line on stdin.

One line of JSON is written per attempt: its name, and the evidence, or the refusal after a `!`.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from escape import exhaustion, files, kernel, network, processes
from escape.world import World

ROOMS = {"files": files, "network": network, "processes": processes, "kernel": kernel, "exhaustion": exhaustion}


def attempt(room: str, name: str, world: World) -> str:
    try:
        return getattr(ROOMS[room], name)(world)
    except (OSError, ValueError, ImportError, AttributeError) as error:
        return f"!{type(error).__name__}: {error}"
    except Exception as error:
        return f"!!{type(error).__name__}: {error}"


def main() -> None:
    order = json.loads(sys.stdin.readline())
    world = World(**order["world"])
    for room, name in order["attempts"]:
        sys.stdout.write(json.dumps([name, attempt(room, name, world)]) + "\n")
        sys.stdout.flush()


main()
