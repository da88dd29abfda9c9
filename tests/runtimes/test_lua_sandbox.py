"""One Lua state: what goes in, what comes out, and its bounds."""

from __future__ import annotations

import json

import pytest

from broker.runtimes.lua_sandbox import Killed, Sandbox, ScriptError

SOURCE = b"""
broker.tool{name = 'same', run = function(given) return given end}
broker.tool{name = 'text', run = function(given) return given.text end}
local kept
broker.tool{name = 'keep', run = function(given) kept = ('x'):rep(given.size) return true end}
broker.tool{name = 'grow', run = function(given)
  local all = {}
  for i = 1, 100 do all[i] = ('x'):rep(100000 + i) end
  return #all
end}
broker.tool{name = 'length', run = function(given) return #given.text end}
broker.tool{name = 'bytes', run = function() return '\\xff' end}
"""
EVERYTHING = "".join(map(chr, (*range(1, 256), 0x20AC, 0xFFFD, 0x1F600)))
VALUES = [
    {"a": "b", "c": [1, -2, 2.5, 1e300, True, False, "d"], "e": {"f": {"g": [[], [[1]]]}}},
    {"": "", " ": " ", 'a"b': "c\\d", "\\": "\\\\", "\n\t": "\r\b\f/"},
    {"all": EVERYTHING, EVERYTHING: "all", "long": EVERYTHING * 20},
    {"many": [{"n": number, "s": "x" * number, "q": '"' * (number % 3)} for number in range(100)]},
    {},
]


@pytest.fixture
def sandbox() -> Sandbox:
    one = Sandbox(lambda op, params: b"null", memory=2 << 20)
    one.load(SOURCE, 10)
    return one


def called(sandbox: Sandbox, name: str, given: object, **how: object) -> object:
    said = sandbox.invoke(b"tools", name.encode(), json.dumps(given, **how).encode(), 10)  # type: ignore[arg-type]
    return said if isinstance(said, str) else json.loads(said)


@pytest.mark.parametrize("how", [{}, {"ensure_ascii": False}, {"indent": 3}, {"separators": (" ,\r\n", "\t:  ")}])
@pytest.mark.parametrize("value", VALUES, ids=["nested", "escaped", "everything", "many", "empty"])
def test_what_a_script_is_given_it_gives_back(sandbox: Sandbox, value: object, how: dict[str, object]) -> None:
    assert called(sandbox, "same", value, **how) == value


def test_a_text_comes_out_as_it_is(sandbox: Sandbox) -> None:
    assert called(sandbox, "text", {"text": EVERYTHING}) == EVERYTHING
    with pytest.raises(ScriptError, match="not UTF-8"):
        sandbox.invoke(b"tools", b"bytes", b"{}", 10)


@pytest.mark.parametrize("room", [b"", b" " * 5000], ids=["small", "large"])
@pytest.mark.parametrize(
    "wrong", [b'{"a":}', b'{"a" 1}', b"{", b'{"a":1,}', b'{,"a":1}', b'{"a":1}}', b'{"a\\":1}', b""]
)
def test_what_is_no_json_is_an_error_that_says_where(sandbox: Sandbox, wrong: bytes, room: bytes) -> None:
    with pytest.raises(ScriptError, match="no JSON at character"):
        sandbox.invoke(b"tools", b"same", room + wrong, 10)
    assert called(sandbox, "text", {"text": "next"}) == "next"


def test_reading_large_arguments_is_the_scripts_own_time(sandbox: Sandbox) -> None:
    large = json.dumps({"text": "x", "more": list(range(20_000))}).encode()
    with pytest.raises(Killed, match="time"):
        sandbox.invoke(b"tools", b"text", large, 0.0001)


def test_arguments_arrive_where_the_heap_is_full_and_its_bound_holds_again_after(sandbox: Sandbox) -> None:
    assert called(sandbox, "keep", {"size": 600_000}) is True
    try:  # to fill it up to its bound, with what the script does not keep
        called(sandbox, "grow", {})
    except ScriptError as error:
        assert "memory" in str(error)
    for size in (10, 1000, 450_000, 10):
        assert called(sandbox, "length", {"text": "x" * size}) == size
        with pytest.raises((ScriptError, Killed), match="memory"):
            called(sandbox, "grow", {})
