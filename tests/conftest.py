"""What every test shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The broker's hot path sits on asyncio's own readers, so that is what the tests run on."""
    return "asyncio"
