"""Attempts at other processes: the broker, another plugin, and whoever else there is."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal

from .world import LIBC, World, call

F_SETSIG, O_ASYNC = 10, 0o20000
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
IPC_CREAT = 0o1000


class _Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


INHERITED = [fd for fd in range(3, 256) if _is_open(fd)]  # before any attempt opens one


def signal_another_plugin(world: World) -> str:
    os.kill(world.sibling, signal.SIGUSR1)
    return "signalled"


def signal_the_broker(world: World) -> str:
    os.kill(world.broker, 0)
    return "could be signalled"


def signal_its_parent(world: World) -> str:
    if os.getppid() <= 1:
        raise ProcessLookupError
    os.kill(os.getppid(), 0)
    return "could be signalled"


def signal_everybody(world: World) -> str:
    os.kill(-1, signal.SIGWINCH)  # ignored by whoever does not wait for it
    return ""  # it is no error that nobody could be signalled: the test sees whether anybody was


def signal_another_plugin_through_a_descriptor(world: World) -> str:
    call("pidfd_send_signal", call("pidfd_open", world.sibling, 0), int(signal.SIGUSR1), None, 0)
    return "signalled"


def have_the_kernel_signal_another_plugin(world: World) -> str:
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, world.sibling)
    fcntl.fcntl(read, F_SETSIG, signal.SIGUSR1)
    fcntl.fcntl(read, fcntl.F_SETFL, O_ASYNC | os.O_NONBLOCK)
    os.write(write, b"x")
    return ""  # the test sees whether it arrived


def trace_another_plugin(world: World) -> str:
    call("ptrace", PTRACE_SEIZE, world.sibling, None, None)
    return "seized"


def trace_the_broker(world: World) -> str:
    call("ptrace", PTRACE_SEIZE, world.broker, None, None)
    return "seized"


def read_the_memory_of_another_plugin(world: World) -> str:
    with open(f"/proc/{world.sibling}/mem", "rb", buffering=0) as file:
        return f"opened {file.name}"


def read_the_memory_of_the_broker(world: World) -> str:
    with open(f"/proc/{world.broker}/mem", "rb", buffering=0) as file:
        return f"opened {file.name}"


def read_the_memory_of_another_plugin_by_vm_readv(world: World) -> str:
    buffer = ctypes.create_string_buffer(16)
    here = _Piece(ctypes.cast(buffer, ctypes.c_void_p), 16)
    there = _Piece(ctypes.cast(LIBC.getpid, ctypes.c_void_p), 16)  # the same library, perhaps at the same place
    return f"{call('process_vm_readv', world.sibling, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)} bytes"


def write_the_memory_of_another_plugin_by_vm_writev(world: World) -> str:
    buffer = ctypes.create_string_buffer(16)
    piece = _Piece(ctypes.cast(buffer, ctypes.c_void_p), 16)
    return f"{call('process_vm_writev', world.sibling, ctypes.byref(piece), 1, ctypes.byref(piece), 1, 0)} bytes"


def read_the_variables_of_another_plugin(world: World) -> str:
    with open(f"/proc/{world.sibling}/environ", "rb") as file:
        return "read" if world.word.encode() in file.read() else ""


def read_the_variables_of_the_broker(world: World) -> str:
    with open(f"/proc/{world.broker}/environ", "rb") as file:
        return "read" if world.word.encode() in file.read() else ""


def read_the_variables_of_every_process(world: World) -> str:
    own = os.environ.get("WORD", "")
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if own != world.word and world.word.encode() in file.read():
                    return f"process {name}"
        except OSError:
            continue
    return ""


def read_the_command_line_of_another_plugin(world: World) -> str:
    with open(f"/proc/{world.sibling}/cmdline", "rb") as file:
        return "read" if world.word.encode() in file.read() else ""


def take_a_descriptor_of_the_broker(world: World) -> str:
    return f"descriptor {call('pidfd_getfd', call('pidfd_open', world.broker, 0), 0, 0)}"


def take_a_descriptor_of_another_plugin(world: World) -> str:
    return f"descriptor {call('pidfd_getfd', call('pidfd_open', world.sibling, 0), 0, 0)}"


def open_the_descriptors_of_the_broker(world: World) -> str:
    return ", ".join(os.listdir(f"/proc/{world.broker}/fd"))


def change_the_limits_of_another_plugin(world: World) -> str:
    resource.prlimit(world.sibling, resource.RLIMIT_NOFILE, (16, 16))
    return "limited"


def change_the_priority_of_another_plugin(world: World) -> str:
    os.setpriority(os.PRIO_PROCESS, world.sibling, 19)
    return "changed"


def change_the_priority_of_everybody_of_its_user(world: World) -> str:
    os.setpriority(os.PRIO_USER, os.getuid(), 7)
    return ""  # the test looks whether it reached anybody else


def bind_another_plugin_to_one_processor(world: World) -> str:
    os.sched_setaffinity(world.sibling, {0})
    return "bound"


def change_how_another_plugin_is_scheduled(world: World) -> str:
    os.sched_setscheduler(world.sibling, os.SCHED_BATCH, os.sched_param(0))
    return "changed"


def change_the_disk_priority_of_another_plugin(world: World) -> str:
    return f"ioprio_set = {call('ioprio_set', 1, world.sibling, 3 << 13)}"


def compare_itself_with_the_broker(world: World) -> str:
    return f"kcmp = {call('kcmp', os.getpid(), world.broker, 0, 0, 0)}"


def advise_the_memory_of_another_plugin(world: World) -> str:
    pidfd = call("pidfd_open", world.sibling, 0)
    piece = _Piece(4096, 4096)
    return f"process_madvise = {call('process_madvise', pidfd, ctypes.byref(piece), 1, 21, 0)}"


def move_the_memory_of_another_plugin(world: World) -> str:
    mask = ctypes.c_ulong(1)
    return f"migrate_pages = {call('migrate_pages', world.sibling, 64, ctypes.byref(mask), ctypes.byref(mask))}"


def attach_to_shared_memory_of_others(world: World) -> str:
    return f"attached at {call('shmat', world.shm, None, 0)}"


def make_shared_memory_that_others_see(world: World) -> str:
    call("shmget", 0x70776E64, 4096, IPC_CREAT | 0o666)
    return ""  # in its own IPC namespace nobody sees it: the test looks


def make_a_message_queue_that_others_see(world: World) -> str:
    call("msgget", 0x70776E64, IPC_CREAT | 0o666)
    return ""  # likewise


def join_the_namespaces_of_another_process(world: World) -> str:
    for process in (world.broker, world.sibling, os.getppid()):
        for kind in ("user", "mnt", "net", "pid"):
            try:
                fd = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY)
                call("setns", fd, 0)
                return f"joined {kind} of {process}"
            except OSError:
                continue
    raise PermissionError


def make_itself_less_likely_to_be_killed(world: World) -> str:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")
    return "oom_score_adj -1000"


def survive_the_end_of_its_parent(world: World) -> str:
    if LIBC.prctl(1, 0, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG
        raise PermissionError
    return "no signal any more when its parent ends"


def inherit_a_descriptor(world: World) -> str:
    return ", ".join(map(str, INHERITED))


def inherit_a_variable(world: World) -> str:
    return ", ".join(name for name, value in os.environ.items() if world.word in value)


def open_the_terminal(world: World) -> str:
    os.close(os.open("/dev/tty", os.O_RDWR))
    return "opened"


def stay_in_the_session_of_the_broker(world: World) -> str:
    return "" if os.getsid(0) in (os.getpid(), 0, os.getppid(), 1) else f"session {os.getsid(0)}"
