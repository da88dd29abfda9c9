"""What every test shares, and what the default run leaves to `make test-all`."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=25, deadline=None)  # `make test-all` has 100, as Hypothesis itself
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background, and so all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The broker's hot path sits on asyncio's own readers, so that is what the tests run on."""
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `matrix` each value of each parameter is tried in the default run, not each combination."""
    matrices: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and _thinned(item):
            matrices.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for matrix in matrices.values():
        for item in _beyond(matrix):
            item.add_marker("long")


def _thinned(item: pytest.Function) -> bool:
    return item.get_closest_marker("matrix") is not None and item.get_closest_marker("long") is None


def _beyond(matrix: list[pytest.Function]) -> list[pytest.Function]:
    """What is left when those are taken out that try something no other of them tries, the most first."""
    left = {item: {(name, str(value)) for name, value in item.callspec.params.items()} for item in matrix}
    missing = {value for values in left.values() for value in values}
    while missing:
        best = max(left, key=lambda item: len(left[item] & missing))
        missing -= left.pop(best)
    return list(left)
