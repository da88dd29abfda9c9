"""What the tests of all editors share."""

from __future__ import annotations

import pytest

from tests.editors.world import World, furnish


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One home for all tests of a file: what one of them changes in it, it puts back."""
    return furnish(tmp_path_factory.mktemp("world"))
