"""Run as a program: puts itself under the filter of the backend without namespaces, sends out the descriptor on which
that asks, and becomes its arguments."""

from __future__ import annotations

import os
import socket
import sys

from broker.confine import kernel, seccomp


def main() -> None:
    wire, unix, *argv = sys.argv[1:]
    shape = seccomp.Shape(fork=False, unix=unix == "unix", net=True, shared=True, notify=True)
    kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    asks = kernel.filter_calls(seccomp.program(shape), listen=True)
    with socket.socket(fileno=int(wire)) as out:
        socket.send_fds(out, [b"asks"], [asks])
    os.close(asks)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main()
