"""Skills that servers offer, through a broker with several that do, between all eras."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.e2e.harness import ERAS, META, Home, Json, Line, opened
from tests.servers import scripted

pytestmark = pytest.mark.matrix

KINDS = ("legacy", "modern")
FOLDER = "team/refunds"
SKILLS = META + "skills"


def home(folder: Path, kind: str, *flags: str) -> Home:
    servers = {name: scripted("--era", kind, "--skills", f"skill of {name}") for name in ("one", "two")}
    return Home.of(folder, {**servers, "bare": scripted("--era", kind)}, *flags)


async def meet(line: Line, *names: str) -> None:
    """A call waits for its plugin as long as that takes to start; a list does not."""
    for name in names:
        await line.text(f"{name}__echo")


async def entries(line: Line) -> dict[str, Json]:
    """All pages of the list, by URI."""
    found: dict[str, Json] = {}
    params: Json = {}
    while True:
        page = await line.result("skills/list", params)
        hints = {name for name in ("resultType", "ttlMs", "cacheScope") if name in page}
        assert len(hints) == (3 if line.era == "modern" else 0)
        found |= {entry["uri"]: entry for entry in page["skills"]}
        if "nextCursor" not in page:
            return found
        params = {"cursor": page["nextCursor"]}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_skills_of_the_same_name_are_listed_read_and_verified_each_by_its_own(
    tmp_path: Path, kind: str, era: str
) -> None:
    async with opened(home(tmp_path, kind), era) as line:
        await meet(line, "one", "two")
        found = await entries(line)
        assert sorted(found) == [f"skill://{name}/{FOLDER}/SKILL.md" for name in ("one", "two")]
        listed = [each["uri"] for each in (await line.result("resources/list"))["resources"]]
        for name in ("one", "two"):
            entry = found[f"skill://{name}/{FOLDER}/SKILL.md"]
            assert entry["frontmatter"] == {"name": "refunds", "description": f"skill of {name}"}
            assert entry["x-unknown"] == 1 and entry["uri"] in listed
            assert (await line.result("skills/get", {"uri": entry["uri"]}))["skill"] == entry
            for file in entry["resources"]:
                (content,) = (await line.result("resources/read", {"uri": file["uri"]}))["contents"]
                held = content["text"].encode()
                assert content["uri"] == file["uri"] and len(held) == file["size"]
                assert file["digest"] == f"sha256:{hashlib.sha256(held).hexdigest()}"
            inside = await line.result("resources/directory/read", {"uri": f"skill://{name}/{FOLDER}"})
            assert [each["uri"] for each in inside["resources"]] == [
                f"skill://{name}/{FOLDER}/{part}" for part in ("SKILL.md", "references")
            ]


@pytest.mark.parametrize("era", ERAS)
async def test_a_skill_in_no_list_is_found_and_what_is_none_is_refused(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "legacy"), era) as line:
        await meet(line, "one", "two")
        hidden = "skill://two/hidden/SKILL.md"
        skill = (await line.result("skills/get", {"uri": hidden}))["skill"]
        assert skill["uri"] == hidden and skill["resources"] == "dynamic"
        for uri in ("skill://two/nothing/SKILL.md", "skill://nobody/x/SKILL.md", "demo://a"):
            assert (await line.error("skills/get", {"uri": uri}))["code"] == -32602
        assert (await line.error("skills/list", {"cursor": "nobody:"}))["code"] == -32602


@pytest.mark.parametrize("era", ERAS)
async def test_they_are_promised_if_somebody_has_them(tmp_path: Path, era: str) -> None:
    async def promised(home: Home, *names: str) -> Json:
        async with opened(home, era, initialized=False) as line:
            told = await (line.initialize() if era == "legacy" else line.result("server/discover"))
            await meet(line, *names)
            return told["capabilities"].get("extensions", {})

    some, none = home(tmp_path / "some", "legacy"), Home.of(tmp_path / "none", {"bare": scripted()})
    assert (await promised(some, "one", "two", "bare"))[SKILLS] == {"directoryRead": True}, "nobody is known yet"
    assert (await promised(none, "bare"))[SKILLS] == {"directoryRead": True}
    assert (await promised(some)) == {SKILLS: {"directoryRead": True}}
    assert (await promised(none)) == {}


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_is_passed_through_keeps_its_uris(tmp_path: Path, era: str) -> None:
    async with opened(home(tmp_path, "legacy", "--passthrough", "two"), era) as line:
        found = await line.result("skills/list")
        assert [entry["uri"] for entry in found["skills"]] == [f"skill://{FOLDER}/SKILL.md"]
        assert found["nextCursor"] == "more"
        assert (await line.result("skills/get", {"uri": f"skill://{FOLDER}/SKILL.md"}))["skill"]["x-unknown"] == 1
