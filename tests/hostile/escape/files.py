"""Attempts at files: what was not granted, what was granted to read, and what must not be made."""

from __future__ import annotations

import ctypes
import os
import stat
import threading
import time

from .world import LIBC, World


def _read(path: str, world: World) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return f"read {path}" if world.word in file.read() else ""


def read_a_file_of_the_home_folder(world: World) -> str:
    return _read(world.secret, world)


def list_the_home_folder(world: World) -> str:
    return ", ".join(os.listdir(world.home))


def stat_a_file_of_the_home_folder(world: World) -> str:
    return f"{os.stat(world.secret).st_size} bytes"


def read_through_a_symlink(world: World) -> str:
    link = os.path.join(world.data, "link")
    os.symlink(world.secret, link)
    return _read(link, world)


def read_through_a_hard_link(world: World) -> str:
    link = os.path.join(world.data, "hard")
    os.link(world.secret, link)
    return _read(link, world)


def read_with_dots(world: World) -> str:
    return _read(os.path.join(world.data, *[".."] * 12, world.secret.lstrip("/")), world)


def read_below_the_root_of_a_process(world: World) -> str:
    for process in ("self", "1", str(os.getppid()), str(world.broker)):
        try:
            if found := _read(f"/proc/{process}/root{world.secret}", world):
                return found
        except OSError:
            continue
    return ""


def read_from_the_folder_of_another_process(world: World) -> str:
    found = [f"/proc/{process}/cwd" for process in (os.getppid(), world.broker, world.sibling)]
    return ", ".join(name for path in found for name in os.listdir(path) if _is_not_ours(path))


def _is_not_ours(path: str) -> bool:
    return os.path.realpath(path) != os.getcwd()


def swap_a_file_for_a_symlink_while_it_is_opened(world: World) -> str:
    path, link = os.path.join(world.data, "swap"), os.path.join(world.data, "swapped")
    end = time.monotonic() + 0.2

    def swap() -> None:
        while time.monotonic() < end:
            for make in (lambda: os.symlink(world.secret, link), lambda: open(link, "w").close()):
                make()
                os.replace(link, path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        while time.monotonic() < end:
            try:
                if found := _read(path, world):
                    return found
            except OSError:
                continue
        return ""
    finally:
        thread.join()


def write_to_a_file_of_the_home_folder(world: World) -> str:
    with open(world.secret, "a", encoding="utf-8") as file:
        file.write("pwned")
    return "wrote"


def make_a_file_in_the_home_folder(world: World) -> str:
    with open(os.path.join(world.home, "pwned"), "w", encoding="utf-8") as file:
        file.write("pwned")
    with open(os.path.join(os.path.dirname(world.secret), "pwned"), encoding="utf-8"):
        return "made" if os.path.exists(world.secret) else ""


def write_to_what_was_granted_to_read(world: World) -> str:
    with open(world.note, "a", encoding="utf-8") as file:
        file.write("pwned")
    return "wrote"


def truncate_what_was_granted_to_read(world: World) -> str:
    os.truncate(world.note, 0)
    return "truncated"


def remove_what_was_granted_to_read(world: World) -> str:
    os.unlink(world.note)
    return "removed"


def rename_what_was_granted_to_read(world: World) -> str:
    os.rename(world.note, os.path.join(world.data, "stolen"))
    return "renamed"


def link_what_was_granted_to_read_to_where_it_can_write(world: World) -> str:
    link = os.path.join(world.data, "linked")
    os.link(world.note, link)
    with open(link, "a", encoding="utf-8") as file:
        file.write("pwned")
    return "wrote"


def change_the_mode_of_what_was_granted_to_read(world: World) -> str:
    os.chmod(world.note, 0o777)
    return "chmod"


def change_the_mode_of_a_file_of_the_home_folder(world: World) -> str:
    os.chmod(world.secret, 0o777)
    return "chmod"


def change_the_times_of_what_was_granted_to_read(world: World) -> str:
    os.utime(world.note, (1, 1))
    return "utime"


def change_the_times_of_a_file_of_the_home_folder(world: World) -> str:
    os.utime(world.secret, (1, 1))
    return "utime"


def change_the_owner_of_what_was_granted_to_read(world: World) -> str:
    found = os.stat(world.note)
    os.chown(world.note, found.st_uid, found.st_gid)
    return "chown"


def set_an_attribute_of_what_was_granted_to_read(world: World) -> str:
    os.setxattr(world.note, "user.pwned", b"1")
    return "setxattr"


def set_an_attribute_of_a_file_of_the_home_folder(world: World) -> str:
    os.setxattr(world.secret, "user.pwned", b"1")
    return "setxattr"


def write_to_its_own_code(world: World) -> str:
    with open(os.path.join(world.code, "__main__.py"), "a", encoding="utf-8") as file:
        file.write("# pwned")
    return "wrote"


def put_a_file_beside_its_own_code(world: World) -> str:
    with open(os.path.join(world.code, "sitecustomize.py"), "w", encoding="utf-8") as file:
        file.write("# pwned")
    return "wrote"


def rename_out_of_what_it_may_write(world: World) -> str:
    path = os.path.join(world.data, "out")
    with open(path, "w", encoding="utf-8") as file:
        file.write("pwned")
    os.rename(path, os.path.join(world.home, "out"))
    return "renamed"


def read_the_passwords_of_the_system(world: World) -> str:
    with open("/etc/shadow", encoding="utf-8") as file:
        return file.readline()


def read_the_memory_of_the_machine(world: World) -> str:
    for path in ("/dev/mem", "/dev/kmem", "/proc/kcore", "/dev/port"):
        try:
            with open(path, "rb", buffering=0) as file:
                if file.read(16):
                    return path
        except OSError:
            continue
    return ""


def read_the_disk_of_the_machine(world: World) -> str:
    for name in os.listdir("/sys/block") if os.path.isdir("/sys/block") else ("vda", "sda", "nvme0n1"):
        try:
            with open(f"/dev/{name}", "rb", buffering=0) as file:
                if file.read(16):
                    return name
        except OSError:
            continue
    return ""


def make_a_device(world: World) -> str:
    path = os.path.join(world.data, "device")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    return "made /dev/mem"


def make_a_set_id_file_by_chmod(world: World) -> str:
    path = os.path.join(world.data, "setid")
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o6755)
    return "set" if os.stat(path).st_mode & 0o6000 else ""


