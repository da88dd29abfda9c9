"""What a WASM plugin says of itself, and its prompts and resources."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.listings import Listings
from broker.core.ports import Call, Identity
from broker.errors import BadArguments, BrokerError, PluginUnavailable, RemoteError
from broker.model import About, Era, Limits, Spec
from broker.runtimes import wasm_plugin
from broker.runtimes.served import Served
from broker.runtimes.wasm import WasmRuntime
from tests.pretend import PretendFace, raw
from tests.runtimes.wasm_guests import Deaf, guest

NEW = Identity(era=Era.MODERN, version="2026-07-28")
SCHEMA = {"type": "object", "properties": {"limit": {"type": "integer"}}}
PROMPT = {"name": "shorter", "arguments": [{"name": "text", "required": True}, {"name": "tone"}]}
PAGE = {"uri": "demo://page", "mimeType": "text/plain"}
Open = Callable[..., Awaitable[Served]]


def described(*capabilities: str, **more: Any) -> dict[str, Any]:
    return {"result": {"name": "demo", "version": "3", "description": "Shows.", "capabilities": capabilities, **more}}


def full(**ops: Any) -> bytes:
    answers: dict[str, object] = {
        "describe": described("prompts", "resources", "observe"),
        "schema": {"result": SCHEMA},
        "prompts/list": {"result": {"prompts": [PROMPT]}},
        "prompts/get": {"result": "Say this shorter."},
        "resources/list": {"result": {"resources": [PAGE]}},
        "resources/read": {"result": "the page"},
    }
    return guest(ops=answers | ops)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for what is compiled."""
    return tmp_path_factory.mktemp("wasm")


@pytest.fixture
async def open_(kept: Path, tmp_path: Path) -> AsyncIterator[Open]:
    runtime = WasmRuntime(cache=kept / "cache", key=kept / "wasm.key")

    async def begin(wasm: bytes, **spec: Any) -> Served:
        (tmp_path / "a.wasm").write_bytes(wasm)
        whole = Spec(name="a", source="t", entry=str(tmp_path / "a.wasm"), limits=Limits(timeout=5), **spec)
        return await runtime.start(whole, Identity(), None, Deaf())

    yield begin
    await runtime.close(1)


async def asked(served: Served, method: str, identity: Identity = NEW, **params: Any) -> Any:
    values = {key: raw(value) for key, value in params.items()}
    return json.loads(bytes(await served.call(Call(PretendFace(era=identity.era), identity, method, values))))


async def test_what_it_says_of_itself_is_kept_with_its_lists(open_: Open) -> None:
    about = (await (await open_(full())).lists()).about
    assert about is not None
    assert (about.name, about.version, about.description) == ("demo", "3", "Shows.")
    assert about.capabilities == ("prompts", "resources", "observe", "tools")
    assert json.loads(bytes(about.schema)) == SCHEMA


async def test_what_it_says_of_itself_is_found_again_without_starting_it(open_: Open, tmp_path: Path) -> None:
    served, kept = await open_(full()), Listings(tmp_path / "lists")
    kept.put(served.spec, await served.lists())
    found = kept.get(served.spec)
    assert found is not None and found.about == (await served.lists()).about


async def test_one_that_says_nothing_has_only_what_it_lists(open_: Open) -> None:
    unknown = {"error": {"code": "unknown-op"}}
    served = await open_(guest(ops={"describe": unknown, "schema": unknown}))
    assert (await served.lists()).about == About(capabilities=("tools",))


async def test_its_prompts_are_listed_and_rendered(open_: Open) -> None:
    served = await open_(full())
    (shown,) = (await served.lists()).prompts
    assert json.loads(bytes(shown)) == PROMPT
    result = await asked(served, "prompts/get", name="shorter", arguments={"text": "long"})
    assert result["messages"][0]["content"]["text"] == "Say this shorter."


@pytest.mark.parametrize("arguments", [{}, {"text": 5}])
async def test_a_prompts_arguments_are_checked_before_the_guest_sees_them(
    open_: Open, arguments: dict[str, Any]
) -> None:
    served = await open_(full(**{"prompts/get": "code:(unreachable)"}))
    with pytest.raises(BadArguments, match="`text`"):
        await asked(served, "prompts/get", name="shorter", arguments=arguments)


async def test_its_resources_are_listed_and_read(open_: Open) -> None:
    served = await open_(full())
    (shown,) = (await served.lists()).resources
    assert json.loads(bytes(shown)) == {**PAGE, "name": "demo://page"}
    result = await asked(served, "resources/read", uri="demo://page")
    assert result["contents"] == [{"uri": "demo://page", "mimeType": "text/plain", "text": "the page"}]


async def test_what_it_does_not_list_is_never_asked_of_it(open_: Open) -> None:
    served = await open_(full(**{"prompts/get": "code:(unreachable)", "resources/read": "code:(unreachable)"}))
    with pytest.raises(RemoteError, match="has no"):
        await asked(served, "prompts/get", name="other")
    with pytest.raises(RemoteError, match="has no"):
        await asked(served, "resources/read", uri="demo://other")


async def test_one_that_does_not_name_them_is_not_asked_for_prompts_and_resources(open_: Open) -> None:
    endless = "code:(loop (br 0)) (unreachable)"
    served = await open_(full(describe=described(), **{"prompts/list": endless, "resources/list": endless}))
    listing = await served.lists()
    assert (listing.prompts, listing.resources) == ([], [])


async def test_one_that_names_them_and_has_them_not_is_fine(open_: Open) -> None:
    unknown = {"error": {"code": "unknown-op", "message": "no such thing"}}
    served = await open_(full(**{"prompts/list": unknown, "resources/list": unknown}))
    assert (await served.lists()).prompts == []


@pytest.mark.parametrize(
    ("ops", "why"),
    [
        ({"prompts/list": {"result": {"prompts": [PROMPT, PROMPT]}}}, "prompt without a name, or 'shorter' twice"),
        ({"resources/list": {"result": {"resources": [{"uri": ""}]}}}, "resource without a name"),
        ({"resources/list": {"result": {"resources": [{}]}}}, "something else than it must"),
        (
            {"tools/list": {"result": {"tools": [{"name": f"t{n}"} for n in range(1001)]}}},
            "too many tools; the most is 1000",
        ),
        ({"describe": described(description="x" * 5000)}, "describe has 5"),
        ({"describe": {"result": {"capabilities": "all"}}}, "something else than it must"),
        ({"schema": {"result": {"description": "x" * 5000}}}, "schema has 5"),
        ({"schema": {"result": ["no", "schema"]}}, "something else than it must"),
    ],
)
async def test_a_plugin_that_describes_itself_badly_is_refused_with_the_reason(
    open_: Open, monkeypatch: pytest.MonkeyPatch, ops: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(wasm_plugin, "MOST_SAID", 4096)
    with pytest.raises(PluginUnavailable, match=why):
        await open_(full(**ops))


async def test_a_configuration_of_the_wrong_type_is_refused_in_words_for_a_person(open_: Open) -> None:
    with pytest.raises(BrokerError) as caught:
        await open_(full(), config={"limit": "many"})
    assert "`limit` must be integer" in str(caught.value)
    assert "[plugins.a.config]" in caught.value.hint
