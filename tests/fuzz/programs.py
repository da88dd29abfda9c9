"""Lua programs that nobody thought of: put together at random from what breaks sandboxes."""

from __future__ import annotations

import random

NAMES = ("a", "b", "c", "t", "f")
VALUES = (
    "nil", "true", "0", "-1", "1e15", "2^53", "math.huge", "0/0", "math.mininteger", "''", "'x'", "('x'):rep(1e5)",
    "{}", "{1, 2, 3}", "function(...) return ... end", "function() while true do end end", "print", "error", "pcall",
    "coroutine.create(print)", "coroutine.wrap(function(...) coroutine.yield(...) end)", "_G", "broker", "string",
    "setmetatable({}, {__index = function(_, k) return k end})", "setmetatable({}, {__call = pcall})",
    "setmetatable({}, {__len = function() return 2^40 end, __eq = error, __lt = error, __concat = error})",
    "setmetatable({}, {__close = error, __tostring = function() return {} end})", "broker.json.null",
)  # fmt: skip
FUNCTIONS = (
    "pcall", "xpcall", "error", "select", "tostring", "tonumber", "rawget", "rawset", "rawequal", "next", "pairs",
    "ipairs", "setmetatable", "getmetatable", "require", "string.rep", "string.find", "string.gsub", "string.gmatch",
    "string.format", "string.byte", "string.pack", "string.unpack", "table.concat", "table.insert", "table.remove",
    "table.move", "table.sort", "table.unpack", "utf8.len", "utf8.char", "utf8.codepoint", "coroutine.wrap",
    "coroutine.resume", "coroutine.yield", "broker.call", "broker.json.encode", "broker.json.decode", "broker.tool",
    "broker.json.array", "os.date", "math.random", "a", "b", "f",
)  # fmt: skip


class Program:
    """One of them; the same number is the same program."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)
        body = "local a, b, c, t, f\n" + self._block(3)
        self.script = f"broker.tool{{name='p', run=function()\n{body}\nreturn t end}}"

    def _block(self, depth: int) -> str:
        return "\n".join(self._statement(depth) for _ in range(self._random.randint(1, 5)))

    def _statement(self, depth: int) -> str:
        kinds = ("set", "index", "call") if depth == 0 else ("set", "index", "call", "loop", "catch", "close", "thread")
        name, inner = self._random.choice(NAMES), depth - 1
        match self._random.choice(kinds):
            case "set":
                return f"{name} = {self._value(2)}"
            case "index":
                return f"pcall(function() {name}[{self._value(1)}] = {self._value(1)} end)"
            case "loop":
                return f"for i = 1, {self._random.choice(('3', '1e9', '#tostring(a)'))} do\n{self._block(inner)}\nend"
            case "catch":
                return f"{name} = {{pcall(function()\n{self._block(inner)}\nend)}}"
            case "close":
                return f"pcall(function() local x <close> = {self._value(1)}\n{self._block(inner)}\nend)"
            case "thread":
                return f"pcall(coroutine.wrap(function()\n{self._block(inner)}\nend))"
            case _:
                return f"{name} = {{pcall({self._call(2)})}}"

    def _call(self, depth: int) -> str:
        given = [self._value(depth - 1) for _ in range(self._random.randint(0, 4))]
        return ", ".join([self._random.choice(FUNCTIONS), *given])

    def _value(self, depth: int) -> str:
        if depth <= 0 or self._random.random() < 0.6:
            return self._random.choice((*VALUES, *NAMES))
        function, *given = self._call(depth).split(", ", 1)
        return f"(select(2, pcall({', '.join([function, *given])})))"
