"""What a plugin of broker has to have as a component, in the words of broker's SDK: tools are functions with hints.

Broker calls the class `Guest` of plugin.py; an instance of the component that was called is thrown away after it.
"""

import inspect
import json
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host

_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}
_LEVELS = {"error": host.Level.ERROR, "warn": host.Level.WARNING, "info": host.Level.INFO, "debug": host.Level.DEBUG}


class ToolError(Exception):
    """What the model is told instead of a result. Of any other exception only broker's log says more."""


def log(message: Any, level: Literal["debug", "info", "warn", "error"] = "info") -> None:
    """One line for `broker log`."""
    host.log(_LEVELS[level], message if isinstance(message, str) else json.dumps(message))


def config(key: str, default: Any = None) -> Any:
    """An option of the plugin's configuration."""
    found = host.config(key)
    return default if found is None else json.loads(found)


def call(operation: str, /, **params: Any) -> Any:
    """The result of one operation of the host, such as `call("state.get", key="seen")`. Raises `ToolError`.

    What it may do stands under `[permissions]` in plugin.toml.
    """
    try:
        return json.loads(host.call(operation, json.dumps(params)))
    except Err as error:
        raise ToolError(json.loads(error.value)["message"]) from None


class Plugin:
    """The plugin. Its name, version and permissions stand in plugin.toml."""

    def __init__(self) -> None:
        self._tools: dict[str, Callable[..., Any]] = {}
        self._listed: list[dict[str, Any]] = []

    def tool(self, function: Callable[..., Any] | None = None, /, *, read_only: bool = False, name: str = "") -> Any:
        """Makes a function a tool, with or without parentheses; its hints and docstring say what it takes."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            called = name or function.__name__
            about, described = _documented(function)
            shown = {"name": called, "description": about, "inputSchema": _schema(function, described)}
            self._listed.append(shown | ({"annotations": {"readOnlyHint": True}} if read_only else {}))
            self._tools[called] = function
            return function

        return add if function is None else add(function)

    @property
    def guest(self) -> type[exports.Guest]:
        """The class that broker calls."""
        tools, listed = self._tools, self._listed

        class Guest(exports.Guest):
            def describe(self) -> str:
                return "{}"

            def list_tools(self) -> str:
                return json.dumps({"tools": listed})

            def call_tool(self, name: str, arguments: str) -> str:
                try:
                    return json.dumps(tools[name](**json.loads(arguments)))
                except ToolError as error:
                    raise Err(str(error)) from None

        return Guest


def _schema(function: Callable[..., Any], described: dict[str, str]) -> dict[str, Any]:
    """What a function takes, as JSON Schema."""
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for param in inspect.signature(function).parameters.values():
        part = _kind(hints.get(param.name, Any))
        if param.name in described:
            part["description"] = described[param.name]
        if param.default is param.empty:
            required.append(param.name)
        elif param.default is not None:
            part["default"] = param.default
        properties[param.name] = part
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _kind(hint: Any) -> dict[str, Any]:
    """One hint: a word of `_WORDS`, `list[...]`, `dict[str, ...]`, `Literal[...]`, or one of these or None."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, UnionType):
        return {"anyOf": [{"type": "null"} if each is NoneType else _kind(each) for each in parts]}
    if origin is list:
        return {"type": "array", "items": _kind(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _kind(parts[1])}
    return {"type": _WORDS[hint]} if hint in _WORDS else {}


def _documented(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """A docstring's text above `Args:`, and what stands there of each parameter."""
    text, _, below = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    found = (line.strip().partition(": ") for line in below.splitlines())
    return text.strip(), {name: said for name, colon, said in found if colon}
