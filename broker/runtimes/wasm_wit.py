"""A component of the world `plugin` (`wit/plugin.wit`): the requests of the core-module ABI, by its exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct

from broker.runtimes.wasm_abi import Unfit
from broker.runtimes.wasm_component import UNTOUCHED, ComponentInstance, ComponentProgram
from broker.runtimes.wasm_engine import Control
from broker.runtimes.wasm_guest import MOST_OUTPUT, GuestFailed
from broker.runtimes.wasm_values import Function, Shape
from broker.runtimes.wasm_world import Grants

_encode = msgspec.json.Encoder().encode
_UNKNOWN = b'{"error":{"code":"unknown-op","message":"It has no such operation."}}'
_TEXT = Shape("string")
_SAYS = Function((), _TEXT)  # the types of its functions, whatever they call their parameters
_OF_ONE = Function((("", _TEXT),), Shape("result", ("ok", "err"), (_TEXT, _TEXT)))
_OF_TWO = Function((("", _TEXT), ("", _TEXT)), _OF_ONE.result)


class _Request(Struct):
    op: str
    params: Raw = Raw(b"{}")


class _Named(Struct):
    name: str
    arguments: Raw = Raw(b"{}")


class _Uri(Struct):
    uri: str


def _nothing(params: bytes) -> tuple[str, ...]:
    return ()


def _whole(params: bytes) -> tuple[str, ...]:
    return (params.decode(),)


def _named(params: bytes) -> tuple[str, ...]:
    asked = msgspec.json.decode(params, type=_Named)
    return asked.name, bytes(asked.arguments).decode()


def _uri(params: bytes) -> tuple[str, ...]:
    return (msgspec.json.decode(params, type=_Uri).uri,)


class _Export(Struct, frozen=True):
    """What answers one operation."""

    interface: str
    name: str
    type: Function
    arguments: Callable[[bytes], tuple[str, ...]] = _nothing


_EXPORTS = {
    "describe": _Export("guest", "describe", _SAYS),
    "schema": _Export("settings", "schema", _SAYS),
    "tools/list": _Export("guest", "list-tools", _SAYS),
    "tools/call": _Export("guest", "call-tool", _OF_TWO, _named),
    "prompts/list": _Export("prompts", "list-prompts", _SAYS),
    "prompts/get": _Export("prompts", "get-prompt", _OF_TWO, _named),
    "resources/list": _Export("resources", "list-resources", _SAYS),
    "resources/read": _Export("resources", "read-resource", _OF_ONE, _uri),
    "observe": _Export("observer", "observe", _OF_ONE, _whole),
    "hook": _Export("hooks", "hook", _OF_ONE, _whole),
}
_REQUIRED = ("describe", "tools/list", "tools/call")


class WitProgram(ComponentProgram):
    """A component of our world."""

    def __init__(self, component: Any, size: int) -> None:
        """Raises `Unfit` for what is none."""
        super().__init__(component, size)
        exported = self.exports()
        interfaces = {each.partition("@")[0]: each for each in exported if each.startswith("broker:plugin/")}
        self.known: dict[str, tuple[Any, _Export]] = {}
        for op, export in _EXPORTS.items():
            interface = interfaces.get(f"broker:plugin/{export.interface}")
            found = exported.get(interface) if interface is not None else None
            if isinstance(found, dict) and export.name in found:
                _check(export, found[export.name])
                self.known[op] = self.index(export.name, interface), export
            elif op in _REQUIRED:
                raise Unfit(
                    f"it is a component that does not export broker:plugin/guest with {export.name}; one that exports"
                    ' other functions runs with `wasm = "functions"` in its entry in config.toml'
                )

    def guest(self, memory: int, control: Control, granted: Grants) -> WitGuest:
        """A new instance. Raises `GuestFailed`."""
        return WitGuest(self, ComponentInstance(self, memory, control, granted))


def _check(export: _Export, found: Function | None) -> None:
    wanted = export.type
    if found is None or found.result != wanted.result or _types(found) != _types(wanted):
        raise Unfit(f"its export {export.interface}.{export.name} has not the type that broker's WIT world says")


def _types(function: Function) -> list[Shape]:
    return [shape for _, shape in function.params]


class WitGuest:
    """One instance of it."""

    def __init__(self, program: WitProgram, instance: ComponentInstance) -> None:
        self._program, self._instance = program, instance
        self.memory = UNTOUCHED

    def handle(self, request: bytes, control: Control) -> bytes:
        """The answer to a request. Raises `GuestFailed`."""
        asked = msgspec.json.decode(request, type=_Request)
        if asked.op not in self._program.known:
            return _UNKNOWN
        index, export = self._program.known[asked.op]
        found: Any = self._instance.call(control, index, export.type, export.arguments(bytes(asked.params)))
        kind, text = ("ok", found) if isinstance(found, str) else cast(tuple[str, str], found)
        if len(text) > MOST_OUTPUT:
            raise GuestFailed("bad_abi", f"its answer has {len(text)} characters; the most is {MOST_OUTPUT}")
        if kind == "err":
            return _encode({"error": {"code": "failed", "message": text}})
        return b'{"result":%b}' % text.encode()

    def number(self, name: str, control: Control) -> int:
        """Its protocol is in the name of its world; it is well."""
        return 1 if name == "protocol_version" else 0

    def close(self) -> None:
        self._instance.close()
