"""One Lua state with the environment of `lua/boot.lua` around one script. Blocks; for one thread at a time.

Imports nothing of ours: the worker process runs it too, in a Python that sees little else.

Rule 1: no object of Python's reaches a script. It gets functions of Lua's, and texts.
Rule 2: nothing raises from Python into Lua, and the bound of memory is lifted whenever Python works for the state: an
        error of Lua's that jumps over Python's lock freezes or aborts the whole process.
Rule 3: a state whose script was ended is never used again.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # `typing` itself would take a worker a third of its start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Host = Callable[[bytes, bytes], bytes]  # operation and its parameters as JSON; raises `Refused`

MEMORY = 16 << 20  # bytes of a script's heap; the time that ending it takes grows with it
SECONDS = 0.1  # of its own work that a call may take
MAX_SOURCE = 1 << 20  # bytes of one file
COSTLY = 50_000_000  # steps of one call of a C function; no hook is called in it, and it takes 50 to 200 ms
HOP = 0.0001  # seconds of what its host takes that are its own: who only asks comes to an end, too
FREE = 1 << 62  # steps, where the whole process can be killed
FILES = ("boot", "json", "api")
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lua")


class Refused(Exception):
    """The host says no; the text is for the script."""


class ScriptError(Exception):
    """The script threw, or gave back what cannot be sent; it can be called again."""


class Killed(Exception):
    """The script was ended; its state is of no more use. The text says why: `time`, `memory`, or the reason given."""


class Sandbox:
    """See above."""

    def __init__(self, host: Host, *, memory: int = MEMORY, costly: int = COSTLY) -> None:
        module: Any = __import__("lupa.lua54", fromlist=["lua54"])  # `lupa` alone is another Lua with each release

        self._host = host
        self._deadline = 0.0
        self._seconds = 0.0
        self.cancelled: str | None = None  # set from any thread: the script is ended for that reason
        self.asking = False  # it waits for its host: the clock stands still
        self.dead: str | None = None
        lua: Any = module.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_deny, _deny),
            max_memory=0,
        )
        self._bound: Any = lua.set_max_memory
        boot = lua.execute(
            _source("boot"), self._tick, lambda: self._bound(memory), memory // 2, costly, name=b"=boot", mode="t"
        )
        json = lua.execute(_source("json"), boot, name=b"=json", mode="t")
        entry = lua.execute(_source("api"), boot, json, self._asked, name=b"=api", mode="t")
        self._load: Any = entry[b"load"]
        self._invoke: Any = entry[b"invoke"]
        self._lua = lua

    @property
    def overdue(self) -> float:
        """Seconds since the running script had to end; negative while it may work."""
        return -1.0 if self.asking or not self._deadline else time.monotonic() - self._deadline

    def load(self, source: bytes, seconds: float) -> bytes:
        """Run the script once; what it registered, as JSON. Raises `ScriptError`, `Killed`."""
        if len(source) > MAX_SOURCE:
            raise ScriptError(f"the file is larger than {MAX_SOURCE >> 20} MiB")
        return self._run(seconds, self._load, source)

    def invoke(self, kind: bytes, name: bytes, arguments: bytes, seconds: float) -> bytes:
        """Call what the script registered; JSON in, JSON out. `seconds` 0: as long as it takes."""
        return self._run(seconds, self._invoke, kind, name, arguments)

    def cancel(self, reason: str) -> None:
        """From any thread: end what runs."""
        self.cancelled = reason

    def _run(self, seconds: float, function: Any, *words: bytes) -> bytes:
        if self.dead is not None:
            raise Killed(self.dead)
        self._deadline = time.monotonic() + (seconds or float("inf"))
        try:
            found = function(*words)
        except BaseException as error:
            self.dead = "memory" if type(error).__name__ == "LuaMemoryError" else f"a failure of its state ({error!r})"
            raise Killed(self.dead) from None
        finally:
            self._bound(0)
            self._deadline = 0.0
        return self._outcome(found)

    def _outcome(self, found: Any) -> bytes:
        ok, value, *why = found
        if ok is True:
            return value
        reason = why[0].decode("utf-8", "replace")
        if value == b"killed":
            self.dead = reason
            raise Killed(reason)
        raise ScriptError(reason)

    def _tick(self) -> bytes | None:
        if self.cancelled is not None:
            return self.cancelled.encode()
        return b"time" if time.monotonic() > self._deadline else None

    def _asked(self, op: object, params: object) -> tuple[bool, bytes]:
        self._bound(0)
        began, self.asking = time.monotonic(), True
        try:
            if not isinstance(op, bytes) or not isinstance(params, bytes):
                return False, b"an operation is a text"
            return True, self._host(op, params)
        except Refused as refused:
            return False, str(refused).encode("utf-8", "replace")
        except BaseException as error:
            return False, f"broker could not do that ({type(error).__name__})".encode()
        finally:
            self._deadline += max(time.monotonic() - began - HOP, 0.0)
            self.asking = False


def _source(name: str) -> bytes:
    with open(os.path.join(_FOLDER, f"{name}.lua"), "rb") as file:
        return file.read()


def _deny(*_: object) -> None:
    raise AttributeError("not for scripts")
