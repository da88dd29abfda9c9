"""What the fixture server offers: the tools, prompts and resources that the suite's scenarios name.

Names, keys and texts are the suite's; each scenario's source says what it expects of its tool. What needs no code is
in `offers.json`, which the plugins of our SDKs that the suite judges read too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os.path
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from server import Call

Json = dict[str, Any]
Tool = Callable[["Call"], "str | list[Json] | Json"]
SomeTool = TypeVar("SomeTool", bound=Tool)

with open(os.path.join(os.path.dirname(__file__), "offers.json"), encoding="utf-8") as _file:
    OFFERS: Json = json.load(_file)
INPUTS: Json = OFFERS["inputs"]
STEP = 0.05  # seconds between the messages of one call, as the scenarios ask for
SEAL = b"only this fixture's, and no secret"

TOOLS: dict[str, tuple[Tool, Json]] = {}


class RpcError(Exception):
    """Becomes a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


class ToolError(Exception):
    """Becomes a tool result with `isError`."""


def sealed(state: str) -> str:
    return f"{hmac.new(SEAL, state.encode(), hashlib.sha256).hexdigest()}:{state}"


def unsealed(sealed_state: str) -> str:
    state = sealed_state.partition(":")[2]
    if not hmac.compare_digest(sealed(state).encode(), sealed_state.encode()):
        raise RpcError(-32602, "requestState is not one of this server's")
    return state


# How contents and schemas are written


def text(value: str) -> Json:
    return {"type": "text", "text": value}


def schema(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def strings(*names: str) -> Json:
    return schema({name: {"type": "string"} for name in names})


def elicitation(message: str, requested: Json) -> Json:
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": requested}}


def sampling(prompt: str) -> Json:
    params = {"messages": [{"role": "user", "content": text(prompt)}], "maxTokens": 100}
    return {"method": "sampling/createMessage", "params": params}


ROOTS: Json = {"method": "roots/list"}
CONFIRM = elicitation("Please confirm", schema({"ok": {"type": "boolean"}}))


def ask_name(message: str = "What is your name?") -> Json:
    return elicitation(message, strings("name"))


def tool(description: str, *, name: str = "") -> Callable[[SomeTool], SomeTool]:
    def register(function: SomeTool) -> SomeTool:
        called = name or function.__name__
        shown = {"name": called, "description": description, "inputSchema": INPUTS.get(called, {"type": "object"})}
        TOOLS[called] = function, shown
        return function

    return register


# Tools that answer


def answering(blocks: list[Json]) -> Tool:
    def answer(call: Call) -> list[Json]:
        return blocks

    return answer


for _name, _blocks in OFFERS["answers"].items():
    tool(f"The suite's {_name}", name=_name)(answering(_blocks))


@tool("Fails")
def test_error_handling(call: Call) -> str:
    raise ToolError("This tool intentionally returns an error for testing")


@tool("Logs three times")
def test_tool_with_logging(call: Call) -> str:
    for said in ("started", "processing data", "completed"):
        call.log(f"Tool {said}")
        time.sleep(STEP)
    return "Logged three times."


@tool("Logs once, for those who asked for it")
def test_logging_tool(call: Call) -> str:
    call.log("This is a log message")
    return "Logged once."


@tool("Reports its progress")
def test_tool_with_progress(call: Call) -> str:
    for done in (0, 50, 100):
        call.progress(done, 100)
        time.sleep(STEP)
    return "Progressed."


@tool("Logs before and after a client of HTTP would have to come back")
def test_reconnection(call: Call) -> str:
    call.log("Before")
    time.sleep(STEP)
    call.log("After")
    return "Reconnection test completed"


@tool("Needs a client that can sample")
def test_missing_capability(call: Call) -> str:
    call.need("sampling")
    return "The client can sample."


@tool("Has an argument that HTTP repeats in a header")
def test_x_mcp_header(call: Call) -> str:
    return f"The region is {call.args.get('region')}."


@tool("Adds a tool to the list, or takes it away")
def test_trigger_tool_change(call: Call) -> str:
    toggle(call.server.lists["tools"], {"name": "test_dynamic_tool", "description": "Comes and goes"}, "inputSchema")
    call.server.changed("tools")
    return "The list of tools changed."


@tool("Adds a prompt to the list, or takes it away")
def test_trigger_prompt_change(call: Call) -> str:
    toggle(call.server.lists["prompts"], {"name": "test_dynamic_prompt", "description": "Comes and goes"})
    call.server.changed("prompts")
    return "The list of prompts changed."


def toggle(listed: list[Json], entry: Json, *schemas: str) -> None:
    entry |= {member: {"type": "object"} for member in schemas}
    if entry in listed:
        listed.remove(entry)
    else:
        listed.append(entry)


@tool("Has a schema with everything JSON Schema 2020-12 brought")
def json_schema_2020_12_tool(call: Call) -> str:
    return json.dumps(call.args)


# Tools that ask in the middle of the call, before 2026-07-28


@tool("Has the client's model say something")
def test_sampling(call: Call) -> str:
    return f"LLM response: {call.ask(**sampling(call.args['prompt']))['content']['text']}"


def eliciting(message: str, form: Json) -> Tool:
    def answer(call: Call) -> str:
        return asked(call, message or call.args["message"], form)

    return answer


for _name, _asked in OFFERS["forms"].items():
    tool(f"The suite's {_name}", name=_name)(eliciting(_asked.get("message", ""), _asked["form"]))


def asked(call: Call, message: str, requested: Json) -> str:
    answer = call.ask(**elicitation(message, requested))
    return f"User response: action={answer['action']}, content={json.dumps(answer.get('content', {}))}"


# Tools that ask by their result, since 2026-07-28


@tool("Requires a name")
def test_input_required_result_elicitation(call: Call) -> str | Json:
    if "user_name" not in call.answers:
        return call.required({"user_name": ask_name()})
    return f"Hello, {call.answers['user_name']['content']['name']}!"


@tool("Requires a name, and reports its progress before")
def test_streaming_elicitation(call: Call) -> str | Json:
    call.progress(1, 2)
    return test_input_required_result_elicitation(call)


@tool("Requires an answer of the client's model")
def test_input_required_result_sampling(call: Call) -> str | Json:
    if "capital_question" not in call.answers:
        return call.required({"capital_question": sampling("What is the capital of France?")})
    return call.answers["capital_question"]["content"]["text"]


@tool("Requires the client's roots")
def test_input_required_result_list_roots(call: Call) -> str | Json:
    if "client_roots" not in call.answers:
        return call.required({"client_roots": ROOTS})
    return ", ".join(root["uri"] for root in call.answers["client_roots"]["roots"])


@tool("Requires a confirmation, and its own state back")
def test_input_required_result_request_state(call: Call) -> str | Json:
    if call.state != "asked" or "confirm" not in call.answers:
        return call.required({"confirm": CONFIRM}, "asked")
    return "state-ok"


@tool("Requires a confirmation, and refuses a state that somebody changed")
def test_input_required_result_tampered_state(call: Call) -> str | Json:
    return test_input_required_result_request_state(call)


@tool("Requires three things at once")
def test_input_required_result_multiple_inputs(call: Call) -> str | Json:
    asks = {"user_name": ask_name(), "greeting": sampling("Generate a greeting"), "client_roots": ROOTS}
    if call.state != "asked" or not asks.keys() <= call.answers.keys():
        return call.required(asks, "asked")
    return "All inputs received."


@tool("Requires two things, one after the other")
def test_input_required_result_multi_round(call: Call) -> str | Json:
    state = json.loads(call.state or "{}")
    if "name" in state and "step2" in call.answers:
        return f"{state['name']} likes {call.answers['step2']['content']['color']}."
    if state and "step1" in call.answers:
        name = call.answers["step1"]["content"]["name"]
        ask = elicitation("Step 2: What is your favorite color?", strings("color"))
        return call.required({"step2": ask}, json.dumps({"round": 2, "name": name}))
    return call.required({"step1": ask_name("Step 1: What is your name?")}, json.dumps({"round": 1}))


@tool("Requires what the client can answer")
def test_input_required_result_capabilities(call: Call) -> Json:
    return call.required({"ask": ask_name(), "sample": sampling("Say hello")}, "asked")


# Prompts

PROMPTS: Json = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
    "test_input_required_result_prompt": [],
}
"""With their arguments."""


