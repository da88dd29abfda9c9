"""Runs a command as if in a container: `python container.py docker|masked COMMAND…`.

docker: what Docker's default profile refuses (moby/profiles, seccomp/default.json) and the capabilities it leaves.
masked: namespaces are allowed, but parts of /proc are covered, so that the kernel lets nobody mount a new one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from broker.confine import kernel
from broker.confine.syscalls import AUDIT, NUMBERS

# Those that the profile allows only with a capability that a container does not have.
REFUSED = """
mount umount2 pivot_root move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr unshare setns keyctl add_key
request_key bpf perf_event_open pidfd_getfd kcmp process_madvise open_by_handle_at kexec_load init_module finit_module
delete_module iopl ioperm swapon swapoff reboot acct quotactl settimeofday clock_settime sethostname setdomainname
lookup_dcookie syslog userfaultfd move_pages migrate_pages io_uring_setup io_uring_enter io_uring_register
""".split()
LEFT = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # capabilities
NEW_NAMESPACE = 0x7E020000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def docker() -> None:
    if os.geteuid():
        kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for name in REFUSED:
        if name in NUMBERS:
            steps += [(EQUAL, 0, 1, NUMBERS[name]), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    steps += [(EQUAL, 0, 1, NUMBERS["clone3"]), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    steps += [(EQUAL, 0, 4, NUMBERS["clone"]), (LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NEW_NAMESPACE)]
    steps += [(RETURN, 0, 0, REFUSE | errno.EPERM), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ALLOW)]
    install(b"".join(struct.pack("<HBBI", *step) for step in steps))
    if os.geteuid() == 0:
        for number in range(41):
            if number not in LEFT:
                kernel.prctl(kernel.BOUNDING_DROP, number)
        held = sum(1 << number for number in LEFT)
        low, high = held & 0xFFFFFFFF, held >> 32
        kernel.call("capset", struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", low, low, 0, high, high, 0))


def install(steps: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    held = ctypes.create_string_buffer(steps, len(steps))
    program = Program(len(steps) // 8, ctypes.addressof(held))
    kernel.call("seccomp", 1, 0, ctypes.addressof(program))


def masked() -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.call("unshare", kernel.NEW_MOUNT | (kernel.NEW_USER if uid else 0))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.SLAVE)
    for path in ("/proc/acpi", "/proc/scsi", "/proc/driver"):
        if os.path.isdir(path):
            kernel.mount("tmpfs", path, "tmpfs", kernel.READ_ONLY, "size=4k")
    kernel.mount("/dev/null", "/proc/timer_list", None, kernel.BIND)


if __name__ == "__main__":
    {"docker": docker, "masked": masked}[sys.argv[1]]()
    os.execvp(sys.argv[2], sys.argv[2:])
