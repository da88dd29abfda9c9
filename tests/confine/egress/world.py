"""Hosts on the loopback, names for them, and processes that reach them only through the egress."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from broker.confine.egress.denied import Denied
from broker.confine.egress.doors import addresses, doors
from broker.confine.egress.egress import Egress
from broker.confine.egress.stand_in import ENVIRONMENT, StandIn

NAMESPACE = Path(__file__).with_name("namespace.py")
BOUND = 30.0  # seconds for anything here


class Handler(BaseHTTPRequestHandler):
    """Says which host it is and under which name it was asked; keeps what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Host)
        self.server.asked.append(f"{self.headers['Host']} {self.path}")
        body = b"here"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


class Host(ThreadingHTTPServer):
    """One host; `asked` are the requests it got."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificate: Path | None = None, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Handler)
        self.asked: list[str] = []
        self.connections = 0
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return self.server_port

    def verify_request(self, request: object, client_address: object) -> bool:
        self.connections += 1
        return True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news."""


@contextmanager
def serving(certificate: Path | None = None, address: str = "127.0.0.1") -> Generator[Host]:
    host = Host(certificate, address)
    thread = threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield host
    host.shutdown()
    host.server_close()
    thread.join(BOUND)


def certificate(folder: Path, *names: str) -> Path:
    """A key and a certificate for `names` that vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Inside:
    """A plugin with an egress of its own."""

    def __init__(self, allowed: Sequence[str], names: dict[str, list[str]]) -> None:
        self.allowed = list(allowed)
        self.names = names
        self.looked_up: list[str] = []
        self.told: list[Denied] = []
        self.while_looking_up: Callable[[str], object] = str  # what happens in a lookup's thread
        self.egress = Egress("todos", allowed, self.told.append, lookup=self._lookup)

    def _lookup(self, name: str) -> list[str]:
        self.looked_up.append(name)
        self.while_looking_up(name)
        if name not in self.names:
            raise OSError("no such name")
        return self.names[name]

    async def door(self, name: str = "tcp:127.0.0.1:3128") -> int:
        """The port of a door that is open here, without a namespace."""
        sock = socket.create_server(("127.0.0.1", 0))
        await self.egress.start({name: sock})
        return sock.getsockname()[1]

    async def asks(self, *sent: bytes) -> bytes:
        """All that the proxy says to somebody who says this, and then no more."""
        return await asyncio.to_thread(exchange, await self.door(), b"".join(sent))

    async def python(self, program: str, *arguments: str, **env: str) -> str:
        return await self.run([sys.executable, "-c", program, *arguments], **env)

    async def run(self, argv: Sequence[str], **env: str) -> str:
        """What a program prints that runs in a network of its own."""
        ours, theirs = socket.socketpair()
        made, own = ",".join(doors(self.allowed)), ",".join(addresses(self.allowed))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(NAMESPACE), str(theirs.fileno()), made, own, *argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            env={"PATH": os.environ["PATH"], **env},
        )
        theirs.close()
        with ours:
            found = await asyncio.wait_for(asyncio.to_thread(received, ours), BOUND)
        await self.egress.start({door: socket.socket(fileno=fd) for door, fd in found.items()})
        out, _ = await asyncio.wait_for(process.communicate(), BOUND)
        return out.decode().strip()

    async def run_filtered(
        self,
        argv: Sequence[str],
        *,
        write: Sequence[str] = (),
        unix: str = "",
        meanwhile: Callable[[StandIn], Awaitable[None]] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What a program prints whose calls the broker makes; with `unix`, a socket it may connect to.

        Its stdin is a line, once `meanwhile` is done.
        """
        ours, theirs = socket.socketpair()
        kind = "unix" if unix else "-"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.confine.egress.filtered", str(theirs.fileno()), kind, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[3],
            env={"PATH": os.environ["PATH"], **ENVIRONMENT, **(env or {})},
        )
        theirs.close()
        with ours:
            asks = (await asyncio.wait_for(asyncio.to_thread(received, ours), BOUND))["asks"]
        stand_in = StandIn(asks, self.egress, proxy_port=3128, write=write, sockets=[unix] if unix else [])
        try:
            if meanwhile is not None:
                await meanwhile(stand_in)
            out, _ = await asyncio.wait_for(process.communicate(b"go on\n"), BOUND)
        finally:
            stand_in.close()
        return out.decode().strip()


def exchange(port: int, sent: bytes) -> bytes:
    """All that somebody says who is told this, and then no more."""
    with socket.create_connection(("127.0.0.1", port), BOUND) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def received(wire: socket.socket) -> dict[str, int]:
    """Descriptors by their names."""
    names, fds, _, _ = socket.recv_fds(wire, 1 << 16, 128)
    return dict(zip(names.decode().split(","), fds, strict=True))


@asynccontextmanager
async def inside(allowed: Sequence[str], **names: str | list[str]) -> AsyncGenerator[Inside]:
    """A plugin that may reach `allowed`; names are spelled `a_test` for `a.test`."""
    known = {name.replace("_", "."): [found] if isinstance(found, str) else found for name, found in names.items()}
    plugin = Inside(allowed, known)
    yield plugin
    await asyncio.wait_for(plugin.egress.close(), BOUND)


@lru_cache(maxsize=1)
def no_namespaces() -> str:
    """Why this machine lets nobody have namespaces; empty if it does."""
    found = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(NAMESPACE.parent)!r}); import namespace; namespace.enter()",
        ],
        capture_output=True,
        timeout=BOUND,
    )
    return found.stderr.decode().strip().rpartition("\n")[2]
