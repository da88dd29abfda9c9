"""Without namespaces, under the filter: the broker connects, and changes modes and times, in the plugin's stead."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.confine import kernel
from broker.confine.egress.stand_in import StandIn
from tests.confine.egress.test_clients import ATTEMPTS, NODE_PROGRAMS, PYTHON, certificate, trusting
from tests.confine.egress.world import BOUND, Host, inside, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a filter that asks is Linux's")

NODE = shutil.which("node")
PROXY = {"http_proxy": "http://127.0.0.1:3128"}


@pytest.fixture(params=["borrows sockets", "replaces them"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pidfd_getfd, and where a container's profile forbids it."""
    real = kernel.call

    def forbidding(name: str, *arguments: int | bytes | str | None) -> int:
        if name == "pidfd_getfd":
            raise PermissionError(1, "pidfd_getfd")
        return real(name, *arguments)

    if request.param == "replaces them":
        monkeypatch.setattr(kernel, "call", forbidding)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), "a.test", "b.test")


@pytest.fixture
def host() -> Iterator[Host]:
    with serving() as host:
        yield host


def listing(host: Host) -> list[str]:
    return [f"a.test:{host.port}!private"]


def python(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


@pytest.mark.parametrize("client", ["urllib", "requests", "httpx, async", "a socket", "urllib with a proxy"])
async def test_python_reaches_a_listed_host_and_no_other(client: str, host: Host) -> None:
    program, _, proxy = client.partition(" with a ")
    for name in ("a.test", "b.test"):
        async with inside(listing(host), a_test="127.0.0.1", b_test="127.0.0.1") as plugin:
            asking = python(PYTHON[program], f"http://{name}:{host.port}/x")
            said = await plugin.run_filtered(asking, env=PROXY if proxy else {})
            assert said.endswith("here") == (name == "a.test"), said
            assert {denied.host for denied in plugin.told} == (set() if name == "a.test" else {"b.test"})
    assert host.connections == 1


async def test_tls_ends_where_it_was_meant_to(pem: Path) -> None:
    with serving(pem) as host:
        async with inside(listing(host), a_test="127.0.0.1") as plugin:
            program = python(PYTHON["httpx, async"], f"https://a.test:{host.port}/")
            assert (await plugin.run_filtered(program, env=trusting(pem))).endswith("here")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("program", NODE_PROGRAMS.values(), ids=NODE_PROGRAMS)
async def test_node_reaches_a_listed_host_and_no_other(program: str, host: Host) -> None:
    assert NODE is not None
    for name in ("a.test", "b.test"):
        async with inside(listing(host), a_test="127.0.0.1", b_test="127.0.0.1") as plugin:
            said = await plugin.run_filtered([NODE, "-e", program, f"http://{name}:{host.port}/x"])
            assert said.endswith("here") == (name == "a.test"), said
    assert host.connections == 1


async def test_nothing_else_leads_out(host: Host) -> None:
    async with inside(listing(host), a_test="127.0.0.1") as plugin:
        said = json.loads(await plugin.run_filtered(python(ATTEMPTS, host.port, "127.0.0.2", "egress-test")))
        assert host.connections == 0 and plugin.looked_up == []
    assert said.pop("multipath") == "EPROTONOSUPPORT" and said.pop("name") == "gaierror"
    assert set(said.values()) <= {"EACCES", "EPERM"}, said


async def test_an_address_that_is_written_down_is_reached_without_settings(host: Host) -> None:
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:
        assert (await plugin.run_filtered(python(PYTHON["a socket"], f"http://127.0.0.1:{host.port}/"))).endswith(
            "here"
        )
    assert host.connections == 1


async def test_a_socket_of_ipv6_is_led_the_same_way(host: Host) -> None:
    program = """
import socket, sys
with socket.socket(socket.AF_INET6) as sock:
    sock.connect(("::ffff:127.0.0.1", int(sys.argv[1])))
    sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(b"".join(iter(lambda: sock.recv(999), b"")).decode())
"""
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:
        assert (await plugin.run_filtered(python(program, host.port))).endswith("here")


async def test_memory_that_changes_while_it_is_asked_changes_nothing(host: Host) -> None:
    """One thread connects to what is allowed, again and again, while another turns the address into the forbidden."""
    program = """
import ctypes, socket, struct, sys, threading
allowed, forbidden = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
address = struct.pack("=H", 2) + struct.pack("!H", allowed) + bytes([127, 0, 0, 1]) + bytes(8)
memory = ctypes.create_string_buffer(address, 16)
port = (ctypes.c_char * 2).from_buffer(memory, 2)
over = False
def turn():
    while not over:
        port[:] = struct.pack("!H", forbidden)
        port[:] = struct.pack("!H", allowed)
turning = threading.Thread(target=turn)
turning.start()
done = [0, 0]
for _ in range(300):
    with socket.socket() as sock:
        done[libc.connect(sock.fileno(), memory, 16) == 0] += 1
over = True
turning.join()
print(*done)
"""
    with serving() as forbidden:
        async with inside([f"127.0.0.1:{host.port}"]) as plugin:
            said = await plugin.run_filtered(python(program, host.port, forbidden.port))
    refused, connected = map(int, said.split())
    assert refused + connected == 300 and connected > 0
    assert forbidden.connections == 0


async def test_nobody_else_can_use_the_way_in(host: Host) -> None:
    heard: list[bytes] = []
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:

        async def intrude(way_in: StandIn) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", way_in._connects._port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            heard.append(await _said(reader))
            writer.close()

        await plugin.run_filtered(python("import time; time.sleep(0.1)"), meanwhile=intrude)
    assert heard == [b""] and host.connections == 0


async def _said(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), BOUND)
    except ConnectionError:
        return b""


