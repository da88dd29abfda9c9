"""The filter of system calls: every verdict by a machine of our own, and the worst of them on the kernel."""

from __future__ import annotations

import errno
import struct

import pytest

from broker.confine import seccomp
from broker.confine.seccomp import ALLOW, ASK, KILL, Shape, program
from broker.confine.syscalls import AUDIT, LAST, MACHINE, NUMBERS, TABLE, numbers
from tests.confine.jailed import native, python

if not AUDIT:
    pytest.skip(f"NOT TESTED: no table of system calls for {MACHINE or 'this machine'}", allow_module_level=True)

STRICT = Shape(fork=False, unix=False, net=False, shared=False)
LOOSE = Shape(fork=True, unix=True, net=True, shared=False)
DOCKER = Shape(fork=True, unix=True, net=True, shared=True, notify=True)
SHAPES = {"strict": STRICT, "loose": LOOSE, "without namespaces": DOCKER}


def verdict(shape: Shape, name: str | int, *arguments: int, machine: int = AUDIT) -> int | str:
    """What the filter says to a call: `ALLOW`, `ASK`, `KILL` or the name of an error."""
    number = name if isinstance(name, int) else NUMBERS[name]
    given = struct.pack("<IIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = [struct.unpack_from("<HBBI", program(shape), at) for at in range(0, len(program(shape)), 8)]
    at = held = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x20:
            held = int.from_bytes(given[operand : operand + 4], "little")
        elif code == 0x54:
            held &= operand
        elif code == 0x06:
            return errno.errorcode[operand & 0xFFFF] if operand & 0xFFFF0000 == 0x50000 else operand
        else:
            tests = {0x15: held == operand, 0x35: held >= operand, 0x25: held > operand, 0x45: bool(held & operand)}
            at += yes if tests[code] else no


def test_every_call_that_is_named_has_a_number() -> None:
    named = {*seccomp.REFUSED, *seccomp.ABSENT, *seccomp.SHARED, *seccomp.BY_PATH}
    assert named <= {cell.split()[0] for cell in TABLE.replace("\n", " ").split(",")}


def test_new_calls_have_the_same_number_everywhere() -> None:
    one, other = numbers("x86_64"), numbers("aarch64")
    assert {name for name in one if one[name] >= 424} == {name for name in other if other[name] >= 424}
    assert all(other[name] == number for name, number in one.items() if number >= 424)
    assert numbers("vax") == {}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_another_machine_and_newer_calls_are_refused(shape: Shape) -> None:
    assert verdict(shape, 0, machine=0x40000003) == KILL
    assert verdict(shape, LAST + 1) == "ENOSYS"
    assert verdict(shape, 0x40000000 | NUMBERS["socket"], 2, 1) == "ENOSYS"
    assert verdict(shape, 0) == ALLOW


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_reaches_the_kernel_itself_is_always_refused(shape: Shape) -> None:
    assert {verdict(shape, name) for name in seccomp.REFUSED if name in NUMBERS} == {"EPERM"}
    assert {verdict(shape, name) for name in seccomp.ABSENT} == {"ENOSYS"}
    assert verdict(shape, "clone", 0x10000000 | 17) == verdict(shape, "clone", 0x00020000 | 0x10000) == "EPERM"
    assert verdict(shape, "prctl", 1) == "EPERM" and verdict(shape, "prctl", 15) == ALLOW
    assert verdict(shape, "ioctl", 0, 0x5412) == verdict(shape, "ioctl", 0, 0x541C) == "EPERM"
    assert verdict(shape, "ioctl", 0, 0x5401) == ALLOW
    assert verdict(shape, "personality", 0x0040000) == "EPERM" and verdict(shape, "personality", 0xFFFFFFFF) == ALLOW


def test_threads_are_started_and_processes_only_where_they_may_be() -> None:
    thread, process = 0x3D0F00, 0x01200011
    assert verdict(STRICT, "clone", thread) == verdict(LOOSE, "clone", thread) == ALLOW
    assert verdict(STRICT, "clone", process) == "EPERM" and verdict(LOOSE, "clone", process) == ALLOW
    for name in {"fork", "vfork"} & set(NUMBERS):
        assert verdict(STRICT, name) == "EPERM" and verdict(LOOSE, name) == ALLOW


def test_sockets_are_made_of_the_families_that_are_allowed() -> None:
    for family in (1, 2, 10, 17, 38, 40, 44):  # unix, internet, packet, crypto, vsock, XDP
        assert verdict(STRICT, "socket", family, 1) == "EACCES"
        assert verdict(LOOSE, "socket", family, 1) == (ALLOW if family < 17 else "EACCES")
    assert verdict(STRICT, "socket", 16, 3, 0) == ALLOW and verdict(STRICT, "socket", 16, 3, 12) == "EACCES"
    assert verdict(DOCKER, "socket", 16, 3, 0) == "EACCES"
    assert verdict(STRICT, "socketpair", 1, 1) == ALLOW and verdict(LOOSE, "socketpair", 2, 1) == "EACCES"


def test_sockets_are_streams_and_datagrams_of_plain_protocols() -> None:
    cloexec = 0o2000000
    for family in (2, 10):
        assert verdict(LOOSE, "socket", family, 1 | cloexec, 6) == verdict(LOOSE, "socket", family, 2, 17) == ALLOW
        assert verdict(LOOSE, "socket", family, 3 | cloexec, 1) == "EACCES"
        assert verdict(LOOSE, "socket", family, 1, 262) == verdict(LOOSE, "socket", family, 1, 132) == "EPROTONOSUPPORT"
        assert verdict(DOCKER, "socket", family, 1, 0) == ALLOW and verdict(DOCKER, "socket", family, 2, 0) == "EACCES"
    assert verdict(LOOSE, "socket", 1, 2) == ALLOW and verdict(DOCKER, "socket", 1, 2) == "EACCES"


@pytest.mark.parametrize("shape", [STRICT, LOOSE], ids=["strict", "loose"])
def test_no_file_is_made_or_becomes_set_id(shape: Shape) -> None:
    for name, at in {
        "chmod": 1,
        "fchmod": 1,
        "fchmodat": 2,
        "fchmodat2": 2,
        "mknod": 1,
        "mknodat": 2,
        "creat": 1,
    }.items():
        if name in NUMBERS:
            assert verdict(shape, name, *[0] * at, 0o104755) == verdict(shape, name, *[0] * at, 0o2755) == "EPERM"
            assert verdict(shape, name, *[0] * at, 0o100755) == ALLOW
    assert (
        verdict(shape, "openat", 0, 0, 0o101, 0o4755) == verdict(shape, "openat", 0, 0, 0o20200002, 0o2755) == "EPERM"
    )
    assert verdict(shape, "openat", 0, 0, 0, 0o4755) == verdict(shape, "openat", 0, 0, 0o101, 0o755) == ALLOW


def test_without_namespaces_the_broker_is_asked_and_others_are_out_of_reach() -> None:
    assert {verdict(DOCKER, name) for name in ("connect", "fchmodat", "fchmodat2")} == {ASK}
    assert verdict(DOCKER, "utimensat", 0, 1) == verdict(DOCKER, "utimensat", 0, 1 << 32) == ASK
    assert verdict(DOCKER, "utimensat", 5, 0) == ALLOW  # by a descriptor, which was opened under Landlock
    assert verdict(DOCKER._replace(notify=False), "fchmodat") == "EPERM"
    for name in ("sched_setaffinity", "prlimit64"):
        assert verdict(DOCKER, name, 1) == "EPERM" and verdict(DOCKER, name, 0) == ALLOW
    assert verdict(DOCKER, "setpriority", 0, 1) == "EPERM" and verdict(DOCKER, "setpriority", 0, 0) == ALLOW
    assert verdict(DOCKER, "sendto", 0, 0, 0, 0x20000000) == verdict(DOCKER, "sendmsg", 0, 0, 0x20000000) == "EPERM"
    assert {verdict(DOCKER, name) for name in (*seccomp.SHARED, "fchownat", "setxattr")} == {"EPERM"}


def test_a_filter_is_built_once() -> None:
    assert program(STRICT) is program(Shape(fork=False, unix=False, net=False, shared=False))


@native
async def test_the_kernel_refuses_what_would_lead_out() -> None:
    calls = {
        **dict.fromkeys(("io_uring_setup", "clone3", "openat2"), "ENOSYS"),
        **dict.fromkeys(("unshare", "mount", "setns", "keyctl", "bpf", "perf_event_open", "userfaultfd"), "EPERM"),
        **dict.fromkeys(
            ("chroot", "pivot_root", "reboot", "syslog", "open_by_handle_at", "name_to_handle_at"), "EPERM"
        ),
        **dict.fromkeys(("add_key", "fanotify_init", "quotactl", "swapon", "sethostname", "clock_settime"), "EPERM"),
    }
    given = {name: NUMBERS[name] for name in calls}
    said = await python(
        f"print({{name: tried(sys_call, number, 0x10000000, 0, 0, 0) for name, number in {given}.items()}})"
    )
    assert said == str(calls)


@native
async def test_the_kernel_makes_no_namespace_for_a_process_that_may_fork() -> None:
    said = await python(
        f"print(tried(sys_call, {NUMBERS['clone']}, 0x10000000 | 17, 0, 0, 0, 0))\n"
        f"print(tried(sys_call, {NUMBERS['clone3']}, 0, 88), tried(sys_call, {NUMBERS['unshare']}, 0x10000000))\n"
        "print(open('/proc/self/status').read().count('Seccomp:\\t2'))",
        run=None,
    )
    assert said.split() == ["EPERM", "ENOSYS", "EPERM", "1"]


@native
@pytest.mark.skipif(MACHINE != "x86_64", reason="only x86-64 has a second way into the kernel")
async def test_the_kernel_kills_who_comes_in_by_the_old_way() -> None:
    program = """
import mmap
held = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
held.write(bytes.fromhex("b814000000cd80c3"))  # getpid by int 0x80
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(held)))
pid = os.fork()
if pid == 0:
    call()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), tried(sys_call, 0x40000000 | 39))
"""
    assert await python(program, run=None) == "-31 ENOSYS"
