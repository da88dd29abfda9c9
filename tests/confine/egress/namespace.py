"""A process in a network namespace of its own, as the jail makes it, and the sockets it sends out.

Run as a program: makes the namespaces, the sockets, sends these to descriptor 3, and becomes its arguments.
Standard library only: it runs outside the tests' environment too.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

USER, MOUNT, NET = 0x10000000, 0x00020000, 0x40000000
SET_FLAGS, SET_ADDRESS, SET_MASK = 0x8914, 0x8916, 0x891C
BIND = 4096


def main() -> None:
    wire, doors, addresses, *argv = sys.argv[1:]
    enter()
    raise_loopback(addresses.split(","))
    hand_out(int(wire), doors.split(","))
    os.execv(argv[0], argv)


def enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(USER | NET | MOUNT) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: files dns\n")):
        source = f"/tmp/{name}-{os.getpid()}"
        with open(source, "w") as file:
            file.write(text)
        if libc.mount(source.encode(), os.path.realpath(f"/etc/{name}").encode(), None, BIND, None) != 0:
            raise OSError(ctypes.get_errno(), name)
        os.unlink(source)


def raise_loopback(addresses: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", 0x49))
        for number, address in enumerate(addresses):
            host, bits = address.split("/")
            mask = socket.inet_ntoa(((1 << 32) - (1 << (32 - int(bits)))).to_bytes(4, "big"))
            for request, value in ((SET_ADDRESS, host), (SET_MASK, mask)):
                told = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(any_socket, request, struct.pack("16s16s", f"lo:{number}".encode(), told))


def hand_out(wire: int, doors: list[str]) -> None:
    made: list[socket.socket] = []
    for door in doors:
        kind, host, port = door.split(":")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        sock.bind((host, int(port)))
        if kind == "tcp":
            sock.listen(128)
        made.append(sock)
    with socket.socket(fileno=wire) as out:
        socket.send_fds(out, [",".join(doors).encode()], [sock.fileno() for sock in made])


if __name__ == "__main__":
    main()
