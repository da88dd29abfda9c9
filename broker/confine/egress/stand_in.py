"""Where a plugin has no namespaces: the broker makes the calls that Landlock and a filter cannot judge in its stead.

Rule 1: it connects for the plugin (`connects`), so a program needs no proxy settings: a name is asked for over TCP
        (`RES_OPTIONS=use-vc`), and that connection comes here too, as does every other.
Rule 2: it changes modes and times of files for it (`attributes`).
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.confine.egress.attributes import Attributes
from broker.confine.egress.connects import Connects
from broker.confine.egress.egress import Egress
from broker.confine.egress.notify import Look, Notify

ENVIRONMENT = {"RES_OPTIONS": "use-vc"}  # glibc: names by TCP; UDP is refused in this backend


class StandIn:
    """Makes the calls that arrive at a notification descriptor, which is its own from here on; `look` sees each."""

    def __init__(
        self,
        fd: int,
        egress: Egress,
        *,
        proxy_port: int,
        write: Sequence[str] = (),
        sockets: Sequence[str] = (),
        look: Look | None = None,
    ) -> None:
        self._connects = Connects(egress, proxy_port, sockets)
        handlers = {**Attributes(egress.denials, write).handlers(), "connect": self._connects.connect}
        self._notify = Notify(fd, handlers, look)

    def close(self) -> None:
        """From here on these calls of the plugin fail. Safe to call twice."""
        self._notify.close()
        self._connects.close()
