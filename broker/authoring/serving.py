"""A plugin that is being written, served to an MCP client on standard input and output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from broker.app import LAST_GRACE
from broker.authoring.session import Session
from broker.errors import ConfigError
from broker.faces.mcp import Session as Conversation
from broker.faces.stdio import claim, is_open, watch_parent
from broker.model import Settings
from broker.stream import FdStream


async def serve(session: Session, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve it until its client leaves; `beside` is done meanwhile. Raises `ConfigError`."""
    if not is_open():
        raise ConfigError("standard input and output must be open", hint="`broker dev --mcp` is started by a client.")
    ended, core = asyncio.Event(), session.core
    stream = FdStream(*claim())
    watch_parent(ended.set)
    client = Conversation(core, stream, key="stdio", max_frame=Settings().max_frame, on_end=ended.set, search=None)
    await session.begin()
    tasks = [asyncio.ensure_future(each) for each in (beside(), session.follow(), session.open())]
    client.start()
    await ended.wait()
    for task in tasks:
        task.cancel()
    client.close()
    await core.stop(LAST_GRACE)
    await asyncio.wait(tasks)
