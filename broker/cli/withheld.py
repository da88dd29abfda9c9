"""What other commands say in one line of definitions that are kept from clients."""

from __future__ import annotations

from broker.core.router import Router


def count_withheld(core: Router, name: str) -> int | None:
    """How many definitions of a plugin are withheld; None: all of them."""
    withheld = core.catalog.withheld(name)
    return None if withheld.reason else sum(map(len, withheld.names.values()))


def withheld_line(name: str, count: int | None) -> str:
    """The line about a plugin; empty if nothing of it is withheld."""
    if count == 0:
        return ""
    what = "everything" if count is None else f"{count} definition{'s' * (count > 1)}"
    are = "are" if count is not None and count > 1 else "is"
    return f"{name}: {what} {are} withheld; `broker review {name}` says why."