async def test_a_non_blocking_socket_stays_one(host: Host) -> None:
    program = (
        "import socket, select, sys\ns = socket.socket(); s.setblocking(False)\n"
        "print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))) in (0, 115), s.getblocking())\n"
        "print(select.select([], [s], [], 5)[1] == [s], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))\n"
        "import fcntl, os; print(bool(fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK), fcntl.fcntl(s, fcntl.F_GETFD))\n"
    )
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:
        said = await plugin.run_filtered(python(program, host.port))
    assert said.split() == ["True", "False", "True", "0", "True", "1"]


async def test_what_is_no_socket_address_is_an_error_and_no_more(host: Host) -> None:
    program = """
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def connect(fd, address, length):
    return errno.errorcode[ctypes.get_errno()] if libc.connect(fd, address, length) else "connected"
sock = socket.socket()
good = struct.pack("=H", 2) + b"\\0\\x50" + bytes([127, 0, 0, 1]) + bytes(8)
print(connect(sock.fileno(), ctypes.c_void_p(0), 16), connect(sock.fileno(), ctypes.c_void_p(8), 16))
print(connect(sock.fileno(), good, 4096), connect(sock.fileno(), good, 3))
print(connect(sock.fileno(), b"\\x63\\0" + good, 16))
print(connect(9999, good, 16), connect(os.open("/dev/null", 0), good, 16))
"""
    async with inside(["127.0.0.1:80"]) as plugin:
        said = await plugin.run_filtered(python(program))
    words = said.split()
    assert len(words) == 7 and "connected" not in words and words[2:5] == ["EINVAL", "EINVAL", "EAFNOSUPPORT"], said


