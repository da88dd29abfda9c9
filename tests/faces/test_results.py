"""Results too large for a client: cut where that may be, the rest in pages, for this client and for a while."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.ports import Call
from broker.faces import results
from broker.faces.results import KEPT, KEPT_BYTES, Results, Source
from broker.model import Listing
from tests.faces.test_mcp import META, Client, Json
from tests.pretend import House, PretendInstance, raw

CAP = 20 << 10
ERAS = pytest.mark.parametrize("meta", [None, META], ids=["legacy", "modern"])
TEXT = "".join(f'line {n} says é 東 😀 \\ "quoted"\n' for n in range(5000))


def house(result: Json, cap: int | None = CAP, **definition: Any) -> House:
    """A house whose plugin `a` answers `show` with this result, and may have `max_result`."""
    made = House("a", "b", max_result=cap)
    shown = Listing(capabilities={"tools": raw({})}, tools=[raw({"name": "show", **definition}), raw({"name": "echo"})])
    made.runtime.listings = {"a": shown, "b": shown}

    async def answer(instance: PretendInstance, call: Call) -> Any:
        return raw(result)

    made.runtime.behaviours["show"] = answer
    return made


def content(*blocks: Json, **more: Any) -> Json:
    return {"content": list(blocks), **more}


def text(value: str, **more: Any) -> Json:
    return {"type": "text", "text": value, **more}


async def opened(made: House, version: str = "2025-11-25", key: str = "client", **more: Any) -> Client:
    client = Client(made, key, **more)
    await client.initialize(version)
    return client


async def shown(client: Client, meta: Json | None = None) -> Json:
    return await client.result("tools/call", meta, name="a__show", arguments={})


def links(result: Json) -> list[Json]:
    return [block for block in result["content"] if block["type"] == "resource_link"]


async def read(client: Client, uri: str, meta: Json | None = None) -> str:
    """All pages of a part, put together."""
    found = ""
    while uri:
        result = await client.result("resources/read", meta, uri=uri)
        first = result["contents"][0]
        assert first["uri"] == uri and ("resultType" in result) == (meta is not None)
        found += first.get("text") or first["blob"]
        uri = result["_meta"]["plugin-broker/page"].get("next", "")
        assert (len(result["contents"]) == 2) is bool(uri)
        if uri:
            assert uri in result["contents"][1]["text"]
    return found


def size(result: Any) -> int:
    return len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode())


# -- what passes


@pytest.mark.parametrize("cap", [None, CAP])
async def test_a_result_below_the_cap_is_the_same_bytes(cap: int | None) -> None:
    odd = b'{"content" : [ {"type":"text","text":"\\u00e9"} ] , "x":1.50}'
    made = Results(8 << 20)
    made.fitting = made.rescued = None  # pyright: ignore[reportAttributeAccessIssue]
    call = Call(None, Client(House("a")).session.identity, "tools/call", {"name": raw("show")}, chain=("a",))  # type: ignore[arg-type]
    plugin = house({}, cap).router.plugins["a"]
    assert made.bounded(call, odd, plugin, lambda error, era: b"") is odd


async def test_without_a_cap_a_large_result_passes_whole() -> None:
    whole = content(text("x" * (1 << 20)))
    assert await shown(await opened(house(whole, None))) == whole


# -- text


@ERAS
async def test_a_long_text_is_cut_between_characters_and_the_rest_is_read_in_pages(meta: Json | None) -> None:
    client = await opened(house(content(text(TEXT), **{"_meta": {"k": 1}, "x": [2], "isError": False})))
    result = await shown(client, meta)
    (link,) = links(result)
    beginning, note = result["content"][0]["text"].rsplit("\n[broker left out ", 1)
    assert link["uri"] in note and "pages" in note and note.split()[0].isdigit()
    assert len(beginning) > 1000 and TEXT.startswith(beginning)
    assert beginning + await read(client, link["uri"], meta) == TEXT
    assert size(result) <= CAP
    assert (result["_meta"], result["x"], result["isError"]) == ({"k": 1}, [2], False)


async def test_every_page_fits_the_cap_and_can_be_read_alone_and_again() -> None:
    client = await opened(house(content(text(TEXT))))
    (link,) = links(await shown(client))
    first = await client.result("resources/read", uri=link["uri"])
    pages = first["_meta"]["plugin-broker/page"]["pages"]
    assert pages > 3
    for number in (pages, 2, 1, 2):
        page = await client.result("resources/read", uri=f"{link['uri']}?page={number}")
        assert size(page) <= CAP and page["_meta"]["plugin-broker/page"]["page"] == number
    for number in (0, pages + 1, 999999):
        assert (await client.error("resources/read", uri=f"{link['uri']}?page={number}"))["code"] == -32002


async def test_small_blocks_stay_and_the_large_one_is_cut_in_its_place() -> None:
    small = [
        text("first"),
        {"type": "resource_link", "uri": "x://1", "name": "n"},
        text("last", annotations={"priority": 1}),
    ]
    client = await opened(house(content(small[0], text(TEXT, annotations={"audience": ["user"]}), *small[1:])))
    blocks = (await shown(client))["content"]
    assert blocks[0] == small[0] and blocks[-2:] == small[1:]
    assert blocks[1]["annotations"] == blocks[2]["annotations"] == {"audience": ["user"]}


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26"])
async def test_a_client_that_knows_no_links_is_told_the_uri_in_words(version: str) -> None:
    image = {"type": "image", "data": "A" * 40_000, "mimeType": "image/png"}
    client = await opened(house(content(text(TEXT), image)), version)
    result = await shown(client)
    assert [block["type"] for block in result["content"]] == ["text", "text"]
    uris = [block["text"].split("read the resource ")[1].split()[0] for block in result["content"]]
    assert await read(client, uris[1]) == image["data"]
    assert TEXT.endswith(await read(client, uris[0])) and size(result) <= CAP


# -- other content


@pytest.mark.parametrize("kind", ["image", "audio"])
async def test_a_large_picture_becomes_a_link_and_is_read_whole(kind: str) -> None:
    data = base64.b64encode(bytes(range(256)) * 400).decode()
    client = await opened(house(content({"type": kind, "data": data, "mimeType": "x-a/b"}, text("see"))))
    result = await shown(client)
    (link,) = links(result)
    assert result["content"][1] == text("see") and link["mimeType"] == "x-a/b" and link["size"] == len(data) * 3 // 4
    page = await client.result("resources/read", uri=link["uri"])
    assert page["contents"] == [{"uri": link["uri"], "mimeType": "x-a/b", "blob": data}]


async def test_a_picture_above_max_frame_is_read_in_pieces_that_decode_alone() -> None:
    data = base64.b64encode(bytes(range(256)) * 600).decode()
    client = await opened(house(content({"type": "image", "data": data, "mimeType": "image/png"})), max_frame=64 << 10)
    (link,) = links(await shown(client))
    assert link["mimeType"] == "application/octet-stream"
    decoded, uri = b"", link["uri"]
    while uri:
        page = await client.result("resources/read", uri=uri)
        decoded += base64.b64decode(page["contents"][0]["blob"], validate=True)
        uri = page["_meta"]["plugin-broker/page"].get("next", "")
    assert base64.b64encode(decoded).decode() == data


async def test_an_embedded_resource_keeps_its_address_as_its_name() -> None:
    held = {"uri": "file:///big.csv", "mimeType": "text/csv", "text": TEXT}
    client = await opened(house(content({"type": "resource", "resource": held})))
    (link,) = links(await shown(client))
    assert link["name"] == "file:///big.csv of show"
    assert await read(client, link["uri"]) == TEXT


@pytest.mark.parametrize(
    "block",
    [
        {"type": "hologram", "data3d": "x" * 30_000},
        {"type": "text", "text": ["x" * 30_000]},
        {"type": "image", "data": 7, "x": "y" * 30_000},
        {"type": "resource", "resource": "x" * 30_000},
        {"x": "y" * 30_000},
        {"type": "image", "data": "A" * 30_000, "mimeType": {"a": 1}},
    ],
)
async def test_a_block_nobody_knows_is_kept_as_json(block: Json) -> None:
    client = await opened(house(content(block)))
    (link,) = links(await shown(client))
    assert json.loads(await read(client, link["uri"])) == block


async def test_many_blocks_share_one_link() -> None:
    blocks = [text(f"{n} " + "x" * 3000) for n in range(300)]
    client = await opened(house(content(*blocks)))
    result = await shown(client)
    found = links(result)
    assert len(found) <= 8 and size(result) <= CAP
    rest = json.loads(await read(client, found[-1]["uri"]))
    assert rest == blocks[-len(rest) :] and len(rest) > 280


# -- structured content


async def test_large_structured_content_that_no_schema_demands_is_left_out_and_can_be_read() -> None:
    whole = {"rows": [{"n": n} for n in range(5000)]}
    client = await opened(house(content(text("5000 rows"), structuredContent=whole)))
    result = await shown(client)
    assert "structuredContent" not in result and result["content"][0] == text("5000 rows")
    (link,) = links(result)
    assert link["name"] == "structuredContent of show"
    assert json.loads(await read(client, link["uri"])) == whole


async def test_structured_content_that_a_schema_demands_stays_and_only_text_is_cut() -> None:
    whole = {"rows": ["x" * 4000]}
    client = await opened(house(content(text(TEXT), structuredContent=whole), outputSchema={"type": "object"}))
    result = await shown(client)
    assert result["structuredContent"] == whole and links(result) and size(result) <= CAP


async def test_a_result_whose_schema_demands_more_than_the_cap_passes_whole_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = content(text(TEXT), structuredContent={"rows": ["x" * CAP]})
    client = await opened(house(whole, outputSchema={"type": "object"}))
    assert await shown(client) == whole == await shown(client)
    assert caplog.text.count("is passed whole") == 1 and "`max_result` of 20480" in caplog.text


# -- results that are none, or not ready


@pytest.mark.parametrize(
    "result",
    [
        {
            "resultType": "input_required",
            "inputRequests": {"a": {"method": "roots/list"}},
            "content": [],
            "s": "x" * CAP,
        },
        {"resultType": "task", "task": {"taskId": "x" * CAP}, "content": []},
        {"task": {"taskId": "x" * CAP}},
        {"content": "x" * CAP},
    ],
)
async def test_what_is_no_ready_result_is_never_cut(result: Json) -> None:
    client = await opened(house(result))
    got = await shown(client)
    assert got == result


async def test_other_results_are_not_capped() -> None:
    client = await opened(house({}))
    whole = await client.result("tools/call", name="a__echo", arguments={"text": "x" * CAP})
    assert whole["params"]["arguments"]["text"] == "x" * CAP  # no content list: nothing to cut


@ERAS
async def test_a_result_above_max_frame_is_a_failure_with_links(meta: Json | None) -> None:
    whole = content(text("head"), text("x" * 600_000), structuredContent={"a": "y" * 600_000})
    made = house(whole, None, outputSchema={"type": "object"})
    client = await opened(made, max_frame=512 << 10)
    result = await shown(client, meta)
    assert result["isError"] and "limit is 524288" in result["content"][0]["text"]
    assert result["_meta"]["plugin-broker/error"]["name"] == "frame-too-large"
    assert result["content"][1] == text("head") and "structuredContent" not in result
    rest, structured = links(result)
    assert json.loads(await read(client, structured["uri"], meta)) == whole["structuredContent"]
    beginning = result["content"][2]["text"].rsplit("\n[broker", 1)[0]
    assert beginning + await read(client, rest["uri"], meta) == "x" * 600_000


async def test_a_cap_above_max_frame_is_max_frame() -> None:
    client = await opened(house(content(text("x" * 600_000)), 1 << 30), max_frame=512 << 10)
    result = await shown(client)
    assert not result.get("isError") and links(result)


# -- what is kept


async def test_another_client_cannot_read_what_is_kept() -> None:
    made = house(content(text(TEXT)))
    one, two = await opened(made, key="one"), await opened(made, key="two")
    (mine,), (theirs,) = links(await shown(one)), links(await shown(two))
    assert await read(one, mine["uri"]) and await read(two, theirs["uri"])
    for client, other in ((one, theirs), (two, mine)):
        assert "nothing is kept" in (await client.error("resources/read", uri=other["uri"]))["message"]
        assert (await client.error("resources/read", META, uri=other["uri"]))["code"] == -32602
    assert made.runtime.of("b") == [] or not any(instance.running for instance in made.runtime.of("b"))


async def test_an_address_of_a_part_is_never_asked_of_a_plugin() -> None:
    made = house(content(text(TEXT)))
    client = await opened(made)
    (link,) = links(await shown(client))
    id = link["uri"].rpartition("/")[2]
    other = f"{id[:-1]}{'1' if id[-1] == '0' else '0'}"
    asked: list[str] = []

    async def note(instance: PretendInstance, call: Call) -> Any:
        asked.append(call.method)
        return raw({})

    made.runtime.behaviours[""] = note
    for uri in (f"broker://b/results/{id}", f"broker://a/results/{'0' * 32}", f"broker://a/results/{other}"):
        assert "nothing is kept" in (await client.error("resources/read", uri=uri))["message"]
    assert asked == []
    await client.ask("resources/read", uri="broker://a/results/short")  # a plugin's own, whatever it means by it
    assert asked == ["resources/read"]


async def test_what_is_kept_is_forgotten_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEPT_FOR", 0.05)
    client = await opened(house(content(text(TEXT))))
    (link,) = links(await shown(client))
    kept = client.session._results._kept
    async with asyncio.timeout(5):
        while kept:  # without any request
            await asyncio.sleep(0.01)
    assert "nothing is kept" in (await client.error("resources/read", uri=link["uri"]))["message"]


async def test_reading_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    client = await opened(house(content(text(TEXT))))
    (first,), (second,) = links(await shown(client)), links(await shown(client))
    await read(client, first["uri"])
    kept = client.session._results
    assert [each.uri for each in kept._kept.values()] == [second["uri"], first["uri"]]
    client.stream.close()
    await asyncio.wait_for(client.ended.wait(), 5)
    assert not kept._kept and kept._timer is None


async def test_a_flood_of_large_results_keeps_a_bounded_number_of_bytes() -> None:
    made = Results(8 << 20)
    source = Source("a", "show", True, False)
    noted = text("x" * (3 << 20), annotations={"priority": 1}, _meta={"a": 1})
    large = json.dumps(content(noted, {"type": "image", "data": "A" * CAP, "mimeType": "a/b", "_meta": {}})).encode()
    tracemalloc.start()
    for _ in range(100):
        made.fitting(bytes(bytearray(large)), CAP, source)  # each in a frame of its own
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < KEPT_BYTES + (2 << 20) and most < KEPT_BYTES + (32 << 20)
    small = json.dumps(content(text("x" * CAP))).encode()
    for _ in range(1000):
        made.fitting(small, CAP, source)
    assert len(made._kept) == KEPT
    made.close()


def picture(kind: str, times: int) -> Json:
    return {"type": kind, "data": "AAAA" * times, "mimeType": "image/png"}


def embedded(times: int) -> Json:
    return {"type": "resource", "resource": {"uri": "é" * times, "text": "\\" * times}}


def repeated(value: str, times: int) -> Json:
    return text(value * times)


BLOCKS = st.lists(
    st.one_of(
        st.builds(repeated, st.text(max_size=20), st.integers(0, 1000)),
        st.builds(picture, st.sampled_from(["image", "audio", "new"]), st.integers(0, 10_000)),
        st.builds(embedded, st.integers(0, 9999)),
    ),
    max_size=15,
)
MEMBERS = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in ("content", "resultType")),
    st.integers(0, 20_000).map("x".__mul__),
    max_size=5,
)


@pytest.mark.parametrize("linked", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(blocks=BLOCKS, members=MEMBERS, cap=st.integers(16 << 10, 64 << 10), ascii=st.booleans())
async def test_whatever_a_result_holds_it_fits_and_nothing_is_lost(
    blocks: list[Json], members: Json, cap: int, ascii: bool, linked: bool
) -> None:
    made = Results(8 << 20)
    whole = json.dumps({"content": blocks, **members}, ensure_ascii=ascii).encode()
    cut = bytes(made.fitting(whole, cap, Source("a", "show", linked, False)))
    assert len(cut) <= cap
    result = json.loads(cut)
    assert all(result[name] == members[name] for name in result if name != "content")
    kept = [(json.loads(b'"' + each.part.inside + b'"'), each.part.mime) for each in made._kept.values()]
    parts = [part for part, _ in kept]
    read = [json.loads(part) for part, mime in kept if mime == "application/json"]
    spread = [*read, *(block for each in read if isinstance(each, list) for block in each)]
    begun = [block["text"].rsplit("\n[broker left", 1)[0] for block in result["content"] if "text" in block]
    for block in blocks:
        payload = block.get("data") or block.get("text") or block.get("resource", {}).get("text")
        whole_text = any(str(payload).startswith(one) and str(payload).removeprefix(one) in parts for one in begun)
        assert block in result["content"] or block in spread or payload in parts or whole_text, str(block)[:200]
    missing = {name: value for name, value in members.items() if name not in result}
    assert not missing or missing in read or (len(missing) == 1 and missing.popitem()[1] in read)
    made.close()
