"""A plugin that uses everything the SDK has; the tests of this folder and the clients of every SDK run it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

from broker_sdk import (
    Change,
    Content,
    Ctx,
    Deny,
    HostError,
    Message,
    Meta,
    Plugin,
    ToolError,
    assistant,
    image,
    link,
    user,
)

plugin = Plugin("demo", version="1.2.3", title="Demo", instructions="Use it to test.")
ended: list[str] = []


@dataclass
class Place:
    path: str
    line: int = 1


class Found(TypedDict):
    count: int
    places: list[Place]


@dataclass
class Form:
    name: str
    age: Annotated[int, Meta(ge=0)] = 30
    color: Literal["red", "blue"] = "red"
    tags: list[str] = field(default_factory=list[str])


@dataclass
class Person:
    name: str
    age: Annotated[int, Meta(ge=0)] = 30
    color: Literal["red", "blue"] = "red"


@plugin.on_start
async def life(ctx: Ctx) -> AsyncGenerator[None, None]:
    ctx.log("started")
    yield
    ended.append("life")


@plugin.on_stop
def stopped() -> None:
    ended.append("stopped")


@plugin.tool(read_only=True, title="Count TODOs")
async def count(path: str, ctx: Ctx, limit: Annotated[int, Meta(ge=1, le=1000)] = 100) -> Found:
    """Count TODO comments.

    Args:
        path: folder to scan
        limit: how many at most
    """
    with ctx.progress("Scanning", total=2) as progress:
        progress.at(2)
    ctx.toast(f"{limit} TODOs")
    return {"count": limit, "places": [Place(path)]}


@plugin.tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers, in a thread."""
    print("this goes to stderr")
    return a + b


@plugin.tool
async def echo(text: str) -> str:
    return text


@plugin.tool
async def picture() -> Content:
    return image(b"png")


@plugin.tool
async def mixed() -> list[Content | str]:
    return ["see", link("demo://note/a", "a")]


@plugin.tool
async def fill(form: Form) -> str:
    return f"{form.name} {form.age} {form.color} {form.tags}"


@plugin.tool
async def refuse() -> str:
    raise ToolError("no, for a reason")


@plugin.tool
async def crash() -> str:
    raise RuntimeError("a secret of the author's")


@plugin.tool(timeout=5)
async def nap(ctx: Ctx, seconds: float) -> str:
    await ctx.sleep(seconds)
    return "rested"


@plugin.tool
def wait_in_thread(ctx: Ctx) -> str:
    ctx.log("the thread runs")
    deadline = time.monotonic() + 5
    while not ctx.cancelled and time.monotonic() < deadline:
        time.sleep(0.005)
    ctx.log("the thread saw it")
    return "over"


@plugin.tool
async def interview(ctx: Ctx) -> list[Any]:
    """Ask everything that can be asked."""
    name = await ctx.ask("Your name?")
    sure = await ctx.ask.confirm("Sure?")
    pick = await ctx.ask("Which?", ["one", "two"])
    titled = await ctx.ask("Which file?", {"a.txt": "The first", "b.txt": "The second"})
    person = await ctx.ask("Who?", Person)
    return [name, sure, pick, titled, person]


@plugin.tool
async def together(ctx: Ctx) -> list[Any]:
    return list(await asyncio.gather(ctx.ask("One?"), ctx.ask("Two?", int), ctx.sample("Three?")))


@plugin.tool
def ask_in_thread(ctx: Ctx) -> str | None:
    return ctx.wait(ctx.ask("From a thread?"))


@plugin.tool
async def keep(ctx: Ctx, value: int) -> list[Any]:
    before = await ctx.state.get("value", "nothing")
    await ctx.state.set("value", value)
    return [before, await ctx.state.get("value"), ctx.config.get("greeting", "unset")]


@plugin.tool
async def secret(ctx: Ctx) -> str:
    return await ctx.secrets.get("api_key")


@plugin.tool
async def forward(ctx: Ctx) -> Any:
    return await ctx.call("other", "double", value=21)


@plugin.tool
async def fetch(ctx: Ctx) -> str:
    try:
        return (await ctx.host.request("http.fetch", url="https://a.example")).get("body", "")
    except HostError as error:
        return f"{error.code}"


@plugin.resource("demo://about", mime="text/markdown")
async def about() -> str:
    """What this is."""
    return "# Demo"


@plugin.resource("demo://note/{name}")
async def note(name: str) -> dict[str, str]:
    if name == "missing":
        raise ToolError("there is no such note")
    return {"name": name}


@plugin.resource("demo://bytes/{length}")
def some_bytes(length: int) -> bytes:
    return b"x" * length


@plugin.prompt
async def review(file: str, tone: Literal["kind", "strict"] = "kind") -> list[Message]:
    """Review a file.

    :param file: which one
    """
    return [user(f"Review {file}, {tone}."), assistant("Gladly.")]


@plugin.complete("review", "file")
def files(typed: str) -> list[str]:
    return [name for name in ("main.py", "map.py", "test.py") if name.startswith(typed)]


@plugin.command("refresh", title="Refresh TODOs")
async def refresh(ctx: Ctx, folder: str = ".", depth: int = 1) -> str:
    """Look again."""
    ctx.status.set("todos", f"✓ {folder} {depth}")
    if await ctx.ask.confirm("Really?"):
        return "refreshed"
    raise ToolError("it was not wanted")


@plugin.on("document.saved", languageId="python")
async def saved(event: dict[str, Any], ctx: Ctx) -> None:
    ctx.toast(f"saved {event['uri']}")


@plugin.on("config.changed")
async def reconfigured(event: dict[str, Any], ctx: Ctx) -> None:
    ctx.toast(f"greeting is {ctx.config['greeting']}")


@plugin.hook("pre_request")
async def guard(event: dict[str, Any]) -> Deny | Change | None:
    if event["tool"] == "rm":
        return Deny("nothing is deleted here")
    if event["tool"] == "ls":
        return Change({"path": "/tmp"}, meta={"demo/seen": True})
    return None


if __name__ == "__main__":
    plugin.run()
