"""What a plugin was refused, as an event: for the log, and for whoever writes its manifest."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

MOST = 512  # different refusals of one plugin that are told; a plugin can invent names without end
_LONGEST = 253  # characters of a host that are kept


class Denied(Struct, frozen=True, kw_only=True):
    """One refusal. `str()` of it is a sentence for a person."""

    plugin: str
    host: str  # as the plugin named it, printable; a path for `via` of a file call
    port: int | None = None  # None where no port was said: a lookup, a path
    via: str  # dns, connect, http, socks, transparent, or the system call the broker does for it
    why: str  # the rest of a sentence that starts with what was refused
    permission: str = ""  # what its user would have to grant; empty if nothing would help

    @property
    def command(self) -> str:
        """What its user would type to allow it; empty if nothing would."""
        return f"broker grant {self.plugin} {self.permission}" if self.permission else ""

    def __str__(self) -> str:
        what = self.host if self.port is None else f"{self.host}:{self.port}"
        remedy = f" To allow it: {self.command}" if self.permission else ""
        return f"{self.plugin}: {what} ({self.via}) {self.why}{remedy}"


class Refused(Exception):
    """Raised where a connection is refused; `denied` was told already."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(str(denied))
        self.denied = denied


class Denials:
    """Tells each different refusal once, and at most `MOST` of them; counts all."""

    def __init__(self, plugin: str, told: Callable[[Denied], None]) -> None:
        self.plugin = plugin
        self.count = 0
        self._told = told
        self._seen: set[Denied] = set()

    def refuse(self, host: str, port: int | None, via: str, why: str, permission: str = "") -> Denied:
        """Count a refusal and tell it if it is new."""
        self.count += 1
        denied = Denied(plugin=self.plugin, host=shown(host), port=port, via=via, why=why, permission=permission)
        if denied not in self._seen and len(self._seen) < MOST:
            self._seen.add(denied)
            self._told(denied)
        return denied


def shown(host: str) -> str:
    """A host or path that a plugin chose, safe in a log: printable ASCII, bounded."""
    return ascii(host[:_LONGEST])[1:-1]
