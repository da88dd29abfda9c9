"""Attempts at the kernel itself: what a plugin never needs, and every second exploit begins with."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import struct
import termios

from .world import LIBC, X86, World, call, reached

NEWUSER, NEWNET, NEWNS, NEWPID = 0x10000000, 0x40000000, 0x20000, 0x20000000


def set_up_an_io_ring(world: World) -> str:
    return reached("io_uring_setup", 1, ctypes.create_string_buffer(120))


def make_a_user_namespace(world: World) -> str:
    return reached("unshare", NEWUSER)


def make_a_network_namespace(world: World) -> str:
    return reached("unshare", NEWNET)


def make_a_mount_namespace(world: World) -> str:
    return reached("unshare", NEWNS)


def clone_into_a_user_namespace(world: World) -> str:
    pid = call("clone", NEWUSER | int(signal.SIGCHLD), None, None, None, None)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "cloned"


def clone_into_a_user_namespace_by_clone3(world: World) -> str:
    arguments = ctypes.create_string_buffer(struct.pack("<8Q", NEWUSER, 0, 0, 0, int(signal.SIGCHLD), 0, 0, 0))
    pid = call("clone3", arguments, 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "cloned"


def mount_a_file_system(world: World) -> str:
    return reached("mount", b"none", world.data.encode(), b"tmpfs", 0, None)


def mount_a_folder_elsewhere(world: World) -> str:
    return reached("mount", b"/", world.data.encode(), None, 4096, None)


def unmount_a_file_system(world: World) -> str:
    return reached("umount2", b"/proc", 2)


def make_what_is_read_only_writable(world: World) -> str:
    attributes = ctypes.create_string_buffer(struct.pack("<4Q", 0, 1, 0, 0))
    return reached("mount_setattr", -100, world.docs.encode(), 0, attributes, 32)


def change_its_root(world: World) -> str:
    return reached("pivot_root", world.data.encode(), world.data.encode())


def clone_a_tree_of_mounts(world: World) -> str:
    return reached("open_tree", -100, b"/", 1)


def open_a_file_system(world: World) -> str:
    return reached("fsopen", b"tmpfs", 0)


def add_a_key(world: World) -> str:
    return reached("add_key", b"user", b"pwned", b"x", 1, -3)


def ask_for_a_key(world: World) -> str:
    return reached("request_key", b"user", b"pwned", None, 0)


def read_a_keyring(world: World) -> str:
    return reached("keyctl", 0, -3, 1)


def load_a_bpf_program(world: World) -> str:
    return reached("bpf", 0, ctypes.create_string_buffer(128), 128)


def watch_performance_events(world: World) -> str:
    return reached(
        "perf_event_open", ctypes.create_string_buffer(struct.pack("<II", 1, 128) + b"\0" * 120), 0, -1, -1, 0
    )


def handle_its_own_page_faults(world: World) -> str:
    return reached("userfaultfd", 1)


def watch_every_file_of_the_system(world: World) -> str:
    return reached("fanotify_init", 0, 0)


def turn_off_address_randomisation(world: World) -> str:
    before = LIBC.personality(0xFFFFFFFF)
    return "" if LIBC.personality(before | 0x40000) == -1 else "personality"


def call_the_32_bit_kernel(world: World) -> str:
    """int 0x80 with getpid (20): seccomp must judge it by its own table."""
    if not X86:
        return ""
    if os.fork() == 0:  # it may be killed for it
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        found = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0 if found > 0 else 1)
    return "answered" if os.waitpid(-1, 0)[1] == 0 else ""


def call_the_32_bit_kernel_in_a_thread(world: World) -> str:
    """The same where nothing may be forked: a kill ends the whole attempt, which is an answer too."""
    if not X86:
        return ""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    found = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    return "answered" if found > 0 else ""


def call_the_x32_kernel(world: World) -> str:
    if not X86:
        return ""
    found = LIBC.syscall(ctypes.c_long(0x40000000 + 39))
    return "answered" if found > 0 else ""


def type_into_a_terminal(world: World) -> str:
    for fd in (0, 1, 2):
        try:
            fcntl.ioctl(fd, termios.TIOCSTI, b"x")
            return "typed"
        except OSError as error:
            if error.errno == 25:  # ENOTTY: the filter let it through
                return f"TIOCSTI reached descriptor {fd}"
    raise PermissionError


def set_the_clock(world: World) -> str:
    return reached("clock_settime", 0, None)


def set_the_time_of_day(world: World) -> str:
    return reached("settimeofday", None, None)


def rename_the_machine(world: World) -> str:
    if LIBC.sethostname(b"pwned", 5) != 0:
        raise PermissionError
    return "renamed"


def become_root(world: World) -> str:
    if os.getuid() == 0:
        return ""
    os.setuid(0)
    return "is root"


def regain_a_capability(world: World) -> str:
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))
    call("capset", header, ctypes.create_string_buffer(struct.pack("<6I", 1 << 21, 1 << 21, 0, 0, 0, 0)))
    return "CAP_SYS_ADMIN"


def hold_a_capability(world: World) -> str:
    with open("/proc/self/status", encoding="ascii") as file:
        sets = dict(line.split(":", 1) for line in file if line.startswith("Cap"))
    return ", ".join(f"{name}={value.strip()}" for name, value in sets.items() if int(value, 16))


def gain_privileges_by_a_program(world: World) -> str:
    return "" if LIBC.prctl(39, 0, 0, 0, 0) == 1 else "no_new_privs is not set"


def load_another_kernel(world: World) -> str:
    return reached("kexec_load", 0, 0, None, 0)


def load_a_module(world: World) -> str:
    return reached("init_module", None, 0, b"")


def load_a_module_from_a_file(world: World) -> str:
    return reached("finit_module", -1, b"", 0)


def restart_the_machine(world: World) -> str:
    return reached("reboot", 1, 2, 3, None)  # without the magic numbers it does nothing


def swap_to_a_file(world: World) -> str:
    return reached("swapon", b"/nowhere", 0)


def account_for_every_process(world: World) -> str:
    return reached("acct", b"/nowhere")


def read_the_log_of_the_kernel(world: World) -> str:
    return reached("syslog", 3, ctypes.create_string_buffer(16), 16)


def change_a_quota(world: World) -> str:
    return reached("quotactl", 0x80000100, b"/nowhere", 0, None)


def reach_the_ports_of_the_machine(world: World) -> str:
    return reached("ioperm", 0x70, 1, 1)


def raise_its_io_privilege(world: World) -> str:
    return reached("iopl", 3)


def change_its_segments(world: World) -> str:
    return reached("modify_ldt", 0, ctypes.create_string_buffer(16), 16)


def run_from_memory(world: World) -> str:
    return reached("memfd_create", b"pwned", 0)


def take_off_the_filter(world: World) -> str:
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return "" if lines.get("Seccomp", "").strip() == "2" else "no filter"
