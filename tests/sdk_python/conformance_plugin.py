"""The plugin of the SDK that the conformance suite judges; what it offers is the list that all such fixtures share."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from broker_sdk import (
    CannotAsk,
    Content,
    Ctx,
    Message,
    Plugin,
    Refusal,
    ToolError,
    audio,
    embedded,
    image,
    text,
    user,
)

Json = dict[str, Any]
OFFERS: Json = json.loads((Path(__file__).parent.parent / "conformance" / "offers.json").read_text("utf-8"))
INPUTS: Json = OFFERS["inputs"]
STEP = 0.05  # seconds between the messages of one call, as the scenarios ask for

plugin = Plugin("conformance", version="1.0")


# What the list says


def contents(blocks: list[Json]) -> list[Content]:
    return [content(block) for block in blocks]


def content(block: Json) -> Content:
    if block["type"] == "text":
        return text(block["text"])
    if block["type"] == "resource":
        held = block["resource"]
        return embedded(held["uri"], held["text"], held["mimeType"])
    return (image if block["type"] == "image" else audio)(b64decode(block["data"]), block["mimeType"])


def filled(value: Any, holes: Json) -> Any:
    """A value with its `{holes}` filled, by the paths they name."""
    if isinstance(value, str):
        return re.sub(r"\{([\w.]+)\}", lambda hole: str(reached(hole[1], holes)), value)
    if isinstance(value, list):
        return [filled(each, holes) for each in value]
    return {name: filled(each, holes) for name, each in value.items()}


def reached(path: str, holes: Json) -> Any:
    found: Any = holes
    for name in path.split("."):
        found = found.get(name) if found else None
    return found


def form(fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": list(fields)}


async def ask(one: Json, ctx: Ctx) -> Any:
    """The answer to one question of the list."""
    if "sample" in one:
        return await ctx.sample(one["sample"], key=one["key"])
    if "form" not in one:
        return await ctx.roots(key=one["key"])
    return await ctx.ask.form(one["form"], form(one["fields"]), key=one["key"])


async def in_rounds(of: str, ctx: Ctx) -> str:
    answers: Json = {}
    for questions in OFFERS["rounds"][of]["asks"]:
        found = await asyncio.gather(*(ask(one, ctx) for one in questions))
        answers.update({one["key"]: answer for one, answer in zip(questions, found, strict=True)})
    return filled(OFFERS["rounds"][of]["says"], answers)


def answering(name: str) -> None:
    @plugin.tool(name, description="The suite's own.")
    async def answer() -> list[Content]:
        return contents(OFFERS["answers"][name])


def asking(name: str) -> None:
    @plugin.tool(name, description="The suite's own.")
    async def answer(ctx: Ctx) -> str:
        return await in_rounds(name, ctx)


def eliciting(name: str) -> None:
    asked = OFFERS["forms"][name]

    @plugin.tool(name, description="The suite's own.", input_schema=INPUTS.get(name, form({})))
    async def answer(arguments: Json, ctx: Ctx) -> str:
        message = asked.get("message") or arguments["message"]
        params = {"message": message, "requestedSchema": asked["form"]}
        answer = await ctx.request("elicitation/create", params)
        return f"User response: action={answer['action']}, content={json.dumps(answer.get('content', {}))}"


def prompted(name: str, **arguments: str) -> list[Message]:
    return [user(each) for each in contents(filled(OFFERS["prompts"][name], arguments))]


for name in OFFERS["answers"]:
    answering(name)
for name in OFFERS["rounds"]:
    asking(name)
for name in OFFERS["forms"]:
    eliciting(name)


# What it does besides


@plugin.tool
async def test_error_handling() -> str:
    """The suite's own."""
    raise ToolError("This tool intentionally returns an error for testing")


@plugin.tool
async def test_tool_with_logging(ctx: Ctx) -> str:
    """The suite's own."""
    for said in ("started", "processing data", "completed"):
        ctx.log(f"Tool {said}")
        await asyncio.sleep(STEP)
    return "Logged three times."


@plugin.tool
async def test_logging_tool(ctx: Ctx) -> str:
    """The suite's own."""
    ctx.log("This is a log message")
    return "Logged once."


