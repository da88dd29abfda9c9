"""The process in which a script runs that must not run in the broker's own: started by `lua_process`, never imported.

Its arguments are the bytes of the script's heap, and the folders where this package and lupa are: it runs in a Python
that sees nothing else. Its pipes carry `lua_frames`; it ends with them.
"""

from __future__ import annotations

import sys
from typing import BinaryIO


def main() -> None:
    sys.path[:0] = sys.argv[2:]
    from broker.runtimes.lua_sandbox import FREE, Sandbox

    with open(0, "rb", closefd=False) as read, open(1, "wb", buffering=0, closefd=False) as write:
        pipe = _Pipe(read, write)
        sandbox = Sandbox(pipe.ask, memory=int(sys.argv[1]), costly=FREE)
        while (said := pipe.read()) is not None:
            pipe.write(*_done(sandbox, *said))


def _done(sandbox: object, kind: bytes, seconds: float, parts: list[bytes]) -> tuple[bytes, bytes]:
    from broker.runtimes import lua_frames as frames
    from broker.runtimes.lua_sandbox import Killed, Sandbox, ScriptError

    assert isinstance(sandbox, Sandbox)
    try:
        if kind == frames.LOAD:
            return frames.RESULT, sandbox.load(parts[0], seconds)
        return frames.RESULT, sandbox.invoke(parts[0], parts[1], parts[2], seconds)
    except ScriptError as error:
        return frames.FAILURE, str(error).encode("utf-8", "replace")
    except Killed as killed:
        return frames.KILLED, str(killed).encode("utf-8", "replace")


class _Pipe:
    """The broker at the other end."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        self._read, self._write = read, write

    def read(self) -> tuple[bytes, float, list[bytes]] | None:
        """The next frame; None when the broker has closed its end."""
        from broker.runtimes import lua_frames as frames

        head = self._read.read(frames.HEAD.size)
        if len(head) < frames.HEAD.size:
            return None
        length, kind, seconds = frames.HEAD.unpack(head)
        return kind, seconds, frames.parts(self._read.read(length))

    def write(self, kind: bytes, *parts: bytes) -> None:
        from broker.runtimes.lua_frames import frame

        left = memoryview(frame(kind, *parts))
        while left:
            left = left[self._write.write(left) or 0 :]

    def ask(self, op: bytes, params: bytes) -> bytes:
        """An operation of the host."""
        from broker.runtimes import lua_frames as frames
        from broker.runtimes.lua_sandbox import Refused

        self.write(frames.ASK, op, params)
        said = self.read()
        if said is None:
            raise SystemExit
        if said[0] != frames.ANSWER:
            raise Refused(said[2][0].decode("utf-8", "replace"))
        return said[2][0]


if __name__ == "__main__":
    main()
