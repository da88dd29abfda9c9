"""A confined process: what it has, what it cannot do, and how it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.confine import jail
from broker.confine.enforced import NAMESPACES, enforced_on
from broker.confine.plan import Confinement
from broker.confine.syscalls import NUMBERS
from broker.confine.tree import Child, spawn
from broker.errors import NotEnforced
from tests.confine.jailed import BOUND, NODE, PYTHON, confined, native, node, python, run

pytestmark = native

LONG = "import time; print('ready', flush=True); time.sleep(1000)"
MIB = 1 << 20
ALONE = {"alone": (), "with a reaper": None}  # what it may start


def waiting(program: str = LONG) -> list[str]:
    return [PYTHON, "-I", "-S", "-c", f"import os, signal\n{program}"]


async def ready(child: Child) -> None:
    assert await asyncio.wait_for(asyncio.to_thread(os.read, child.stdout, 100), BOUND) == b"ready\n"


# what it has


async def test_it_has_the_environment_it_was_given_and_nothing_else() -> None:
    said = await python("print(open('/proc/self/environ', 'rb').read())", env={"ONLY": "this"})
    assert said == repr(b"PATH=/usr/bin\0ONLY=this\0")


async def test_it_has_three_descriptors_and_no_terminal() -> None:
    said = await python(
        "print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getsid(0) == os.getpid())\nprint(tried(open, '/dev/tty'))"
    )
    assert said == "['0', '1', '2'] True\nENOENT"


async def test_it_is_alone_in_its_namespace_with_a_name_of_no_machine() -> None:
    said = await python(
        "print(os.getpid(), os.uname().nodename, [each for each in os.listdir('/proc') if each.isdigit()])"
    )
    assert said == "1 plugin ['1']"


async def test_its_files_are_for_itself_only(tmp_path: Path) -> None:
    await python(f"open('{tmp_path}/made', 'w').close()", write=(str(tmp_path),))
    made = (tmp_path / "made").stat()
    assert made.st_mode & 0o777 == 0o600 and made.st_uid == os.getuid()


async def test_the_kernel_says_after_the_start_that_it_is_confined() -> None:
    async with confined(waiting()) as child:
        await ready(child)
        assert child.enforced is not None and child.enforced == enforced_on(child.pid)
        assert child.enforced.namespaces == frozenset(NAMESPACES)
        assert child.enforced.no_new_privileges and child.enforced.filtered and child.enforced.capabilities == 0


def test_what_is_missing_is_named() -> None:
    ours = enforced_on(os.getpid())
    assert ours is not None
    missing = ours.lacks(Confinement(name="acme"))
    assert "its system calls are not filtered" in missing and "it shares our net namespace" in missing


async def test_nobody_needs_a_proc_to_start(tmp_path: Path) -> None:
    """Containers with a masked /proc forbid to mount one."""
    assert await python("print(os.path.exists('/proc'))", proc=False) == "False"
    assert await node("console.log(require('fs').existsSync('/proc'))", proc=False) == "false"


async def test_what_may_be_reached_is_sent_out_as_sockets_that_we_accept_on() -> None:
    program = [*waiting("import socket; s = socket.create_connection(('11.127.3.4', 443), 10); s.sendall(b'hello')")]
    async with confined(program, net=("api.acme.dev:443",)) as child:
        doors = child.listeners()
        with ExitStack() as held:
            for door in doors.values():
                held.enter_context(door)
            assert set(doors) == {"udp:127.0.0.1:53", "tcp:127.0.0.1:3128", "tcp:0.0.0.0:443"}
            door = doors["tcp:0.0.0.0:443"]
            door.settimeout(BOUND)
            there, _ = await asyncio.to_thread(door.accept)
            with there:
                assert there.getsockname() == ("11.127.3.4", 443)
                there.settimeout(BOUND)
                assert await asyncio.to_thread(there.recv, 100) == b"hello"


# what it cannot do

REACHING = """
def stream(family, address, protocol=0, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(2)
        made.connect(address)
        made.send(b"x")
def fast():
    with socket.socket() as made:
        made.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", PORT))
V4, V6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
outcomes = [
    tried(stream, V4, ("127.0.0.1", PORT)),
    tried(stream, V6, ("::1", PORT)),
    tried(stream, V4, ("127.0.0.1", PORT), 262),
    tried(fast),
    tried(stream, V4, ("127.0.0.1", PORT), 0, socket.SOCK_DGRAM),
    tried(stream, UNIX, "\\0" + NAME),
    tried(stream, UNIX, PATH),
    tried(stream, UNIX, PATH + ".dgram", 0, socket.SOCK_DGRAM),
    tried(socket.socket, 40, socket.SOCK_STREAM),
    tried(socket.socket, V4, socket.SOCK_RAW, 1),
    tried(socket.socket, 17, socket.SOCK_RAW),
    tried(socket.socket, 16, socket.SOCK_RAW, 12),
]
print(outcomes)
"""


@pytest.mark.parametrize(
    ("net", "done"),
    [((), 0), (("api.acme.dev:443",), 1)],  # a datagram to its own loopback, where nobody is
    ids=["no host granted", "another host granted"],
)
async def test_no_kind_of_socket_reaches_what_listens_here(tmp_path: Path, net: tuple[str, ...], done: int) -> None:
    name = f"jail-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, ExitStack() as held:
        port: int = tcp.getsockname()[1]
        heard: list[socket.socket] = [tcp]
        for family, kind, address in (
            (socket.AF_INET6, socket.SOCK_STREAM, ("::1", port)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{name}"),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(tmp_path / "sock")),
            (socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "sock.dgram")),
        ):
            made = held.enter_context(socket.socket(family, kind))
            made.bind(address)
            if kind == socket.SOCK_STREAM:
                made.listen()
            heard.append(made)
        facts = f"PORT, NAME, PATH = {port}, {name!r}, {str(tmp_path / 'sock')!r}\n"
        said = await python(facts + REACHING, read=(str(tmp_path),), net=net)
        assert said.count("done") == done
        for each in heard:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.accept() if each.type == socket.SOCK_STREAM else each.recv(1)


async def test_a_unix_socket_is_reached_if_it_was_granted(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
        made.listen()
        program = f"made = socket.socket(socket.AF_UNIX); print(tried(made.connect, {path!r}))"
        assert await python(program, sockets=(path,)) == "done"


async def test_what_may_start_nothing_has_threads_and_no_processes() -> None:
    said = await python(
        "print(tried(os.fork), tried(subprocess.run, ['/proc/self/exe', '-c', '']))\n"
        "thread = threading.Thread(target=lambda: print('thread')); thread.start(); thread.join()"
    )
    assert said == "EPERM EPERM\nthread"
    said = await node(
        "const {Worker} = require('worker_threads');"
        "try { require('child_process').execFileSync(process.execPath, ['-v']); console.log('done') }"
        "catch (error) { console.log(error.code) }"
        "new Worker('1', {eval: true}).on('exit', code => console.log('thread', code))"
    )
    assert said == "EPERM\nthread 0"


async def test_what_may_start_one_program_starts_no_other(tmp_path: Path) -> None:
    said = await python(
        "print(subprocess.run(['/usr/bin/env', 'A=1', '/usr/bin/id'], capture_output=True, text=True).stderr.strip())\n"
        "print(tried(subprocess.run, ['/usr/bin/true']))\n"
        "print(subprocess.run(['/usr/bin/env', '-i', 'A=1'], capture_output=True, text=True).stdout.strip())",
        run=("/usr/bin/env",),
    )
    assert said.splitlines()[1:] == ["ENOENT", "A=1"] and "No such file" in said.splitlines()[0]


async def test_a_program_it_may_start_is_named_as_its_user_names_it(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("NOT TESTED: there is no git here")
    said = await python(
        f"os.chdir({str(tmp_path)!r}); open('file', 'w').close()\n"
        "for words in ('init -q', 'config user.name a', 'config user.email a@b', 'add file', 'commit -qm said'):\n"
        "    subprocess.run(['git', *words.split()], check=True)\n"
        "print(subprocess.run(['git', 'log', '--format=%s'], capture_output=True, text=True).stdout)",
        write=(str(tmp_path),),
        run=("git",),
        env={"HOME": "/home/plugin"},
    )
    assert said == "said"


async def test_nothing_is_executed_from_where_it_can_write_nor_by_the_loader(tmp_path: Path) -> None:
    said = await python(
        "import glob, shutil\n"
        "loader = glob.glob('/lib64/ld-linux*') + glob.glob('/lib/ld-linux*')\n"
        f"for folder in ('/tmp', {str(tmp_path)!r}, '/dev/shm', '/home/plugin'):\n"
        "    copy = folder + '/env'\n"
        "    shutil.copyfile('/usr/bin/env', copy); os.chmod(copy, 0o755)\n"
        "    ended = subprocess.run([loader[0], copy], capture_output=True)\n"
        "    print(tried(subprocess.run, [copy]), ended.returncode != 0)\n",
        write=(str(tmp_path),),
        run=("/usr/bin/env",),
    )
    assert said.splitlines() == ["EACCES True"] * 4


async def test_others_are_not_there_for_it() -> None:
    said = await python(
        f"pid = {os.getpid()}\n"
        "print(tried(os.kill, pid, 0), tried(open, f'/proc/{pid}/environ'), tried(os.pidfd_open, pid))\n"
        f"print(tried(sys_call, {NUMBERS['ptrace']}, 16, pid, 0, 0))\n"
        f"print(tried(sys_call, {NUMBERS['pidfd_getfd']}, 0, 0, 0))\n"
        f"print(tried(sys_call, {NUMBERS['process_vm_readv']}, pid, 0, 0, 0, 0, 0))\n"
        f"print(tried(sys_call, {NUMBERS['prlimit64']}, pid, 7, 0, 0), tried(os.setpriority, os.PRIO_PROCESS, pid, 5))"
    )
    assert said.split() == ["ESRCH", "ENOENT", "ESRCH", "EPERM", "EPERM", "EPERM", "ESRCH", "ESRCH"]


async def test_its_reaper_tells_nothing_of_the_broker() -> None:
    said = await python(
        "print(*[tried(open, f'/proc/1/{name}', 'rb') for name in ('environ', 'mem', 'maps')])\n"
        "print(tried(os.listdir, '/proc/1/fd'), tried(os.listdir, '/proc/1/root'))\n"
        "print(tried(os.kill, 1, 9), os.getpid() > 1)",
        run=None,
    )
    assert said.split() == ["EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "done", "True"]  # the kernel spares it


async def test_it_cannot_stay_when_its_parent_dies() -> None:
    assert await python("print(libc.prctl(1, 0, 0, 0, 0), ctypes.get_errno())") == "-1 1"


async def test_no_file_becomes_set_id(tmp_path: Path) -> None:
    said = await python(
        f"os.chdir({str(tmp_path)!r})\n"
        "open('made', 'w').close()\n"
        "print(tried(os.chmod, 'made', 0o4755), tried(os.open, 'other', os.O_CREAT | os.O_WRONLY, 0o6755))\n"
        "print(tried(os.mknod, 'third', 0o104755), tried(os.mknod, 'device', 0o20666, os.makedev(1, 3)))\n"
        "print(tried(os.fchmod, os.open('made', os.O_RDONLY), 0o2755), tried(os.chmod, 'made', 0o755))",
        write=(str(tmp_path),),
    )
    assert said.split() == ["EPERM", "EPERM", "EPERM", "EACCES", "EPERM", "done"]


async def test_the_knobs_of_the_kernel_are_not_there() -> None:
    said = await python(
        "print(tried(open, '/proc/sys/kernel/core_pattern', 'w'))\n"
        "print(os.path.exists('/sys'), len(open('/proc/kallsyms').read()))"
    )
    assert said.split() == ["ENOENT", "False", "0"]


async def test_memory_ends_at_the_limit(tmp_path: Path) -> None:
    said = await python(
        "import mmap\nprint(tried(bytearray, 400 << 20), tried(mmap.mmap, -1, 400 << 20))", memory=256 * MIB
    )
    assert said == "MemoryError ENOMEM"
    assert await python(f"print(tried(sys_call, {NUMBERS['memfd_create']}, b'x', 0))") == "EPERM"


@pytest.mark.parametrize(
    "program",
    [
        "const held = []; for (;;) held.push(Buffer.alloc(8 << 20, 1))",
        "const held = []; for (;;) held.push(new Array(100000).fill(held.length))",
    ],
    ids=["buffers", "heap"],
)
async def test_memory_of_node_ends_at_the_limit(program: str) -> None:
    assert await node("fetch('data:,1').then(r => r.text()).then(console.log)", memory=256 * MIB) == "1"
    assert NODE is not None
    code, out, err = await run([NODE, "-e", program], memory=256 * MIB)
    assert code < 0 and out == "" and "memory" in err.lower()


async def test_processes_end_at_the_limit_also_as_root() -> None:
    said = await python(
        "import time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 200:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(100); os._exit(0)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    print(made)\n"
        "os._exit(0) if sys.stdout.flush() is None else None",
        run=None,
        pids=20,
    )
    assert said == "19"


# how it starts and ends


@pytest.mark.parametrize("may_run", ALONE.values(), ids=ALONE)
async def test_its_exit_is_seen_with_its_code(may_run: tuple[str, ...] | None) -> None:
    assert (await run(waiting("raise SystemExit(143)"), run=may_run)).code == 143


async def test_its_death_by_a_signal_is_seen_as_that() -> None:
    for number in (signal.SIGTERM, signal.SIGABRT, signal.SIGKILL):
        assert (await run(waiting(f"import os; os.kill(os.getpid(), {number})"), run=None)).code == -number


async def test_a_fault_is_seen_as_that_also_of_a_first_process() -> None:
    assert (await run(waiting("import ctypes; ctypes.string_at(0)"))).code == -signal.SIGSEGV


@pytest.mark.parametrize("may_run", ALONE.values(), ids=ALONE)
@pytest.mark.parametrize(
    ("handling", "code"),
    [
        ("", -signal.SIGTERM),
        ("signal.signal(15, lambda *_: os._exit(3))", 3),
        ("signal.signal(15, signal.SIG_IGN)", -signal.SIGKILL),
    ],
    ids=["default", "handled", "ignored"],
)
async def test_the_steps_of_an_end_work_as_for_any_process(
    handling: str, code: int, may_run: tuple[str, ...] | None
) -> None:
    async with confined(waiting(f"{handling}\n{LONG}"), run=may_run) as child:
        await ready(child)
        await asyncio.wait_for(child.end(grace=0.3), BOUND)
        assert child.code == code


async def test_a_program_that_is_not_there_is_told_as_such() -> None:
    with pytest.raises(FileNotFoundError):
        await spawn(["/nonexistent"], env={}, cwd=None, wall=Confinement(name="acme"))
    with pytest.raises(NotEnforced, match="it is to start in /nonexistent, which it cannot see: No such file"):
        async with confined(waiting(), cwd="/nonexistent"):
            pass


BORN = """
import os, socket, sys
from broker.confine import jail, keeper
from broker.confine.plan import Confinement, described
from broker.confine.roots import find

broken, python = sys.argv[1:]

def breaks(_):
    raise OSError(5, "broken on purpose")

steps = jail.STEPS["native"]
jail.STEPS["native"] = tuple((name, breaks if name == broken else step) for name, step in steps)
found = find([python, "-c", ""], environ={})
wall = Confinement(name="acme", roots=found.roots, links=found.links, run=None)
wire, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
held = jail.Jail(described(wall, [python]), wire.fileno())
heard, told = os.pipe()
main = held.bear()
if main == 0:
    argv = [python.encode(), b"-I", b"-S", b"-c", b"print('executed')"]
    keeper.become(held.keeper, None, argv, {}, [0, 1, 2], told, held)
os.close(told)
said = os.read(heard, 1000).decode()
code = held.code(os.waitpid(main, 0)[1]) if not said else os.waitstatus_to_exitcode(os.waitpid(main, 0)[1])
print(f"{said}|{code}")
"""


def born(broken: str) -> str:
    """What a jail says of which one step fails."""
    ended = subprocess.run(
        [sys.executable, "-c", BORN, broken, PYTHON],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("step", [name for name, _ in jail.STEPS["native"]])
def test_a_step_that_fails_is_named_and_nothing_is_executed(step: str) -> None:
    assert born(step) == f"5 {step} broken on purpose|127"


def test_when_no_step_fails_it_is_executed() -> None:
    assert born("none") == "executed\n|0"


def test_where_no_namespaces_are_made_the_start_is_refused() -> None:
    program = (
        "import asyncio\n"
        "from broker.confine.plan import Confinement\n"
        "from broker.confine.tree import spawn\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "try:\n"
        "    asyncio.run(spawn(['/bin/true'], env={}, cwd=None, wall=Confinement(name='acme')))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", program]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND)
    assert ended.stdout == (
        "NotEnforced acme was not started, because it cannot be confined: "
        "the kernel makes no process for it: clone: No space left on device (step fork)\n"
    )


def test_root_of_a_namespace_with_one_user_confines_like_a_plain_user() -> None:
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", BORN, "none", PYTHON]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOUND)
    assert ended.stdout == "executed\n|0\n", ended.stderr


async def test_what_cannot_be_confined_is_refused_with_the_step_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NotEnforced, match=rf"acme was not started.*{tmp_path}/gone does not exist \(step root\)"):
        async with confined(waiting(), read=(f"{tmp_path}/gone",)):
            pass