def make_a_set_id_file_by_fchmod(world: World) -> str:
    with open(os.path.join(world.data, "setid2"), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o6755)
        return "set" if os.fstat(file.fileno()).st_mode & 0o6000 else ""


def make_a_set_id_file_by_open(world: World) -> str:
    os.umask(0)
    fd = os.open(os.path.join(world.data, "setid3"), os.O_CREAT | os.O_WRONLY, 0o6755)
    return "set" if os.fstat(fd).st_mode & 0o6000 else ""


def make_a_set_id_folder(world: World) -> str:
    os.umask(0)
    path = os.path.join(world.data, "setid4")
    LIBC.mkdir(path.encode(), ctypes.c_uint(0o6755))
    return "set" if os.stat(path).st_mode & 0o6000 else ""


def change_how_the_kernel_handles_crashes(world: World) -> str:
    with open("/proc/sys/kernel/core_pattern", "r+b", buffering=0) as file:
        return f"core_pattern may be written: {file.fileno()}"


def change_a_setting_of_the_kernel(world: World) -> str:
    for path in ("/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            return path
        except OSError:
            continue
    return ""


def press_a_key_of_the_kernel(world: World) -> str:
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "sysrq-trigger may be written"


def write_to_the_device_tree(world: World) -> str:
    for path in ("/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            return path
        except OSError:
            continue
    return ""


def leave_a_file_in_shared_memory(world: World) -> str:
    path = f"/dev/shm/pwned-{world.word}"
    with open(path, "w", encoding="utf-8") as file:
        file.write("pwned")
    return ""  # a private one is allowed: the test looks for it outside


def leave_a_file_in_the_temporary_folder(world: World) -> str:
    with open(f"/tmp/pwned-{world.word}", "w", encoding="utf-8") as file:
        file.write("pwned")
    return ""  # likewise


def open_by_a_handle(world: World) -> str:
    from .world import call

    handle = ctypes.create_string_buffer(b"\x80\0\0\0" + b"\0" * 132)
    mount = ctypes.c_int()
    call("name_to_handle_at", -100, world.data.encode(), handle, ctypes.byref(mount), 0)
    fd = call("open_by_handle_at", os.open(world.data, os.O_RDONLY), handle, os.O_RDONLY)
    return f"descriptor {fd}"


def leave_by_chroot(world: World) -> str:
    os.chroot(world.data)
    return "chroot"
