"""The numbers of the system calls we make or refuse, for the two machines we know. Pure; standard library only.

Numbers from 424 on are the same on every machine. The table is from the kernel's `unistd.h`, up to Linux 6.17.
"""

from __future__ import annotations

import os
import sys

TABLE = """
acct 163 89, add_key 248 217, adjtimex 159 171, bind 49 200, bpf 321 280, capset 126 91, chmod 90 -, chown 92 -,
chroot 161 51, clock_adjtime 305 266, clock_settime 227 112, clone 56 220, clone3 435 435, close_range 436 436,
connect 42 203, creat 85 -, delete_module 176 106, execve 59 221, execveat 322 281, fanotify_init 300 262,
fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, fchownat 260 54, file_setattr 469 469, finit_module 313 273,
fork 57 -, fsconfig 431 431, fsmount 432 432, fsopen 430 430, fspick 433 433, futimesat 261 -, init_module 175 105,
io_uring_enter 426 426, io_uring_register 427 427, io_uring_setup 425 425, ioctl 16 29, ioperm 173 -, iopl 172 -,
ioprio_set 251 30, kcmp 312 272, kexec_file_load 320 294, kexec_load 246 104, keyctl 250 219,
landlock_add_rule 445 445, landlock_create_ruleset 444 444, landlock_restrict_self 446 446, lchown 94 -,
listen 50 201, listmount 458 458, lookup_dcookie 212 18, lremovexattr 198 15, lsetxattr 189 6, memfd_create 319 279,
memfd_secret 447 447, migrate_pages 256 238, mknod 133 -, mknodat 259 33, modify_ldt 154 -, mount 165 40,
mount_setattr 442 442, move_mount 429 429, move_pages 279 239, mq_open 240 180, msgget 68 186,
name_to_handle_at 303 264, open 2 -, open_by_handle_at 304 265, open_tree 428 428, open_tree_attr 467 467,
openat 257 56, openat2 437 437, perf_event_open 298 241, personality 135 92, pidfd_getfd 438 438,
pidfd_open 434 434, pivot_root 155 41, prctl 157 167, prlimit64 302 261, process_madvise 440 440,
process_mrelease 448 448, process_vm_readv 310 270, process_vm_writev 311 271, ptrace 101 117, quotactl 179 60,
quotactl_fd 443 443, reboot 169 142, removexattr 197 14, removexattrat 466 466, request_key 249 218,
sched_setaffinity 203 122, sched_setattr 314 274, sched_setparam 142 118, sched_setscheduler 144 119,
seccomp 317 277, semget 64 190, sendmmsg 307 269, sendmsg 46 211, sendto 44 206, setdomainname 171 162,
sethostname 170 161, setns 308 268, setpriority 141 140, settimeofday 164 170, setxattr 188 5, setxattrat 463 463,
shmat 30 196, shmget 29 194, socket 41 198, socketpair 53 199, statmount 457 457, swapoff 168 225, swapon 167 224,
sysfs 139 -, syslog 103 116, umount2 166 39, unshare 272 97, uselib 134 -, userfaultfd 323 282, ustat 136 -,
utime 132 -, utimensat 280 88, utimes 235 -, vfork 58 -, vhangup 153 58
"""  # name, x86_64, aarch64 (which has no `-`)
LAST = 469  # the newest call we know; what is newer is refused
MACHINE = os.uname().machine if sys.platform == "linux" else ""
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}.get(MACHINE, 0)  # what a filter is told the machine is


def numbers(machine: str) -> dict[str, int]:
    """Name -> number; empty for a machine we do not know."""
    if machine not in ("x86_64", "aarch64"):
        return {}
    column = 1 if machine == "x86_64" else 2
    rows = (cell.split() for cell in TABLE.replace("\n", " ").split(",") if cell.strip())
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


NUMBERS = numbers(MACHINE)
