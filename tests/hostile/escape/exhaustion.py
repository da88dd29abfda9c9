"""Attempts to use up what others need, and to stay when it is over."""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

from .world import World

BOMB = 200  # processes or threads; the limit in the tests is far below
LARGE = 1 << 30  # bytes; likewise


def fork_without_end(world: World) -> str:
    children: list[int] = []
    try:
        for _ in range(BOMB):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        return f"{len(children)} processes"
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def start_threads_without_end(world: World) -> str:
    go = threading.Event()
    started = 0
    try:
        for _ in range(BOMB):
            threading.Thread(target=go.wait, daemon=True).start()
            started += 1
        return f"{started} threads"
    except RuntimeError as error:
        raise OSError(str(error)) from None
    finally:
        go.set()


def take_memory(world: World) -> str:
    try:
        pieces = [bytearray(16 << 20) for _ in range(LARGE >> 24)]
    except MemoryError as error:
        raise OSError(str(error)) from None
    return f"{len(pieces) * 16} MiB"


def take_shared_memory(world: World) -> str:
    piece = mmap.mmap(-1, LARGE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    for at in range(0, LARGE, 4096):
        piece[at] = 1
    return f"{LARGE >> 20} MiB"


def fill_the_temporary_folder(world: World) -> str:
    return _fill("/tmp")


def fill_the_shared_memory_folder(world: World) -> str:
    return _fill("/dev/shm")


def _fill(folder: str) -> str:
    path = os.path.join(folder, "full")
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(LARGE >> 20):
                file.write(b"x" * (1 << 20))
        return f"{LARGE >> 20} MiB"
    finally:
        os.unlink(path)


def use_up_the_inodes_of_the_temporary_folder(world: World) -> str:
    folder = "/tmp/many"
    os.mkdir(folder)
    try:
        for number in range(70_000):
            os.close(os.open(f"{folder}/{number}", os.O_CREAT))
        return "70,000 files"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def use_up_the_descriptors_of_the_system(world: World) -> str:
    opened: list[int] = []
    try:
        while len(opened) < 100_000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
        return f"{len(opened)} descriptors"
    finally:
        for fd in opened:
            os.close(fd)


def raise_its_own_limits(world: World) -> str:
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_CORE"):
        limit = getattr(resource, name)
        hard = resource.getrlimit(limit)[1]
        if hard == resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(limit, (hard + 1, hard + 1))
            return name
        except (OSError, ValueError):
            continue
    raise PermissionError


def start_a_program(world: World) -> str:
    said = subprocess.run(["/bin/echo", "started"], capture_output=True, text=True, timeout=5)
    return said.stdout.strip()


def start_a_program_by_the_loader(world: World) -> str:
    for loader in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"):
        if os.path.exists(loader):
            said = subprocess.run([loader, "/bin/echo", "started"], capture_output=True, text=True, timeout=5)
            return said.stdout.strip()
    raise FileNotFoundError


def start_a_program_that_it_wrote(world: World) -> str:
    for folder in ("/tmp", world.data, "/dev/shm"):
        path = os.path.join(folder, "program")
        try:
            shutil.copy("/bin/echo", path)
            os.chmod(path, 0o700)
            found = os.posix_spawn(path, [path, "x"], {})
            if os.waitpid(found, 0)[1] == 0:
                return path
        except OSError:
            continue
    raise PermissionError


def fork_at_all(world: World) -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"


def leave_a_daemon(world: World) -> str:
    """Forks twice, leaves the session, closes everything; the test looks for it when the plugin is ended."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 256)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.1)
        os._exit(0)
    os.wait()
    sys.stdout.flush()
    return ""
