"""A plugin of the SDK as a process: its pipes, its end, and what its start loads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

Json = dict[str, Any]
DEMO = Path(__file__).with_name("demo_plugin.py")
NOISY = """
import sys
from broker_sdk import Plugin
plugin = Plugin("noisy", version="1")
print("at import", flush=True)
@plugin.tool
async def talk() -> str:
    print("in a tool")
    sys.stdout.write("and this")
    sys.__stdout__.flush()
    import os; os.write(1, b"even this\\n")
    assert sys.stdin.read() == ""
    return "said"
plugin.run()
"""
HEAVY = ("asyncio", "json", "logging", "argparse", "dataclasses", "pathlib", "email", "http", "pydantic")
BOUND = 10.0  # seconds
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(id: int, tool: str, **arguments: Any) -> bytes:
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).encode() + b"\n"


def started(file: Path, **options: Any) -> subprocess.Popen[bytes]:
    pipes: Json = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    process: subprocess.Popen[bytes] = subprocess.Popen[bytes]([sys.executable, str(file)], **pipes)
    return process


def texts(out: bytes) -> dict[int, str]:
    found = [json.loads(line) for line in out.splitlines()]
    return {each["id"]: each["result"]["content"][0]["text"] for each in found if "result" in each}


def test_nothing_that_is_printed_reaches_the_wire(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    process = started(tmp_path / "noisy.py")
    out, err = process.communicate(call(1, "talk"), BOUND)
    assert texts(out) == {1: "said"}
    assert process.returncode == 0
    for said in (b"at import", b"in a tool", b"and this", b"even this"):
        assert said in err


def test_what_is_in_flight_at_the_end_of_input_is_answered_and_the_end_is_quiet(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes(call(1, "nap", seconds=0.2) + call(2, "add", a=1) + call(3, "nap", seconds=60).rstrip())
    with lines.open("rb") as stdin:  # a file, which no event loop waits for; its last line has no end
        process = started(DEMO, stdin=stdin)
        out, err = process.communicate(timeout=BOUND)
    assert texts(out) == {1: "rested", 2: "2"}
    assert [json.loads(line)["id"] for line in out.splitlines() if b'"error"' in line] == [3]
    assert process.returncode == 0, err
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_whatever_runs(number: signal.Signals) -> None:
    process = started(DEMO)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(call(1, "wait_in_thread") + call(2, "echo", text="ready"))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=BOUND)
    assert process.returncode == 0, err
    assert b"Traceback" not in err


def test_a_client_that_closes_its_end_is_no_error() -> None:
    process = started(DEMO)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.close()
    process.stdin.write(call(1, "echo", text="to nobody"))
    process.stdin.flush()
    assert process.wait(BOUND) == 0
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    process.stdin.close()
    process.stderr.close()


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
    writer.join(3.0)
    assert writer.is_alive()  # it is not read from any more
    assert psutil.Process(process.pid).memory_info().rss < 256 << 20
    answered = {json.loads(line)["id"] for line in stdout}
    writer.join(BOUND)
    assert len(answered) == count
    assert process.wait(BOUND) == 0
    stdout.close()


def test_its_import_loads_next_to_nothing() -> None:
    script = "import msgspec, sys; before = set(sys.modules); import broker_sdk; found = set(sys.modules) - before\n"
    script += f"print(len(found), [name for name in {HEAVY} if name in found])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=BOUND, check=True)
    count, heavy = found.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert int(count) < 40
