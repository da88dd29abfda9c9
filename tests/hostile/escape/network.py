"""Attempts at the network, none of which was granted, and at the sockets of others."""

from __future__ import annotations

import os
import socket
import struct

from .world import World

IPPROTO_MPTCP, IPPROTO_SCTP = 262, 132
MSG_FASTOPEN = 0x20000000
PATIENCE = 1.0


def _stream(family: int, address: object, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol) as there:
        there.settimeout(PATIENCE)
        there.connect(address)  # type: ignore[arg-type]
        there.send(b"pwned")
        return "connected"


def _datagram(family: int, address: object, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol) as there:
        there.settimeout(PATIENCE)
        there.sendto(b"pwned", address)  # type: ignore[arg-type]
    return ""  # sent into the void of its own namespace is nothing: the test looks who received it


def connect_by_tcp(world: World) -> str:
    return _stream(socket.AF_INET, ("127.0.0.1", world.tcp))


def connect_by_tcp_over_ipv6(world: World) -> str:
    return _stream(socket.AF_INET6, ("::1", world.tcp6))


def connect_by_tcp_over_a_mapped_address(world: World) -> str:
    return _stream(socket.AF_INET6, ("::ffff:127.0.0.1", world.tcp))


def connect_by_multipath_tcp(world: World) -> str:
    return _stream(socket.AF_INET, ("127.0.0.1", world.tcp), protocol=IPPROTO_MPTCP)


def connect_by_sctp(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP) as there:
        return f"a socket: {there.fileno()}"


def connect_by_tcp_fast_open(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as there:
        there.settimeout(PATIENCE)
        there.sendto(b"pwned", MSG_FASTOPEN, ("127.0.0.1", world.tcp))
        return "sent"


def connect_to_the_metadata_service(world: World) -> str:
    return _stream(socket.AF_INET, ("169.254.169.254", 80))


def send_by_udp(world: World) -> str:
    return _datagram(socket.AF_INET, ("127.0.0.1", world.udp))


def send_by_udp_over_ipv6(world: World) -> str:
    return _datagram(socket.AF_INET6, ("::ffff:127.0.0.1", world.udp))


def resolve_a_name(world: World) -> str:
    return str(socket.getaddrinfo(f"{world.word}.example.com", 443))


def connect_to_a_unix_socket_in_what_it_may_read(world: World) -> str:
    return _stream(socket.AF_UNIX, world.unix)


def connect_to_a_unix_socket_through_a_descriptor(world: World) -> str:
    fd = os.open(os.path.dirname(world.unix), os.O_RDONLY | os.O_DIRECTORY)
    return _stream(socket.AF_UNIX, f"/proc/self/fd/{fd}/{os.path.basename(world.unix)}")


def send_to_a_unix_socket(world: World) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.connect(world.unix)
        return "connected"


def connect_to_an_abstract_socket(world: World) -> str:
    return _stream(socket.AF_UNIX, f"\0{world.abstract}")


def connect_to_the_bus_of_the_system(world: World) -> str:
    for path in ("/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/systemd/private"):
        try:
            return _stream(socket.AF_UNIX, path)
        except OSError:
            continue
    raise PermissionError


def open_a_raw_socket(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as there:
        return f"a socket: {there.fileno()}"


def open_a_ping_socket(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as there:
        there.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1), ("127.0.0.1", 0))
        return "pinged"


def open_a_packet_socket(world: World) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as there:
        return f"a socket: {there.fileno()}"


def open_a_socket_to_the_host_of_the_machine(world: World) -> str:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as there:
        return f"a socket: {there.fileno()}"


def listen_to_what_the_kernel_says(world: World) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as there:  # NETLINK_KOBJECT_UEVENT
        return f"a socket: {there.fileno()}"


def ask_the_kernel_for_sockets_of_others(world: World) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as there:  # NETLINK_SOCK_DIAG
        return f"a socket: {there.fileno()}"


def use_a_bluetooth_socket(world: World) -> str:
    with socket.socket(31, socket.SOCK_RAW, 1) as there:
        return f"a socket: {there.fileno()}"


def use_the_crypto_sockets_of_the_kernel(world: World) -> str:
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as there:
        return f"a socket: {there.fileno()}"


def listen_for_others(world: World) -> str:
    with socket.socket() as here:
        here.bind(("0.0.0.0", 0))
        here.listen()
        return ""  # in a network of its own nobody comes; the test looks for the port from outside


def take_a_port_of_the_host(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as here:
        here.bind(("127.0.0.1", world.tcp + 1))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as there:
            there.settimeout(PATIENCE)
            there.connect(("127.0.0.1", world.tcp))
            return "connected"
