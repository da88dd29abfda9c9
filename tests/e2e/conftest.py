"""When all is said, all that brokers wrote is read once more, in two languages."""

from collections.abc import Generator

import pytest

from tests import parsing


@pytest.fixture(scope="session", autouse=True)
def all_frames_are_the_same_in_python_and_node() -> Generator[None]:
    yield
    assert parsing.differences(parsing.kept()) == []