@plugin.tool
async def test_tool_with_progress(ctx: Ctx) -> str:
    """The suite's own."""
    progress = ctx.progress(total=100)
    for done in (50, 100):
        await asyncio.sleep(STEP)
        progress.at(done)
    await asyncio.sleep(STEP)
    return "Progressed."


@plugin.tool
async def test_reconnection(ctx: Ctx) -> str:
    """The suite's own."""
    ctx.log("Before")
    await asyncio.sleep(STEP)
    ctx.log("After")
    return "Reconnection test completed"


@plugin.tool
async def test_missing_capability(ctx: Ctx) -> str:
    """The suite's own."""
    if not ctx.can("sampling"):
        raise CannotAsk("sampling")
    return "The client can sample."


@plugin.tool(input_schema=INPUTS["test_x_mcp_header"])
async def test_x_mcp_header(arguments: Json) -> str:
    """The suite's own."""
    return f"The region is {arguments.get('region')}."


@plugin.tool
async def test_trigger_tool_change() -> str:
    """The suite's own."""
    if "test_dynamic_tool" in plugin.tools:
        plugin.remove("tools", "test_dynamic_tool")
    else:
        plugin.tool("test_dynamic_tool")(test_error_handling)
    return "The list of tools changed."


@plugin.tool
async def test_trigger_prompt_change() -> str:
    """The suite's own."""
    if "test_dynamic_prompt" in plugin.prompts:
        plugin.remove("prompts", "test_dynamic_prompt")
    else:
        plugin.prompt("test_dynamic_prompt")(test_simple_prompt)
    return "The list of prompts changed."


@plugin.tool(input_schema=INPUTS["json_schema_2020_12_tool"])
async def json_schema_2020_12_tool(arguments: Json) -> str:
    """The suite's own."""
    return json.dumps(arguments)


@plugin.tool
async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """The suite's own."""
    return f"LLM response: {await ctx.sample(prompt)}"


@plugin.tool
async def test_streaming_elicitation(ctx: Ctx) -> str:
    """The suite's own."""
    ctx.progress(total=2).step()
    return await in_rounds("test_input_required_result_elicitation", ctx)


@plugin.tool
async def test_input_required_result_capabilities(ctx: Ctx) -> str:
    """The suite's own."""
    if ctx.can("elicitation"):
        await in_rounds("test_input_required_result_elicitation", ctx)
    if ctx.can("sampling"):
        await ctx.sample("Say hello", key="sample")
    return "Asked what the client can answer."


@plugin.prompt
async def test_simple_prompt() -> list[Message]:
    """The suite's own."""
    return prompted("test_simple_prompt")


@plugin.prompt
async def test_prompt_with_arguments(arg1: str, arg2: str) -> list[Message]:
    """The suite's own."""
    return prompted("test_prompt_with_arguments", arg1=arg1, arg2=arg2)


@plugin.complete("test_prompt_with_arguments", "arg1")
async def arg1_values(typed: str) -> list[str]:
    return [word for word in OFFERS["completions"] if word.startswith(typed)]


@plugin.prompt
async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """The suite's own."""
    return prompted("test_prompt_with_embedded_resource", resourceUri=resourceUri)


@plugin.prompt
async def test_prompt_with_image() -> list[Message]:
    """The suite's own."""
    return prompted("test_prompt_with_image")


@plugin.prompt
async def test_input_required_result_prompt(ctx: Ctx) -> str:
    """The suite's own."""
    fields = {"context": {"type": "string"}}
    found = await ctx.ask.form("What context should the prompt use?", form(fields), key="user_context")
    return f"Use this context: {found and found.get('context')}"


def holding(uri: str) -> None:
    held = OFFERS["resources"][uri]

    @plugin.resource(uri, mime=held["mimeType"])
    async def read() -> str | bytes:
        return held["text"] if "text" in held else b64decode(held["blob"])


for uri in OFFERS["resources"]:
    holding(uri)


@plugin.resource("test://template/{id}/data", mime="application/json")
async def template(id: str) -> Json:
    if id == "nobody":
        raise Refusal(-32602, "there is nobody")
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


if __name__ == "__main__":
    plugin.run()
