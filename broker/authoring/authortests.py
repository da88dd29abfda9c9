"""`tests.toml` beside plugin.toml: what an author calls, and what must come of it, under the real broker.

    [[test]]
    name = "it greets"                  # what must be true, as a sentence
    tool = "greet"                      # or command = "wave", or hook = "pre_request"
    arguments = { name = "Ada" }        # of a command a list; of a hook: event = { tool = "…" }
    result = "Hello, Ada!"              # a table: the structured content; or contains = "…", or error = "…"
    toasts = ["Hello, Ada!"]            # the titles of what is shown meanwhile, in order
    answers = [{ choice = "yes" }]      # to the questions it asks, in order; those beyond are declined
    grant = ["ui:toast"]                # only these of what it asks for; without it all of that

Rule 1: the tests run in order, on one instance; those with their own `grant` on one of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec import Raw, Struct

from broker.authoring.client import LEGACY, Client, Json
from broker.authoring.report import Check, judged
from broker.core import commands
from broker.core.ports import Call
from broker.core.router import Router
from broker.core.shape import Wrong, shaped, table
from broker.core.source import Faulty, read_toml
from broker.errors import BrokerError
from broker.model import Kind

FILE = "tests.toml"
LONGEST = 30.0  # seconds of one test
SHOWS_WITHIN = 1.0  # seconds in which what a call shows is there: it comes on another channel than the answer
SHOWN = 300  # characters of a value in a complaint
HOOK = 5.0  # seconds of a hook


class AuthorTest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""

    name: str
    tool: str | None = None
    command: str | None = None
    hook: Literal["pre_request", "post_response", "on_connect", "on_close"] | None = None
    arguments: object = None
    event: dict[str, object] = {}
    result: object = None
    contains: str | None = None
    error: str | None = None
    toasts: list[str] | None = None
    answers: list[dict[str, object]] = []
    grant: tuple[str, ...] | None = None


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    test: list[AuthorTest] = []


def read(path: Path) -> list[AuthorTest]:
    """The tests in a file; none if it is not there. Raises `Faulty`."""
    if not path.is_file():
        return []
    file = read_toml(path)
    try:
        found = shaped(file.data, _File).test
        for number, test in enumerate(found):
            _check(test, number)
    except Wrong as wrong:
        raise Faulty(file.blame(wrong)) from None
    return found


class Stage:
    """Keeps what a plugin shows, and answers its questions as the test says."""

    def __init__(self) -> None:
        self.toasts: list[str] = []
        self.shown = asyncio.Event()
        self.answers: list[dict[str, object]] = []

    def begin(self, test: AuthorTest) -> None:
        """Forget what was shown before."""
        self.toasts, self.answers = [], list(test.answers)

    def performed(self, op: str, params: Json) -> None:
        if op == "toast":
            self.toasts.append(str(params.get("title", "")))
            self.shown.set()

    async def asked(self, params: Json) -> Json:
        return {"action": "accept", "content": self.answers.pop(0)} if self.answers else {"action": "decline"}

    def logged(self, params: Json) -> None:
        """Nobody tests the log."""

    def progressed(self, params: Json) -> None:
        """Nor how far a call is."""

    def relisted(self, kinds: set[Kind]) -> None:
        """Nor this."""


async def performed(test: AuthorTest, core: Router, client: Client, stage: Stage, plugin: str) -> Check:
    """Run one test; the check that came of it."""
    stage.begin(test)
    failure, value = "", None
    try:
        async with asyncio.timeout(LONGEST):
            value = await _value(test, core, client, plugin)
    except BrokerError as error:
        failure = str(error)
    except TimeoutError:
        return judged(test.name, [f"it took longer than {LONGEST:g} s"])
    held = table(value) or {}
    if held.get("isError") is True:
        failure = _text(held)
    wrong = list(_wrong(test, failure, value))
    if test.toasts is not None:
        wrong += await _wrong_toasts(test.toasts, stage)
    return judged(test.name, wrong)


def _check(test: AuthorTest, number: int) -> None:
    """Raises `Wrong`."""
    keys = ("test", number)
    if sum(each is not None for each in (test.tool, test.command, test.hook)) != 1:
        raise Wrong(f"`test[{number}]` must have one of `tool`, `command` and `hook`.", keys=keys)
    kind, word = (list, "a list") if test.command is not None else (dict, "a table")
    if test.arguments is not None and not isinstance(test.arguments, kind):
        raise Wrong(f"`test[{number}].arguments` must be {word}.", keys=(*keys, "arguments"))


async def _value(test: AuthorTest, core: Router, client: Client, plugin: str) -> Any:
    """What came of it: a tool's result, what a command returned, what a hook said. Raises `BrokerError`."""
    if test.tool is not None:
        return await client.request(core, "tools/call", {"name": test.tool, "arguments": test.arguments or {}})
    if test.command is not None:
        params: Json = {"name": f"{plugin}.{test.command}", "arguments": test.arguments or ()}
        found = await client.request(core, commands.METHOD, params)
        return found["value"] if found.keys() == {"value"} else found
    event = msgspec.json.encode({"type": test.hook, **test.event})
    call = Call(client, LEGACY, "plugin-broker/hook", {"name": Raw(b'"test"')})
    return msgspec.json.decode(bytes(await core.plugins[plugin].hook(event, call, HOOK)))


def _wrong(test: AuthorTest, failure: str, value: Any) -> Iterator[str]:
    if test.error is not None:
        if not failure:
            yield f"it did not fail, and gave {_short(_plain(test, value))}"
        elif test.error not in failure:
            yield f"it failed with {_short(failure)}, without {test.error!r} in it"
        return
    if failure:
        yield f"it failed: {_short(failure)}"
        return
    found, text = _plain(test, value), _text(table(value) or {})
    if test.result is not None and test.result not in (found, text or found):
        yield f"it gave {_short(found)}, and not {_short(test.result)}"
    whole = text or (found if isinstance(found, str) else msgspec.json.encode(found).decode())
    if test.contains is not None and test.contains not in whole:
        yield f"it gave {_short(whole)}, without {test.contains!r} in it"


def _plain(test: AuthorTest, value: Any) -> Any:
    """A tool's structured content, or its text; of anything else what it returned."""
    if test.tool is None:
        return value
    held = table(value) or {}
    return held["structuredContent"] if held.get("structuredContent") is not None else _text(held)


def _text(result: Mapping[str, object]) -> str:
    """The text in a tool's result."""
    content = result.get("content")
    blocks = [table(each) or {} for each in cast("list[object]", content)] if isinstance(content, list) else []
    return "\n".join(str(each["text"]) for each in blocks if "text" in each)


async def _wrong_toasts(wanted: Sequence[str], stage: Stage) -> list[str]:
    with suppress(TimeoutError):
        async with asyncio.timeout(SHOWS_WITHIN):
            while len(stage.toasts) < len(wanted):
                stage.shown.clear()
                await stage.shown.wait()
    return [] if stage.toasts == list(wanted) else [f"it showed {stage.toasts}, and not {list(wanted)}"]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
