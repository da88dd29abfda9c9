"""Plugins as authors have them while they write: small folders, good and hostile."""

from __future__ import annotations

import compileall
import shutil
import textwrap
from pathlib import Path

import broker_sdk

MANIFEST = 'name = "{name}"\nversion = "1.0.0"\napi = 1\nentry = "{entry}"\n'

LUA = """\
broker.tool({
  name = "greet",
  description = "Greets somebody",
  input = { name = "string" },
  run = function(args) return "Hello, " .. args.name end,
})
"""

SDK = '''
import asyncio

from broker_sdk import Ctx, Plugin

plugin = Plugin("greeter", version="1.0.0")


@plugin.tool(read_only=True)
async def greet(name: str, ctx: Ctx) -> str:
    """Greet somebody."""
    ctx.toast(f"Greeting {name}")
    return f"Hello, {name}"


@plugin.tool
async def slow(ctx: Ctx) -> str:
    """Take long."""
    async with ctx.progress("Working", total=1) as progress:
        progress.step()
    await asyncio.sleep(600)
    return "done"


@plugin.tool
async def peek(path: str) -> str:
    """Read a file."""
    return open(path).read()


@plugin.tool
async def age(ctx: Ctx) -> str:
    """Ask for an age."""
    return f"{await ctx.ask('How old?', int)} years"


@plugin.tool
async def mark(ctx: Ctx) -> str:
    """Set a status that the manifest does not ask for."""
    ctx.status.set("todos", "3")
    return "marked"


@plugin.prompt
async def review(text: str) -> str:
    """Ask for a review."""
    return f"Review {text}"


@plugin.resource("note://first")
async def first() -> str:
    """A note."""
    return "the first note"


@plugin.command("wave", title="Wave")
async def wave(ctx: Ctx) -> str:
    print("waving")
    return "waved"


@plugin.on("document.saved")
async def saved(event: dict, ctx: Ctx) -> None:
    ctx.toast(f"saved {event['uri']}")


if __name__ == "__main__":
    plugin.run()
'''

# A server on the standard library alone. `{before}` runs first, `{other}` for requests that are not the opening's.
RAW = """
import json, os, sys, time

def say(**body):
    sys.stdout.write(json.dumps({{"jsonrpc": "2.0", **body}}) + "\\n")
    sys.stdout.flush()

TOOLS = [{{"name": "greet", "description": "Greets", "inputSchema": {{"type": "object"}}}}]
OPENED = {{"protocolVersion": "2025-11-25", "capabilities": {{"tools": {{}}}},
          "serverInfo": {{"name": "raw", "version": "1"}}}}
{before}
for line in sys.stdin:
    try:
        message = json.loads(line)
        id, method = message["id"], message["method"]
    except Exception:
        continue
    if method == "initialize":
        say(id=id, result=OPENED)
    elif method == "tools/list":
        say(id=id, result={{"tools": TOOLS}})
    elif method == "ping":
        say(id=id, result={{}})
    else:
        {other}
{after}
"""
REFUSES = 'say(id=id, error={"code": -32601, "message": "no"})'


def lua(folder: Path, name: str = "greeter", code: str = LUA) -> Path:
    """A plugin in Lua."""
    return made(folder, MANIFEST.format(name=name, entry="plugin.lua"), {"plugin.lua": code})


def python(folder: Path, code: str = SDK, more: str = '[permissions]\nui = ["toast", "ask", "documents"]\n') -> Path:
    """A plugin on the Python SDK, which lies beside it: an editable install is nothing a confined process is shown."""
    commands = '[commands.wave]\ntitle = "Wave"\n'
    made(folder, MANIFEST.format(name="greeter", entry="plugin.py") + more + commands, {"plugin.py": code})
    sdk = Path(broker_sdk.__file__).parent
    shutil.copytree(sdk, folder / "broker_sdk", ignore=shutil.ignore_patterns("__pycache__", "testing"))
    compileall.compile_dir(folder / "broker_sdk", quiet=1)  # as pip does; a confined process could not keep it
    return folder


def raw(folder: Path, *, before: str = "", other: str = REFUSES, after: str = "") -> Path:
    """A server on nothing, which may behave badly; it has two seconds to start."""
    code = RAW.format(before=textwrap.dedent(before), other=other, after=after)
    manifest = MANIFEST.format(name="raw", entry="plugin.py") + '[limits]\nstart = "2s"\n'
    return made(folder, manifest, {"plugin.py": code})


def made(folder: Path, manifest: str, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.toml").write_text(manifest)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
