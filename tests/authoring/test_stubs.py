"""What authors' tools know of the host is what the host knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.authoring.stubs import FILES, ROOT
from broker.core.hosttable import OPERATIONS

TESTS = Path(__file__).parent.parent
TYPESCRIPT, PYTHON, LUA, WIT = FILES
SPELLED = {TYPESCRIPT: '  "{}": {{ params', PYTHON: 'Literal["{}"]', LUA: 'fun(op: "{}"', WIT: "/// - `{}`: "}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_as_the_table_of_operations_makes_it(path: Path) -> None:
    held = path.read_text()
    assert held == FILES[path](held), "run `python -m broker.authoring.stubs`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_names_every_operation_and_all_that_it_takes(path: Path) -> None:
    held = path.read_text()
    for name, operation in OPERATIONS.items():
        assert SPELLED[path].format(name) in held
        if path != WIT:
            assert all(field in held for field in operation.params.__struct_fields__)
