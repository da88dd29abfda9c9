"""Questions to the person, with one `await`: `name = await ctx.ask("What is your name?")`.

Where the call's client can ask (MCP's elicitation, in either era) it asks. A command or an event has no such client:
there broker asks whoever is in front of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from broker_sdk.forms import Form, form_of

if TYPE_CHECKING:
    from broker_sdk.ctx import Ctx

T = TypeVar("T")
Json = dict[str, Any]
Choices = Sequence[str] | Mapping[str, str]  # values, or values with their titles


class Asking:
    """`ctx.ask`. Whoever declines or closes a question answers None."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx

    @overload
    async def __call__(self, message: str, *, default: str | None = None, key: str | None = None) -> str | None: ...
    @overload
    async def __call__(
        self, message: str, kind: type[T], *, default: Any = None, key: str | None = None
    ) -> T | None: ...
    @overload
    async def __call__(
        self, message: str, kind: Choices, *, default: str | None = None, key: str | None = None
    ) -> str | None: ...

    async def __call__(self, message: str, kind: Any = str, *, default: Any = None, key: str | None = None) -> Any:
        """Ask for a text, for a value of a type (`bool`, `int`, an Enum, a dataclass of such: a form), or one of some
        choices. `key`: the question's name, by which a client may answer it ahead.

        Raises `CannotAsk` when nobody can be asked.
        """
        if self._asks_by_host:
            return await self._by_host(message, kind, default)
        call = self._ctx.in_flight
        form = form_of(kind, titled=call is None or call.titled_choices, default=default)
        params: Json = {"message": message, "requestedSchema": form.schema}
        return _read(form, await self._ctx.request("elicitation/create", params, key))

    async def form(self, message: str, schema: Json, *, key: str | None = None) -> Json | None:
        """What was filled into a form that a JSON Schema describes, as MCP's elicitation has it."""
        params: Json = {"message": message, "requestedSchema": schema}
        if self._asks_by_host:
            answer = await self._ctx.host.request("ask", message=message, schema=schema)
        else:
            answer = await self._ctx.request("elicitation/create", params, key)
        return (answer.get("content") or {}) if answer.get("action") == "accept" else None

    async def input(self, message: str, *, default: str | None = None) -> str | None:
        """A text."""
        return await self(message, str, default=default)

    async def confirm(self, message: str) -> bool:
        """Whether the person says yes."""
        return bool(await self(message, bool))

    async def pick(self, message: str, choices: Choices) -> str | None:
        """One of some choices."""
        return await self(message, choices)

    @property
    def _asks_by_host(self) -> bool:
        return not self._ctx.can("elicitation") and "ask" in self._ctx.host.operations

    async def _by_host(self, message: str, kind: Any, default: Any) -> Any:
        host = self._ctx.host
        if kind is bool:
            return bool((await host.request("confirm", message=message))["confirmed"])
        if kind is str:
            return (await host.request("input", message=message, default=default or ""))["value"]
        if isinstance(kind, Mapping):
            values = {str(title): str(value) for value, title in kind.items()}
            return values.get((await host.request("pick", message=message, items=[*values]))["value"] or "")
        if isinstance(kind, Sequence):
            return (await host.request("pick", message=message, items=[*map(str, kind)]))["value"]
        form = form_of(kind, titled=True, default=default)
        return _read(form, await host.request("ask", message=message, schema=form.schema))


def _read(form: Form, answer: Mapping[str, Any]) -> Any:
    return form.read(answer.get("content") or {}) if answer.get("action") == "accept" else None
