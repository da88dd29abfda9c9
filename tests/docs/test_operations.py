"""Every example on the page of an operation is run: it asks the host for exactly what the page says."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from textwrap import indent
from types import SimpleNamespace
from typing import Any

import jsonschema
import msgspec
import pytest
from broker_sdk.testing import Harness

from broker.authoring.creating import TEMPLATES
from broker.core.hosttable import OPERATIONS, schema
from broker.runtimes.lua_sandbox import Sandbox
from tests.docs.operations import Example, examples, pages, tabs

EXAMPLES = examples()
TABLE = schema()
NAMES = sorted(OPERATIONS)
HEAD = """
from broker_sdk import Ctx, Plugin
plugin = Plugin("example", version="1")
"""


def code(name: str, title: str) -> tuple[str, str]:
    """The better way, and the way of every operation."""
    tab = next(each for each in tabs(name, EXAMPLES[name]) if each.title == title)
    return tab.short, tab.long


def meant(op: str, params: Any) -> Any:
    """Params with all that is unsaid, as broker reads them; without the id that a plugin gives to work of its own."""
    read = msgspec.json.decode(msgspec.json.encode(params), type=OPERATIONS[op].params)
    whole: Any = msgspec.json.decode(msgspec.json.encode(read))
    return {key: value for key, value in whole.items() if not (op.startswith("progress.") and key == "id")}


def asked_for(name: str) -> tuple[str, Any]:
    return name, meant(name, EXAMPLES[name].params)


def test_each_operation_has_an_example_and_each_example_an_operation() -> None:
    assert sorted(EXAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_what_the_table_of_operations_takes_and_gives(name: str) -> None:
    for part, value in (("params", EXAMPLES[name].params), ("result", EXAMPLES[name].result)):
        shape = {"$defs": TABLE["$defs"], **TABLE["operations"][name][part]}
        jsonschema.Draft202012Validator(shape).validate(value)
    meant(name, EXAMPLES[name].params)


def test_the_index_names_each_operation_once() -> None:
    made = pages()
    assert sorted(made) == sorted(["index.md", *(f"{name}.md" for name in NAMES)])
    assert all(made["index.md"].count(f"]({name}.md)") == 1 for name in NAMES)


# Python: a plugin with a command for each, before the host of the SDK's own tests


def python_plugin() -> str:
    parts = [HEAD]
    for number, name in enumerate(NAMES):
        example, (short, long) = EXAMPLES[name], code(name, "Python")
        if example.declared:
            parts.append(short)
        elif short:
            parts.append(python_function(example.within, f"short{number}", short))
        parts.append(python_function(example.within, f"long{number}", long))
    return "\n".join(parts)


def python_function(within: str, name: str, lines: str) -> str:
    return f"@plugin.{within}\nasync def {name}(ctx: Ctx):\n{indent(lines.strip(), '    ')}\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    file = tmp_path_factory.mktemp("python") / "plugin.py"
    file.write_text(python_plugin())
    replies = {name: example.result for name, example in EXAMPLES.items()}
    with Harness(file, replies=replies, config={"limit": EXAMPLES["config.get"].result}) as client:
        yield client


def ran(client: Harness, example: Example, function: str) -> Any:
    return client.reply(function) if example.within == "tool" else client.command(function)


@pytest.mark.parametrize("name", NAMES)
def test_the_python_of_a_page_asks_for_it(python: Harness, name: str) -> None:
    example, number, since = EXAMPLES[name], NAMES.index(name), len(python.host.requests)

    def told() -> list[tuple[str, Any]]:
        begun = 0 if example.declared else since
        return [(op, meant(op, params)) for op, params in python.host.requests[begun:] if op in OPERATIONS]

    if example.python and not example.declared and name != "config.get":  # the options are known before it asks
        reply = ran(python, example, f"short{number}")
        if example.within == "tool":
            told_of = {(each["total"], each["message"]) for each in reply.progress if "message" in each}
            assert told_of == {(example.params["total"], example.params["message"])}
        else:
            python.host.until(lambda: asked_for(name) in told(), f"{told()}")
    since = len(python.host.requests)
    ran(python, example, f"long{number}")
    python.host.until(lambda: asked_for(name) in told(), f"{told()}")


def test_options_are_there_without_asking(python: Harness) -> None:
    python.command(f"short{NAMES.index('config.get')}")


# Lua: a script with a tool for each, before a host that keeps what it is asked


def lua_script() -> str:
    parts: list[str] = []
    for number, name in enumerate(NAMES):
        short, long = code(name, "Lua")
        if EXAMPLES[name].declared:
            parts.append(short)
            short = ""
        for kind, lines in (("short", short), ("long", long)):
            parts.append(f"broker.tool({{ name = '{kind}{number}', run = function()\n{lines}\nend }})")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def lua() -> tuple[Sandbox, list[tuple[str, Any]], Any]:
    asked: list[tuple[str, Any]] = []

    def host(op: bytes, params: bytes) -> bytes:
        asked.append((op.decode(), json.loads(params)))
        return msgspec.json.encode(EXAMPLES[op.decode()].result)

    sandbox = Sandbox(host)
    return sandbox, asked, json.loads(sandbox.load(lua_script().encode(), 5))


@pytest.mark.parametrize("name", NAMES)
def test_the_lua_of_a_page_asks_for_it(lua: tuple[Sandbox, list[tuple[str, Any]], Any], name: str) -> None:
    sandbox, asked, registered = lua
    if EXAMPLES[name].declared:
        assert registered["commands"][0]["name"] == "refresh" and registered["events"] == ["document.saved"]
    kinds = ("short", "long") if EXAMPLES[name].lua and not EXAMPLES[name].declared else ("long",)
    for kind in kinds:
        asked.clear()
        sandbox.invoke(b"tools", f"{kind}{NAMES.index(name)}".encode(), b"{}", 5)
        assert [(op, meant(op, params)) for op, params in asked] == [asked_for(name)]


# WASM: the lines of a guest in Python, before the import that it has


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """What a guest has at hand, and what it asked for."""
    asked: list[tuple[str, Any]] = []

    def call(op: str, params: str) -> str:
        asked.append((op, meant(op, json.loads(params))))
        return json.dumps(EXAMPLES[op].result)

    host = SimpleNamespace(call=call, Level=SimpleNamespace(ERROR=0, WARNING=1, INFO=2, DEBUG=3))
    made = {
        "componentize_py_types": {"Err": Exception},
        "wit_world": {"exports": SimpleNamespace(Guest=object)},
        "wit_world.imports": {"host": host},
    }
    for name, members in made.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**members))
    names = runpy.run_path(str(TEMPLATES / "wasm-python" / "tool" / "broker_guest.py"))
    return {"json": json, "host": host, "call": names["call"]}, asked


@pytest.mark.parametrize("name", NAMES)
def test_the_wasm_guest_of_a_page_asks_for_it(guest: tuple[dict[str, Any], list[tuple[str, Any]]], name: str) -> None:
    names, asked = guest
    for lines in code(name, "WASM"):
        names.pop("answer", None)
        exec(lines, names)
        assert asked.pop() == asked_for(name) and names["answer"] == EXAMPLES[name].result
