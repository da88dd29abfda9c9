"""WASI 0.2 for components, on the virtual world of `wasm_world`: what each of its functions does.

A function gets the instance that calls it and its arguments as Python values, and gives the value of its result; for a
`result` that is what stands behind `ok`, and an `OSError` is what stands behind `err`.

Rule 1: what is not in `INTERFACES` is denied in its own words (`access-denied` and the like), where its type has such.
        Sockets and HTTP are among these: the way to the network is the host's `http.fetch`.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from broker.runtimes.wasm_engine import Refused
from broker.runtimes.wasm_values import Shape
from broker.runtimes.wasm_world import PIECE, Opened, wall_clock

if TYPE_CHECKING:
    from broker.runtimes.wasm_component import Inside

_ROOM = 64 << 10  # bytes a stream takes at once
_DENIED = ("access-denied", "access", "not-permitted", "HTTP-request-denied", "not-supported", "unsupported", "unknown")
_CODES = {
    errno.EACCES: "access",
    errno.EAGAIN: "would-block",
    errno.EBADF: "bad-descriptor",
    errno.EBUSY: "busy",
    errno.EEXIST: "exist",
    errno.EFBIG: "file-too-large",
    errno.EINVAL: "invalid",
    errno.EISDIR: "is-directory",
    errno.ELOOP: "loop",
    errno.EMFILE: "insufficient-memory",
    errno.ENAMETOOLONG: "name-too-long",
    errno.ENODEV: "no-device",
    errno.ENOENT: "no-entry",
    errno.ENOSPC: "insufficient-space",
    errno.ENOTDIR: "not-directory",
    errno.ENOTEMPTY: "not-empty",
    errno.ENOTSUP: "unsupported",
    errno.ENXIO: "no-such-device",
    errno.EOVERFLOW: "overflow",
    errno.EPERM: "not-permitted",
    errno.EROFS: "read-only",
    errno.EXDEV: "cross-device",
}


class _Closed(OSError):
    """The end of a stream."""


class _Out(Struct):
    """Where output goes: a file, or the log."""

    file: Opened | None = None
    errors: bool = False
    offset: int = 0


class _In(Struct):
    """Where input comes from; without a file there is none."""

    file: Opened | None = None
    offset: int = 0


class _Moment(Struct):
    """When something is ready, by the monotonic clock in seconds."""

    at: float = 0.0


def dropped(inside: Inside, what: Any) -> None:
    """A guest needs a resource no more."""
    if isinstance(what, Opened):
        inside.world.shut(what)


def denied(inside: Inside, name: str, shape: Shape | None) -> Any:
    """What is said where nothing is given. Raises `Refused` where there is no word for that."""
    if name.partition("#")[2].startswith("[constructor]"):
        return inside.new(name.partition("[constructor]")[2], None)
    if shape is not None and shape.kind == "option":
        return None
    if shape is not None and shape.kind == "result":
        return "err", _word_for(shape.parts[1])
    raise Refused(f"it called {name[:100]}, which broker does not give")


def _word_for(shape: Shape | None) -> Any:
    if shape is None:
        return None
    for word in _DENIED:
        if word in shape.names:
            return word if shape.kind == "enum" else (word, None)
    raise Refused("it asked for what broker does not give")


def failure(inside: Inside, shape: Shape, error: OSError) -> Any:
    """What stands behind `err`."""
    part = shape.parts[1]
    if part is None:
        return None
    if "last-operation-failed" in part.names:
        return ("closed", None) if isinstance(error, _Closed) else ("last-operation-failed", inside.new("error", error))
    code = _CODES.get(error.errno or 0, "io")
    return code if part.kind == "enum" else (code, None)


def _held(inside: Inside, number: int, kind: type[Any]) -> Any:
    found = inside.held.get(number)
    if not isinstance(found, kind):
        raise Refused("it used a resource for something that it is not")
    return found


# clocks and chance


def _wall(seconds: float) -> dict[str, int]:
    return {"seconds": max(int(seconds), 0), "nanoseconds": int(seconds % 1 * 1e9)}


def _after(inside: Inside, nanoseconds: int) -> tuple[str, int]:
    return inside.new("pollable", _Moment(time.monotonic() + nanoseconds / 1e9))


def _at(inside: Inside, nanoseconds: int) -> tuple[str, int]:
    return inside.new("pollable", _Moment(nanoseconds / 1e9))


def _ready(inside: Inside, *_: object) -> tuple[str, int]:
    return inside.new("pollable", _Moment())


def _block(inside: Inside, number: int) -> None:
    moment = cast(_Moment, _held(inside, number, _Moment))
    if moment.at > time.monotonic():
        inside.world.nap(inside.control, moment.at)


def _poll(inside: Inside, numbers: Sequence[int]) -> list[int]:
    moments = [cast(_Moment, _held(inside, number, _Moment)).at for number in numbers]
    if not moments:
        raise Refused("it waits for nothing")
    if min(moments) > time.monotonic():
        inside.world.nap(inside.control, min(moments))
    now = time.monotonic()
    return [place for place, at in enumerate(moments) if at <= now]


def _random(inside: Inside, size: int) -> bytes:
    return os.urandom(min(size, PIECE))


def _random_number(inside: Inside) -> int:
    return int.from_bytes(os.urandom(8), "little")


# streams


def _write(inside: Inside, number: int, data: bytes) -> None:
    out = cast(_Out, _held(inside, number, _Out))
    if out.file is None:
        inside.world.output(inside.control, out.errors, data)
        return
    while data:
        done = inside.world.write(out.file, data, out.offset)
        out.offset += done
        data = data[done:]


def _zeroes(inside: Inside, number: int, size: int) -> None:
    _write(inside, number, bytes(min(size, PIECE)))


def _read(inside: Inside, number: int, size: int) -> bytes:
    source = cast(_In, _held(inside, number, _In))
    if source.file is None:
        raise _Closed
    data = inside.world.read(source.file, min(size, PIECE), source.offset)
    if not data and size:
        raise _Closed
    source.offset += len(data)
    return data


def _skip(inside: Inside, number: int, size: int) -> int:
    return len(_read(inside, number, size))


def _copied(inside: Inside, number: int, source: int, size: int) -> int:
    data = _read(inside, source, min(size, _ROOM))
    _write(inside, number, data)
    return len(data)


# files


def _opened(inside: Inside, number: int) -> Opened:
    return cast(Opened, _held(inside, number, Opened))


def _folders(inside: Inside) -> list[tuple[tuple[str, int], str]]:
    return [(inside.new("descriptor", Opened(each, None)), each) for each in inside.world.granted.folders]


_FLAGS = {"create": os.O_CREAT, "exclusive": os.O_EXCL, "truncate": os.O_TRUNC}


def _open(
    inside: Inside, number: int, links: Sequence[str], path: str, how: Sequence[str], flags: Sequence[str]
) -> tuple[str, int]:
    world = inside.world
    opened = world.open(
        world.path(_opened(inside, number), path),
        read="read" in flags,
        write="write" in flags,
        flags=sum(_FLAGS.get(each, 0) for each in how),
        folder="directory" in how,
    )
    return inside.new("descriptor", opened)


def _type_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "regular-file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symbolic-link" if stat.S_ISLNK(mode) else "unknown"


def _facts(found: os.stat_result) -> dict[str, Any]:
    times = {"access": found.st_atime, "modification": found.st_mtime}
    return {
        "type": _type_of(found.st_mode),
        "link-count": found.st_nlink,
        "size": found.st_size,
        **{f"data-{name}-timestamp": _wall(at) for name, at in times.items()},
        "status-change-timestamp": _wall(found.st_ctime),
    }


def _stat(inside: Inside, number: int) -> dict[str, Any]:
    return _facts(inside.world.facts(_opened(inside, number)))


def _stat_at(inside: Inside, number: int, links: Sequence[str], path: str) -> dict[str, Any]:
    return _facts(inside.world.stat(inside.world.path(_opened(inside, number), path)))


def _hash(found: os.stat_result) -> dict[str, int]:
    return {"lower": found.st_ino, "upper": found.st_dev}


def _hash_of(inside: Inside, number: int) -> dict[str, int]:
    return _hash(inside.world.facts(_opened(inside, number)))


def _hash_at(inside: Inside, number: int, links: Sequence[str], path: str) -> dict[str, int]:
    return _hash(inside.world.stat(inside.world.path(_opened(inside, number), path)))


def _read_at(inside: Inside, number: int, size: int, offset: int) -> list[Any]:
    data = inside.world.read(_opened(inside, number), size, offset)
    return [data, not data]


def _write_at(inside: Inside, number: int, data: bytes, offset: int) -> int:
    return inside.world.write(_opened(inside, number), data, offset)


def _reading(inside: Inside, number: int, offset: int) -> tuple[str, int]:
    opened = _opened(inside, number)
    if opened.fd is None or not opened.read:
        raise OSError(errno.EBADF, "not for reading")
    return inside.new("input-stream", _In(opened, offset))


def _writing(inside: Inside, number: int, offset: int = 0) -> tuple[str, int]:
    opened = _opened(inside, number)
    if opened.fd is None or not opened.write:
        raise OSError(errno.EBADF, "not for writing")
    return inside.new("output-stream", _Out(opened, offset=offset))


def _appending(inside: Inside, number: int) -> tuple[str, int]:
    return _writing(inside, number, int(inside.world.facts(_opened(inside, number)).st_size))


def _flags(inside: Inside, number: int) -> list[str]:
    opened = _opened(inside, number)
    return ["read"] * opened.read + ["write"] * opened.write


def _error_code(inside: Inside, number: int) -> str | None:
    error = inside.held.get(number)
    return _CODES.get(error.errno or 0, "io") if isinstance(error, OSError) else None


def _make_folder(inside: Inside, number: int, path: str) -> None:
    inside.world.make_folder(inside.world.path(_opened(inside, number), path))


def _remove_folder(inside: Inside, number: int, path: str) -> None:
    inside.world.remove(inside.world.path(_opened(inside, number), path), folder=True)


def _remove(inside: Inside, number: int, path: str) -> None:
    inside.world.remove(inside.world.path(_opened(inside, number), path), folder=False)


def _rename(inside: Inside, number: int, old: str, target: int, new: str) -> None:
    world = inside.world
    world.rename(world.path(_opened(inside, number), old), world.path(_opened(inside, target), new))


def _exit(inside: Inside, status: tuple[str, None]) -> None:
    _exit_with(inside, int(status[0] != "ok"))


def _exit_with(inside: Inside, status: int) -> None:
    inside.control.kind = f"exit({status})"
    raise Refused(f"it ended itself with the status {status}")


class _Names(Struct):
    """A folder that is being listed."""

    folder: str
    left: list[str]


def _list(inside: Inside, number: int) -> tuple[str, int]:
    opened = _opened(inside, number)
    return inside.new("directory-entry-stream", _Names(opened.path, inside.world.names(opened.path)[::-1]))


def _next(inside: Inside, number: int) -> dict[str, str] | None:
    names = cast(_Names, _held(inside, number, _Names))
    if not names.left:
        return None
    name = names.left.pop()
    return {"type": _type_of(inside.world.stat(os.path.join(names.folder, name)).st_mode), "name": name}


def _arguments(inside: Inside) -> list[str]:
    return []


def _variables(inside: Inside) -> list[tuple[str, str]]:
    return list(inside.world.granted.env.items())


def _none(inside: Inside, *_: object) -> None:
    """Nothing is there, or nothing has to be done."""


def _stdin(inside: Inside) -> tuple[str, int]:
    return inside.new("input-stream", _In())


def _stdout(inside: Inside) -> tuple[str, int]:
    return inside.new("output-stream", _Out())


def _stderr(inside: Inside) -> tuple[str, int]:
    return inside.new("output-stream", _Out(errors=True))


def _network(inside: Inside) -> tuple[str, int]:
    return inside.new("network", None)


def _now(inside: Inside) -> int:
    return time.monotonic_ns()


def _step(inside: Inside) -> int:
    return 1000


def _wall_now(inside: Inside) -> dict[str, int]:
    return _wall(wall_clock() / 1e9)


def _wall_step(inside: Inside) -> dict[str, int]:
    return {"seconds": 0, "nanoseconds": 1000}


def _seed(inside: Inside) -> list[int]:
    return [_random_number(inside), _random_number(inside)]


def _words_of(inside: Inside, number: int) -> str:
    return str(inside.held.get(number))


def _is_ready(inside: Inside, number: int) -> bool:
    return cast(_Moment, _held(inside, number, _Moment)).at <= time.monotonic()


def _room(inside: Inside, number: int) -> int:
    return _ROOM


def _kind(inside: Inside, number: int) -> str:
    return _type_of(inside.world.facts(_opened(inside, number)).st_mode)


def _set_size(inside: Inside, number: int, size: int) -> None:
    inside.world.resize(_opened(inside, number), size)


def _is_same(inside: Inside, number: int, other: int) -> bool:
    return _hash_of(inside, number) == _hash_of(inside, other)


INTERFACES: dict[str, dict[str, Callable[..., Any]]] = {
    "wasi:cli/environment": {
        "get-environment": _variables,
        "get-arguments": _arguments,
        "initial-cwd": _none,
    },
    "wasi:cli/exit": {"exit": _exit, "exit-with-code": _exit_with},
    "wasi:cli/stdin": {"get-stdin": _stdin},
    "wasi:cli/stdout": {"get-stdout": _stdout},
    "wasi:cli/stderr": {"get-stderr": _stderr},
    "wasi:clocks/monotonic-clock": {
        "now": _now,
        "resolution": _step,
        "subscribe-duration": _after,
        "subscribe-instant": _at,
    },
    "wasi:clocks/wall-clock": {"now": _wall_now, "resolution": _wall_step},
    "wasi:random/random": {"get-random-bytes": _random, "get-random-u64": _random_number},
    "wasi:random/insecure": {"get-insecure-random-bytes": _random, "get-insecure-random-u64": _random_number},
    "wasi:random/insecure-seed": {"insecure-seed": _seed},
    "wasi:io/error": {"[method]error.to-debug-string": _words_of},
    "wasi:io/poll": {
        "poll": _poll,
        "[method]pollable.block": _block,
        "[method]pollable.ready": _is_ready,
    },
    "wasi:io/streams": {
        "[method]output-stream.check-write": _room,
        "[method]output-stream.write": _write,
        "[method]output-stream.blocking-write-and-flush": _write,
        "[method]output-stream.flush": _none,
        "[method]output-stream.blocking-flush": _none,
        "[method]output-stream.write-zeroes": _zeroes,
        "[method]output-stream.blocking-write-zeroes-and-flush": _zeroes,
        "[method]output-stream.subscribe": _ready,
        "[method]output-stream.splice": _copied,
        "[method]output-stream.blocking-splice": _copied,
        "[method]input-stream.read": _read,
        "[method]input-stream.blocking-read": _read,
        "[method]input-stream.skip": _skip,
        "[method]input-stream.blocking-skip": _skip,
        "[method]input-stream.subscribe": _ready,
    },
    "wasi:filesystem/preopens": {"get-directories": _folders},
    "wasi:filesystem/types": {
        "filesystem-error-code": _error_code,
        "[method]descriptor.open-at": _open,
        "[method]descriptor.stat": _stat,
        "[method]descriptor.stat-at": _stat_at,
        "[method]descriptor.metadata-hash": _hash_of,
        "[method]descriptor.metadata-hash-at": _hash_at,
        "[method]descriptor.get-flags": _flags,
        "[method]descriptor.get-type": _kind,
        "[method]descriptor.read": _read_at,
        "[method]descriptor.write": _write_at,
        "[method]descriptor.read-via-stream": _reading,
        "[method]descriptor.write-via-stream": _writing,
        "[method]descriptor.append-via-stream": _appending,
        "[method]descriptor.set-size": _set_size,
        "[method]descriptor.sync": _none,
        "[method]descriptor.sync-data": _none,
        "[method]descriptor.advise": _none,
        "[method]descriptor.is-same-object": _is_same,
        "[method]descriptor.read-directory": _list,
        "[method]directory-entry-stream.read-directory-entry": _next,
        "[method]descriptor.create-directory-at": _make_folder,
        "[method]descriptor.remove-directory-at": _remove_folder,
        "[method]descriptor.unlink-file-at": _remove,
        "[method]descriptor.rename-at": _rename,
    },
    "wasi:sockets/instance-network": {"instance-network": _network},
}
