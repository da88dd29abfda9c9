"""Descriptors of the wire's own: whatever a plugin of the JavaScript SDK prints, and its children, is on stderr."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.sdk_js.places import plugin

NOISY = plugin("noisy_plugin.mjs")
BOUND = 30.0  # seconds
OPENING = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
CALL = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"print"}}\n'
PING = b'{"jsonrpc":"2.0","id":3,"method":"ping"}\n'
LOUD = ("the module", "console", "stdout", "a descriptor", "a child")


def test_nothing_that_is_printed_tears_a_message_and_no_child_takes_one() -> None:
    done = subprocess.run(NOISY, input=OPENING + CALL + PING, capture_output=True, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    replies = {reply["id"]: reply["result"] for reply in map(json.loads, done.stdout.splitlines())}
    assert replies[2]["content"][0]["text"] == "quiet"
    assert replies[3] == {}
    for who in LOUD:
        assert f"noise of {who}\n".encode() in done.stderr
    assert done.stderr.endswith(b"noise of\n")  # what the child read


@pytest.mark.parametrize("kind", ["files", "sockets"])
def test_it_serves_on_what_is_no_pipe(kind: str, tmp_path: os.PathLike[str]) -> None:
    words = [NOISY[0], "-e", _SPAWN, *NOISY] if kind == "sockets" else NOISY  # Node's own pipes are sockets
    questions = os.path.join(tmp_path, "in")
    with open(questions, "wb") as file:
        file.write(OPENING + PING)
    with open(questions, "rb") as given, open(os.path.join(tmp_path, "out"), "w+b") as out:
        done = subprocess.run(words, stdin=given, stdout=out, stderr=subprocess.PIPE, timeout=BOUND)
        out.seek(0)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["id"] for line in out] == [1, 3]
    assert b"noise of the module" in done.stderr


_SPAWN = """
const { spawn } = require("node:child_process");
const [, ...words] = process.argv;
const child = spawn(words[0], words.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
process.stdin.pipe(child.stdin);
child.stdout.pipe(process.stdout);
child.on("exit", (code) => (process.exitCode = code));
"""
