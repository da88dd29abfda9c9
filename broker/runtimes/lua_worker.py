"""The process in which a script runs that must not run in the broker's own: started by `lua_process`, never imported.

Its arguments are the bytes of the script's heap, and the folders where this package and lupa are: it runs in a Python
that sees nothing else. Its pipes carry `lua_frames`; it ends with them.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from broker.runtimes.lua_sandbox import Sandbox


def main() -> None:
    sys.path[:0] = sys.argv[2:]
    from broker.runtimes.lua_sandbox import FREE, Sandbox

    with open(0, "rb", closefd=False) as read, open(1, "wb", buffering=0, closefd=False) as write:
        pipe = _Pipe(read, write)
        sandbox = Sandbox(pipe.ask, memory=int(sys.argv[1]), costly=FREE)
        serve(pipe, sandbox)


def serve(pipe: _Pipe, sandbox: Sandbox) -> None:
    """Do what the broker says until it is gone."""
    from broker.runtimes import lua_frames as frames
    from broker.runtimes.lua_sandbox import Killed, ScriptError

    while (said := pipe.read()) is not None:
        kind, seconds, parts = said
        try:
            if kind == frames.LOAD:
                answer = frames.RESULT, sandbox.load(parts[0], seconds)
            else:
                found = sandbox.invoke(parts[0], parts[1], parts[2], seconds)
                answer = (frames.TEXT, found.encode()) if isinstance(found, str) else (frames.RESULT, found)
        except ScriptError as error:
            answer = frames.FAILURE, str(error).encode("utf-8", "replace")
        except Killed as killed:
            answer = frames.KILLED, str(killed).encode("utf-8", "replace")
        pipe.write(*answer)


class _Pipe:
    """The broker at the other end."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        from broker.runtimes import lua_frames as frames
        from broker.runtimes.lua_sandbox import Refused

        self._read, self._write, self._frames, self._refused = read, write, frames, Refused

    def read(self) -> tuple[bytes, float, list[bytes]] | None:
        """The next frame; None when the broker has closed its end."""
        frames = self._frames
        head = self._read.read(frames.HEAD.size)
        if len(head) < frames.HEAD.size:
            return None
        length, kind, seconds = frames.HEAD.unpack(head)
        return kind, seconds, frames.parts(self._read.read(length))

    def write(self, kind: bytes, *parts: bytes) -> None:
        left = memoryview(self._frames.frame(kind, *parts))
        while left:
            left = left[self._write.write(left) or 0 :]

    def ask(self, op: bytes, params: bytes) -> bytes:
        """An operation of the host."""
        self.write(self._frames.ASK, op, params)
        said = self.read()
        if said is None:
            raise SystemExit
        if said[0] != self._frames.ANSWER:
            raise self._refused(said[2][0].decode("utf-8", "replace"))
        return said[2][0]


if __name__ == "__main__":
    main()
