"""Compiled WASM modules: each file is compiled once, whoever loads it, and kept in memory and on disk.

Rule 1: an entry's name is the SHA-256 of its WASM file and what else its code depends on, so it is never out of date.
Rule 2: a compiled module is native code that runs in the broker. What lies on disk counts only with the seal of this
        user's own key over name and content; it is read whole, checked and then loaded, never mapped from its file.
Rule 3: whoever asks for what is being compiled waits for it: threads on a future, other processes on a lock.
Rule 4: what memory no longer holds lives on in the instances made of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from broker.confine.tree import output_of
from broker.permissions.written import alone, replace_file
from broker.runtimes.wasm_abi import Unfit, counted
from broker.runtimes.wasm_kinds import Abi, kind_of, program

if TYPE_CHECKING:
    from broker.runtimes.wasm_guest import AnyProgram

log = logging.getLogger("broker.wasm")

BUDGET = 256 << 20  # bytes of compiled code in memory
ON_DISK = 1 << 30  # bytes; the entries that were not used for longest go first
COMPILING = 10.0  # seconds, of the clock and of the processor
COMPILING_MORE = 10.0  # seconds more for each MiB: 18 MB of Python take 7 alone, and a hundred on a busy machine
COMPILER_MEMORY = 6 << 30  # bytes of addresses, most of them never touched
KEY = "wasm.key"
_SEAL = 32  # bytes in front of each file, an HMAC-SHA-256


class Statistics(Struct, kw_only=True):
    """What was asked of a cache; the keys are those of `broker doctor --json`."""

    hits: int = 0  # found in memory
    disk_hits: int = 0
    misses: int = 0  # compiled
    refused: int = 0  # files on disk that were not ours, or damaged
    evictions: int = 0  # from memory
    entries: int = 0  # in memory
    bytes: int = 0  # of code in memory
    compile_seconds: float = 0.0


class ModuleCache:
    """All methods block, and may be called from any thread. `folder` None keeps nothing on disk."""

    def __init__(
        self, folder: Path | None, key: Path | None, budget: int = BUDGET, compiling: float = COMPILING
    ) -> None:
        """`key` is the file with this user's key, made at the first use; it must not lie in `folder`."""
        self._folder, self._key = (folder, key) if key is not None else (None, None)
        self._budget, self._compiling = budget, compiling
        self._kept: OrderedDict[str, AnyProgram] = OrderedDict()
        self._coming: dict[str, Future[AnyProgram]] = {}
        self._lock = threading.Lock()
        self.statistics = Statistics()

    def load(self, wasm: bytes, abi: Abi = "plugin") -> AnyProgram:
        """The program of a WASM file. Raises `Unfit`."""
        counted(wasm)
        name = _name(wasm, abi)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                self.statistics.hits += 1
                return self._kept[name]
            coming = self._coming.get(name)
            mine: Future[AnyProgram] = Future()
            if coming is None:
                self._coming[name] = mine
        return self._made(name, wasm, mine) if coming is None else self._shared(coming)

    def _shared(self, coming: Future[AnyProgram]) -> AnyProgram:
        program = coming.result()
        with self._lock:
            self.statistics.hits += 1
        return program

    def _made(self, name: str, wasm: bytes, mine: Future[AnyProgram]) -> AnyProgram:
        try:
            program = self._from_disk(name) or self._compiled_alone(name, wasm)
        except BaseException as error:
            with self._lock:
                del self._coming[name]
            mine.set_exception(error)
            raise
        with self._lock:
            self._keep(name, program)
            del self._coming[name]
        mine.set_result(program)
        return program

    def _keep(self, name: str, program: AnyProgram) -> None:
        found = self.statistics
        self._kept[name] = program
        found.bytes += program.size
        while found.bytes > self._budget and len(self._kept) > 1:
            found.bytes -= self._kept.popitem(last=False)[1].size
            found.evictions += 1
        found.entries = len(self._kept)

    # on disk

    def _compiled_alone(self, name: str, wasm: bytes) -> AnyProgram:
        """Compile it, unless another process did meanwhile."""
        if self._folder is None:
            return self._compiled(name, wasm)
        with contextlib.ExitStack() as stack:
            try:
                _private(self._folder)
                stack.enter_context(alone(self._folder / f"{name[:2]}.compiling"))
            except OSError as error:
                log.warning("compiled WASM modules cannot be kept: %s", error)
                return self._compiled(name, wasm)
            return self._from_disk(name) or self._compiled(name, wasm)

    def _from_disk(self, name: str) -> AnyProgram | None:
        if self._folder is None or self._key is None:
            return None
        path = self._folder / f"{name}.cwasm"
        try:
            sealed = _read(path)
            key = _key_in(self._key)
        except OSError:
            return None
        code = memoryview(sealed)[_SEAL:]
        program = None
        # The seal alone would do; what others can write is refused without a look, as a sign of something wrong.
        if sealed and hmac.compare_digest(sealed[:_SEAL], _seal(key, name, code)):
            program = _loaded(name, bytes(code))
        with self._lock:
            self.statistics.refused += program is None
            self.statistics.disk_hits += program is not None
        if program is None:
            log.warning("%s is damaged or not ours, and is made anew", path)
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            with contextlib.suppress(OSError):
                os.utime(path)
        return program

    def _compiled(self, name: str, wasm: bytes) -> AnyProgram:
        began = time.monotonic()
        code = compile_apart(wasm, self._compiling + COMPILING_MORE * len(wasm) / (1 << 20))
        with self._lock:
            self.statistics.misses += 1
            self.statistics.compile_seconds += round(time.monotonic() - began, 3)
        program = _loaded(name, code)
        if program is None:
            raise Unfit("its code was compiled by another version of wasmtime")
        self._write(name, code)
        return program

    def _write(self, name: str, code: bytes) -> None:
        if self._folder is None or self._key is None:
            return
        try:
            _private(self._folder)
            key = _key_in(self._key, make=True)
            replace_file(self._folder / f"{name}.cwasm", _seal(key, name, memoryview(code)) + code)
            _tidy(self._folder)
        except OSError as error:
            log.warning("a compiled WASM module cannot be kept: %s", error)


