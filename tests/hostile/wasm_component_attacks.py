# ruff: noqa: E501 (one attack a line)
"""Hostile WASM components, as data, in the manner of `wasm_attacks`: those that load and misbehave, those that must not load."""

from __future__ import annotations

from collections.abc import Callable

import wasmtime

from tests.hostile.wasm_attacks import SPIN, Attack
from tests.runtimes.wasm_components import HOST, HOST_FUNCTIONS, component, gives, says
from tests.runtimes.wasm_guests import Data

_FINE = "(call $gives (i32.const 0) (i32.const 1024) (i32.const 1))"
_TIMES = """(import "wasi:io/poll@0.2.3" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
    (alias outer 1 $pollable (type $p')) (export "pollable" (type $p (eq $p')))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))"""
_SOCKETS = """(import "wasi:sockets/network@0.2.3" (instance $network
    (type $c (enum "unknown" "access-denied" "not-supported")) (export "error-code" (type (eq $c)))))
  (alias export $network "error-code" (type $code))
  (import "wasi:sockets/tcp-create-socket@0.2.3" (instance $sockets
    (alias outer 1 $code (type $c')) (export "error-code" (type $c (eq $c')))
    (export "create" (func (result (result u32 (error $c)))))))"""
_ENVIRONMENT = """(import "wasi:cli/environment@0.2.3" (instance $env
    (export "get-environment" (func (result (list (tuple string string)))))))"""
_FOLDERS = """(import "wasi:filesystem/types@0.2.3" (instance $types (export "descriptor" (type (sub resource)))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.3" (instance $folders
    (alias outer 1 $descriptor (type $d')) (export "descriptor" (type $d (eq $d')))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))"""
_EXIT = '(import "wasi:cli/exit@0.2.3" (instance $exit (export "exit" (func (param "status" (result))))))'


def code(called: str, more: str = "", **rest: str) -> Callable[[], bytes]:
    return lambda: component(called, more=more, **rest)  # type: ignore[arg-type]


