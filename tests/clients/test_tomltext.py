"""A table goes into a TOML text and out of it again, and every other byte stays."""

from __future__ import annotations

import tomllib

import pytest

from broker.clients import tomltext

ENTRY: dict[str, object] = {"command": "broker", "args": ["mcp"]}
BLOCK = '[mcp_servers.broker]\ncommand = "broker"\nargs = ["mcp"]\n'
OTHERS = '# mine\r\n[mcp_servers.x]\r\ncommand = "x" # why\r\n\r\n[mcp_servers.x.env]\r\nA = "b"\r\n'


def put(text: str | None) -> str:
    return tomltext.put(text, "mcp_servers", "broker", ENTRY)


def take(text: str) -> str | None:
    return tomltext.take(text, "mcp_servers", "broker")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# only a comment",
        "a = 1",
        "a = 1\n",
        "a = 1\n\n\n",
        'a = [\n  ["b"],\n]\n',
        OTHERS,
        OTHERS.removesuffix("\r\n"),
        "[mcp_servers]\n",
        "[mcp_servers]\nx = { command = 'a' }\n[y]\n",
        "mcp_servers.x.command = 'q'\n",
        "mcp_servers = {}\n",
        "mcp_servers = {x = {command = 'a'}} # inline\nb = 1",
        "[[profiles]]\nname = 'p'\n",
    ],
)
def test_what_was_put_in_leaves_no_byte_behind(text: str) -> None:
    made = put(text)
    data = tomllib.loads(made)
    assert data["mcp_servers"].pop("broker") == ENTRY
    assert data == {"mcp_servers": {}, **tomllib.loads(text)}
    assert take(made) == text


def test_a_table_goes_to_the_end_behind_a_blank_line() -> None:
    assert put("a = 1\n") == f"a = 1\n\n{BLOCK}"


def test_a_file_that_was_made_is_gone_with_its_only_table() -> None:
    assert put(None) == BLOCK
    assert take(BLOCK) is None


def test_what_a_client_added_below_the_table_leaves_with_it_and_comments_stay() -> None:
    below = '\n[mcp_servers.broker.tools.x]\napproval_mode = "approve"\n\n# about z\n[z]\na = 1\n'
    assert take(f"a = 1\n\n{BLOCK}{below}") == "a = 1\n\n# about z\n[z]\na = 1\n"


def test_a_text_that_looks_like_the_table_is_left_alone() -> None:
    text = f"s = '''\n{BLOCK}'''\n"
    rest = take(put(text))
    assert rest is not None
    assert tomllib.loads(rest) == tomllib.loads(text)


def test_another_table_takes_the_place_of_the_old_one() -> None:
    text = "[mcp_servers.broker]\ncommand = 'other'\n\n# about z\n[z]\n"
    assert tomltext.swap(text, "mcp_servers", "broker", ENTRY) == f"\n# about z\n[z]\n\n{BLOCK}"


def test_values_of_any_kind_are_read_back() -> None:
    entry: dict[str, object] = {
        "command": 'a"\\\n\x01ü',
        "env": {"A B": "1\n2"},
        "enabled": False,
        "limits": {"start": "3s"},
    }
    assert tomllib.loads(tomltext.put(None, "servers", "n", entry)) == {"servers": {"n": entry}}
