"""The plugin of the SDK that the conformance suite judges: names, keys and texts are the suite's."""

from __future__ import annotations

import asyncio
import json
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
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63fccfc0f01f000502"
    "01805fe4d4710000000049454e44ae426082"
)
SILENCE = b"RIFF&\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0data\x02\0\0\0\0\0"
STEP = 0.05  # seconds between the messages of one call, as the scenarios ask for

plugin = Plugin("conformance", version="1.0")


# Tools that answer


@plugin.tool
async def test_simple_text() -> str:
    """Answers with text"""
    return "This is a simple text response for testing."


@plugin.tool
async def test_image_content() -> Content:
    """The suite's own."""
    return image(PIXEL)


@plugin.tool
async def test_audio_content() -> Content:
    """The suite's own."""
    return audio(SILENCE)


@plugin.tool
async def test_embedded_resource() -> Content:
    """The suite's own."""
    return embedded("test://embedded-resource", "This is an embedded resource content.", "text/plain")


@plugin.tool
async def test_multiple_content_types() -> list[Content]:
    """The suite's own."""
    mixed = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return [text("Multiple content types test:"), image(PIXEL), mixed]


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


@plugin.tool(
    input_schema={"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
)
async def test_x_mcp_header(arguments: Json) -> str:
    """The suite's own."""
    return f"The region is {arguments.get('region')}."


@plugin.tool
async def test_trigger_tool_change() -> str:
    """The suite's own."""
    if "test_dynamic_tool" in plugin.tools:
        plugin.remove("tools", "test_dynamic_tool")
    else:
        plugin.tool("test_dynamic_tool")(test_simple_text)
    return "The list of tools changed."


@plugin.tool
async def test_trigger_prompt_change() -> str:
    """The suite's own."""
    if "test_dynamic_prompt" in plugin.prompts:
        plugin.remove("prompts", "test_dynamic_prompt")
    else:
        plugin.prompt("test_dynamic_prompt")(test_simple_prompt)
    return "The list of prompts changed."


@plugin.tool(
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(arguments: Json) -> str:
    """The suite's own."""
    return json.dumps(arguments)


# Tools that ask: the same lines in both eras


def form(**fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": list(fields)}


TEXT: Json = {"type": "string"}
YES: Json = {"type": "boolean"}


async def asked(ctx: Ctx, message: str, schema: Json) -> str:
    params = {"message": message, "requestedSchema": schema}
    answer = await ctx.request("elicitation/create", params)
    return f"User response: action={answer['action']}, content={json.dumps(answer.get('content', {}))}"


@plugin.tool
async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """The suite's own."""
    return f"LLM response: {await ctx.sample(prompt)}"


@plugin.tool
async def test_elicitation(message: str, ctx: Ctx) -> str:
    """The suite's own."""
    return await asked(ctx, message, form(username=TEXT, email=TEXT))


@plugin.tool
async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
    """The suite's own."""
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await asked(ctx, "Please provide user information", {"type": "object", "properties": fields})


@plugin.tool
async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
    """The suite's own."""
    titled = [{"const": f"value{number}", "title": f"Value {number}"} for number in (1, 2, 3)]
    plain = ["option1", "option2", "option3"]
    fields = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await asked(ctx, "Please choose", {"type": "object", "properties": fields})


@plugin.tool
async def test_input_required_result_elicitation(ctx: Ctx) -> str:
    """The suite's own."""
    found = await ctx.ask.form("What is your name?", form(name=TEXT), key="user_name")
    return f"Hello, {found and found.get('name')}!"


@plugin.tool
async def test_streaming_elicitation(ctx: Ctx) -> str:
    """The suite's own."""
    ctx.progress(total=2).step()
    return await test_input_required_result_elicitation(ctx)


@plugin.tool
async def test_input_required_result_sampling(ctx: Ctx) -> str:
    """The suite's own."""
    return await ctx.sample("What is the capital of France?", key="capital_question")


@plugin.tool
async def test_input_required_result_list_roots(ctx: Ctx) -> str:
    """The suite's own."""
    return ", ".join(await ctx.roots(key="client_roots"))


@plugin.tool
async def test_input_required_result_request_state(ctx: Ctx) -> str:
    """The suite's own."""
    await ctx.ask.form("Please confirm", form(ok=YES), key="confirm")
    return "state-ok"


@plugin.tool
async def test_input_required_result_tampered_state(ctx: Ctx) -> str:
    """The suite's own."""
    return await test_input_required_result_request_state(ctx)


@plugin.tool
async def test_input_required_result_multiple_inputs(ctx: Ctx) -> str:
    """The suite's own."""
    await asyncio.gather(
        ctx.ask.form("What is your name?", form(name=TEXT), key="user_name"),
        ctx.sample("Generate a greeting", key="greeting"),
        ctx.roots(key="client_roots"),
    )
    return "All inputs received."


@plugin.tool
async def test_input_required_result_multi_round(ctx: Ctx) -> str:
    """The suite's own."""
    who = await ctx.ask.form("Step 1: What is your name?", form(name=TEXT), key="step1")
    what = await ctx.ask.form("Step 2: What is your favorite color?", form(color=TEXT), key="step2")
    return f"{who and who.get('name')} likes {what and what.get('color')}."


@plugin.tool
async def test_input_required_result_capabilities(ctx: Ctx) -> str:
    """The suite's own."""
    if ctx.can("elicitation"):
        await ctx.ask.form("What is your name?", form(name=TEXT), key="ask")
    if ctx.can("sampling"):
        await ctx.sample("Say hello", key="sample")
    return "Asked what the client can answer."


# Prompts and resources


@plugin.prompt
async def test_simple_prompt() -> str:
    """The suite's own."""
    return "This is a simple prompt for testing."


@plugin.prompt
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """The suite's own."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@plugin.complete("test_prompt_with_arguments", "arg1")
async def arg1_values(typed: str) -> list[str]:
    return [word for word in ("paris", "park", "party") if word.startswith(typed)]


@plugin.prompt
async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """The suite's own."""
    resource = embedded(resourceUri, "Embedded resource content for testing.", "text/plain")
    return [user(resource), user("Please process the embedded resource above.")]


@plugin.prompt
async def test_prompt_with_image() -> list[Message]:
    """The suite's own."""
    return [user(image(PIXEL)), user("Please analyze the image above.")]


@plugin.prompt
async def test_input_required_result_prompt(ctx: Ctx) -> str:
    """The suite's own."""
    found = await ctx.ask.form("What context should the prompt use?", form(context=TEXT), key="user_context")
    return f"Use this context: {found and found.get('context')}"


@plugin.resource("test://static-text", mime="text/plain")
async def static_text() -> str:
    return "This is the content of the static text resource."


@plugin.resource("test://static-binary", mime="image/png")
async def static_binary() -> bytes:
    return PIXEL


@plugin.resource("test://watched-resource", mime="text/plain")
async def watched_resource() -> str:
    return "Watched resource content"


@plugin.resource("test://template/{id}/data", mime="application/json")
async def template(id: str) -> Json:
    if id == "nobody":
        raise Refusal(-32602, "there is nobody")
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


if __name__ == "__main__":
    plugin.run()
