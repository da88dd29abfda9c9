"""The interface `broker:plugin/host` of components: `wit/plugin.wit`, done by the host's one table of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from broker.runtimes.wasm_engine import Control, Refused

if TYPE_CHECKING:
    from broker.runtimes.wasm_component import Inside

MOST_ASKED = 1 << 20  # bytes of one host.call
_LEVELS = ("error", "warning", "info", "debug")
_encode = msgspec.json.Encoder().encode


class _Answer(Struct):
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


def operation(control: Control, op: str, params: bytes) -> tuple[str, bytes]:
    """("ok", result) or ("err", error), both JSON. Raises `Refused`."""
    if control.starting or control.calls is None:
        raise Refused("it called its host while nobody called it")
    control.left -= 1
    if control.left < 0:
        raise Refused("it called its host too often")
    if len(params) > MOST_ASKED:
        raise Refused(f"it handed its host {len(params)} bytes; the most is {MOST_ASKED}")
    try:
        msgspec.json.decode(params, type=Raw)
    except (msgspec.MsgspecError, RecursionError):
        params = b"null"  # which no operation takes
    answer = msgspec.json.decode(control.calls(b'{"op":%b,"params":%b}' % (_encode(op), params)), type=_Answer)
    if control.over():
        raise Refused("it must end")
    if isinstance(answer.error, Raw):
        return "err", bytes(answer.error)
    return "ok", bytes(answer.result) if isinstance(answer.result, Raw) else b"null"


def _log(inside: Inside, level: str, message: str) -> None:
    inside.control.log(_LEVELS.index(level) if level in _LEVELS else len(_LEVELS), message.encode())


def _call(inside: Inside, op: str, params: str) -> tuple[str, str]:
    kind, answer = operation(inside.control, op, params.encode())
    return kind, answer.decode()


def _config(inside: Inside, key: str) -> str | None:
    kind, answer = operation(inside.control, "config.get", _encode({"key": key}))
    return answer.decode() if kind == "ok" and answer != b"null" else None


HOST: dict[str, Callable[..., Any]] = {"log": _log, "call": _call, "config": _config}
