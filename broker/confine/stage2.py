"""Runs inside bubblewrap, as `python -I -S stage2.py <told> <wire> <description>`, and becomes the plugin.

The three are descriptors: where a failure is told, the socket to the broker, and what `bwrap.wrapped` wrote. Standard
library only. `+` is told when every step was done: bubblewrap's own failures must not look like a start.
"""

from __future__ import annotations

import marshal
import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from broker.confine.jail import Jail, clear_signals


def main(told: int, wire: int, description: int) -> None:
    try:
        os.set_inheritable(told, False)
        os.set_inheritable(wire, False)
        with open(description, "rb") as file:
            text = file.read()
        said = marshal.loads(text)
        clear_signals()
        Jail(text, wire).enter(said["cwd"], list(range(said["given"])), told)
        os.write(told, b"+")
        os.execve(said["argv"][0], said["argv"], said["env"])
    except OSError as error:
        os.write(told, b"%d %s" % (error.errno or 0, getattr(error, "told", b"program")))
    finally:
        os._exit(127)


main(*map(int, sys.argv[1:4]))
