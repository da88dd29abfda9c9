"""The site is built of the pages, with every link leading somewhere, and asks nobody for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.cli.explaining import pages as errors
from broker.core.hosttable import OPERATIONS
from tests.docs import site


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    site.lay(folder)
    assert site.build(folder) == []
    return folder


def test_the_menu_has_every_page_once(built: Path) -> None:
    pages = sorted(str(path.relative_to(built / "pages")) for path in (built / "pages").rglob("*.md"))
    assert sorted(site.listed((built / site.SETTINGS).read_text())) == pages


def test_every_page_becomes_one_of_the_site(built: Path) -> None:
    for name in site.listed((built / site.SETTINGS).read_text()):
        assert "<h1" in (built / "site" / name).with_suffix(".html").read_text("utf-8"), name


def test_every_operation_and_every_error_has_its_place(built: Path) -> None:
    assert all((built / "site" / "host" / f"{name}.html").exists() for name in OPERATIONS)
    text = (built / "site" / "errors.html").read_text("utf-8")
    assert all(f'<h2 id="{page.name}"' in text for page in errors())


def test_nothing_is_loaded_from_elsewhere(built: Path) -> None:
    loading = re.compile(
        r"(?:<script[^>]*\ssrc|<link[^>]*\shref|<img[^>]*\ssrc)=\"?(https?:)?//|url\(['\"]?https?:|@import"
    )
    guilty = [
        path.name
        for path in (built / "site").rglob("*.*")
        if path.suffix in (".html", ".css") and loading.search(path.read_text("utf-8"))
    ]
    assert guilty == []


def test_links_that_lead_nowhere_are_failures(tmp_path: Path) -> None:
    site.lay(tmp_path)
    (tmp_path / "pages" / "manifest.md").write_text(
        "# Manifest\n[a](nowhere.md)\n[b](index.md#nowhere)\n[c](index.md)\n"
    )
    assert [each.split(": ")[0] for each in site.build(tmp_path)] == ["manifest.md:2:5", "manifest.md:3:14"]
