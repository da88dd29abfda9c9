"""The README for authors is run: its quickstart as it stands, and every other piece of code in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker_sdk.testing import Harness

from tests.servers import ROOT

README = ROOT / "sdk-python" / "README.md"
MAIN = "if __name__"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def named(block: str) -> str:
    """The file that a block says it is, empty: more of the plugin."""
    first = re.match(r"# (\w+\.py)\n", block)
    return first[1] if first else ""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of the README, which are also in the current folder; `whole.py` is the plugin with all its pieces."""
    found = {named(block): block for block in blocks() if named(block)}
    rest = "\n".join(block for block in blocks() if not named(block))
    found["whole.py"] = found["plugin.py"].replace(MAIN, f"{rest}\n{MAIN}")
    for name, block in found.items():
        (tmp_path / name).write_text(block, "utf-8")
    monkeypatch.chdir(tmp_path)
    return found


def ran(text: str) -> dict[str, Any]:
    """What a file of tests defines."""
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)
    return names


def test_the_quickstart_works_as_it_stands(files: dict[str, str], plugin_client: Callable[..., Harness]) -> None:
    assert len([line for line in files["plugin.py"].splitlines() if line.strip()]) <= 10
    ran(files["test_plugin.py"])["test_greet"](plugin_client)


@pytest.mark.parametrize("over", ["memory", "stdio"])
def test_the_rest_works_too(
    files: dict[str, str], plugin_client: Callable[..., Harness], tmp_path: Path, over: str
) -> None:
    tests = ran(files["test_more.py"].replace("plugin.py", "whole.py"))
    tests["test_register"](plugin_client, over, tmp_path)
    tests["test_what_is_not_granted"](plugin_client)
    compile(files["existing.py"], "existing.py", "exec")  # `test_adapter` runs one like it
