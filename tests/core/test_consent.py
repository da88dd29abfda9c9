"""Calls to plugins that ask for what their user did not grant."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from broker.core.consent import question
from broker.core.listings import Listings
from broker.core.ports import Call, Identity, Reply
from broker.core.router import Router
from broker.errors import Closed, LedgerBroken, NotFound, PermissionMissing
from broker.model import Era, Listing, Spec
from tests.pretend import PretendFace, PretendRuntime, raw

NET = "net:api.acme.dev:443"
ASKING = Spec(name="todos", source="config.toml", permissions={"net": ("api.acme.dev:443",)}, missing=(NET,))
FORMS = {"elicitation": raw({"form": {}})}
YES = {"action": "accept", "content": {"decision": "always"}}
READS = (
    ("tools/call", {"name": raw("todos__echo")}),
    ("prompts/get", {"name": raw("todos__hello")}),
    ("resources/read", {"uri": raw("note://1")}),
    ("completion/complete", {"ref": raw({"type": "ref/prompt", "name": "todos__hello"})}),
)


class Grants:
    """A ledger in memory."""

    def __init__(self, *, broken: bool = False, changed: bool = False) -> None:
        self.given: list[bool] = []  # whether each was only for once
        self.broken, self.changed = broken, changed

    def approval(self, spec: Spec) -> str:
        return spec.name

    def allow(self, spec: Spec, approved: str, *, once: bool, by: str) -> Spec:
        assert approved == spec.name and by.startswith("the user of ")
        if self.changed:
            return spec
        if self.broken:
            raise LedgerBroken("the ledger is damaged")
        self.given.append(once)
        return replace(spec, granted=(*spec.granted, *spec.missing), missing=())


class Person(PretendFace):
    """A client whose user answers with `says`, which may be an exception, or never."""

    def __init__(self, key: str = "client", *, says: Any = YES, forms: bool = True) -> None:
        super().__init__(key)
        self.identity = Identity(Era.LEGACY, "2025-11-25", capabilities=FORMS if forms else {})
        self.says = says
        self.questions: list[Any] = []
        self.go = asyncio.Event()
        self.go.set()

    async def ask(self, method: str, params: Reply) -> Reply:
        assert method == "elicitation/create"
        self.questions.append(json.loads(bytes(params)))
        await self.go.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return raw(self.says)


class Home:
    """A router over one plugin that lacks a permission."""

    def __init__(self, ledger: Grants | None = None, spec: Spec = ASKING) -> None:
        self.runtime, self.ledger = PretendRuntime(), ledger or Grants()
        self.runtime.listings["todos"] = Listing(
            versions={Era.LEGACY: "2025-11-25"},
            capabilities={"tools": raw({}), "resources": raw({"subscribe": True}), "prompts": raw({})},
            tools=[raw({"name": "echo", "description": "Says it again"}), raw({"name": "odd", "description": 7})],
            prompts=[raw({"name": "hello"})],
            resources=[raw({"uri": "note://1", "name": "one"})],
        )
        self.router = Router([spec], self.runtime, Listings(None), ledger=lambda: self.ledger)

    async def known(self, *faces: PretendFace) -> None:
        for face in faces:
            self.router.join(face)
        await self.router.learned(faces[0].identity, faces[0], 5)

    async def echo(self, face: PretendFace) -> Any:
        return json.loads(bytes(await self.router.call(face.call("todos__echo"))))

    @property
    def calls(self) -> int:
        return sum(instance.most for instance in self.runtime.instances)


def shown(home: Home, name: str) -> Any:
    return json.loads(bytes(home.router.catalog.tool(name).raw))["description"]


async def test_a_tool_says_what_its_plugin_lacks_and_the_command_that_grants_it() -> None:
    home = Home()
    await home.known(Person())
    said = shown(home, "todos__echo")
    assert said.endswith("Says it again") and f"broker grant todos {NET}" in said
    assert f"broker grant todos {NET}" in shown(home, "todos__odd")


@pytest.mark.parametrize(("method", "params"), READS)
async def test_what_asks_for_more_is_not_called_and_says_why(method: str, params: dict[str, Raw]) -> None:
    home, face = Home(), Person(forms=False)
    await home.known(face)
    with pytest.raises(PermissionMissing) as refused:
        await home.router.call(Call(face, face.identity, method, dict(params)))
    assert refused.value.hint == f"Run `broker grant todos {NET}`." and NET in str(refused.value)
    assert refused.value.facts["missing"] == [NET] and home.calls == 0 and not face.questions


async def test_nothing_of_it_is_watched() -> None:
    home, face = Home(), Person()
    await home.known(face)
    with pytest.raises(PermissionMissing):
        await home.router.watch(face, face.identity, "note://1")
    assert not any(instance.watching for instance in home.runtime.instances)


async def test_what_was_granted_once_and_changed_since_says_so() -> None:
    home = Home(spec=replace(ASKING, stale="its manifest changed since it was granted"))
    face = Person(forms=False)
    await home.known(face)
    with pytest.raises(PermissionMissing, match="its manifest changed"):
        await home.echo(face)


@pytest.mark.parametrize(("decision", "once"), [("always", False), ("once", True)])
async def test_a_yes_is_kept_and_the_same_call_goes_on(decision: str, once: bool) -> None:
    home, face = Home(), Person(says={"action": "accept", "content": {"decision": decision}})
    await home.known(face)
    assert (await home.echo(face))["plugin"] == "todos"
    assert home.ledger.given == [once] and len(face.questions) == 1
    assert shown(home, "todos__echo") == "Says it again" and {"tools"} in face.changes
    assert (await home.echo(face))["plugin"] == "todos" and len(face.questions) == 1


@pytest.mark.parametrize(
    "says",
    [
        {"action": "decline"},
        {"action": "cancel"},
        {"action": "accept"},
        {"action": "accept", "content": {}},
        {"action": "accept", "content": {"decision": "no"}},
        {"action": "accept", "content": {"decision": "Always"}},
        {"action": "accept", "content": {"decision": ["always"]}},
        {"action": "accept", "content": {"decision": True}},
        {"action": ["accept"], "content": {"decision": "always"}},
        "always",
        None,
        Closed("gone"),
    ],
    ids=str,
)
async def test_anything_but_an_exact_yes_is_no_and_is_not_asked_again(says: Any) -> None:
    home, face = Home(), Person(says=says)
    await home.known(face)
    for _ in range(3):
        with pytest.raises(PermissionMissing):
            await home.echo(face)
    assert len(face.questions) == 1 and home.calls == 0 and not home.ledger.given


async def test_many_calls_that_lack_the_same_are_one_question() -> None:
    home, first, second = Home(), Person("first"), Person("second")
    first.go.clear()
    second.go.clear()
    await home.known(first, second)
    calls = [asyncio.create_task(home.echo(face)) for face in (first, second, first, second)]
    async with asyncio.timeout(5):
        while not first.questions:
            await asyncio.sleep(0)
    first.go.set()
    found = await asyncio.wait_for(asyncio.gather(*calls), 5)
    assert [each["plugin"] for each in found] == ["todos"] * 4
    assert len(first.questions) == 1 and not second.questions and home.ledger.given == [False]


async def test_a_caller_who_gives_up_leaves_the_question_to_the_next() -> None:
    home, first, second = Home(), Person("first"), Person("second")
    first.go.clear()
    await home.known(first, second)
    asking = asyncio.create_task(home.echo(first))
    async with asyncio.timeout(5):
        while not first.questions:
            await asyncio.sleep(0)
    waiting = asyncio.create_task(home.echo(second))
    asking.cancel()
    await asyncio.wait([asking], timeout=5)
    assert (await asyncio.wait_for(waiting, 5))["plugin"] == "todos" and len(second.questions) == 1


async def test_who_never_answers_has_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.consent.PATIENCE", 0.05)
    home, face = Home(), Person()
    face.go.clear()
    await home.known(face)
    with pytest.raises(PermissionMissing):
        await asyncio.wait_for(home.echo(face), 5)
    assert len(face.questions) == 1 and not home.ledger.given


async def test_a_ledger_that_cannot_be_written_grants_nothing() -> None:
    home, face = Home(Grants(broken=True)), Person()
    await home.known(face)
    with pytest.raises(LedgerBroken):
        await home.echo(face)
    assert home.calls == 0


async def test_a_yes_to_what_changed_while_it_was_asked_about_grants_nothing() -> None:
    home, face = Home(Grants(changed=True)), Person()
    await home.known(face)
    with pytest.raises(PermissionMissing):
        await home.echo(face)
    assert home.calls == 0


async def test_a_modern_client_is_asked_by_the_result_of_its_call() -> None:
    home, face = Home(), Person()
    face.identity = Identity(Era.MODERN, "2026-07-28", capabilities=FORMS)
    await home.known(face)
    first = await home.echo(face)
    assert first["resultType"] == "input_required"
    (key,) = first["inputRequests"]
    assert NET in first["inputRequests"][key]["params"]["message"]
    retry = face.call("todos__echo")
    retry.params |= {"requestState": raw(first["requestState"]), "inputResponses": raw({key: YES})}
    assert json.loads(bytes(await home.router.call(retry)))["plugin"] == "todos"
    assert not face.questions and home.ledger.given == [False]


async def test_a_plugin_that_shows_nothing_without_its_permissions_is_listed_with_what_it_lacks() -> None:
    home, face = Home(), Person()
    home.runtime.broken.add("todos")
    await home.known(face)
    assert f"broker grant todos {NET}" in shown(home, "todos__unavailable")
    for name in ("todos__unavailable", "todos__echo"):
        with pytest.raises(PermissionMissing):
            await home.router.call(face.call(name))
    with pytest.raises(NotFound):
        await home.router.call(face.call("other__echo"))


def test_the_question_is_a_form_of_the_specification() -> None:
    said = json.loads(question(replace(ASKING, stale="its program changed")))
    assert said["requestedSchema"]["required"] == ["decision"] and "Its program changed." in said["message"]


async def test_nobody_is_asked_for_what_nobody_can_grant_nor_told_a_command_that_would_fail() -> None:
    home, face = Home(spec=replace(ASKING, missing=(NET, "read:/"), refused=("read:/",))), Person()
    await home.known(face)
    with pytest.raises(PermissionMissing) as refused:
        await home.echo(face)
    assert "read:/, which nobody can grant" in str(refused.value) and not face.questions
    assert f"`broker grant todos {NET}`" in refused.value.hint and "`broker check`" in refused.value.hint
    assert "broker grant todos read:/" not in shown(home, "todos__echo")


def test_what_changed_is_told_as_it_is_written() -> None:
    said = json.loads(question(replace(ASKING, stale="the program /Opt/Tool changed since it was granted")))
    assert "The program /Opt/Tool changed" in said["message"]
