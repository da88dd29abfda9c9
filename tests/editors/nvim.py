"""Neovim, remote-controlled as its graphical front ends do it: `nvim --embed`, msgpack-RPC on its stdin and stdout.

It draws into a grid that nobody sees; what it says there, in messages and prompts, is kept as text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from tests.editors.world import EDITORS, World

BOUND = 20.0  # seconds for anything; a plugin starts in one, on a busy machine in a few
PAUSE = 0.05


class Nvim:
    """One running Neovim."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []  # every text of every message and prompt since the last command, in order
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def api(self, method: str, *args: Any) -> Any:
        """The result of a function of Neovim's API."""
        assert self.process.stdin is not None
        id = len(self._answers)
        self._answers[id] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(bytes(msgpack.packb([0, id, method, args]) or b""))
        return await asyncio.wait_for(asyncio.shield(self._answers[id]), BOUND)

    async def lua(self, code: str, *args: Any) -> Any:
        """What a piece of Lua returns; `...` are its arguments."""
        return await self.api("nvim_exec_lua", code, list(args))

    async def command(self, text: str) -> None:
        """Type an Ex command. Whatever it asks is still open afterwards."""
        self.said.clear()
        await self.type(f":{text.replace('<', '<lt>')}<CR>")

    async def type(self, keys: str) -> None:
        await self.api("nvim_input", keys)

    async def until(self, condition: str, *args: Any) -> Any:
        """Wait until a Lua expression is true; its value."""
        for _ in range(int(BOUND / PAUSE)):
            if found := await self.lua(f"return {condition}", *args):
                return found
            await asyncio.sleep(PAUSE)
        raise AssertionError(f"never true: {condition}\nit said {self.said[-20:]}")

    async def seen(self, text: str) -> None:
        """Wait until a person was shown this, since the last command."""
        for _ in range(int(BOUND / PAUSE)):
            if text in "".join(self.said):
                return
            await asyncio.sleep(PAUSE)
        raise AssertionError(f"{text!r} was never shown\nit said {self.said[-20:]}")

    async def leave(self) -> int:
        """Quit as a person does; the exit code."""
        await self.type("<Esc>:qa!<CR>")
        code = await asyncio.wait_for(self.process.wait(), BOUND)
        await self._reading
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        unpacker = msgpack.Unpacker(ext_hook=_handle, strict_map_key=False)
        while data := await self.process.stdout.read(65536):
            unpacker.feed(data)
            for message in unpacker:
                self._take(message)

    def _take(self, message: Any) -> None:
        if message[0] == 1:
            _, id, error, result = message
            if error is None:
                self._answers[id].set_result(result)
            else:
                self._answers[id].set_exception(AssertionError(f"Neovim: {error}"))
        elif message[0] == 2 and message[1] == "redraw":
            for name, *calls in message[2]:
                for each in calls:
                    self._drawn(name, each)

    def _drawn(self, name: str, given: Sequence[Any]) -> None:
        if name == "msg_show":
            self.said.append("".join(chunk[1] for chunk in given[1]) + "\n")
        elif name == "cmdline_show":
            self.said.append(f"{given[3]}{''.join(chunk[1] for chunk in given[0])}\n")


def _handle(code: int, data: bytes) -> None:
    """Buffers and windows are of no interest here."""


@asynccontextmanager
async def running(
    program: Path, world: World, setup: str = "", *, plugin: Path = EDITORS / "nvim"
) -> AsyncGenerator[Nvim]:
    """A Neovim in the workspace with our plugin; `setup` is Lua to run when it is ready, `...` the broker's command.

    When it is left it must end well, and everything it started with it.
    """
    path = json.dumps(str(plugin))
    words = ("--embed", "--clean", "-n", "--cmd", f"lua vim.opt.rtp:prepend({path})", str(world.note))
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=world.env,
        cwd=world.workspace,
    )
    editor = Nvim(process)
    try:
        # `ext_messages`: messages and prompts come as text.
        await editor.api("nvim_ui_attach", 100, 30, {"ext_messages": True, "ext_cmdline": True, "rgb": True})
        await editor.lua("vim.o.more = false")
        await editor.lua(setup or "require('broker').setup({ cmd = ... })", world.command)
        yield editor
        if process.returncode is None:
            assert await editor.leave() == 0
        await world.ended()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.wait([editor._reading])
