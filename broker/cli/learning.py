"""Starting plugins nobody has met yet, once, to learn what they show; those that are known stay asleep."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from broker.cli.terminal import Terminal
from broker.core.router import Router


async def learn(core: Router, face: Terminal, names: Iterable[str]) -> list[str]:
    """Learn those of `names` that are not known, all at once; who was started.

    A person waits as long as a plugin may take to start, not only as long as a client would.
    """
    import asyncio

    tasks = {name: core.plugins[name].learn(face.identity, face) for name in names}
    waited_for = {name: task for name, task in tasks.items() if task is not None}
    if waited_for:
        with _status(list(waited_for)):
            await asyncio.gather(*waited_for.values())
    return list(waited_for)


def chosen(core: Router, names: Iterable[str]) -> list[str]:
    """The plugins that `names` (plugins, or tools as clients see them) may mean; all if one is unclear."""
    found: list[str] = []
    for name in names:
        plugin = name if name in core.plugins else name.partition("__")[0]
        if plugin not in core.plugins:
            return list(core.plugins)
        found.append(plugin)
    return found or list(core.plugins)


def _status(names: list[str]) -> AbstractContextManager[Any]:
    if not sys.stderr.isatty():
        return nullcontext()
    from broker.cli.screen import console

    many = f"{len(names)} servers" if len(names) > 1 else "a server"
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return console(stderr=True).status(f"starting {many} for the first time: {click.unstyle(shown)}")
