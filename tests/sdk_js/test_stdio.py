"""A plugin of the SDK as a process: its pipes, its end, and what it does to itself."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sdk_js.places import DEMO, HERE

Json = dict[str, Any]
BOUND = 10.0  # seconds
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(id: int, tool: str, **arguments: Any) -> bytes:
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).encode() + b"\n"


def started(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
    pipes: Json = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    process: subprocess.Popen[bytes] = subprocess.Popen[bytes](words, **pipes)
    return process


def texts(out: bytes) -> dict[int, str]:
    found = [json.loads(line) for line in out.splitlines()]
    return {each["id"]: each["result"]["content"][0]["text"] for each in found if "result" in each}


def test_what_is_in_flight_at_the_end_of_input_is_answered_and_the_end_is_quiet(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes(call(1, "nap", seconds=0.2) + call(2, "add", a=1) + call(3, "nap", seconds=60).rstrip())
    with lines.open("rb") as stdin:  # a file; its last line has no end
        process = started(DEMO, stdin=stdin)
        out, err = process.communicate(timeout=BOUND)
    assert texts(out) == {1: "rested", 2: "2"}
    assert [json.loads(line)["id"] for line in out.splitlines() if b'"error"' in line] == [3]
    assert process.returncode == 0, err
    assert b"    at " not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_it_in_time_whatever_waits(number: signal.Signals) -> None:
    process = started(DEMO)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(call(1, "watch") + call(2, "echo", text="ready"))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=BOUND)
    assert process.returncode == 0, err
    assert b"    at " not in err


def test_a_client_that_closes_its_end_is_no_error() -> None:
    process = started(DEMO)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write(call(1, "echo", text="to nobody"))
    process.stdin.flush()
    assert process.wait(BOUND) == 0
    assert b"    at " not in process.stderr.read()
    process.stdin.close()
    process.stderr.close()


def test_an_error_that_nobody_can_catch_ends_it_and_its_author_reads_where() -> None:
    process = started(DEMO)
    assert process.stdin is not None
    process.stdin.write(call(1, "die"))
    process.stdin.flush()  # and its input stays open
    assert process.wait(BOUND) not in (0, None)
    assert process.stderr is not None and process.stdout is not None
    said = process.stderr.read()
    assert b"this ends the process" in said and b"demo_plugin.mjs:" in said
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_a_tool_that_keeps_the_thread_makes_others_wait_and_nothing_worse() -> None:
    process = started(DEMO)
    out, err = process.communicate(call(1, "block", seconds=0.3) + call(2, "echo", text="late"), BOUND)
    assert texts(out) == {1: "over", 2: "late"}
    assert process.returncode == 0, err


def test_a_client_that_does_not_read_costs_bounded_memory_and_loses_nothing() -> None:
    process = started(DEMO, stderr=subprocess.DEVNULL)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None
    count, text = 2000, "x" * (48 << 10)  # 94 MiB of answers

    def write() -> None:
        for id in range(count):
            stdin.write(call(id, "echo", text=text))
        stdin.close()

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(5.0)
    assert writer.is_alive()  # it is not read from any more
    assert psutil.Process(process.pid).memory_info().rss < 320 << 20
    answered = {json.loads(line)["id"] for line in stdout}
    writer.join(BOUND)
    assert len(answered) == count
    assert process.wait(BOUND) == 0
    stdout.close()


def test_a_program_that_defines_no_plugin_is_left_alone() -> None:
    words = ["node", "--input-type=module", "--eval", "import '@plugin-broker/sdk'; console.log('mine');"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, timeout=BOUND, check=False)
    assert (done.returncode, done.stdout) == (0, b"mine\n")
