"""The documentation is run: every block of every page, in its order, by what a reader has."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import broker
from broker.core.manifest import Manifest
from broker.permissions.scopes import KINDS, UI
from tests.docs import site
from tests.docs.blocks import blocks
from tests.docs.running import Reader, mistyped
from tests.npm_installed import installed
from tests.servers import ROOT

PAGES = {str(path.relative_to(site.DOCS / "pages")): path.read_text("utf-8") for path in site.DOCS.rglob("*.md")}
# What builds, or starts a server of another SDK; the way of the others through the same commands is in the default run.
HEAVY = {"bring/fastmcp.md", "start/typescript.md", "start/wasm.md"}
RUN = [
    pytest.param(name, marks=[pytest.mark.long] if name in HEAVY else [], id=name)
    for name, text in sorted(PAGES.items())
    if any(not each.skipped for each in blocks(text))
]


@pytest.mark.timeout(900)  # a reader types one command after the other, and each starts a broker
@pytest.mark.parametrize("name", RUN)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    Reader(tmp_path).read(PAGES[name])


def test_the_types_of_every_page_are_right(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "package.json").write_text('{ "type": "module" }')
    files: list[str] = []
    for number, text in enumerate(PAGES.values()):
        for each in blocks(text):
            if each.language == "ts":
                files.append(f"{number}/{each.file}")
                (tmp_path / str(number)).mkdir(exist_ok=True)
                (tmp_path / files[-1]).write_text(each.text)
    assert len(files) > 5 and mistyped(tmp_path, *files) == ""


def test_the_readme_shows_the_way_to_a_plugin_that_works(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text("utf-8").partition("## Write a plugin\n")[2].partition("\n### ")[0]
    assert len(section.splitlines()) <= 30
    Reader(tmp_path).read(section)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    for each in blocks(PAGES[name]):
        assert each.language, f"line {each.line}: a block without a language"
        assert each.skipped or each.instead or each.file or each.language == "console", f"line {each.line}"
        assert len(each.skipped.split()) > 2 or not each.said.startswith("not run"), f"line {each.line}: why not?"


def test_a_fence_is_never_overlooked() -> None:
    for name, text in PAGES.items():
        assert text.count("```") == 2 * len(blocks(text)), name


def test_the_pages_name_every_key_of_a_manifest_and_every_permission() -> None:
    for field in msgspec.structs.fields(Manifest):
        page = PAGES["manifest.md"]
        assert f"`{field.name}`" in page or f"`[{field.name}" in page or f"`[[{field.name}" in page, field.name
    permissions = PAGES["permissions.md"]
    assert all(f"`{word}`" in permissions for word in UI)
    assert all(f"`{kind} = " in permissions or f"`{kind}:" in permissions for kind in KINDS)


def test_the_version_is_that_of_broker() -> None:
    assert f"version {broker.__version__}" in PAGES["index.md"]
