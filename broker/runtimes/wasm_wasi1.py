"""WASI's first edition (`wasi_snapshot_preview1`) for core modules, on the virtual world of `wasm_world`.

Rule 1: a pointer or length from a guest is a claim, compared with its memory as it is now.
Rule 2: no Python exception leaves a function that wasmtime calls, as in `wasm_engine`.
Rule 3: sockets are refused, links are not made, times are not set; all else is done by `World`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from ctypes import byref
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from broker.runtimes.wasm_abi import GIVEN, WASI
from broker.runtimes.wasm_engine import Control, Refused, Unchecked, define, raw, running, trap
from broker.runtimes.wasm_world import PIECE, Grants, Opened, World, wall_clock

if TYPE_CHECKING:
    import wasmtime

_FD_READ, _FD_WRITE = 1 << 1, 1 << 6  # rights
_CREATE, _FOLDER, _EXCLUSIVE, _TRUNCATE = 1, 2, 4, 8  # how a path is opened
_APPEND = 1
_MOST_PIECES = 1024  # of one read or write
_ACCES, _BADF, _INVAL, _IO, _NOSYS, _NOTSUP, _PERM, _SPIPE = 2, 8, 28, 29, 52, 58, 63, 70
_CODES = {
    errno.EACCES: _ACCES,
    errno.EBADF: _BADF,
    errno.EEXIST: 20,
    errno.EFBIG: 22,
    errno.EINVAL: _INVAL,
    errno.EISDIR: 31,
    errno.ELOOP: 32,
    errno.EMFILE: 33,
    errno.ENAMETOOLONG: 37,
    errno.ENOENT: 44,
    errno.ENOSPC: 51,
    errno.ENOTDIR: 54,
    errno.ENOTEMPTY: 55,
    errno.EPERM: _PERM,
    errno.EROFS: 69,
    errno.EXDEV: 75,
}


class _Code(Exception):
    """A function ends with this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Stream(Struct):
    """One of the three that every program has."""

    errors: bool | None  # None: the input, where nothing comes


class _State:
    """What one instance has open."""

    def __init__(self, granted: Grants) -> None:
        self.world = World(granted)
        self.open: dict[int, _Stream | Opened] = {0: _Stream(None), 1: _Stream(False), 2: _Stream(True)}
        for number, folder in enumerate(granted.folders, 3):
            self.open[number] = Opened(folder, None)

    def opened(self, number: int) -> Opened:
        found = self.open.get(number)
        if not isinstance(found, Opened):
            raise _Code(_BADF)
        return found

    def put(self, what: Opened) -> int:
        number = next(number for number in range(3, 1 << 16) if number not in self.open)
        self.open[number] = what
        return number


_states: dict[int, _State] = {}


def enter(number: int, granted: Grants) -> World:
    """The world of the instance with this number, from now on."""
    state = _states[number] = _State(granted)
    return state.world


def leave(number: int) -> None:
    """The instance is gone."""
    if (state := _states.pop(number, None)) is not None:
        state.world.close()


