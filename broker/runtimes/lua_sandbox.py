"""One Lua state with the environment of `lua/boot.lua` around one script. Blocks; for one thread at a time.

Imports nothing of ours: the worker process runs it too, in a Python that sees little else.

Rule 1: no object of Python's reaches a script. It gets functions of Lua's, and texts.
Rule 2: nothing raises from Python into Lua, and the bound of memory is lifted whenever Python hands something over for
        which there may be no room: an error of Lua's that jumps over Python's lock freezes or aborts the whole process.
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
FOREVER = float("inf")
HOP = 0.0001  # seconds of what its host takes that are its own: who only asks comes to an end, too
FREE = 1 << 62  # steps, where the whole process can be killed
ROOM = 64 << 10  # bytes of memory that lupa may need to hand something over, beside it
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
        self._used: Any = lua.get_memory_used
        self._memory = memory
        boot = lua.execute(
            _source("boot"), self._tick, lambda: self._bound(memory), memory // 2, costly, name=b"=boot", mode="t"
        )
        json = lua.execute(_source("json"), boot, name=b"=json", mode="t")
        entry = lua.execute(_source("api"), boot, json, self._asked, name=b"=api", mode="t")
        self._load: Any = entry[b"load"]
        self._invoke: Any = entry[b"invoke"]
        self._lua = lua
        self._bound(memory)

    @property
    def overdue(self) -> float:
        """Seconds since the running script had to end; negative while it may work."""
        return -1.0 if self.asking or not self._deadline else time.monotonic() - self._deadline

    def load(self, source: bytes, seconds: float) -> bytes:
        """Run the script once; what it registered, as JSON. Raises `ScriptError`, `Killed`."""
        if len(source) > MAX_SOURCE:
            raise ScriptError(f"the file is larger than {MAX_SOURCE >> 20} MiB")
        registered = self._run(seconds, len(source), self._load, source)
        assert isinstance(registered, bytes)
        return registered

    def invoke(self, kind: bytes, name: bytes, arguments: bytes, seconds: float) -> bytes | str:
        """Call what the script registered; JSON in, a text or JSON out. `seconds` 0: as long as it takes."""
        return self._run(seconds, len(name) + len(arguments), self._invoke, kind, name, arguments)

    def cancel(self, reason: str) -> None:
        """From any thread: end what runs."""
        self.cancelled = reason

    def _run(self, seconds: float, size: int, function: Any, *words: bytes) -> bytes | str:
        if self.dead is not None:
            raise Killed(self.dead)
        late = self._used() + size + ROOM > self._memory
        if late:
            self._bound(0)
        self._deadline = time.monotonic() + (seconds or FOREVER)
        try:
            found = function(late, *words)
        except BaseException as error:
            self._bound(0)
            self.dead = "memory" if type(error).__name__ == "LuaMemoryError" else f"a failure of its state ({error!r})"
            raise Killed(self.dead) from None
        finally:
            self._deadline = 0.0
        if type(found) is bytes:
            return found
        if found[0] is True:
            return _text(found[1])
        _, what, why = found
        reason = why.decode("utf-8", "replace")
        if what == b"killed":
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


def _text(said: bytes) -> str:
    try:
        return said.decode()
    except UnicodeDecodeError:
        raise ScriptError("a text that is not UTF-8 cannot be sent") from None


def _source(name: str) -> bytes:
    with open(os.path.join(_FOLDER, f"{name}.lua"), "rb") as file:
        return file.read()


def _deny(*_: object) -> None:
    raise AttributeError("not for scripts")
