"""What a client of each version is shown, judged by that version's own schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from broker.errors import RemoteError
from broker.wire import narrow, questions
from broker.wire.eras import LATEST_MODERN, LEGACY_VERSIONS
from tests import oracle

Json = dict[str, Any]
VERSIONS = (*LEGACY_VERSIONS, LATEST_MODERN)
TEXT = {"type": "text", "text": "hi", "x-unknown": {"a": 1}}
IMAGE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
EMBEDDED = {"type": "resource", "resource": {"uri": "a://b", "text": "x"}}
AUDIO = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav", "annotations": {"priority": 1}}
LINK = {"type": "resource_link", "uri": "a://b", "name": "b", "mimeType": "text/plain", "description": "All of b"}
BLOCKS: list[Json] = [TEXT, IMAGE, EMBEDDED, AUDIO, LINK]
HELD: Json = {"type": "object", "properties": {"sum": {"type": "number"}}}
LIST: Json = {"type": "array", "items": {"$ref": "#/$defs/one"}, "$defs": {"one": {"type": "integer"}}}
EITHER: Json = {"anyOf": [{"type": "object"}, {"type": "string"}]}


def shown(output: Any = None) -> Raw:
    definition: Json = {"name": "a", "inputSchema": {"type": "object"}, "x-unknown": [1]}
    return Raw(json.dumps(definition if output is None else {**definition, "outputSchema": output}).encode())


def result(version: str, body: Json, output: Any = None, method: str = "tools/call") -> Json:
    modern = {"resultType": "complete"} if version == LATEST_MODERN else {}
    given = json.dumps({**body, **modern}).encode()
    found = json.loads(bytes(narrow.result(version, method, given, lambda: shown(output))))
    assert list(oracle.result_faults(method, version, found)) == []
    found.pop("resultType", None)
    return found


def listed(version: str, *tools: Raw) -> list[Json]:
    found = json.loads(narrow.definitions(version, "tools/list", b"[" + b",".join(map(bytes, tools)) + b"]"))
    modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if version == LATEST_MODERN else {}
    assert list(oracle.result_faults("tools/list", version, {"tools": found, **modern})) == []
    return found


def kinds(blocks: list[Json]) -> list[str]:
    return [block["type"] for block in blocks]


# content


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tools_content_is_of_kinds_the_version_has(version: str) -> None:
    expected = ["text", "image", "resource", "audio", "resource_link"]
    if version == "2024-11-05":
        expected[3] = "resource"
    if version < "2025-06-18":
        expected[4] = "text"
    assert kinds(result(version, {"content": BLOCKS})["content"]) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("block", BLOCKS, ids=kinds(BLOCKS))
def test_a_prompts_content_is_of_kinds_the_version_has(version: str, block: Json) -> None:
    body = {"messages": [{"role": "user", "content": block, "x-unknown": 1}], "description": "d"}
    found = result(version, body, method="prompts/get")
    assert found["description"] == "d"
    assert found["messages"][0]["x-unknown"] == 1


def test_audio_and_links_keep_what_they_say() -> None:
    _, _, _, audio, link = result("2024-11-05", {"content": BLOCKS})["content"]
    assert audio["resource"] == {"uri": narrow.AUDIO_URI, "mimeType": "audio/wav", "blob": "aGk="}
    assert audio["annotations"] == {"priority": 1}
    assert link["text"] == "b (text/plain): a://b\nAll of b"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_version_has_passes_byte_for_byte(version: str) -> None:
    given = b'{ "content":[{"type":"text","text":"\\u00e9 \\"audio\\": 1e400"}] ,"x":-0, "isError":false}'
    assert narrow.result(version, "tools/call", given, shown) is given
    assert narrow.result(version, "completion/complete", b'"audio"', shown) == b'"audio"'


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"content":"audio","structuredContent":5}',
        b'{"content":[5,"audio",{"type":"audio"},{"type":["resource_link"]},{"type":"resource_link","uri":5}]}',
        b'{"structuredContent":',
        b'["audio"]',
        b'{"messages":[{"content":5},"audio"]}',
    ],
)
def test_what_cannot_be_read_is_passed(version: str, body: bytes) -> None:
    for method in ("tools/call", "prompts/get"):
        assert narrow.result(version, method, body, shown) is not None


# structured output


@pytest.mark.parametrize("version", VERSIONS)
def test_an_object_is_structured_content_since_2025_06_18_and_text_before(version: str) -> None:
    found = result(version, {"content": [], "structuredContent": {"sum": 1}}, HELD)
    if version < "2025-06-18":
        assert found == {"content": [{"type": "text", "text": '{"sum": 1}'}]}
    else:
        assert found == {"content": [], "structuredContent": {"sum": 1}}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("value", [[1, 2], "text", 5, -0.5, False, None, {"a": 1}, {"result": 1, "b": 2}])
def test_any_value_reaches_a_legacy_client_in_an_object(version: str, value: Any) -> None:
    found = result(version, {"content": [TEXT], "structuredContent": value}, EITHER)
    assert found["content"] == [TEXT]
    if version >= "2025-06-18":
        wrapped = {"result": value} if version < LATEST_MODERN else value
        assert found["structuredContent"] == wrapped


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_a_wrapped_value_is_also_said_in_text_where_there_is_none(version: str) -> None:
    found = result(version, {"content": [IMAGE], "structuredContent": [1, 2]}, LIST)
    assert found == {"content": [IMAGE, {"type": "text", "text": "[1, 2]"}], "structuredContent": {"result": [1, 2]}}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_a_value_without_a_schema_is_wrapped_and_null_is_nothing(version: str) -> None:
    assert result(version, {"content": [], "structuredContent": 5})["structuredContent"] == {"result": 5}
    assert result(version, {"content": [], "structuredContent": None}) == {"content": []}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", LATEST_MODERN])
def test_what_a_server_of_both_eras_wrapped_or_not_fits_the_schema_that_is_shown(version: str) -> None:
    """Its list may have been learned in one era, and its result come in the other."""
    wrapped: Json = {"type": "object", "properties": {"result": {"type": "array"}}, "required": ["result"]}
    for schema, value in ((wrapped, [1]), (wrapped, {"result": [1]}), (LIST, {"result": [1]})):
        if version < LATEST_MODERN or schema is wrapped:
            found = result(version, {"content": [TEXT], "structuredContent": value}, schema)
            assert found["structuredContent"] == {"result": [1]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("output", [None, HELD, LIST, EITHER, True], ids=["none", "object", "list", "either", "any"])
def test_an_output_schema_is_one_the_version_has(version: str, output: Any) -> None:
    if output is True and version == LATEST_MODERN:
        return  # a server's own fault: there a schema is an object
    (tool,) = listed(version, shown(output))
    assert tool["x-unknown"] == [1]
    if output is None or version < "2025-06-18":
        assert "outputSchema" not in tool
    elif version == LATEST_MODERN or output is HELD:
        assert tool["outputSchema"] == output
    else:
        assert tool["outputSchema"]["required"] == ["result"]


def test_references_move_along_with_a_wrapped_schema() -> None:
    schema: Json = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/$ref"}, {"$ref": "other.json#/a"}, {"$dynamicRef": "#/$defs/b"}],
        "properties": {"$ref": {"$ref": "#/$defs/b"}, "default": {"$ref": "#"}},
        "$defs": {
            "$ref": {"type": "string", "const": {"$ref": "#"}, "enum": [{"$ref": "#"}]},
            "b": {"$id": "#b", "items": {"$ref": "#"}},
            "c": {"$id": "https://example.org/c", "$ref": "#/x"},
        },
    }
    (tool,) = listed("2025-11-25", shown(schema))
    inner = tool["outputSchema"]["properties"]["result"]
    root = "#/properties/result"
    assert tool["outputSchema"]["$schema"] == schema["$schema"]
    assert [*(next(iter(each.values())) for each in inner["anyOf"])] == [
        root,
        f"{root}/$defs/$ref",
        "other.json#/a",
        f"{root}/$defs/b",
    ]
    assert inner["properties"] == {"$ref": {"$ref": f"{root}/$defs/b"}, "default": {"$ref": root}}
    assert inner["$defs"]["$ref"] == schema["$defs"]["$ref"]
    assert inner["$defs"]["b"]["items"] == {"$ref": root}
    assert inner["$defs"]["c"] == schema["$defs"]["c"]


# lists


@pytest.mark.parametrize("version", VERSIONS)
def test_arguments_that_are_true_or_false_are_objects_to_a_legacy_client(version: str) -> None:
    given = {"type": "object", "properties": {"a": True, "b": False, "c": {"default": True}}, "x": [True]}
    (tool,) = listed(version, Raw(json.dumps({"name": "a", "inputSchema": given}).encode()))
    same = {"a": {}, "b": {"not": {}}, "c": {"default": True}}
    assert tool["inputSchema"] == (given if version == LATEST_MODERN else {**given, "properties": same})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_that_needs_no_change_is_the_same_page(version: str) -> None:
    page = b'[ {"name":"a" ,"inputSchema":{"type":"object"},"icons":[{"src":"data:,"}],"title":"A"}]'
    assert narrow.definitions(version, "tools/list", page) is page


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tool_nobody_can_read_does_not_take_the_others_along(version: str) -> None:
    deep = b'{"name":"d","inputSchema":{"type":"object"},"outputSchema":%b%b}' % (b'{"not":' * 900 + b"1", b"}" * 900)
    odd = b'{"name":"b","inputSchema":[],"outputSchema":"x"}'
    page = b"[%b,%b,%b]" % (bytes(shown(LIST)), odd, deep)
    assert [tool["name"] for tool in json.loads(narrow.definitions(version, "tools/list", page))] == ["a", "b", "d"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("schema", ["{}", "null", "[]", "true", '{"type":"string"}', '{"properties":{"a":{}}}', None])
def test_arguments_are_always_an_object(version: str, schema: str | None) -> None:
    member = "" if schema is None else f',"inputSchema":{schema}'
    (tool,) = listed(version, Raw(f'{{"name":"a"{member}}}'.encode()))
    assert tool["inputSchema"]["type"] == "object"
    assert ("properties" in tool["inputSchema"]) is ("properties" in (schema or ""))


NULLS: dict[str, tuple[str, Json]] = {
    "tools/list": ("tools", {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": None, "_meta": None}),
    "prompts/list": ("prompts", {"name": "a", "arguments": None, "icons": None}),
    "resources/list": ("resources", {"name": "a", "uri": "a://b", "mimeType": None, "size": None}),
    "resources/templates/list": ("resourceTemplates", {"name": "a", "uriTemplate": "a://b", "annotations": None}),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", NULLS)
def test_null_for_what_is_not_there_is_left_out_of_lists(version: str, method: str) -> None:
    member, given = NULLS[method]
    page = json.dumps([{**given, "title": None, "description": None, "x-unknown": None}]).encode()
    (found,) = json.loads(narrow.definitions(version, method, page))
    modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if version == LATEST_MODERN else {}
    assert list(oracle.result_faults(method, version, {member: [found], **modern})) == []
    assert found.pop("x-unknown") is None
    assert None not in found.values()


def test_how_tasks_are_run_is_not_told_to_a_modern_client() -> None:
    tool = Raw(b'{"name":"a","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}')
    assert "execution" not in listed(LATEST_MODERN, tool)[0]
    assert "execution" in listed("2025-11-25", tool)[0]


# errors


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", [-32002, -32042, -32020, -32021, -32022, -32602, 7])
def test_an_error_has_a_code_of_the_version(version: str, code: int) -> None:
    data = Raw(b'{"elicitations":[{"mode":"url","url":"https://a.example/x","message":"Sign in"}]}')
    found = narrow.error(version, RemoteError(code, "no", data))
    assert list(oracle.error_faults({"code": found.code, "message": str(found)}, version)) == []
    assert found.data == data
    if code in (-32602, 7):
        assert found.code == code
    if code == -32042 and version < "2025-11-25":
        assert "https://a.example/x" in str(found)  # whoever cannot be sent there can still read it


# questions


FORM: Json = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
PAGE: Json = {"mode": "url", "message": "Sign in", "url": "https://a.example", "elicitationId": "1"}
SAY: Json = {"messages": [{"role": "user", "content": TEXT}], "maxTokens": 5}
ALL: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}


def may(version: str, declared: Json, method: str, params: Json) -> bool:
    capabilities = {name: Raw(json.dumps(value).encode()) for name, value in declared.items()}
    given = json.dumps(params).encode()
    refused = questions.refused(version, capabilities, method, given)
    if not refused:
        narrowed, _ = questions.asked(version, method, given)
        assert list(oracle.question_faults(method, version, json.loads(bytes(narrowed)), declared)) == []
    return not refused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_is_asked_what_it_declared_and_its_version_has(version: str) -> None:
    since = {"2025-06-18": version >= "2025-06-18", "2025-11-25": version >= "2025-11-25"}
    assert may(version, ALL, "roots/list", {})
    assert may(version, ALL, "sampling/createMessage", SAY)
    assert may(version, ALL, "elicitation/create", FORM) is since["2025-06-18"]
    assert may(version, ALL, "elicitation/create", PAGE) is since["2025-11-25"]
    assert may(version, ALL, "sampling/createMessage", {**SAY, "tools": []}) is since["2025-11-25"]
    assert may(version, {"elicitation": {}}, "elicitation/create", FORM) is since["2025-06-18"]
    assert not may(version, {"elicitation": {}}, "elicitation/create", PAGE)
    assert may(version, {"elicitation": {"url": {}}}, "elicitation/create", FORM) is (version == "2025-06-18")
    assert not may(version, {"sampling": {}}, "sampling/createMessage", {**SAY, "toolChoice": {"mode": "auto"}})
    assert not may(version, {}, "roots/list", {})
    assert not may(version, ALL, "tasks/get", {})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_clients_model_is_asked_in_blocks_its_version_has(version: str) -> None:
    said = {"messages": [{"role": "user", "content": [TEXT, AUDIO]}, {"role": "user", "content": IMAGE}]}
    assert may(version, ALL, "sampling/createMessage", {**said, "maxTokens": 5})
    narrowed, _ = questions.asked(version, "sampling/createMessage", json.dumps(said).encode())
    messages = json.loads(bytes(narrowed))["messages"]
    assert len(messages) == (2 if version >= "2025-11-25" else 3)


def test_a_modern_client_gets_no_id_of_a_page() -> None:
    narrowed, _ = questions.asked(LATEST_MODERN, "elicitation/create", json.dumps(PAGE).encode())
    assert "elicitationId" not in json.loads(bytes(narrowed))


def test_choices_become_texts_for_a_client_of_2025_06_18_and_its_answer_is_what_was_asked_for() -> None:
    titled = [{"const": "#f00", "title": "Red"}, {"const": "#0f0", "title": "Green"}]
    fields: Json = {
        "name": {"type": "string", "default": "Ann"},
        "one": {"type": "string", "title": "One", "oneOf": titled},
        "some": {"type": "array", "title": "Some", "items": {"anyOf": titled}, "default": ["#f00"]},
        "plain": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
    }
    form = {**FORM, "requestedSchema": {"type": "object", "properties": fields, "required": ["some"]}}
    assert may("2025-06-18", ALL, "elicitation/create", form)
    narrowed, back = questions.asked("2025-06-18", "elicitation/create", json.dumps(form).encode())
    schema = json.loads(bytes(narrowed))["requestedSchema"]
    assert schema["required"] == ["some"]
    assert schema["properties"]["name"] == fields["name"]
    assert schema["properties"]["one"]["enum"] == ["#f00", "#0f0"]
    assert schema["properties"]["one"]["enumNames"] == ["Red", "Green"]
    assert "Red, Green" in schema["properties"]["some"]["description"]
    assert back is not None
    answer = {"action": "accept", "content": {"name": "Bo", "one": "#f00", "some": "red, Green", "plain": "b,c"}}
    content = json.loads(bytes(back(json.dumps(answer).encode())))["content"]
    assert content == {"name": "Bo", "one": "#f00", "some": ["#f00", "#0f0"], "plain": ["b", "c"]}
    assert back(b'{"action":"decline"}') == b'{"action":"decline"}'
    assert back(b"[]") == b"[]"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "params",
    [
        b"[]",
        b"{}",
        b'{"mode":5,"requestedSchema":[]}',
        b'{"requestedSchema":{"properties":{"a":5,"b":{"oneOf":{}},"c":{"type":["array"]}}}}',
        b'{"messages":[{"content":[5]},5]}',
    ],
)
def test_a_question_without_a_shape_breaks_nothing(version: str, params: bytes) -> None:
    for method in questions.NEEDS:
        questions.refused(version, {"sampling": Raw(b"5"), "elicitation": Raw(b"[]")}, method, params)
        assert questions.named(method, params).startswith(method)
        narrowed, _ = questions.asked(version, method, params)
        assert bytes(narrowed)
