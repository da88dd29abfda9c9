"""What pytest finds by itself: the fixture `plugin_client`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from broker_sdk.plugin import Plugin
    from broker_sdk.testing import Harness


@pytest.fixture
def plugin_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Harness]]:
    """Makes a `Harness` of a plugin, with its options, and ends it when the test is over.

    A file is looked for beside the test, then in the current folder.
    """
    from broker_sdk.testing import Harness

    opened: list[Harness] = []

    def open_client(plugin: Plugin | str | os.PathLike[str], **options: Any) -> Harness:
        beside = request.path.parent / plugin if isinstance(plugin, str) else None
        opened.append(Harness(beside if beside is not None and beside.exists() else plugin, **options))
        return opened[-1]

    yield open_client
    for each in opened:
        each.close()
