# ruff: noqa: E501 (one attack a line)
"""Hostile WASM guests, as data: what is wrong with each, and how it must end.

An attack in `CALLS` is a plugin that loads and misbehaves when its tool is called; `ends` is the kind of its failure, or
"answers" or "complains" (a result, or one that is an error). An attack in `LOADS` must not become a plugin at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from _pytest.mark import ParameterSet

from tests.runtimes.wasm_guests import BUMP, ECHO_TOOL, Data, answer, guest

SPIN = "(loop (br 0))"
CALL = '{"op":"state.get","params":{}}'


class Attack(NamedTuple):
    name: str
    make: Callable[[], bytes]
    ends: str


def some(attacks: Sequence[Attack], *, ends: bool = True) -> list[ParameterSet]:
    """Them as parameters: every fourth, with `ends` the first of each end too, in the default run; the others are long."""
    firsts = {attack.ends: attack for attack in reversed(attacks)}
    default = [(ends and attack is firsts[attack.ends]) or place % 4 == 0 for place, attack in enumerate(attacks)]
    return [
        pytest.param(attack, marks=[] if chosen else [pytest.mark.long], id=attack.name)
        for attack, chosen in zip(attacks, default, strict=True)
    ]


def code(called: str, more: str = "", **rest: str) -> Callable[[], bytes]:
    return lambda: guest(called, more=more, **rest)  # type: ignore[arg-type]


def says(value: object) -> Callable[[], bytes]:
    """A guest that answers with this."""

    def make() -> bytes:
        data = Data()
        return guest(answer(data, value), data=data)

    return make


def then_fine(called: str, more: str = "", texts: tuple[str | bytes, ...] = (), **rest: str) -> Callable[[], bytes]:
    """A guest that does something and answers; `{0}` and `{1}` in the code are address and size of the first text."""

    def make() -> bytes:
        data = Data()
        places = [number for text in texts for number in data.put(text)]
        return guest(called.format(*places) + answer(data, {"result": 1}), more=more, data=data, **rest)  # type: ignore[arg-type]

    return make


def asks(text: str | bytes, alloc: str = BUMP, more: str = "") -> Callable[[], bytes]:
    """A guest that asks its host this and answers with the answer."""

    def make() -> bytes:
        data = Data()
        at, size = data.put(text)
        return guest(f"(call $call (i32.const {at}) (i32.const {size}))", data=data, alloc=alloc, more=more)

    return make


def packed(at: int, size: int) -> str:
    return f"(call $pack (i32.const {at}) (i32.const {size}))"


_TABLE = "(table $t 4 100000 funcref) (type $v (func)) (func $nothing) (elem (i32.const 0) $nothing)"
_GROWING = "(drop (memory.grow (i32.const {0})))"

CALLS = [
    # loops
    Attack("a loop", code(f"{SPIN} (unreachable)"), "deadline"),
    Attack("a loop that grows memory by nothing", code("(loop (drop (memory.grow (i32.const 0))) (br 0)) (unreachable)"), "deadline"),
    Attack("a tail call of itself", code("(call $f) (unreachable)", "(func $f (return_call $f))"), "deadline"),
    Attack("two functions in turn", code("(call $f) (unreachable)", "(func $f (return_call $g)) (func $g (return_call $f))"), "deadline"),
    Attack("nested loops", code("(loop (loop (loop (br 2)))) (unreachable)"), "deadline"),
    Attack("a branch table", code("(loop (br_table 0 0 0 (i32.const 1))) (unreachable)"), "deadline"),
    Attack("square roots", code("(loop (drop (f64.sqrt (f64.const 2))) (br 0)) (unreachable)"), "deadline"),
    Attack("filling memory again and again", code("(loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br 0)) (unreachable)"), "deadline"),
    Attack("filling sixty MiB again and again", code("(drop (memory.grow (i32.const 960))) (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 62914560)) (br 0)) (unreachable)"), "deadline"),
    Attack("copying memory again and again", code("(loop (memory.copy (i32.const 0) (i32.const 9) (i32.const 60000)) (br 0)) (unreachable)"), "deadline"),
    Attack("calls through a table", code("(loop (call_indirect (type $v) (i32.const 0)) (br 0)) (unreachable)", _TABLE), "deadline"),
    Attack("exceptions thrown and caught", code("(loop (block $h (try_table (catch_all $h) (throw $e))) (br 0)) (unreachable)", "(tag $e)"), "deadline"),
    Attack("growing to the end and looping", code(f"(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) {SPIN} (unreachable)"), "deadline"),
    Attack("asking for memory that it may not have, for ever", code("(loop (drop (memory.grow (i32.const 60000))) (br 0)) (unreachable)"), "deadline"),
    Attack("asking for a table that it may not have, for ever", code("(loop (drop (table.grow $t (ref.null func) (i32.const 60000))) (br 0)) (unreachable)", _TABLE), "deadline"),
    Attack("filling a table again and again", code("(drop (table.grow $t (ref.null func) (i32.const 9000))) (loop (table.fill $t (i32.const 0) (ref.null func) (i32.const 9000)) (br 0)) (unreachable)", _TABLE), "deadline"),
    Attack("an alloc that loops", code("(unreachable)", alloc=f"(if (i32.gt_u (local.get $size) (i32.const 64)) (then {SPIN})) {BUMP}"), "deadline"),
    # depth
    Attack("endless recursion", code("(call $f) (unreachable)", "(func $f (call $f))"), "stack_overflow"),
    Attack("recursion of two", code("(call $f) (unreachable)", "(func $f (call $g)) (func $g (call $f))"), "stack_overflow"),
    Attack("recursion with many locals", code("(call $f (i64.const 1)) (drop) (unreachable)", "(func $f (param i64) (result i64) (local " + "i64 " * 200 + ") (i64.add (local.get 0) (call $f (local.get 0))))"), "stack_overflow"),
    Attack("recursion through a table", code("(call $r) (unreachable)", "(table 1 funcref) (type $v (func)) (func $r (call_indirect (type $v) (i32.const 0))) (elem (i32.const 0) $r)"), "stack_overflow"),
    # memory and tables
    Attack("growing to four GiB", then_fine(_GROWING.format("65535")), "answers"),
    Attack("growing by minus one", then_fine(_GROWING.format("-1")), "answers"),
    Attack("growing page by page and touching each", then_fine("(loop $l (i32.store (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536)) (i32.const 1)) (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"), "answers"),
    Attack("growing a table to its end", then_fine("(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))", _TABLE), "answers"),
    Attack("reading behind its memory", code("(drop (i32.load (i32.const -1))) (unreachable)"), "memory_fault"),
    Attack("reading far behind its memory", code("(drop (i64.load offset=4294967288 (i32.const -1))) (unreachable)"), "memory_fault"),
    Attack("writing behind its memory", code("(i64.store (i32.const 0x7fffffff) (i64.const 1)) (unreachable)"), "memory_fault"),
    Attack("filling beyond its memory", code("(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (unreachable)"), "memory_fault"),
    Attack("copying from beyond its memory", code("(memory.copy (i32.const 0) (i32.const -9) (i32.const 99)) (unreachable)"), "memory_fault"),
    Attack("taking more of a segment than there is", code("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 99)) (unreachable)", '(data $d "x")'), "memory_fault"),
    Attack("a place that its table has not", code("(drop (table.get $t (i32.const 99))) (unreachable)", _TABLE), "memory_fault"),
    Attack("calling nothing", code("(call_indirect (type $v) (i32.const 2)) (unreachable)", _TABLE), "bad_call"),
    Attack("calling with the wrong types", code("(drop (call_indirect (result i32) (i32.const 0))) (unreachable)", _TABLE), "bad_call"),
    Attack("dividing by zero", code("(drop (i32.div_s (i32.const 1) (local.get $n))) (unreachable)"), "arithmetic"),
    Attack("a division that overflows", code("(drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $n) (i32.const 1)))) (unreachable)"), "arithmetic"),
    Attack("an integer of no number", code("(drop (i32.trunc_f64_s (f64.const nan))) (unreachable)"), "arithmetic"),
    Attack("giving up", code("(unreachable)"), "guest_panic"),
    Attack("an exception that nobody catches", code("(throw $e)", "(tag $e)"), "trap"),
    # floods of its host
    Attack("a flood of log lines", code("(loop (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br 0)) (unreachable)"), "bad_abi|deadline"),
    Attack("a flood of host calls", code("(loop (drop (call $call (i32.const 0) (i32.const 1))) (br 0)) (unreachable)"), "bad_abi|deadline"),
    Attack("a log line of nine MiB", code("(drop (memory.grow (i32.const 200))) (call $log (i32.const 1) (i32.const 0) (i32.const 9437184)) (unreachable)"), "bad_abi"),
    Attack("log lines of eight MiB each", code("(drop (memory.grow (i32.const 200))) (loop (call $log (i32.const 1) (i32.const 0) (i32.const 8388608)) (br 0)) (unreachable)"), "deadline"),
    Attack("a log line before its memory", code("(call $log (i32.const 1) (i32.const -16) (i32.const 0x7fffffff)) (unreachable)"), "bad_abi"),
    Attack("a log line of minus one bytes", code("(call $log (i32.const 1) (i32.const 0) (i32.const -1)) (unreachable)"), "bad_abi"),
    Attack("a log line at the very end and one more", code("(call $log (i32.const 1) (i32.const 65535) (i32.const 2)) (unreachable)"), "bad_abi"),
    Attack("a log level that there is not", then_fine("(call $log (i32.const -7) (i32.const {0}) (i32.const {1}))", texts=("x",)), "answers"),
    Attack("a log line of no UTF-8", then_fine("(call $log (i32.const 1) (i32.const {0}) (i32.const {1}))", texts=(b"\xff\xfe\x80",)), "answers"),
    Attack("a log line with a whole forged log", then_fine("(call $log (i32.const 1) (i32.const {0}) (i32.const {1}))", texts=("x\nbroker: all is well\x1b[2J\r",)), "answers"),
    Attack("a host call outside of its memory", code("(drop (call $call (i32.const 65530) (i32.const 100))) (unreachable)"), "bad_abi"),
    Attack("a host call of two MiB", code("(drop (memory.grow (i32.const 99))) (drop (call $call (i32.const 0) (i32.const 2097152))) (unreachable)"), "bad_abi"),
    Attack("a host call of no JSON", asks("}{"), "complains"),
    Attack("a host call of no UTF-8", asks(b'{"op":"\xff"}'), "complains"),
    Attack("a host call without an operation", asks("{}"), "complains"),
    Attack("a host call of nothing", asks(""), "complains"),
    Attack("a host call nested a hundred thousand times", asks('{"op":"x","params":' + "[" * 20_000), "complains"),
    Attack("a host call out of its alloc", asks(CALL, alloc="(if (global.get $calls) (then (drop (call $call (i32.const 1024) (i32.const 8))))) (global.set $calls (i32.add (global.get $calls) (i32.const 1))) " + BUMP), "load"),
    Attack("an alloc that fails for its host", asks(CALL, alloc="(if (i32.eq (local.get $size) (i32.const 12)) (then (unreachable))) " + BUMP), "bad_abi"),
    Attack("an alloc that gives its host nothing", asks(CALL, alloc="(if (i32.eq (local.get $size) (i32.const 12)) (then (return (i32.const 0)))) " + BUMP), "bad_abi"),
    Attack("an alloc that lies to its host", asks(CALL, alloc="(if (i32.eq (local.get $size) (i32.const 12)) (then (return (i32.const -4)))) " + BUMP), "bad_abi"),
    Attack("an alloc that loops for its host", asks(CALL, alloc=f"(if (i32.eq (local.get $size) (i32.const 12)) (then {SPIN})) " + BUMP), "deadline"),
    # lies about its answer
    Attack("an answer at the end of all memory", code(packed(-4096, 16)), "bad_abi"),
    Attack("an answer of four GiB", code(packed(0, -1)), "bad_abi"),
    Attack("an answer of minus one", code("(i64.const -1)"), "bad_abi"),
    Attack("an answer that ends outside", code(packed(65530, 100)), "bad_abi"),
    Attack("an answer of nine MiB", code("(drop (memory.grow (i32.const 200)))" + packed(0, 9437184)), "bad_abi"),
    Attack("an answer of nothing", code("(i64.const 0)"), "complains"),
    Attack("an answer of NULs", code(packed(60000, 64)), "complains"),
    Attack("an answer of no UTF-8", says(b'{"result":"\xff\xc0"}'), "complains"),
    Attack("an answer with half a surrogate", says(b'{"result":"\xed\xa0\x80"}'), "complains"),
    Attack("an answer of no JSON", says("hello"), "complains"),
    Attack("an answer cut off", says('{"result":{"a":1'), "complains"),
    Attack("an answer and something behind it", says('{"result":1}}'), "complains"),
    Attack("a result and an error", says({"result": 1, "error": {"code": "x", "message": "y"}}), "complains"),
    Attack("neither result nor error", says({}), "complains"),
    Attack("an error that is a number", says({"error": 5}), "complains"),
    Attack("an answer that is a list", says([1]), "complains"),
    Attack("an answer nested twenty thousand times", says('{"result":' + "[" * 20_000 + "]" * 20_000 + "}"), "complains"),
    Attack("a number that is none", says('{"result":NaN}'), "complains"),
    Attack("a dealloc that loops", code("(i64.const 4398046511105)", f'(func (export "dealloc") (param i32 i32) {SPIN})'), "load"),
    Attack("a dealloc that gives up", code("(i64.const 4398046511105)", '(func (export "dealloc") (param i32 i32) (if (i32.eq (local.get 1) (i32.const 1)) (then (unreachable))))'), "guest_panic"),
]  # fmt: skip


def bomb() -> bytes:
    """31 KB that a compiler works at for a minute: 2,000 nested loops over 1,000 locals."""
    body = b"\x01" + leb(1000) + b"\x7e"
    body += b"".join(b"\x03\x40\x20" + leb(i % 1000) + b"\x42\x01\x7c\x21" + leb((i * 13) % 1000) for i in range(2000))
    body += b"\x41\x00\x0d\x00\x0b" * 2000 + b"\x0b"
    return (
        b"\0asm\1\0\0\0"
        + section(1, leb(1) + b"\x60\0\0")
        + section(3, leb(1) + b"\0")
        + section(10, leb(1) + leb(len(body)) + body)
    )


def leb(number: int) -> bytes:
    out = b""
    while True:
        byte, number = number & 0x7F, number >> 7
        out += bytes([byte | 0x80 if number else byte])
        if not number:
            return out


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + leb(len(body)) + body


def lists(value: object) -> Callable[[], bytes]:
    return lambda: guest(ops={"tools/list": value})


def op(name: str, value: object) -> Callable[[], bytes]:
    return lambda: guest(ops={name: value})


def _start(body: str) -> Callable[[], bytes]:
    return lambda: guest(more=f"(func $s {body}) (start $s)")


def _exported(count: int) -> Callable[[], bytes]:
    return lambda: guest(more="(func $x) " + " ".join(f'(export "x{i}" (func $x))' for i in range(count)))


def _without(name: str) -> Callable[[], bytes]:
    return lambda: guest().replace(leb(len(name)) + name.encode(), leb(len(name)) + b"x" * len(name))


LOADS = [
    Attack("a start function that loops", _start(SPIN), "longer than it may"),
    Attack("a start function that gives up", _start("(unreachable)"), "gave up"),
    Attack("a start function without an end to its calls", _start("(call $s)"), "too deeply"),
    Attack("a start function that calls its host", _start("(drop (call $call (i32.const 0) (i32.const 0)))"), "nobody called it"),
    Attack("a start function that floods its log", _start("(loop (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br 0))"), "too often|longer than"),
    Attack("a GiB of memory", lambda: guest(pages="16384"), "more memory"),
    Attack("two memories", lambda: guest(more="(memory 1)"), "memories"),
    Attack("a table of ten million", lambda: guest(more="(table 10000000 funcref)"), "more memory or tables"),
    Attack("five tables", lambda: guest(more="(table 1 funcref)" * 5), "more memory or tables"),
    Attack("two thousand exports", _exported(2000), "exports"),
    Attack("a memory of 64 bits", lambda: guest(pages="i64 1"), "no valid WASM|no type"),
    Attack("a shared memory", lambda: guest(pages="1 2 shared"), "no valid WASM"),
    Attack("a memory that its host must give", lambda: guest(imports='(import "host" "memory" (memory $m 1))' ), "imports|memories"),
    Attack("a table that its host must give", lambda: guest(imports='(import "host" "log" (table 1 funcref))'), "no function"),
    Attack("a function of WASI that there is not", lambda: guest(imports='(import "wasi_snapshot_preview1" "run" (func (param i32) (result i32)))'), "imports wasi"),
    Attack("a function of WASI with another type", lambda: guest(imports='(import "wasi_snapshot_preview1" "fd_write" (func (param i32)))'), "has the type"),
    Attack("an import with a name like a terminal's orders", lambda: guest(imports='(import "\\1b[2J" "x" (func))'), r"imports \\x1b"),
    Attack("no handle", _without("handle"), "does not export handle"),
    Attack("no alloc", _without("alloc"), "does not export alloc"),
    Attack("no memory", _without("memory"), "does not export its memory"),
    Attack("no version", _without("protocol_version"), "does not export protocol_version"),
    Attack("a dealloc of another type", lambda: guest(more='(func (export "dealloc") (param i64))'), "dealloc has the type"),
    Attack("a health that is a global", lambda: guest(more='(global (export "health") i32 (i32.const 0))'), "health is no function"),
    Attack("a segment behind its memory", lambda: guest(more='(data (i32.const 65530) "0123456789")'), "outside of its memory"),
    Attack("elements behind their table", lambda: guest(more="(table 1 funcref) (func $x) (elem (i32.const 1) $x)"), "outside of its memory"),
    Attack("a description that loops", op("describe", f"code:{SPIN} (unreachable)"), "longer than it may"),
    Attack("a schema that gives up", op("schema", "code:(unreachable)"), "gave up"),
    Attack("a list that is outside of its memory", op("tools/list", f"code:{packed(-9, 99)}"), "outside of its memory"),
    Attack("a description that is a list", op("describe", {"result": []}), "something else"),
    Attack("a schema that is a text", op("schema", {"result": "x"}), "something else"),
    Attack("tools that are no list", lists({"result": {"tools": 5}}), "something else"),
    Attack("a tool without a name", lists({"result": {"tools": [{}]}}), "something else"),
    Attack("a tool with an empty name", lists({"result": {"tools": [{"name": ""}]}}), "without a name"),
    Attack("a tool twice", lists({"result": {"tools": [ECHO_TOOL, ECHO_TOOL]}}), "twice"),
    Attack("a tool whose schema is a number", lists({"result": {"tools": [{"name": "x", "inputSchema": 5}]}}), "something else"),
    Attack("two thousand tools", lists({"result": {"tools": [{"name": f"t{i}"} for i in range(1100)]}}), "the most is"),
    Attack("a list of no UTF-8", lists(b'{"result":{"tools":[{"name":"\xff"}]}}'), "no UTF-8"),
    Attack("a list nested twenty thousand times", lists('{"result":{"tools":' + "[" * 20_000 + "]" * 20_000 + "}}"), "too deeply|something else"),
    Attack("a section longer than its file", lambda: b"\0asm\1\0\0\0" + b"\1" + leb(1 << 30) + b"x", "cut off"),
    Attack("a number without an end", lambda: b"\0asm\1\0\0\0" + b"\1" + b"\xff" * 20, "cut off"),
    Attack("a billion types", lambda: b"\0asm\1\0\0\0" + section(1, leb(1 << 30)), "no valid WASM"),
    Attack("a billion exports", lambda: b"\0asm\1\0\0\0" + section(7, leb(1 << 30)), "exports"),
    Attack("a file cut in half", lambda: guest()[:300], "cut off|no valid"),
    Attack("something behind the end", lambda: guest() + b"\0\0\0", "cut off|no valid|is no"),
]  # fmt: skip
