"""Stands between a client and a server and writes down all that both say: recorder.py FOLDER COMMAND ARGS...

Each run makes one file in FOLDER: lines that begin with `>` are the client's, those with `<` the server's, in an order
in which nobody answers before it was asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import IO


def relay(source: IO[bytes], sink: IO[bytes], mark: bytes, log: int) -> None:
    """Pass lines on, written down first; a whole line is one write, so no two get mixed."""
    for line in source:
        os.write(log, mark + line)
        try:
            sink.write(line)
            sink.flush()
        except BrokenPipeError:
            break
    sink.close()


def main(folder: str, command: list[str]) -> int:
    log = os.open(f"{folder}/{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    asking = threading.Thread(target=relay, args=(sys.stdin.buffer, server.stdin, b">", log), daemon=True)
    asking.start()
    relay(server.stdout, sys.stdout.buffer, b"<", log)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
