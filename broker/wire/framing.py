"""Where one message ends and the next begins: lines (MCP) or Content-Length headers (LSP).

Rule 1: only new bytes are scanned, so a frame that arrives in a thousand pieces costs no more than in one.
Rule 2: a message that is too long costs only itself: its head and tail are kept, to find the id an answer is owed to,
the rest is thrown away. A length-framed stream cannot be resynced: there a bad header is the end.
"""

from __future__ import annotations

from broker.errors import WireError

MAX_BODY = 16 << 20  # bytes of one incoming frame; the official TypeScript SDK gives up at 10 MiB
MAX_HEADER = 4 << 10  # bytes of one header block; the LSP headers in use need under 100
LONGEST = 12  # digits of a length
HEAD = 4 << 10  # bytes kept of a line that was too long, from its beginning and again from its end


Payload = bytes | memoryview
Frame = tuple[Payload, ...]  # buffers to be written one after the other
LARGE = 32 << 10  # bytes from which a system call more is cheaper than a copy


class TooLong(bytes):
    """Head and tail of a line or body that passed the limit; what was between them is gone."""


class Lines:
    """Frames end at a newline. Blank lines are nothing."""

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None  # set while the rest of a too long line is thrown away
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames completed by `data`, without newline; a `TooLong` for one that passed the limit."""
        if not self._parts and self._head is None and data.endswith(b"\n"):
            lines = data.split(b"\n")
            lines.pop()
        else:
            lines = self._join(data)
        if len(data) > self._limit:
            return [self._checked(line) for line in lines if line]
        return lines

    def _join(self, data: bytes) -> list[bytes]:
        first, newline, rest = data.partition(b"\n")
        if not newline:
            self._keep(data)
            return []
        lines = [self._finish(first)]
        if rest:
            more = rest.split(b"\n")
            self._keep(more.pop())
            lines += more
        return lines

    def _keep(self, piece: bytes) -> None:
        if self._head is not None:
            self._tail = (self._tail + piece)[-HEAD:]
            return
        self._parts.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            whole = b"".join(self._parts)
            self._head, self._tail = whole[:HEAD], whole[HEAD:][-HEAD:]
            self._parts.clear()
            self._size = 0

    def _finish(self, last: bytes) -> bytes:
        self._keep(last)
        if self._head is not None:
            line: bytes = TooLong(self._head + self._tail)
        else:
            line = b"".join(self._parts)
        self._parts.clear()
        self._size, self._head = 0, None
        return line

    def _checked(self, line: bytes) -> bytes:
        return TooLong(line[:HEAD] + line[HEAD:][-HEAD:]) if len(line) > self._limit else line

    @staticmethod
    def wrap(head: bytes, payload: Payload, tail: bytes) -> Frame:
        """One frame of the three. A large payload is not copied for it."""
        if len(payload) < LARGE:
            return (b"%b%b%b\n" % (head, payload, tail),)
        return head, payload, tail + b"\n"


class Headers:
    """Frames are announced by a `Content-Length` header block, names in any case."""

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0  # no end of the header block before here
        self._body: int | None = None  # length of the body being awaited
        self._kept = b""  # of one that is too long
        self._gone = 0  # bytes of it that came

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies completed by `data`. Raises `WireError` at a header that cannot be used: hang up then."""
        self._buffer += data
        bodies: list[bytes] = []
        while (body := self._next()) is not None:
            bodies.append(body)
        return bodies

    def _next(self) -> bytes | None:
        if self._body is None and not self._read_header():
            return None
        assert self._body is not None
        if self._body > self._limit:
            return self._discard(self._body)
        if len(self._buffer) < self._body:
            return None
        body = bytes(self._buffer[: self._body])
        del self._buffer[: self._body]
        self._body, self._scanned = None, 0
        return body

    def _discard(self, size: int) -> bytes | None:
        """What is kept of a body that is too long, when its end came."""
        piece = bytes(self._buffer[: size - self._gone])
        del self._buffer[: len(piece)]
        self._gone += len(piece)
        whole = self._kept + piece
        self._kept = whole[:HEAD] + whole[HEAD:][-HEAD:]
        if self._gone < size:
            return None
        body = TooLong(self._kept)
        self._body, self._scanned, self._gone, self._kept = None, 0, 0, b""
        return body

    def _read_header(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > MAX_HEADER:
                raise WireError(f"a header block grew past {MAX_HEADER} bytes")
            return False
        self._body = self._length(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        return True

    def _length(self, head: bytes) -> int:
        found = {
            value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
            if name.strip().lower() == b"content-length"
        }
        if len(found) != 1 or not (text := found.pop()).isdigit():
            raise WireError("no usable Content-Length")
        if len(text) > LONGEST:
            raise WireError(f"no editor writes a body of {text[:40].decode()} bytes")
        return int(text)

    @staticmethod
    def wrap(head: bytes, payload: Payload, tail: bytes) -> Frame:
        """One frame of the three. A large payload is not copied for it."""
        size = len(head) + len(payload) + len(tail)
        return b"Content-Length: %d\r\n\r\n%b" % (size, head), payload, tail
