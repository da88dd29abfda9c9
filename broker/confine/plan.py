"""What one plugin may do, as its confinement needs it: resolved paths, hosts and bounds."""

from __future__ import annotations

from msgspec import Struct


class Confinement(Struct, frozen=True, kw_only=True):
    """What a plugin is held to. Whatever is not named here, it cannot do.

    Paths are absolute and resolved; a folder stands for everything below it.
    """

    name: str  # of the plugin, for logs and errors
    read: tuple[str, ...] = ()  # files and folders of its user's
    write: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()  # read and executed: what its interpreter and its own code need
    net: tuple[str, ...] = ()  # `host:port` as `egress.allow` reads them; empty: no network at all
    sockets: tuple[str, ...] = ()  # paths of unix sockets it may connect to
    run: tuple[str, ...] | None = ()  # programs it may start; empty: none; None: any it can see
    memory: int | None = None  # bytes
    pids: int | None = None  # processes and threads
    disk: int | None = None  # bytes in the folders it may write to
    unenforced: tuple[str, ...] = ()  # kinds whose lack of enforcement its user accepts
    strict: bool = False  # what is enforced only partly is refused too