def answers(value: str | bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        data = Data()
        return component(gives(data, value), data=data)

    return make


def wasi(imports: str, name: str, instance: str, kind: str, called: str) -> Callable[[], bytes]:
    """One that uses a function of WASI; what it answers is the digit that lies at 1024."""

    def make() -> bytes:
        data = Data()
        data.put("0")
        return component(
            called, data=data, imports=HOST + imports, functions={**HOST_FUNCTIONS, name: (instance, kind)}
        )

    return make


def digit(number: str) -> str:
    """Code that answers with this number."""
    return f"(i32.store8 (i32.const 1024) (i32.add (i32.const 48) {number})) {_FINE}"


def sleeping() -> bytes:
    functions = {
        **HOST_FUNCTIONS,
        "subscribe-duration": ("clock", "(param i64) (result i32)"),
        "[method]pollable.block": ("poll", "(param i32)"),
    }
    called = "(call $__method__pollable_block (call $subscribe_duration (i64.const 3600000000000))) (unreachable)"
    return component(called.replace("__method__", "_method_"), imports=HOST + _TIMES, functions=functions)


CALLS = [
    Attack("a loop", code(f"{SPIN} (unreachable)"), "deadline"),
    Attack("a loop that grows memory by nothing", code("(loop (drop (memory.grow (i32.const 0))) (br 0)) (unreachable)"), "deadline"),
    Attack("endless recursion", code("(call $f) (unreachable)", "(func $f (call $f))"), "stack_overflow"),
    Attack("giving up", code("(unreachable)"), "guest_panic"),
    Attack("dividing by zero", code("(drop (i32.div_s (i32.const 1) (local.get $n))) (unreachable)"), "arithmetic"),
    Attack("reading behind its memory", code("(drop (i32.load (i32.const -1))) (unreachable)"), "memory_fault"),
    Attack("growing to the end", code("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.store8 (i32.const 1024) (i32.const 49)) " + _FINE), "answers"),
    Attack("growing to four GiB", code("(drop (memory.grow (i32.const 65535))) (i32.store8 (i32.const 1024) (i32.const 49)) " + _FINE), "answers"),
    Attack("a result of nine MiB", code("(drop (memory.grow (i32.const 200))) (call $gives (i32.const 0) (i32.const 0) (i32.const 9437184))"), "bad_abi|trap"),
    Attack("a result of sixty MiB", code("(drop (memory.grow (i32.const 960))) (call $gives (i32.const 0) (i32.const 0) (i32.const 62914560))"), "bad_abi|trap"),
    Attack("a result of four GiB", code("(call $gives (i32.const 0) (i32.const 0) (i32.const -1))"), "memory_fault|trap"),
    Attack("a result outside of its memory", code("(call $gives (i32.const 0) (i32.const 65530) (i32.const 100))"), "memory_fault|trap"),
    Attack("a place of its result outside of its memory", code("(i32.const -4)"), "memory_fault|trap"),
    Attack("a place of its result that is not aligned", code("(i32.const 65)"), "trap"),
    Attack("a case that there is not", code("(call $gives (i32.const 7) (i32.const 1024) (i32.const 1))"), "trap"),
    Attack("a result of no UTF-8", answers(b"\xff\xc0"), "trap"),
    Attack("a result with half a surrogate", answers(b'"\xed\xa0\x80"'), "trap"),
    Attack("a result of no JSON", answers("hello"), "complains"),
    Attack("a result cut off", answers('{"a":1'), "complains"),
    Attack("a result and something behind it", answers('1},"error":{'), "complains"),
    Attack("a result that ends its answer", answers('1},{"x":2'), "complains"),
    Attack("a result nested twenty thousand times", answers("[" * 20_000 + "]" * 20_000), "complains"),
    Attack("a realloc that loops", lambda: component(realloc=f"(if (i32.eq (local.get 3) (i32.const 4)) (then {SPIN})) (local.get $at)"), "deadline"),
    Attack("a realloc that gives up", lambda: component(realloc="(unreachable)"), "guest_panic"),
    Attack("a realloc that lies", lambda: component(realloc="(i32.const -8)"), "trap|memory_fault"),
    Attack("a realloc that is never aligned", lambda: component(realloc="(i32.const 33)"), "answers|trap"),
    Attack("a flood of log lines", code("(loop (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br 0)) (unreachable)"), "bad_abi|deadline"),
    Attack("log lines of eight MiB each", code("(drop (memory.grow (i32.const 200))) (loop (call $log (i32.const 1) (i32.const 0) (i32.const 8388608)) (br 0)) (unreachable)"), "bad_abi|deadline|trap"),
    Attack("a log level that there is not", code("(call $log (i32.const 9) (i32.const 0) (i32.const 0)) (unreachable)"), "trap"),
    Attack("a log line of no UTF-8", code("(i32.store8 (i32.const 8) (i32.const 255)) (call $log (i32.const 1) (i32.const 8) (i32.const 1)) (unreachable)"), "trap"),
    Attack("a log line outside of its memory", code("(call $log (i32.const 1) (i32.const 65530) (i32.const 100)) (unreachable)"), "trap|memory_fault"),
    Attack("a flood of host calls", code("(loop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 128)) (br 0)) (unreachable)"), "bad_abi|deadline"),
    Attack("a host call of two MiB", code("(drop (memory.grow (i32.const 99))) (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2097152) (i32.const 128)) (unreachable)"), "bad_abi"),
    Attack("a host call whose answer has no place", code("(call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -8)) (unreachable)"), "trap|memory_fault"),
    Attack("a sleep of an hour", sleeping, "deadline"),
    Attack("leaving", wasi(_EXIT, "exit", "exit", "(param i32)", "(call $exit (i32.const 1)) (unreachable)"), "exit(1)"),
    Attack("a variable that was not granted", wasi(_ENVIRONMENT, "get-environment", "env", "(param i32)", "(call $get_environment (i32.const 256)) " + digit("(i32.load (i32.const 260))")), "answers 0"),
    Attack("a folder that was not granted", wasi(_FOLDERS, "get-directories", "folders", "(param i32)", "(call $get_directories (i32.const 256)) " + digit("(i32.load (i32.const 260))")), "answers 0"),
    Attack("a socket", wasi(_SOCKETS, "create", "sockets", "(param i32)", "(call $create (i32.const 256)) " + digit("(i32.load8_u (i32.const 260))")), "answers 1"),
]  # fmt: skip


def wat(text: str) -> Callable[[], bytes]:
    return lambda: bytes(wasmtime.wat2wasm(f"(component {text})"))


def _described(body: str) -> Callable[[], bytes]:
    return lambda: component(interfaces={"guest": {"describe": body}})


def _listed(value: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = Data()
        return component(data=data, interfaces={"guest": {"list-tools": says(data, value)}})

    return make


_DEEP = "(list " * 90 + "u8" + ")" * 90
LOADS = [
    Attack("a start function that loops", lambda: component(more=f"(func $s {SPIN}) (start $s)"), "longer than it may"),
    Attack("a start function that gives up", lambda: component(more="(func $s (unreachable)) (start $s)"), "gave up"),
    Attack("a start function without an end to its calls", lambda: component(more="(func $s (call $s)) (start $s)"), "too deeply"),
    Attack("a start function that calls its host", lambda: component(more="(func $s (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 128))) (start $s)"), "nobody called it"),
    Attack("a description that loops", _described(f"{SPIN} (unreachable)"), "longer than it may"),
    Attack("a description that gives up", _described("(unreachable)"), "gave up"),
    Attack("a description outside of its memory", _described("(call $says (i32.const -9) (i32.const 99))"), "memory|ended by an error"),
    Attack("a description of no JSON", _described("(call $says (i32.const 1024) (i32.const 0))"), "something else"),
    Attack("tools that are no list", _listed({"tools": 5}), "something else"),
    Attack("two thousand tools", _listed({"tools": [{"name": f"t{i}"} for i in range(2000)]}), "the most is"),
    Attack("a list nested twenty thousand times", _listed('{"tools":' + "[" * 20_000 + "]" * 20_000 + "}"), "too deeply|something else"),
    Attack("a GiB of memory", lambda: component(pages="16384"), "more memory"),
    Attack("five memories", lambda: component(more="(memory 1)" * 4), "more memory"),
    Attack("two memories as large as one may be", lambda: component(more="(memory 992)"), "more memory"),
    Attack("a second module with a memory", wat("(core module $a (memory 1)) (core instance (instantiate $a)) (core instance (instantiate $a))"), "does not export"),
    Attack("no exports", wat(""), "does not export"),
    Attack("another world's exports", wat('(instance $i) (export "acme:x/guest@1.0.0" (instance $i))'), "does not export"),
    Attack("our interface without its functions", wat('(instance $i) (export "broker:plugin/guest@1.0.0" (instance $i))'), "does not export"),
    Attack("our functions with other types", lambda: component(exported="(func $d (result u32) (canon lift (core func $main \"describe\"))) (instance $g (export \"describe\" (func $d)) (export \"list-tools\" (func $list-tools)) (export \"call-tool\" (func $call-tool))) (export \"broker:plugin/guest@1.0.0\" (instance $g))"), "has not the type"),
    Attack("an import of a stranger's", wat('(import "acme:secrets/all@1.0.0" (instance))'), "it imports acme"),
    Attack("an import of a function alone", wat('(import "run" (func))'), "it imports run"),
    Attack("an import of a component", wat('(import "x" (component))'), "it imports x|no valid WASM"),
    Attack("WASI of another edition", wat('(import "wasi:cli/environment@0.3.0" (instance))'), "it imports wasi"),
    Attack("our host of another edition", wat('(import "broker:plugin/host@9.0.0" (instance))'), "it imports broker"),
    Attack("types nested ninety times", wat(f'(import "wasi:io/poll@0.2.0" (instance (export "poll" (func (param "x" {_DEEP})))))'), "too large or too deep|no valid"),
    Attack("a header and nothing else", lambda: b"\0asm\x0d\0\1\0", "does not export"),
    Attack("a header and rubbish", lambda: b"\0asm\x0d\0\1\0" + b"\xff" * 50, "no valid WASM"),
    Attack("a component cut in half", lambda: component()[:400], "no valid WASM"),
    Attack("something behind the end", lambda: component() + b"\0\0\0", "no valid WASM"),
]  # fmt: skip