class _Inside:
    """The instance that calls: its memory, and what it has open."""

    def __init__(self, pointer: Any, state: _State, control: Control) -> None:
        self.state, self.control, self.world = state, control, state.world
        context = raw.wasmtime_caller_context(pointer)
        found = raw.wasmtime_extern_t()
        if not raw.wasmtime_caller_export_get(pointer, b"memory", 6, byref(found)) or found.kind != 3:
            raise Refused("it has no export memory")
        self._size = raw.wasmtime_memory_data_size(context, byref(found.of.memory))
        self._at = ctypes.cast(raw.wasmtime_memory_data(context, byref(found.of.memory)), ctypes.c_void_p).value or 0

    def read(self, at: int, size: int) -> bytes:
        return ctypes.string_at(self._place(at, size), size)

    def write(self, at: int, data: bytes) -> None:
        ctypes.memmove(self._place(at, len(data)), data, len(data))

    def number(self, at: int, number: int, size: int = 4) -> None:
        self.write(at, (number & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def text(self, at: int, size: int) -> str:
        if size & 0xFFFFFFFF > 4096:
            raise _Code(37)
        try:
            return self.read(at, size).decode()
        except UnicodeDecodeError:
            raise _Code(25) from None

    def path(self, folder: int, at: int, size: int) -> str:
        return self.world.path(self.state.opened(folder), self.text(at, size))

    def pieces(self, at: int, count: int) -> list[tuple[int, int]]:
        if not 0 <= count <= _MOST_PIECES:
            raise _Code(_INVAL)
        data = self.read(at, 8 * count)
        found = [struct.unpack_from("<II", data, 8 * place) for place in range(count)]
        return [(where, size) for where, size in found if size]

    def _place(self, at: int, size: int) -> int:
        at, size = at & 0xFFFFFFFF, size & 0xFFFFFFFF
        if at + size > self._size:
            raise Refused(f"it handed WASI {size} bytes at {at:#x}, outside of its memory")
        return self._at + at


# Each gets the instance and its arguments; what it does not raise is success.


def _environment(inside: _Inside) -> list[bytes]:
    return [f"{name}={value}".encode() + b"\0" for name, value in inside.world.granted.env.items()]


def _environ_get(inside: _Inside, pointers: int, buffer: int) -> None:
    for text in _environment(inside):
        inside.number(pointers, buffer)
        inside.write(buffer, text)
        pointers, buffer = pointers + 4, buffer + len(text)


def _environ_sizes(inside: _Inside, count: int, size: int) -> None:
    found = _environment(inside)
    inside.number(count, len(found))
    inside.number(size, sum(map(len, found)))


def _args_sizes(inside: _Inside, count: int, size: int) -> None:
    inside.number(count, 0)
    inside.number(size, 0)


def _clock(inside: _Inside, clock: int, precision: int, at: int) -> None:
    inside.number(at, wall_clock() if clock == 0 else time.monotonic_ns(), 8)


def _clock_step(inside: _Inside, clock: int, at: int) -> None:
    inside.number(at, 1000, 8)


def _random(inside: _Inside, at: int, size: int) -> None:
    if size & 0xFFFFFFFF > PIECE:
        raise _Code(_INVAL)
    inside.write(at, os.urandom(size))


def _exit(inside: _Inside, status: int) -> None:
    inside.control.kind = f"exit({status})"
    raise Refused(f"it ended itself with the status {status}")


def _fd_write(inside: _Inside, number: int, at: int, count: int, written: int) -> None:
    data = b"".join(inside.read(*piece) for piece in inside.pieces(at, count))
    found = inside.state.open.get(number)
    if isinstance(found, _Stream):
        if found.errors is None:
            raise _Code(_BADF)
        inside.world.output(inside.control, found.errors, data)
        done = len(data)
    else:
        opened = inside.state.opened(number)
        done = inside.world.write(opened, data, opened.offset)
        opened.offset += done
    inside.number(written, done)


def _fd_pwrite(inside: _Inside, number: int, at: int, count: int, offset: int, written: int) -> None:
    data = b"".join(inside.read(*piece) for piece in inside.pieces(at, count))
    inside.number(written, inside.world.write(inside.state.opened(number), data, offset))


def _fd_read(inside: _Inside, number: int, at: int, count: int, got: int) -> None:
    found = inside.state.open.get(number)
    if isinstance(found, _Stream):
        inside.number(got, 0)
        return
    opened = inside.state.opened(number)
    done = _read_into(inside, opened, at, count, opened.offset)
    opened.offset += done
    inside.number(got, done)


def _fd_pread(inside: _Inside, number: int, at: int, count: int, offset: int, got: int) -> None:
    inside.number(got, _read_into(inside, inside.state.opened(number), at, count, offset))


def _read_into(inside: _Inside, opened: Opened, at: int, count: int, offset: int) -> int:
    done = 0
    for where, size in inside.pieces(at, count):
        data = inside.world.read(opened, min(size, PIECE), offset + done)
        inside.write(where, data)
        done += len(data)
        if len(data) < size:
            break
    return done


def _fd_seek(inside: _Inside, number: int, by: int, whence: int, at: int) -> None:
    if isinstance(inside.state.open.get(number), _Stream):
        raise _Code(_SPIPE)
    opened = inside.state.opened(number)
    start = (0, opened.offset, inside.world.facts(opened).st_size)[whence] if 0 <= whence < 3 else None
    if start is None or start + by < 0:
        raise _Code(_INVAL)
    opened.offset = start + by
    inside.number(at, opened.offset, 8)


def _fd_tell(inside: _Inside, number: int, at: int) -> None:
    inside.number(at, inside.state.opened(number).offset, 8)


def _fd_close(inside: _Inside, number: int) -> None:
    found = inside.state.open.pop(number, None)
    if found is None:
        raise _Code(_BADF)
    if isinstance(found, Opened):
        inside.world.shut(found)


def _fd_renumber(inside: _Inside, number: int, target: int) -> None:
    opened = inside.state.opened(number)
    inside.state.opened(target)
    if number != target:
        _fd_close(inside, target)
        inside.state.open[target] = opened
        del inside.state.open[number]


def _type_of(mode: int) -> int:
    if stat.S_ISREG(mode):
        return 4
    return 3 if stat.S_ISDIR(mode) else 7 if stat.S_ISLNK(mode) else 0


def _fdstat(inside: _Inside, number: int, at: int) -> None:
    found = inside.state.open.get(number)
    if isinstance(found, _Stream):
        kind, flags = 2, _APPEND  # a terminal's kind, so that lines are written when they are whole
        rights = _FD_READ if found.errors is None else _FD_WRITE
    else:
        opened = inside.state.opened(number)
        kind, flags = (3 if opened.fd is None else 4), _APPEND * opened.append
        rights = (1 << 30) - 1
    inside.write(at, struct.pack("<BxHxxxxQQ", kind, flags, rights, (1 << 30) - 1))


def _set_flags(inside: _Inside, number: int, flags: int) -> None:
    inside.state.opened(number).append = bool(flags & _APPEND)


def _packed(found: os.stat_result) -> bytes:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return struct.pack(
        "<QQBxxxxxxxQQQQQ", found.st_dev, found.st_ino, _type_of(found.st_mode), found.st_nlink, found.st_size, *times
    )


def _filestat(inside: _Inside, number: int, at: int) -> None:
    if isinstance(inside.state.open.get(number), _Stream):
        inside.write(at, struct.pack("<QQB47x", 0, 0, 2))
        return
    inside.write(at, _packed(inside.world.facts(inside.state.opened(number))))


def _set_size(inside: _Inside, number: int, size: int) -> None:
    inside.world.resize(inside.state.opened(number), size)


def _prestat(inside: _Inside, number: int, at: int) -> None:
    inside.write(at, struct.pack("<II", 0, len(_preopened(inside, number))))


def _prestat_name(inside: _Inside, number: int, at: int, size: int) -> None:
    inside.write(at, _preopened(inside, number)[: size & 0xFFFFFFFF])


def _preopened(inside: _Inside, number: int) -> bytes:
    if not 3 <= number < 3 + len(inside.world.granted.folders):
        raise _Code(_BADF)
    return inside.state.opened(number).path.encode()


def _readdir(inside: _Inside, number: int, at: int, size: int, cookie: int, used: int) -> None:
    opened = inside.state.opened(number)
    if opened.names is None or cookie == 0:
        opened.names = inside.world.names(opened.path)
    out, room = bytearray(), size & 0xFFFFFFFF
    for place, name in enumerate(opened.names[cookie:], cookie + 1):
        found = inside.world.stat(os.path.join(opened.path, name))
        raw_name = name.encode("utf-8", "replace")
        out += struct.pack("<QQIB3x", place, found.st_ino, len(raw_name), _type_of(found.st_mode)) + raw_name
        if len(out) >= room:
            break
    inside.write(at, bytes(out[:room]))
    inside.number(used, min(len(out), room))


def _path_open(
    inside: _Inside,
    folder: int,
    links: int,
    at: int,
    size: int,
    how: int,
    rights: int,
    inherited: int,
    flags: int,
    out: int,
) -> None:
    wanted = {_CREATE: os.O_CREAT, _EXCLUSIVE: os.O_EXCL, _TRUNCATE: os.O_TRUNC}
    write = bool(rights & _FD_WRITE)
    opened = inside.world.open(
        inside.path(folder, at, size),
        read=bool(rights & _FD_READ) or not write,
        write=write and not how & _FOLDER,
        flags=sum(flag for bit, flag in wanted.items() if how & bit),
        folder=bool(how & _FOLDER),
        append=bool(flags & _APPEND),
    )
    inside.number(out, inside.state.put(opened))


def _path_stat(inside: _Inside, folder: int, links: int, at: int, size: int, out: int) -> None:
    inside.write(out, _packed(inside.world.stat(inside.path(folder, at, size))))


def _path_rename(inside: _Inside, folder: int, at: int, size: int, target: int, to: int, to_size: int) -> None:
    inside.world.rename(inside.path(folder, at, size), inside.path(target, to, to_size))


def _make_folder(inside: _Inside, folder: int, at: int, size: int) -> None:
    inside.world.make_folder(inside.path(folder, at, size))


def _remove_folder(inside: _Inside, folder: int, at: int, size: int) -> None:
    inside.world.remove(inside.path(folder, at, size), True)


def _remove_file(inside: _Inside, folder: int, at: int, size: int) -> None:
    inside.world.remove(inside.path(folder, at, size), False)


def _poll(inside: _Inside, subscriptions: int, events: int, count: int, found: int) -> None:
    if not 0 < count <= _MOST_PIECES:
        raise _Code(_INVAL)
    now, ready = time.monotonic(), list[tuple[float, int, int]]()
    for place in range(count):
        user, kind, clock, wait, flags = struct.unpack_from("<QB7xI4xQ8xH", inside.read(subscriptions + 48 * place, 48))
        until = now
        if kind == 0:
            base = wall_clock() / 1e9 if clock == 0 else now
            until = now + (wait / 1e9 - base if flags & 1 else wait / 1e9)
        ready.append((until, user, kind))
    first = min(until for until, _, _ in ready)
    if first > now:
        inside.world.nap(inside.control, first)
    done = [(user, kind) for until, user, kind in ready if until <= max(first, now)]
    for place, (user, kind) in enumerate(done):
        inside.write(events + 32 * place, struct.pack("<QHB5xQH6x", user, 0, kind, 0, 0))
    inside.number(found, len(done))


def _no(number: int) -> Callable[..., None]:
    def refuse(inside: _Inside, *_: int) -> None:
        raise _Code(number)

    return refuse


def _fine(inside: _Inside, *_: int) -> None:
    """Nothing has to be done."""


_DO: dict[str, Callable[..., None]] = {
    "args_get": _fine,
    "args_sizes_get": _args_sizes,
    "clock_res_get": _clock_step,
    "clock_time_get": _clock,
    "environ_get": _environ_get,
    "environ_sizes_get": _environ_sizes,
    "fd_advise": _fine,
    "fd_allocate": _no(_NOTSUP),
    "fd_close": _fd_close,
    "fd_datasync": _fine,
    "fd_fdstat_get": _fdstat,
    "fd_fdstat_set_flags": _set_flags,
    "fd_fdstat_set_rights": _fine,
    "fd_filestat_get": _filestat,
    "fd_filestat_set_size": _set_size,
    "fd_filestat_set_times": _no(_NOTSUP),
    "fd_pread": _fd_pread,
    "fd_prestat_dir_name": _prestat_name,
    "fd_prestat_get": _prestat,
    "fd_pwrite": _fd_pwrite,
    "fd_read": _fd_read,
    "fd_readdir": _readdir,
    "fd_renumber": _fd_renumber,
    "fd_seek": _fd_seek,
    "fd_sync": _fine,
    "fd_tell": _fd_tell,
    "fd_write": _fd_write,
    "path_create_directory": _make_folder,
    "path_filestat_get": _path_stat,
    "path_filestat_set_times": _no(_NOTSUP),
    "path_link": _no(_PERM),
    "path_open": _path_open,
    "path_readlink": _no(_INVAL),
    "path_remove_directory": _remove_folder,
    "path_rename": _path_rename,
    "path_symlink": _no(_PERM),
    "path_unlink_file": _remove_file,
    "poll_oneoff": _poll,
    "proc_exit": _exit,
    "proc_raise": _no(_NOSYS),
    "random_get": _random,
    "sched_yield": _fine,
    "sock_accept": _no(_ACCES),
    "sock_recv": _no(_ACCES),
    "sock_send": _no(_ACCES),
    "sock_shutdown": _no(_ACCES),
}


def _made(name: str) -> Any:
    act, (params, _) = _DO[name], GIVEN[WASI][name]

    def called(env: Any, pointer: Any, values: Any, count: int) -> int:
        control: Control | None = None
        try:
            number = raw.wasmtime_context_get_data(raw.wasmtime_caller_context(pointer)) or 0
            control = running.controls.get(number)
            if control is None:
                raise Refused("it called WASI while nobody called it")
            given = [values[place].i64 if kind == "i64" else values[place].i32 for place, kind in enumerate(params)]
            state = _states[number]
            state.world.spend(control)
            values[0].i64 = _number(act, _Inside(pointer, state, control), given)
            return 0
        except BaseException as error:
            if control is not None and control.failure is None:
                control.failure = str(error) if isinstance(error, Refused) else f"its host failed: {error!r}"
            return trap("host")

    return Unchecked(called)


def _number(act: Callable[..., None], inside: _Inside, given: list[int]) -> int:
    try:
        act(inside, *given)
    except _Code as code:
        return code.number
    except OSError as error:
        return _CODES.get(error.errno or 0, _IO)
    return 0


_functions: dict[str, Any] = {}  # kept alive here: wasmtime keeps only their addresses


def define_all(linker: wasmtime.Linker) -> None:
    """Give all of WASI to what is linked."""
    import wasmtime

    kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
    for name, (params, results) in GIVEN[WASI].items():
        function = _functions.setdefault(name, _made(name))
        type = wasmtime.FuncType([kinds[each]() for each in params], [kinds[each]() for each in results])
        define(linker, name, type, function, module_name=WASI)
