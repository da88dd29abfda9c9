"""The contract of plugins with the broker: complete, the same everywhere, and what the shipped file says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import broker
from broker import errors
from broker.core import hosttable
from broker.core.hosttable import OPERATIONS, contract, granted, schema
from broker.errors import BrokerError
from broker.permissions.scopes import UI, parse
from tests.servers import ROOT

FILE = Path(broker.__file__).parent / "core" / "host.json"
SCHEMA = schema()
CODES = {each.name for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BrokerError)}


def test_the_shipped_contract_is_the_table() -> None:
    assert FILE.read_text() == contract(), "run `broker schema host > broker/core/host.json`"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_an_operation_says_what_it_needs_how_often_and_how_it_fails(operation: Any) -> None:
    described = SCHEMA["operations"][operation.name]
    assert described["permission"] == (operation.needs or None) and described["description"].endswith(".")
    assert operation.rate > 0 and operation.burst >= 1
    assert set(described["codes"]) <= CODES
    for part in ("params", "result"):
        jsonschema.Draft202012Validator.check_schema(described[part])


def test_every_thing_a_plugin_can_be_granted_of_the_ui_is_for_something() -> None:
    assert {each.needs for each in OPERATIONS.values() if each.needs.startswith("ui:")} == {f"ui:{one}" for one in UI}


def test_a_plugin_is_told_only_of_operations_that_make_sense_for_it() -> None:
    nothing = granted([])
    assert "log" in nothing and "events.subscribe" in nothing and "toast" not in nothing and "fs.read" not in nothing
    assert set(granted([parse("ui:toast"), parse("read:/x")])) - set(nothing) == {"toast", "fs.read"}


def test_lua_has_a_name_for_every_operation() -> None:
    api = (ROOT / "broker" / "runtimes" / "lua" / "api.lua").read_text()
    named = set(re.findall(r'operate\("([a-z._]+)"', api))
    # `call` is how a script asks for anything; `broker.command` and `broker.on` do the other two.
    assert set(OPERATIONS) - named == {"call", "register_command", "events.subscribe"}
    assert hosttable.VERSION == 1
