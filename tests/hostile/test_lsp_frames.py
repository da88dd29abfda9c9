"""Bad messages of an editor: whatever id can be read of one is answered, once, and the next message is served.

They come in good frames, for a header that cannot be read is the end of any language server's conversation.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

from broker.core.ports import Call
from broker.model import Command
from tests.faces.lsp_client import BOUND, Client
from tests.pretend import House, PretendInstance, raw

ID = b"@ID@"
LEAST = 250
TURNS = 100  # of the loop, in which whatever a message led to is over
Bad = tuple[str, bytes, bool]  # name, body, whether its id must be answered

VALUES = (b"null", b"7", b'"x"', b"[]", b"[7]", b"{}", b'{"x":1}', b'{"textDocument":7}', b'{"textDocument":{"uri":7}}')
REQUESTS = (
    "workspace/executeCommand",
    "textDocument/codeAction",
    "textDocument/hover",
    "initialize",
    "broker/list",
    "broker/none",
    "$/none",
    "workspace/willRenameFiles",
    "",
)
NOTIFICATIONS = (
    "initialized",
    "$/setTrace",
    "$/cancelRequest",
    "$/progress",
    "window/workDoneProgress/cancel",
    "workspace/didChangeConfiguration",
    "workspace/didChangeWorkspaceFolders",
    "workspace/didChangeWatchedFiles",
    "textDocument/didOpen",
    "textDocument/didChange",
    "textDocument/didSave",
    "textDocument/didClose",
    "notebookDocument/didOpen",
    "broker/trust",
    "broker/none",
)
GOOD = b'{"jsonrpc":"2.0","id":@ID@,"method":"broker/list","params":{}}'
COMMAND = b'{"jsonrpc":"2.0","id":@ID@,"method":"workspace/executeCommand","params":%b}'


def params() -> Iterator[Bad]:
    for method, value in itertools.product(REQUESTS, VALUES):
        body = b'{"jsonrpc":"2.0","id":@ID@,"method":"%b","params":%b}' % (method.encode(), value)
        yield f"{method} {value!r}", body, True
    for method, value in itertools.product(NOTIFICATIONS, VALUES):
        yield (
            f"told {method} {value!r}",
            b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), value),
            False,
        )
    for odd in (
        b'{"command":7}',
        b'{"command":"a.hello","arguments":{}}',
        b'{"command":"a.hello","arguments":"x"}',
        b'{"command":"broker.run","arguments":[null]}',
        b'{"command":"broker.call","arguments":["a__echo",[]]}',
        b'{"command":"broker.call","arguments":["a__echo",{},1]}',
        b'{"command":"","arguments":[]}',
        b'{"command":"broker.run","arguments":[["a.hello"]]}',
        b'{"command":"\\u0000"}',
        b'{"command":"%b"}' % (b"x" * 100_000),
        b'{"command":"a.hello","workDoneToken":{}}',
    ):
        yield f"command {odd[:50]!r}", COMMAND % odd, True


def broken() -> Iterator[Bad]:
    """No JSON, or none that says the same to everybody."""
    for cut in range(1, len(GOOD), 6):
        yield f"cut at {cut}", GOOD[:-cut], cut < len(GOOD) - 30
    for name, body in {
        "a bracket more": GOOD + b"}",
        "a word after": GOOD + b"x",
        "two messages": GOOD + GOOD.replace(ID, b'"other"'),
        "a comma at the end": GOOD[:-1] + b",}",
        "no comma": GOOD.replace(b',"params"', b' "params"'),
        "the id twice": GOOD[:-1] + b',"id":"second"}',
        "single quotes": GOOD.replace(b'"broker/list"', b"'broker/list'"),
        "NaN": GOOD.replace(b"{}}", b"NaN}"),
        "Infinity": GOOD.replace(b"{}}", b"-Infinity}"),
        "a comment": GOOD.replace(b"{}}", b"{}/* x */}"),
        "a control character": GOOD.replace(b"{}}", b'"\x01"}'),
        "a line in a text": GOOD.replace(b"{}}", b'"\n"}'),
        "half an escape": GOOD.replace(b"{}}", b'"\\u12"}'),
        "no UTF-8": GOOD.replace(b"{}}", b'"\xff"}'),
        "half a letter": GOOD.replace(b"{}}", b'"\xc3"}'),
        "a surrogate in UTF-8": GOOD.replace(b"{}}", b'"\xed\xa0\x80"}'),
        "a number without end": GOOD.replace(b"{}}", b"9" * 5000 + b"}"),
        "too deep": GOOD.replace(b"{}}", b"[" * 200 + b"]" * 200 + b"}"),
        "far too deep": GOOD.replace(b"{}}", b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "a NUL after": GOOD + b"\0",
        "an octal": GOOD.replace(b"{}}", b"010}"),
        "the method twice": GOOD.replace(b'"params"', b'"method":"shutdown","params"'),
        "the params twice": GOOD[:-1] + b',"params":{"x":1}}',
    }.items():
        yield name, body, True
    for name, body in {
        "nothing but space": b"   ",
        "a word": b"hello",
        "UTF-16": '{"jsonrpc":"2.0"}'.encode("utf-16"),
        "binary": bytes(range(256)),
    }.items():
        yield name, body, False


def odd() -> Iterator[Bad]:
    """JSON, but no message."""
    for value in (b"null", b"true", b"7", b'"x"', b"[]", b"[1,2]", b"{}"):
        yield f"only {value!r}", value, False
    yield "a batch", b"[%b]" % GOOD, True
    for version in (b"null", b"2", b"2.0", b'"1.0"', b'"2"', b'"2.00"', b"[]", b'""'):
        yield f"version {version!r}", GOOD.replace(b'"2.0"', version), True
    yield "no version", GOOD.replace(b'"jsonrpc":"2.0",', b""), True
    for method in (b"null", b"7", b"[]", b"{}", b"true"):
        yield f"method {method!r}", GOOD.replace(b'"broker/list"', method), True
    yield "no method", GOOD.replace(b'"method":"broker/list",', b""), True
    yield "a long method", GOOD.replace(b"broker/list", b"x" * 5000), True
    for id in (b"null", b"true", b"1.5", b"[]", b"{}", b'{"a":1}', b"1e400", b"-0.1"):
        yield f"id {id!r}", GOOD.replace(ID, id), False


def answers() -> Iterator[Bad]:
    """Of questions nobody asked."""
    for id in (b"0", b"-1", b"99999", b'"1"', b"null", b"1.5", b"[]", b'"' + b"x" * 5000 + b'"'):
        for rest in (b'"result":{}', b'"error":{"code":1,"message":"x"}', b'"error":{}', b'"result":1,"error":{}'):
            yield f"answer to {id[:9]!r} {rest!r}", b'{"jsonrpc":"2.0","id":%b,%b}' % (id, rest), False


def bad() -> list[Bad]:
    return [*params(), *broken(), *odd(), *answers()]


async def test_whatever_a_message_is_its_id_is_answered_once_and_the_next_one_is_served() -> None:
    frames, wrong = bad(), list[str]()
    assert len({name for name, _, _ in frames}) == len(frames) >= LEAST
    inside = House("a", commands=(Command("hello"),), granted=("ui:documents", "ui:diagnostics"), concurrency=10)
    inside.runtime.behaviours["hello"] = hello
    client = Client(inside)
    await client.initialize()
    await client.run("a.hello")
    for number, (name, body, owed) in enumerate(frames, 10_000):
        seen = len(client.got)
        send(client, body.replace(ID, b"%d" % number))
        probe = f"probe {number}"
        client.write(id=probe, method="none/none", params={})
        await client.reply(probe)
        for _ in range(TURNS):
            if owed and not replies(client, number):
                await asyncio.sleep(0)
        said = [message for message in client.got[seen:] if "method" not in message and message.get("id") != probe]
        wanted = [number] if owed else []
        if [message["id"] for message in said if message["id"] is not None] != wanted or len(said) > 1:
            wrong.append(f"{name}: {said}")
    assert wrong == []
    assert await client.run("a.hello") == "here"


async def hello(instance: PretendInstance, call: Call) -> Any:
    return raw({"value": "here"})


def send(client: Client, body: bytes) -> None:
    client.stream.send(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


def replies(client: Client, id: int) -> list[Any]:
    return [message for message in client.got if message.get("id") == id and "method" not in message]


async def test_a_message_past_the_limit_costs_only_itself() -> None:
    client = Client(House("a", commands=(Command("hello"),)))
    await client.initialize()
    huge = json.dumps({"jsonrpc": "2.0", "id": 77, "method": "none/none", "params": "x" * (17 << 20)})
    send(client, huge.encode())
    assert (await client.reply(77))["error"]["code"] == -32600
    assert (await client.run("broker.call", "a__echo"))["plugin"] == "a"


async def test_a_header_that_cannot_be_read_ends_the_session_in_order() -> None:
    for header in (b"Content-Length: x\r\n\r\n", b"Content-Type: y\r\n\r\n{}", b"GET / HTTP/1.1\r\n\r\n", b"x" * 5000):
        inside = House("a")
        client = Client(inside)
        await client.initialize()
        client.stream.send(header)
        async with asyncio.timeout(BOUND):
            await client.ended.wait()
        assert not inside.router.attended


async def test_the_same_id_twice_at_once_is_refused() -> None:
    inside = House("a")
    client = Client(inside)
    await client.initialize()
    await client.run("broker.call", "a__echo")
    waiting = {"command": "broker.call", "arguments": ["a__wait"]}
    for _ in range(2):
        client.write(id="same", method="workspace/executeCommand", params=waiting)
    refused = await client.until(lambda message: "error" in message)
    assert refused["id"] is None and refused["error"]["code"] == -32600
    inside.runtime.instances[0].release.set()
    assert "result" in await client.reply("same")
