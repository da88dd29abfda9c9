"""Consent and questions in an editor: three buttons, exact titles, and forms for clients of broker's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from broker.core.consent import question
from broker.core.listings import Listings
from broker.core.router import Router
from broker.errors import NoSuchMethod, NotInClient
from broker.faces import lsp_editor
from broker.faces.lsp_questions import CONSENT
from broker.model import Command, Spec
from tests.faces.lsp_client import Client
from tests.pretend import House, PretendRuntime, raw

Json = dict[str, Any]
LACKING = Spec(name="a", source="x", permissions={"ui": ("toast",)}, missing=("ui:toast",), commands=(Command("echo"),))


class Ledger:
    """Remembers what was granted."""

    def __init__(self) -> None:
        self.allowed: list[tuple[str, bool, str]] = []

    def approval(self, spec: Spec) -> None:
        return None

    def allow(self, spec: Spec, approved: Any, *, once: bool, by: str) -> Spec:
        self.allowed.append((spec.name, once, by))
        return replace(spec, missing=(), granted=spec.missing)


class Lacking(House):
    """A plugin that was granted nothing."""

    def __init__(self) -> None:
        self.ledger, self.runtime = Ledger(), PretendRuntime()
        self.router = Router([LACKING], self.runtime, Listings(None), ledger=lambda: self.ledger)


def answering(title: object) -> Callable[[Json], Any]:
    return lambda params: {"title": title}


@pytest.mark.parametrize(("title", "once"), [("Allow once", True), ("Always allow", False)])
async def test_consent_is_one_of_three_buttons_and_is_written_when_it_comes(title: str, once: bool) -> None:
    inside = Lacking()
    client = Client(inside)
    client.answers["window/showMessageRequest"] = answering(title)
    await client.initialize()
    assert await client.run("a.echo")
    assert inside.ledger.allowed == [("a", once, "the user of test")]
    asked = await client.said("window/showMessageRequest")
    assert [each["title"] for each in asked["actions"]] == ["Allow once", "Always allow", "Deny"]
    assert "ui:toast" in asked["message"] and "\n" not in asked["message"]


@pytest.mark.parametrize(
    "answer",
    [
        *(answering(title) for title in ("Deny", "allow once", "Allow once ", "Allow", "", None, 7, ["Allow once"])),
        *(None, [], 7, "Allow once", {}, {"index": 0}, {"title": {"title": "Allow once"}}, RuntimeError("no")),
    ],
)
async def test_anything_but_an_exact_title_is_no(answer: Any) -> None:
    inside = Lacking()
    client = Client(inside)
    client.answers["window/showMessageRequest"] = answer
    await client.initialize()
    error = (await client.ask("workspace/executeCommand", {"command": "a.echo"}))["error"]
    assert error["code"] == -31004 and "broker grant a" in error["data"]["hint"]
    assert inside.ledger.allowed == []


async def test_silence_is_no_after_its_time_and_the_editor_is_told_to_forget_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lsp_editor, "QUESTION", 0.05)
    inside = Lacking()
    client = Client(inside)
    client.answers["window/showMessageRequest"] = Client.SILENT
    await client.initialize()
    error = (await client.ask("workspace/executeCommand", {"command": "a.echo"}))["error"]
    assert error["code"] == -31004 and inside.ledger.allowed == []
    asked = await client.until(lambda message: message.get("method") == "window/showMessageRequest")
    assert await client.said("$/cancelRequest") == {"id": asked["id"]}


def test_consent_has_the_buttons_for_what_the_core_asks() -> None:
    asked = json.loads(question(LACKING))["requestedSchema"]["properties"]["decision"]["oneOf"]
    assert {each["const"] for each in asked} == CONSENT.keys()
    assert list(CONSENT.values()) == ["Allow once", "Always allow", "Deny"]


def form(**properties: Json) -> bytes:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return json.dumps({"message": "Well?", "requestedSchema": schema}).encode()


async def elicit(client: Client, params: bytes) -> Json:
    return json.loads(
        bytes(await asyncio.wait_for(client.session.ask("elicitation/create", raw(json.loads(params))), 5))
    )


YES_NO = {"type": "boolean"}
COLOUR = {"type": "string", "enum": ["red", "green"], "enumNames": ["Red", "Green"]}
MANY = {"type": "string", "enum": [str(n) for n in range(20)]}
TEXT = {"type": "string", "default": "x"}
NUMBER = {"type": "integer"}


@pytest.mark.parametrize(
    ("fields", "title", "content"),
    [
        ({"sure": YES_NO}, "Yes", {"sure": True}),
        ({"sure": YES_NO}, "No", {"sure": False}),
        ({"colour": COLOUR}, "Green", {"colour": "green"}),
        ({}, "OK", {}),
    ],
)
async def test_any_editor_answers_a_form_of_a_few_choices(fields: Json, title: str, content: Json) -> None:
    client = Client(House("a"))
    client.answers["window/showMessageRequest"] = answering(title)
    await client.initialize()
    assert await elicit(client, form(**fields)) == {"action": "accept", "content": content}
    client.answers["window/showMessageRequest"] = None
    assert (await elicit(client, form(**fields)))["action"] == "cancel"


@pytest.mark.parametrize(
    "fields", [{"name": TEXT}, {"one": MANY}, {"sure": YES_NO, "name": TEXT}, {"x": {"type": "array"}}]
)
async def test_what_an_editor_cannot_ask_for_is_refused_before_anybody_is_asked(fields: Json) -> None:
    client = Client(House("a"))
    await client.initialize()
    with pytest.raises(NotInClient):
        await elicit(client, form(**fields))
    assert client.all("window/showMessageRequest") == []


async def test_a_client_of_our_own_is_asked_for_texts_numbers_and_one_of_many() -> None:
    client = Client(House("a"))
    client.answers["broker/input"] = {"value": "7"}
    client.answers["broker/pick"] = {"indexes": [3]}
    await client.ours()
    answer = await elicit(client, form(name=TEXT, count=NUMBER, one=MANY))
    assert answer == {"action": "accept", "content": {"name": "7", "count": 7, "one": "3"}}
    assert client.all("broker/input")[0]["value"] == "x"
    client.answers["broker/input"] = {"value": "seven"}
    assert (await elicit(client, form(count=NUMBER)))["action"] == "cancel"


@pytest.mark.parametrize(
    "answer", [None, {}, 7, {"indexes": 0}, {"indexes": [20]}, {"indexes": [-1]}, {"indexes": [0, 1]}]
)
async def test_a_pick_that_is_none_is_a_cancel(answer: Any) -> None:
    client = Client(House("a"))
    client.answers["broker/pick"] = answer
    await client.ours()
    assert (await elicit(client, form(one=MANY)))["action"] == "cancel"


async def test_a_page_is_opened_only_when_the_person_says_so() -> None:
    client = Client(House("a"))
    client.answers["window/showDocument"] = {"success": True}
    visit = b'{"mode":"url","message":"Log in","url":"https://x.dev/login"}'
    await client.initialize()
    for title, action, opened in (("Decline", "decline", 0), ("Open", "accept", 1)):
        client.answers["window/showMessageRequest"] = answering(title)
        assert (await elicit(client, visit))["action"] == action
        assert len(client.all("window/showDocument")) == opened
    assert client.all("window/showDocument") == [{"uri": "https://x.dev/login", "external": True}]
    with pytest.raises(NotInClient):
        await elicit(client, b'{"mode":"url","message":"x","url":"file:///etc/passwd"}')


async def test_an_editor_lends_plugins_no_model() -> None:
    client = Client(House("a"))
    await client.initialize()
    with pytest.raises(NoSuchMethod):
        await client.session.ask("sampling/createMessage", b"{}")


# the operations of the host that ask a person


async def perform(client: Client, op: str, **params: Any) -> Any:
    doing: Awaitable[Any] = client.session.perform(op, "a", json.dumps(params).encode())
    return json.loads(bytes(await asyncio.wait_for(doing, 5)))


async def test_confirm_and_a_short_pick_work_in_every_editor() -> None:
    client = Client(House("a"))
    await client.initialize({})
    client.answers["window/showMessageRequest"] = answering("Do it")
    assert await perform(client, "confirm", message="Sure?", yes="Do it") == {"confirmed": True}
    assert client.all("window/showMessageRequest")[0]["message"] == "a: Sure?"
    client.answers["window/showMessageRequest"] = answering("b")
    assert await perform(client, "pick", message="Which?", items=["a", "b"]) == {"value": "b"}
    client.answers["window/showMessageRequest"] = None
    assert await perform(client, "pick", message="Which?", items=["a", "b"]) == {"value": None}
    assert await perform(client, "confirm", message="Sure?") == {"confirmed": False}
    with pytest.raises(NotInClient, match="9 choices at most"):
        await perform(client, "pick", message="Which?", items=[str(n) for n in range(10)])
    with pytest.raises(NotInClient):
        await perform(client, "input", message="Name?")


async def test_a_client_of_our_own_picks_among_many_and_types() -> None:
    client = Client(House("a"))
    await client.ours()
    client.answers["broker/pick"] = {"indexes": [11]}
    assert await perform(client, "pick", message="Which?", items=[str(n) for n in range(20)]) == {"value": "11"}

    def typed(params: Json) -> Json:
        return {"value": params["value"] + "!" + str(params["secret"])}

    client.answers["broker/input"] = typed
    assert await perform(client, "input", message="Name?", default="Ada", secret=True) == {"value": "Ada!True"}
    client.answers["broker/input"] = {"value": 7}
    assert await perform(client, "input", message="Name?") == {"value": None}
