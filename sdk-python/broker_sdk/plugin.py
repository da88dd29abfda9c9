"""`Plugin`: the decorators by which functions become tools, resources, prompts, commands, listeners and hooks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from broker_sdk.definitions import (
    TOOL_SECONDS,
    Command,
    Completion,
    Hook,
    Listener,
    Offered,
    Prompt,
    Resource,
    Tool,
)
from broker_sdk.errors import Misdeclared

if TYPE_CHECKING:
    from broker_sdk.server import Server

Json = dict[str, Any]
Function = Callable[..., Any]
F = TypeVar("F", bound=Function)
O = TypeVar("O", bound=Offered)  # noqa: E741
Decorator = Callable[[F], F]
On = Literal["pre_request", "post_response", "on_connect", "on_close"]

_STATED = re.compile(r'^(name|version|description)\s*=\s*"([^"\\]*)"', re.MULTILINE)


class Plugin:
    """One plugin. What is not given is read from the `plugin.toml` beside the file that makes it.

    ```python
    plugin = Plugin()

    @plugin.tool(read_only=True)
    async def count(path: str, ctx: Ctx) -> int:
        ...

    if __name__ == "__main__":
        plugin.run()
    ```
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        version: str | None = None,
        title: str | None = None,
        instructions: str | None = None,
    ) -> None:
        maker = sys._getframe(1).f_globals  # pyright: ignore[reportPrivateUsage]
        stated = _manifest(maker.get("__file__")) if name is None or version is None else {}
        self.name = name or stated.get("name") or "plugin"
        self.version = version or stated.get("version") or "0.0.0"
        self.title, self.instructions = title, instructions
        self.file: str | None = maker.get("__file__")
        self.tools: dict[str, Tool] = {}
        self.resources: dict[str, Resource] = {}
        self.prompts: dict[str, Prompt] = {}
        self.commands: dict[str, Command] = {}
        self.listeners: list[Listener] = []
        self.hooks: list[Hook] = []
        self.completions: list[Completion] = []
        self.starts: list[Function] = []
        self.stops: list[Function] = []
        self.server: Server | None = None
        """What serves it now."""
        if maker.get("__name__") == "__main__" and "__file__" in maker:  # this program is going to serve
            from broker_sdk.stdio import claim_output

            claim_output()

    # What models use

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        name: str | None = None,
        /,
        *,
        title: str | None = None,
        description: str | None = None,
        read_only: bool | None = None,
        destructive: bool | None = None,
        idempotent: bool | None = None,
        open_world: bool | None = None,
        timeout: float | None = TOOL_SECONDS,
        input_schema: Json | None = None,
        meta: Json | None = None,
    ) -> Decorator[Any]: ...

    def tool(self, name: Any = None, /, **options: Any) -> Any:
        """A tool: what a model may call. Its schema is made of the function's hints, its texts of the docstring.

        `read_only`, `destructive`, `idempotent`, `open_world`: what clients are told of its effects.
        `timeout`: seconds, None for as long as it takes; waiting for a person does not count.
        `input_schema`: a JSON Schema to show instead; the function then has one parameter, for all arguments.
        """
        flags = ("read_only", "destructive", "idempotent", "open_world")
        said = {flag: options.pop(flag, None) for flag in flags}
        hints = {_camel(flag) + "Hint": value for flag, value in said.items() if value is not None}
        seconds = options.pop("timeout", TOOL_SECONDS)

        def make(function: Function, called: str | None) -> Tool:
            return Tool(function, called, hints=hints, seconds=seconds, **options)

        return self._offer(name, make, lambda tool: self._add(self.tools, tool.name, tool, "tools"))

    def resource(
        self,
        uri: str,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime: str | None = None,
    ) -> Decorator[Any]:
        """A resource: what a client may read. `todo://{file}` is one for every file; the function has its holes as
        parameters, and returns text, bytes, or data that becomes JSON."""

        def add(function: F) -> F:
            self._add(self.resources, uri, Resource(function, uri, name, title, description, mime), "resources")
            return function

        return add

    @overload
    def prompt(self, function: F, /) -> F: ...
    @overload
    def prompt(
        self, name: str | None = None, /, *, title: str | None = None, description: str | None = None
    ) -> Decorator[Any]: ...

    def prompt(self, name: Any = None, /, **options: Any) -> Any:
        """A prompt: a text that a person picks. The function returns a text, or messages (`user`, `assistant`)."""

        def make(function: Function, called: str | None) -> Prompt:
            return Prompt(function, called, options.get("title"), options.get("description"))

        return self._offer(name, make, lambda prompt: self._add(self.prompts, prompt.name, prompt, "prompts"))

    def complete(self, of: str, argument: str, /) -> Decorator[Any]:
        """What proposes values for an argument, by what was typed of it: `of` is the name of a prompt, or the template
        of a resource. Arguments with a `Literal` or an Enum need none."""

        def add(function: F) -> F:
            self.completions.append(Completion(function, of, argument))
            return function

        return add

    # What people and other plugins use

    @overload
    def command(self, function: F, /) -> F: ...
    @overload
    def command(
        self, name: str | None = None, /, *, title: str | None = None, description: str | None = None
    ) -> Decorator[Any]: ...

    def command(self, name: Any = None, /, **options: Any) -> Any:
        """A command: what a person runs in an editor. Only broker knows commands; elsewhere it is never run."""

        def make(function: Function, called: str | None) -> Command:
            return Command(function, called, options.get("title"), options.get("description"))

        return self._offer(name, make, lambda command: self._add(self.commands, command.name, command, "commands"))

    def on(self, event: str, /, **wanted: Any) -> Decorator[Any]:
        """What hears an event (`document.saved`, `config.changed`, ...), of those whose params have these members."""

        def add(function: F) -> F:
            self.listeners.append(Listener(function, event, wanted))
            return function

        return add

    def hook(self, on: On, /) -> Decorator[Any]:
        """What is asked about the calls of others. It returns None to let a call pass, `Deny("why")` to stop it,
        `Change(arguments=...)` to let it pass otherwise. The manifest lists it under `[[hooks]]`."""

        def add(function: F) -> F:
            self.hooks.append(Hook(function, on))
            return function

        return add

    def on_start(self, function: F) -> F:
        """Run before anything is served. One that yields goes on after its `yield` when the plugin ends."""
        self.starts.append(function)
        return function

    def on_stop(self, function: F) -> F:
        """Run when the plugin ends."""
        self.stops.append(function)
        return function

    # Its life

    def run(self) -> None:
        """Serve on stdin and stdout, until the client is gone. `print` goes to stderr from here on."""
        from broker_sdk.stdio import run

        run(self)

    def remove(self, kind: Literal["tools", "resources", "prompts", "commands"], name: str) -> None:
        """Offer it no longer; clients that want to know are told."""
        held: dict[str, Any] = getattr(self, kind)
        del held[name]
        self._changed(kind)

    def updated(self, uri: str) -> None:
        """A resource has another content now: those who subscribed to it are told."""
        server = self.server
        if server is not None:
            server.call_soon(lambda: server.updated(uri))

    def _offer(self, name: Any, make: Callable[[Function, str | None], O], add: Callable[[O], None]) -> Any:
        if callable(name):
            add(make(name, None))
            return name

        def decorate(function: Function) -> Function:
            add(make(function, name))
            return function

        return decorate

    def _add(self, held: dict[str, Any], name: str, offered: Offered, kind: str) -> None:
        if name in held:
            raise Misdeclared(f"{offered.kind} {name!r} is there already")
        held[name] = offered
        self._changed(kind)

    def _changed(self, kind: str) -> None:
        server = self.server
        if server is not None:
            server.call_soon(lambda: server.changed(kind))


class Deny:
    """A hook's no."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Change:
    """A hook's yes to a call with other arguments, or with more of `_meta`."""

    def __init__(self, arguments: Json | None = None, *, meta: Json | None = None, status: Any = None) -> None:
        self.arguments, self.meta, self.status = arguments, meta or {}, status


def _manifest(file: Any) -> dict[str, str]:
    """What `plugin.toml` beside a file says before its first table; a reader of TOML takes longer than the start."""
    if not isinstance(file, str):
        return {}
    try:
        with open(os.path.join(os.path.dirname(os.path.abspath(file)), "plugin.toml"), encoding="utf-8") as manifest:
            text = manifest.read()
    except (OSError, ValueError):
        return {}
    head: Sequence[str] = re.split(r"^\s*\[", text, maxsplit=1, flags=re.MULTILINE)
    return dict(_STATED.findall(head[0]))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
