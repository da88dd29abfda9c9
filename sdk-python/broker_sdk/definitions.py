"""What a plugin offers, one class for each kind: what clients are told of it, and what is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Raw

from broker_sdk.errors import Misdeclared
from broker_sdk.schema import REQUIRED, Output, Signature

Json = dict[str, Any]
Function = Callable[..., Any]

TOOL_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")


class Offered:
    """A function under a name. What its hints say is read when somebody wants to know."""

    kind = "function"

    def __init__(self, function: Function, name: str | None, title: str | None, description: str | None) -> None:
        self.function = function
        self.name = name or function.__name__
        self.title = title
        self._description = description

    @cached_property
    def signature(self) -> Signature:
        return Signature(self.function, f"{self.kind} {self.name!r}")

    @property
    def description(self) -> str:
        return self._description if self._description is not None else self.signature.description

    def told(self, **more: Any) -> Json:
        """What lists say of it; what is None or empty is left out."""
        members = {"name": self.name, "title": self.title, "description": self.description, **more}
        return {key: value for key, value in members.items() if value not in (None, "", {}) or key == "inputSchema"}


class Tool(Offered):
    """Something the model may call. `seconds`: how long it may take, None: for ever."""

    kind = "tool"

    def __init__(
        self,
        function: Function,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        *,
        hints: Json | None = None,
        seconds: float | None = TOOL_SECONDS,
        input_schema: Json | None = None,
        meta: Json | None = None,
    ) -> None:
        super().__init__(function, name, title, description)
        self.hints, self.seconds, self.meta = hints or {}, seconds, meta or {}
        self._given = input_schema
        if not _NAME.fullmatch(self.name):
            raise Misdeclared(f"tool {self.name!r}: a name has letters, digits, `_`, `-`, `.` or `/`, at most 128")

    @cached_property
    def output(self) -> Output:
        return self.signature.output()

    @cached_property
    def definition(self) -> Json:
        schema = self._given if self._given is not None else self.signature.schema()
        return self.told(inputSchema=schema, outputSchema=self.output.schema, annotations=self.hints, _meta=self.meta)

    def arguments(self, given: bytes | Raw) -> Json:
        """The keyword arguments of a call. A tool with a schema of its own has them all in one parameter."""
        if self._given is None:
            return self.signature.arguments(given)
        return {self.signature.names[0]: msgspec.json.decode(given, type=Json)} if self.signature.names else {}


class Resource(Offered):
    """Something to read, at one URI or at all of a template: `todo://{file}`; `{path*}` goes on beyond slashes."""

    kind = "resource"

    def __init__(
        self,
        function: Function,
        uri: str,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime: str | None = None,
    ) -> None:
        super().__init__(function, name, title, description)
        self.uri, self.mime = uri, mime
        self.template = "{" in uri
        self._pattern = _pattern(uri)

    @cached_property
    def definition(self) -> Json:
        where = "uriTemplate" if self.template else "uri"
        uri = self.uri.replace("*}", "}") if self.template else self.uri
        return self.told(**{where: uri}, mimeType=self.mime)

    def matched(self, uri: str) -> Json | None:
        """The arguments in a URI; None if it is not of this resource."""
        from urllib.parse import unquote

        found = self._pattern.fullmatch(uri)
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


class Prompt(Offered):
    """A text with holes that a person picks."""

    kind = "prompt"

    @cached_property
    def definition(self) -> Json:
        described = self.signature.schema().get("properties", {})
        arguments = [
            {
                "name": name,
                **({"description": described[name]["description"]} if "description" in described[name] else {}),
                "required": default is REQUIRED,
            }
            for name, (_, default) in self.signature.offered.items()
        ]
        return self.told(arguments=arguments)

    def choices(self, argument: str) -> list[str]:
        """The values that an argument's hint allows, if they are few enough to be named."""
        hint, _ = self.signature.offered.get(argument, (None, None))
        if get_origin(hint) is Literal:
            return [str(value) for value in get_args(hint)]
        return [str(each.value) for each in hint] if isinstance(hint, _enum_meta()) else []


class Command(Offered):
    """Something that a person runs in an editor; no model sees it."""

    kind = "command"

    def arguments(self, given: Any) -> Json:
        """The keyword arguments of a list, by position, or of an object."""
        if isinstance(given, list):
            if len(given) > len(self.signature.names):
                raise ValueError(f"it takes {len(self.signature.names)} arguments")
            given = dict(zip(self.signature.names, given, strict=False))
        return self.signature.arguments(msgspec.json.encode(given or {}))


class Listener(Offered):
    """What hears an event whose params have these members."""

    kind = "listener"

    def __init__(self, function: Function, event: str, wanted: Json) -> None:
        super().__init__(function, None, None, None)
        self.event, self._wanted = event, wanted

    def hears(self, event: str, params: Json) -> bool:
        return event == self.event and all(params.get(name) == value for name, value in self._wanted.items())


class Hook(Offered):
    """What is asked about the calls of others; the manifest says when."""

    kind = "hook"

    def __init__(self, function: Function, on: str) -> None:
        super().__init__(function, None, None, None)
        self.on = on


class Completion(Offered):
    """What proposes values for an argument of a prompt (by name) or of a resource (by its template)."""

    kind = "completion"

    def __init__(self, function: Function, of: str, argument: str) -> None:
        super().__init__(function, None, None, None)
        self.of, self.argument = of, argument


def positional(offered: Offered, value: Any) -> Json:
    """The one value that a listener, hook or completion is given, under the name of its first parameter."""
    return {offered.signature.names[0]: value} if offered.signature.names else {}


def definitions(offered: Iterable[Tool | Resource | Prompt]) -> list[Json]:
    return [each.definition for each in offered]


def _pattern(uri: str) -> re.Pattern[str]:
    parts: list[str] = []
    for text, name, rest in re.findall(r"([^{]*)(?:\{(\w+)(\*?)\})?", uri):
        parts.append(re.escape(text))
        if name:
            parts.append(f"(?P<{name}>{'.+' if rest else '[^/]+'})")
    if "{" in re.sub(r"\{\w+\*?\}", "", uri):
        raise Misdeclared(f"resource {uri!r}: write holes as `{{name}}` or `{{name*}}`")
    return re.compile("".join(parts), re.DOTALL)


def _enum_meta() -> type:
    from enum import EnumMeta

    return EnumMeta
