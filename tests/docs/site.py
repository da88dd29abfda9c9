"""Builds the site of the documentation: python -m tests.docs.site [--only-sources]

The sources are broker/docs; what is made of other things is made here: a page for each operation of the host, and the
index of errors. All of it is laid into one folder, in which the generator works, for it builds nowhere else.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from broker.cli.explaining import Page
from broker.cli.explaining import pages as errors
from tests.docs import operations
from tests.servers import ROOT

DOCS = ROOT / "broker" / "docs"
BUILD = ROOT / "build"
SETTINGS = "zensical.toml"


def lay(folder: Path) -> None:
    """All sources of the site into `folder`, in the place of what an earlier build left there."""
    shutil.rmtree(folder / "pages", ignore_errors=True)
    shutil.copytree(DOCS / "pages", folder / "pages")
    (folder / SETTINGS).write_text(settings(), "utf-8")
    (folder / "pages" / "errors.md").write_text(errors_page(), "utf-8")
    (folder / "pages" / "host").mkdir()
    for name, text in operations.pages().items():
        (folder / "pages" / "host" / name).write_text(text, "utf-8")


def settings() -> str:
    """Those of the sources, with every operation in the menu."""
    text = (DOCS / SETTINGS).read_text("utf-8")
    menu = msgspec.json.encode(["host/index.md", *(f"host/{name}.md" for name in operations.names())]).decode()
    return text.replace('["host/index.md"]', menu)


def errors_page() -> str:
    """Every error that broker knows; the pages are those of `broker explain`."""
    known = errors()
    lines = [_INTRODUCTION, "| error | code | what it is |", "|---|---|---|"]
    lines += [f"| [{page.name}](#{page.name}) | {_code(page)} | {page.title} |" for page in known]
    return "\n".join(lines) + "\n\n" + "\n\n".join(_section(page) for page in known) + "\n"


_INTRODUCTION = """# Errors

Every error of broker has a name, a code for programs and a way out. `broker explain NAME` shows the same in a terminal.
"""


def _code(page: Page) -> str:
    return str(page.code) if page.code is not None else "its own"


def _section(page: Page) -> str:
    text = page.text.replace(":\n- ", ":\n\n- ")  # Markdown wants a line between a paragraph and its list
    return f"## {page.name}\n\n{page.title[0].upper()}{page.title[1:]}. Code: {_code(page)}.\n\n{text}"


def build(folder: Path) -> list[str]:
    """Builds what lies in `folder`, in `site` there. What is wrong: a link that leads nowhere, for one."""
    words = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(folder / SETTINGS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    said = _COLOURS.sub("", done.stdout + done.stderr)
    found = [f"{place}: {what}" for what, place in _WARNING.findall(said)]
    return found or ([said] if done.returncode else [])


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WARNING = re.compile(r"^(?:Warning|Error): (.+)\n.*\[ (\S+) \]", re.MULTILINE)


def menu(found: Any) -> list[str]:
    """The files that a menu names."""
    if isinstance(found, str):
        return [found]
    return [file for each in (found.values() if isinstance(found, dict) else found) for file in menu(each)]


def listed(text: str) -> list[str]:
    """The files in the menu of some settings."""
    return menu(tomllib.loads(text)["project"]["nav"])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only-sources", action="store_true", help="lay them out, and build nothing")
    only_sources: bool = arguments.parse_args().only_sources
    BUILD.mkdir(exist_ok=True)
    lay(BUILD)
    if only_sources:
        return 0
    wrong = build(BUILD)
    sys.stderr.write("".join(f"{each}\n" for each in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