def compile_apart(wasm: bytes, seconds: float) -> bytes:
    """The compiled code, by another process. Raises `Unfit`."""
    with tempfile.TemporaryDirectory(prefix="broker-wasm-") as folder:  # 0700
        file, answer = Path(folder) / "module.wasm", Path(folder) / "answer"
        file.write_bytes(wasm)
        # -P: the current folder may be a stranger's, and must not be looked in for modules.
        words = [sys.executable, "-P", "-m", "broker.runtimes.wasm_compile", str(file), str(answer)]
        try:
            output_of([*words, str(int(seconds)), str(COMPILER_MEMORY)], timeout=seconds)
            said = answer.read_bytes()
        except OSError:  # it was ended
            said = b""
    if said[:1] == b"-":
        raise Unfit(f"its file is no valid WASM: {said[1:].decode('utf-8', 'replace')}")
    if said[:1] != b"+":
        raise Unfit(f"it cannot be compiled within {seconds:.0f} s and {COMPILER_MEMORY >> 30} GiB of memory")
    return said[1:]


def _name(wasm: bytes, abi: Abi) -> str:
    """Its kind stands behind the last hyphen."""
    from broker.runtimes.wasm_engine import fingerprint

    return f"{hashlib.sha256(wasm).hexdigest()}-{fingerprint()}-{kind_of(wasm, abi)}"


def _loaded(name: str, code: bytes) -> AnyProgram | None:
    """None if another version or configuration of wasmtime made it. Raises `Unfit`."""
    import wasmtime

    try:
        return program(name.rpartition("-")[2], code)
    except wasmtime.WasmtimeError:
        return None


def _seal(key: bytes, name: str, code: memoryview) -> bytes:
    seal = hmac.new(key, name.encode() + b"\0", hashlib.sha256)
    seal.update(code)
    return seal.digest()


def _key_in(path: Path, *, make: bool = False) -> bytes:
    """The key; a new one if there is none and `make`. Raises `OSError` for one that others could read or write."""
    if make and not os.path.lexists(path):
        with alone(path):
            if not os.path.lexists(path):
                replace_file(path, secrets.token_bytes(_SEAL))
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or _others_may(found):
            raise PermissionError(f"{path} must be a file that only its user can read")
        key = os.read(fd, 2 * _SEAL)
    finally:
        os.close(fd)
    if len(key) != _SEAL:
        raise OSError(f"{path} is not a key; delete it")
    return key


def _read(path: Path) -> bytes:
    """The file's bytes; none of one that another user owns or could write. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with open(fd, "rb") as file:
        return b"" if _others_may(os.fstat(fd), 0o022) or _others_may(path.parent.stat(), 0o022) else file.read()


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or _others_may(found):
        raise PermissionError(f"{folder} must be a folder that only its user can open (`chmod 700`)")


def _others_may(found: os.stat_result, rights: int = 0o077) -> bool:
    """Whether it is another user's, or others have any of these rights."""
    if sys.platform == "win32":  # the user's own profile is private there
        return False
    return found.st_uid != os.geteuid() or bool(found.st_mode & rights)


def _tidy(folder: Path, most: int = ON_DISK) -> None:
    """Delete what was not used for longest, beyond `most` bytes."""
    found = [(path.stat(), path) for path in folder.glob("*.cwasm")]
    left = sum(each.st_size for each, _ in found)
    for each, path in sorted(found, key=_last_used):
        if left <= most:
            return
        path.unlink(missing_ok=True)
        left -= each.st_size


def _last_used(entry: tuple[os.stat_result, Path]) -> float:
    return entry[0].st_mtime
