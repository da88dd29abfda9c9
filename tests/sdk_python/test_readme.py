"""The README for authors is run: its quickstart as it stands, and every other piece of code in it."""

from __future__ import annotations

from pathlib import Path

from tests.docs.blocks import blocks
from tests.docs.running import Reader
from tests.servers import ROOT

README = (ROOT / "sdk-python" / "README.md").read_text("utf-8")
QUICKSTART = README.partition("\n## What a function may look like")[0]
TESTED = """
```console
$ pytest -q
{} passed in ...
```
"""


def test_the_quickstart_works_as_it_stands(tmp_path: Path) -> None:
    plugin = next(each for each in blocks(QUICKSTART) if each.file == "plugin.py")
    assert len([line for line in plugin.text.splitlines() if line.strip()]) <= 10
    Reader(tmp_path).read(QUICKSTART + TESTED.format(1))


def test_the_rest_works_too(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.read(README + TESTED.format(4))
    compile((reader.folder / "existing.py").read_text(), "existing.py", "exec")  # `test_adapter` runs one like it