def get_prompt(call: Call) -> Json:
    name = call.params["name"]
    if name not in PROMPTS or not set(PROMPTS[name]) <= call.args.keys():
        raise RpcError(-32602, f"there is no prompt {name} with these arguments")
    if name != "test_input_required_result_prompt":
        return messages(*filled(OFFERS["prompts"][name], call.args))
    if "user_context" not in call.answers:
        ask = elicitation("What context should the prompt use?", strings("context"))
        return call.required({"user_context": ask})
    return messages(text(f"Use this context: {call.answers['user_context']['content']['context']}"))


def filled(value: Any, holes: Json) -> Any:
    """A value with the `{holes}` of its texts filled."""
    if isinstance(value, str):
        for name, text in holes.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, list):
        return [filled(each, holes) for each in value]
    return {name: filled(each, holes) for name, each in value.items()}


def messages(*contents: Json) -> Json:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


# Resources

TEMPLATE = ("test://template/", "/data")
RESOURCES: Json = OFFERS["resources"]


def read_resource(call: Call) -> Json:
    uri: str = call.params["uri"]
    if uri in RESOURCES:
        return {"contents": [{"uri": uri, **RESOURCES[uri]}]}
    if uri.startswith(TEMPLATE[0]) and uri.endswith(TEMPLATE[1]):
        id = uri.removeprefix(TEMPLATE[0]).removesuffix(TEMPLATE[1])
        data = json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": data}]}
    raise RpcError(-32602 if call.modern else -32002, "Resource not found", {"uri": uri})


# The lists, and what answers the rest


def lists() -> dict[str, list[Json]]:
    """What is shown, as lists that may change."""
    return {
        "tools": [shown for _, shown in TOOLS.values()],
        "prompts": [
            {
                "name": name,
                "description": f"The suite's {name}",
                "arguments": [{"name": argument, "description": argument, "required": True} for argument in arguments],
            }
            for name, arguments in PROMPTS.items()
        ],
        "resources": [
            {"uri": uri, "name": uri.rpartition("/")[2], "description": "A resource", "mimeType": found["mimeType"]}
            for uri, found in RESOURCES.items()
        ],
        "resourceTemplates": [
            {
                "uriTemplate": "{id}".join(TEMPLATE),
                "name": "template",
                "description": "A resource for every id",
                "mimeType": "application/json",
            }
        ],
    }


def call_tool(call: Call) -> Json:
    if call.params["name"] not in TOOLS:
        raise RpcError(-32602, f"there is no tool {call.params['name']}")
    try:
        found = TOOLS[call.params["name"]][0](call)
    except ToolError as error:
        return {"content": [text(str(error))], "isError": True}
    if isinstance(found, dict):
        return found
    return {"content": [text(found)] if isinstance(found, str) else found}


def complete(call: Call) -> Json:
    found = [word for word in OFFERS["completions"] if word.startswith(call.params["argument"]["value"])]
    return {"completion": {"values": found, "total": len(found), "hasMore": False}}
