"""What a plugin asks in the middle of a call (MCP elicitation), asked on the terminal.

Nothing is answered for a person: without a terminal on standard input everything is declined; so does Ctrl-D.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from broker.cli.arguments import Schema, array, convert, types
from broker.cli.screen import plain
from broker.core.shape import table
from broker.errors import BadArguments

Answer = dict[str, Any]
DECLINE: Answer = {"action": "decline"}
Line = Callable[[str], Awaitable[str]]  # a person's answer to a prompt; raises `EOFError`


async def answer(asker: str, params: dict[str, Any], line: Line | None = None) -> Answer:
    """The person's answer to an `elicitation/create`, read by `line`, else from a terminal."""
    if line is None and not sys.stdin.isatty():
        say(f"{asker} asked a question, which was declined because nobody can be asked here.")
        return DECLINE
    line = line or _line
    say(f"\n{asker} asks: {params.get('message', '')}")
    if params.get("mode") == "url":
        say(f"It wants you to open {params.get('url', '')}")
        return {"action": "accept"} if await _agreed("Done?", line) else DECLINE
    try:
        return await _form(table(params.get("requestedSchema")) or {}, line)
    except EOFError:
        say("\ndeclined")
        return DECLINE


def say(text: str) -> None:
    """A line for the person, beside the result."""
    click.echo(plain(text), err=True)


async def _form(schema: Schema, line: Line) -> Answer:
    properties = table(schema.get("properties")) or {}
    if not properties:
        return {"action": "accept", "content": {}} if await _agreed("Agree?", line) else DECLINE
    say("(Ctrl-D declines)")
    content: dict[str, Any] = {}
    for key, field in properties.items():
        value = await _field(key, table(field) or {}, key in array(schema.get("required")), line)
        if value is not None:
            content[key] = value
    return {"action": "accept", "content": content}


async def _field(key: str, field: Schema, required: bool, line: Line) -> Any:
    """The value of one field; None if it is left out. Asks again until the value is allowed."""
    while True:
        text = await line(_prompt(key, field, required))
        if not text and ("default" in field or not required):
            return field.get("default")
        try:
            value = convert(key, text, types(field, field))
        except BadArguments as error:
            say(str(error))
            continue
        choices = array(field.get("enum"))
        if text and (not choices or value in choices):
            return value
        say(f"one of {', '.join(map(str, choices))}" if choices else "this one is needed")


def _prompt(key: str, field: Schema, required: bool) -> str:
    notes = [str(field["description"])] if field.get("description") else []
    if choices := array(field.get("enum")):
        notes.append(" | ".join(map(str, choices)))
    if "default" in field:
        notes.append(f"Enter for {field['default']}")
    elif not required:
        notes.append("may be empty")
    about = f" ({'; '.join(notes)})" if notes else ""
    return f"{field.get('title') or key}{about}: "


async def _agreed(question: str, line: Line) -> bool:
    """Anything but an exact yes is no."""
    try:
        return (await line(f"{question} [y/N] ")).lower() in ("y", "yes")
    except EOFError:
        return False


async def _line(prompt: str) -> str:
    """One line from the terminal; not read in a thread, which Ctrl-C could not end. Raises `EOFError`."""
    click.echo(plain(prompt), nl=False, err=True)
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, ready.set)
    try:
        await ready.wait()
    except asyncio.CancelledError:
        say("")  # the shell's prompt belongs on a line of its own
        raise
    finally:
        loop.remove_reader(sys.stdin)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()
