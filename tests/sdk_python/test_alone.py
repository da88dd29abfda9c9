"""The SDK stands alone, and knows the operations that broker has."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_sdk.testing.host import OPERATIONS

from broker.core.hosttable import OPERATIONS as TABLE
from tests.servers import ROOT

SDK = ROOT / "sdk-python" / "broker_sdk"
FILES = sorted(SDK.rglob("*.py"))
MAX_LINES = 600
ALLOWED = {"msgspec", "broker_sdk"}
OF_TESTS = {"pytest", "hypothesis"}  # for who writes tests, who has them


def imported(path: Path) -> Iterator[str]:
    """The packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SDK)))
def test_a_file_needs_msgspec_and_nothing_else(path: Path) -> None:
    allowed = ALLOWED | (OF_TESTS if path.parent.name == "testing" else set())
    assert {name for name in imported(path) if name not in sys.stdlib_module_names} <= allowed
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_the_stand_in_for_broker_knows_every_operation() -> None:
    assert set(TABLE) <= set(OPERATIONS)
