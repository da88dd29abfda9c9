"""The definition file for editors says what there is, and nothing else."""

from __future__ import annotations

import importlib
import json
from typing import Any

from broker.core.hosttable import OPERATIONS
from broker.runtimes.lua_meta import FILE, text
from broker.runtimes.lua_sandbox import Sandbox

NAMES = """
local function names(t, at, found)
  for key, value in pairs(t) do
    found[#found + 1] = at .. key .. ' ' .. type(value)
    if type(value) == 'table' and value ~= NULL then names(value, at .. key .. '.', found) end
  end
  table.sort(found)
  return found
end
"""


def test_it_is_as_the_table_of_operations_makes_it() -> None:
    held = FILE.read_text()
    assert held == text(held), "run `python -m broker.runtimes.lua_meta`"


def test_every_operation_can_be_completed_with_its_params() -> None:
    held = FILE.read_text()
    for name, operation in OPERATIONS.items():
        assert f'---@overload fun(op: "{name}", params: broker.op.{name})' in held
        assert f"---@class broker.op.{name}\n" in held
        for field in operation.params.__struct_fields__:
            assert f"---@field {field}" in held


def test_what_it_declares_is_what_a_script_finds() -> None:
    script = NAMES.replace("NULL", "broker.json.null")
    sandbox = Sandbox(lambda op, params: b"null")
    sandbox.load(f"{script} broker.tool{{name='t', run=function() return names(broker, '', {{}}) end}}".encode(), 1)
    real = json.loads(sandbox.invoke(b"tools", b"t", b"{}", 1))
    module: Any = importlib.import_module("lupa.lua54")
    lua = module.LuaRuntime(encoding="utf-8")
    lua.execute(FILE.read_text())
    declared = lua.execute(f"{script} return table.concat(names(broker, '', {{}}), '\\n')").split("\n")
    assert declared == real