async def test_a_listed_unix_socket_is_reached_and_no_other(tmp_path: Path) -> None:
    paths = [tmp_path / "listed", tmp_path / "other"]
    program = (
        "import socket, sys\nfor path in [*sys.argv[1:], '\\0abstract']:\n    s = socket.socket(socket.AF_UNIX)\n"
        "    s.settimeout(5)\n    try:\n        s.connect(path); print(s.recv(9).decode())\n"
        "    except OSError as error:\n        print(error.strerror)\n"
    )

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    servers = [await asyncio.start_unix_server(greet, path) for path in paths]
    async with inside([]) as plugin:
        said = await plugin.run_filtered(python(program, *paths), unix=str(paths[0]))
    for server in servers:
        server.close()
    assert said.splitlines() == ["hello", "Permission denied", "Permission denied"]
    assert plugin.told[0].permission == f"net:unix:{paths[1]}"


async def test_modes_and_times_are_changed_where_it_may_write_and_nowhere_else(tmp_path: Path) -> None:
    granted, secret = tmp_path / "granted", tmp_path / "granted-not" / "secret"
    granted.mkdir()
    secret.parent.mkdir()
    for file in (granted / "mine", secret):
        file.write_text("x")
        file.chmod(0o600)
    (granted / "link").symlink_to(secret)
    (granted / "out").symlink_to(secret.parent)
    program = """
import errno, os, sys
os.chdir(sys.argv[1])
here = os.open(".", os.O_RDONLY)
def attempt(do, *arguments, **named):
    try:
        do(*arguments, **named)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
print(attempt(os.chmod, "mine", 0o6755), attempt(os.utime, "mine", ns=(1_000_000_007, 2_000_000_009)))
print(attempt(os.chmod, "mine", 0o750, dir_fd=here), attempt(os.utime, "mine"), attempt(os.utime, "mine", (5, 7)))
for path in ("link", "../granted-not/secret", "out/secret", sys.argv[2], "../granted/../granted-not/secret", "nothing"):
    print(attempt(os.chmod, path, 0o777), attempt(os.utime, path, (1, 1)))
"""
    async with inside([]) as plugin:
        said = await plugin.run_filtered(python(program, granted, secret), write=[str(granted)])
    lines = [line.split() for line in said.splitlines()]
    assert lines[:2] == [["done", "done"], ["done", "done", "done"]], said
    assert lines[2:] == [["ELOOP"] * 2, ["EPERM"] * 2, ["ELOOP"] * 2, ["EPERM"] * 2, ["EPERM"] * 2, ["ENOENT"] * 2]
    assert stat.S_IMODE((granted / "mine").stat().st_mode) == 0o750 and (granted / "mine").stat().st_mtime == 7
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and secret.stat().st_mtime > 1_000_000
    assert {denied.permission for denied in plugin.told} == {f"write:{secret}"}


async def test_set_id_bits_are_never_set(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("x")
    async with inside([]) as plugin:
        program = python("import os, sys; os.chmod(sys.argv[1], 0o6777)", tmp_path / "program")
        assert await plugin.run_filtered(program, write=[str(tmp_path)]) == ""
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) == 0o777


async def test_when_the_broker_is_gone_the_calls_fail() -> None:
    program = "import socket; input(); print(socket.socket().connect_ex(('127.0.0.1', 80)))"

    async def leave(stand_in: StandIn) -> None:
        stand_in.close()

    async with inside(["127.0.0.1:80"]) as plugin:
        said = await plugin.run_filtered(python(program), meanwhile=leave)
    assert said == str(38)  # ENOSYS


async def test_a_plugin_that_ends_in_the_middle_of_a_call_upsets_nothing(host: Host) -> None:
    program = (
        "import os, signal, socket, sys, threading\n"
        "def go():\n    while True:\n        socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
        "for _ in range(8): threading.Thread(target=go, daemon=True).start()\n"
        "threading.Event().wait(0.3); os.kill(os.getpid(), signal.SIGKILL)"
    )
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:
        await plugin.run_filtered(python(program, host.port))
        assert plugin.egress.statistics.connected > 0
    async with inside([f"127.0.0.1:{host.port}"]) as plugin:
        assert "here" in await plugin.run_filtered(python(PYTHON["a socket"], f"http://127.0.0.1:{host.port}/"))
