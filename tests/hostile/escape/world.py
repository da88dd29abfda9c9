"""What an attempt knows of the world outside, and the raw calls it makes."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from dataclasses import dataclass

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"

# The kernel's table: name -> (x86_64, aarch64); linux/arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h.
NUMBERS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "clone": (56, 220),
    "clone3": (435, 435),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_settime": (227, 112),
    "settimeofday": (164, 170),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
    "capset": (126, 91),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "ioprio_set": (251, 30),
    "fanotify_init": (300, 262),
    "landlock_create_ruleset": (444, 444),
    "modify_ldt": (154, -1),
    "iopl": (172, -1),
    "ioperm": (173, -1),
}


@dataclass
class World:
    """Paths, numbers and names of what must stay out of reach."""

    home: str  # a home folder that was not granted
    secret: str  # a file in it
    word: str  # what stands in that file, and in the environments of the sibling and the broker
    docs: str  # granted to read
    note: str  # a file in it
    data: str  # granted to write
    code: str  # the plugin's own
    unix: str  # a unix socket in `docs`
    abstract: str
    tcp: int
    tcp6: int
    udp: int
    sibling: int  # the process of another plugin
    broker: int
    shm: int  # the id of a SysV segment


def call(name: str, *arguments: object) -> int:
    """A raw system call. Raises `OSError`; one that this machine does not have ends as ENOSYS."""
    number = NUMBERS[name][0 if X86 else 1]
    if number < 0:
        raise OSError(errno.ENOSYS, name)
    given = [argument if not isinstance(argument, int) else ctypes.c_long(argument) for argument in arguments]
    found = LIBC.syscall(ctypes.c_long(number), *given)
    if found == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(found)


def reached(name: str, *arguments: object) -> str:
    """Evidence that the kernel would do it: it did, or it found fault with the arguments and not with the caller."""
    try:
        return f"{name} = {call(name, *arguments)}"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
        return f"{name} was not refused but answered {errno.errorcode.get(error.errno or 0)}"
