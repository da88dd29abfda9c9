"""What runs the pages finds what does not hold: a page that lies is not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.running import Reader, mistyped
from tests.npm_installed import installed


def page(text: str) -> str:
    return text.replace("'''", "```")


def read(tmp_path: Path, text: str) -> Path:
    reader = Reader(tmp_path)
    reader.read(page(text))
    return reader.folder


def test_files_are_written_and_added_to_before_the_end_of_a_plugin(tmp_path: Path) -> None:
    folder = read(
        tmp_path,
        """
'''python title="a.py"
one = 1

if __name__ == "__main__":
    print(one + two)
'''
'''python title="a.py: add"
two = 2
'''
'''toml title="in/b.toml"
x = 1
'''
'''console
$ python a.py
3
'''
""",
    )
    assert (folder / "in" / "b.toml").read_text() == "x = 1\n"


def test_a_file_may_be_named_by_its_first_line(tmp_path: Path) -> None:
    folder = read(tmp_path, "'''lua\n-- words.lua\nreturn 1\n'''\n")
    assert (folder / "words.lua").read_text() == "-- words.lua\nreturn 1\n"


def test_what_is_typed_reaches_the_command_and_folders_are_entered(tmp_path: Path) -> None:
    folder = read(tmp_path, "'''console\n$ mkdir sub\n$ cd sub\n$ cat\n> one\n> two\none\n...\n'''\n")
    assert folder.name == "sub"


def test_what_is_left_out_may_be_nothing(tmp_path: Path) -> None:
    read(tmp_path, "'''console\n$ echo one two\none\n...\ntwo\n'''\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("'''console\n$ echo one\ntwo\n'''\n", "and not:\ntwo"),
        ("'''console\n$ python -c 'print(2); print(1)'\n1\n...\n2\n'''\n", "and not:"),
        ("'''console\n$ false\n'''\n", "ended with 1"),
        ("<!-- exits 3 -->\n'''console\n$ false\n'''\n", "ended with 1"),
        ("'''console\necho one\n'''\n", "begins with"),
        ("'''console\n$ cd nowhere\n'''\n", "is no folder"),
        ("'''python\nprint(1)\n'''\n", "neither a file nor a console"),
        ("=== \"Python\"\n\n    '''python\n    print(1)\n    '''\n", "neither a file nor a console"),
    ],
)
def test_a_page_that_does_not_hold_fails_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(AssertionError, match=r"line \d+|begins with") as caught:
        read(tmp_path, text)
    assert why in str(caught.value)


def test_a_block_may_be_left_out_only_with_a_reason() -> None:
    (skipped,) = blocks(page("<!-- not run: it needs a network -->\n'''sh\npip install x\n'''\n"))
    assert skipped.skipped == "it needs a network"
    (bare,) = blocks(page("<!-- not run: -->\n'''sh\npip install x\n'''\n"))
    assert not bare.skipped


def test_a_wrong_type_is_found(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "a.mts").write_text(
        'import { command } from "@plugin-broker/sdk";\ncommand({ run: (_, ctx) => ctx.tost("x") });\n'
    )
    assert "tost" in mistyped(tmp_path, "a.mts")
