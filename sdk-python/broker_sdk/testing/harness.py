"""A plugin under test: in a thread of this process, or as a process of its own, with the same methods."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from broker_sdk.host import VARIABLE
from broker_sdk.plugin import Plugin
from broker_sdk.testing.client import BOUND, Client, Failed, Pending, Reply, checked
from broker_sdk.testing.examples import examples
from broker_sdk.testing.host import RecordingHost, elicited
from broker_sdk.testing.loading import loaded
from broker_sdk.testing.moved import MovedClock

if TYPE_CHECKING:
    from types import TracebackType

Json = dict[str, Any]
GOLDEN = "BROKER_SDK_GOLDEN"  # in the environment, not empty: write the file instead of comparing with it


class Harness:
    """One run of a plugin, with a host that keeps what it is told (`host`) and a clock to move (`clock`).

    `plugin`: a `Plugin`, or the file that makes one. `over`: `memory`, or `stdio` for a process of its own, which has
    the real clock. `era`: which MCP is spoken. `host`: False runs it as a client does that is not broker. All else is
    the host's: `grant`, `config`, `secrets`, `answers`, `replies`, `tools` (see `RecordingHost`).
    """

    def __init__(
        self,
        plugin: Plugin | str | os.PathLike[str],
        *,
        over: Literal["memory", "stdio"] = "memory",
        era: Literal["modern", "legacy"] = "modern",
        host: bool = True,
        env: Mapping[str, str] | None = None,
        **of_host: Any,
    ) -> None:
        self.host, self.clock = RecordingHost(**of_host), MovedClock()
        self._plugin = plugin
        if over == "memory":
            reading, writing = self._serve(loaded(plugin), self.host if host else None)
        else:
            reading, writing = self._start(_file(plugin), self.host if host else None, env or {})
        self.client = Client(reading, writing, era, self._said)

    # What a test does

    def call(self, tool: str, /, **arguments: Any) -> Any:
        """What a tool returns: its data if it is structured, else its text. Raises `ToolError` when it fails."""
        reply = self.reply(tool, **arguments)
        return reply.text if "structuredContent" not in checked(reply).raw else reply.data

    def reply(self, tool: str, /, **arguments: Any) -> Reply:
        """All that a tool answered, also when it failed."""
        pending = self.begin(tool, **arguments)
        first = pending.id
        raw = pending.result()
        return Reply(raw, self.client.progress_of(first))

    def begin(self, tool: str, /, **arguments: Any) -> Pending:
        """Call a tool, and wait (or cancel) later."""
        return self.client.begin("tools/call", {"name": tool, "arguments": _plain(arguments)})

    def read(self, uri: str) -> str | bytes:
        """The content of a resource."""
        from base64 import b64decode

        found = self.client.request("resources/read", {"uri": uri})["contents"][0]
        return found["text"] if "text" in found else b64decode(found["blob"])

    def prompt(self, name: str, /, **arguments: str) -> list[Json]:
        """The messages of a prompt."""
        return self.client.request("prompts/get", {"name": name, "arguments": arguments})["messages"]

    def command(self, name: str, /, *arguments: Any) -> Any:
        """What a command returns. Raises `Failed`."""
        found = self.host.run(name, _plain(list(arguments)))
        if "error" in found:
            raise Failed(found["error"])
        return found["result"]

    def emit(self, event: str, /, **params: Any) -> None:
        """Tell the plugin of an event. What it does then can be waited for by `host.until`."""
        self.host.emit(event, _plain(params))

    def hook(self, on: str, /, **event: Any) -> Json:
        """What the plugin's hooks say to somebody's call."""
        found = self.client.request("plugin-broker/hook", {"type": on, **_plain(event)})
        return {name: value for name, value in found.items() if name not in ("resultType", "_meta")}

    # What it offers

    def tools(self) -> list[Json]:
        """The definitions of its tools, as clients see them."""
        return self.client.request("tools/list", {})["tools"]

    def snapshot_tools(self, file: str | os.PathLike[str]) -> None:
        """Compare the definitions with those in a file, which is written if there is none. A change of them asks every
        user to approve the plugin again, so it should be meant: `BROKER_SDK_GOLDEN=1` writes the file anew."""
        path, found = Path(file), self.tools()
        text = msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=2).decode() + "\n"
        if not path.exists() or os.environ.get(GOLDEN):
            path.write_text(text, "utf-8")
        assert path.read_text("utf-8") == text, f"the tools are not those of {path}; {GOLDEN}=1 if that is meant"

    def fuzz(self, tool: str, count: int = 50, seed: int = 0) -> list[Reply]:
        """Call a tool with arguments made of its own schema. AssertionError when it fails other than by `ToolError`."""
        schema = next(each["inputSchema"] for each in self.tools() if each["name"] == tool)
        replies: list[Reply] = []
        for arguments in examples(schema, count, seed):
            reply = self.reply(tool, **arguments)
            refused = reply.text.startswith((f"Error in tool {tool}", f"Invalid arguments of {tool}"))
            assert not (reply.is_error and refused), f"{tool} with {arguments}: {reply.text}"
            replies.append(reply)
        return replies

    # Its life

    def close(self) -> None:
        """End it; AssertionError when it does not end in time."""
        self._end()
        self.host.close()

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _said(self, method: str, params: Json) -> Json:
        """What the client answers to the plugin."""
        if method == "roots/list":
            return {"roots": [{"uri": Path.cwd().as_uri()}]}
        if method == "elicitation/create":
            return elicited(self.host.answer(params["message"]), params["requestedSchema"])
        said = str(self.host.answer(params["messages"][-1]["content"]["text"]))
        return {"role": "assistant", "model": "test", "content": {"type": "text", "text": said}}

    def _serve(self, plugin: Plugin, host: RecordingHost | None) -> tuple[int, int]:
        from broker_sdk.stdio import serve

        ours, theirs = socket.socketpair()
        channel = host.open(plugin.name) if host is not None else None

        def run() -> None:
            with theirs:
                asyncio.run(serve(plugin, theirs.fileno(), theirs.fileno(), channel, self.clock))

        thread = threading.Thread(target=run, daemon=True, name=f"plugin {plugin.name}")
        thread.start()

        def end() -> None:
            with suppress(OSError):  # it has ended already
                ours.shutdown(socket.SHUT_WR)
            thread.join(BOUND)
            ours.close()
            assert not thread.is_alive(), f"{plugin.name} did not end in {BOUND:g} s"

        self._end = end
        return ours.fileno(), ours.fileno()

    def _start(self, file: Path, host: RecordingHost | None, env: Mapping[str, str]) -> tuple[int, int]:
        channel = host.open(file.stem) if host is not None else None
        given = {VARIABLE: str(channel.fileno())} if channel is not None else {}
        process = subprocess.Popen(
            [sys.executable, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **given, **env},
            pass_fds=[channel.fileno()] if channel is not None else [],
        )
        if channel is not None:
            channel.close()
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def end() -> None:
            stdin.close()
            try:
                code = process.wait(BOUND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"{file} did not end in {BOUND:g} s") from None
            finally:
                stdout.close()
            assert code == 0, f"{file} ended with {code}"

        self._end = end
        return stdout.fileno(), stdin.fileno()


def _file(plugin: Plugin | str | os.PathLike[str]) -> Path:
    file = plugin.file if isinstance(plugin, Plugin) else plugin
    assert file is not None, "a plugin without a file cannot be a process of its own"
    return Path(file)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    from broker_sdk.schema import encode

    return msgspec.json.decode(encode(value))
