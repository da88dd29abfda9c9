"""Runs a page of the documentation as its reader would: writes its files, types its commands, compares what they print.

Rule 1: a block is a file, a console, or says why it is not run; there is nothing else.
Rule 2: commands are the real ones, in a home of their own, with the programs of this checkout on the PATH.
Rule 3: what a command prints is on the page, in its order; `...` is for what is left out, and so are beginning and end.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import venv
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.docs.blocks import Block, blocks
from tests.npm_installed import NODE, installed
from tests.servers import NODE_MODULES, ROOT, VENV

BOUND = 300.0  # seconds of one command, of which the longest compiles all of Python on a machine with much else to do
MAIN = "if __name__"  # the end of a plugin in Python: what is added goes before it
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Command(Struct):
    """What is typed, what is typed to it, and what it prints."""

    line: str
    typed: list[str]
    prints: list[str]


def commands(console: str) -> list[Command]:
    """Of a console block. AssertionError when it begins with something else."""
    found: list[Command] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], [], []))
            continue
        assert found, f"a console begins with `$ `, not {line!r}"
        if line.startswith("> "):
            found[-1].typed.append(line[2:])
        else:
            found[-1].prints.append(line)
    return found


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "work"
        self.folder.mkdir(parents=True)
        tools = home / "bin"  # the npm beside that Node does not run; a reader has one that does
        tools.mkdir()
        (tools / "node").symlink_to(NODE / "node")
        self.env = {
            **os.environ,
            "HOME": str(home),
            "BROKER_HOME": str(home / "broker"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PATH": os.pathsep.join([str(VENV), str(tools), os.environ["PATH"]]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "broker_sdk.testing.fixtures",
            "npm_config_update_notifier": "false",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        for gone in ("PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
            self.env.pop(gone, None)

    def read(self, page: str) -> None:
        """Do all of it. AssertionError with the line that does not hold."""
        for block in blocks(page):
            if block.skipped:
                continue
            if block.instead:
                install(self.folder, block.text)
            elif block.language == "console":
                self._type(block)
            else:
                assert block.file, f"line {block.line}: the block is neither a file nor a console, nor `not run: why`"
                self._write(block)

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = block.text
        if block.adds:
            head, main, tail = path.read_text("utf-8").partition(MAIN)
            text = f"{head.rstrip()}\n\n\n{text.strip()}\n" + (f"\n\n{main}{tail}" if main else "")
        path.write_text(text, "utf-8")

    def _type(self, block: Block) -> None:
        typed = commands(block.text)
        for command in typed:
            code = block.code if command is typed[-1] else 0
            self._run(command, code, f"line {block.line}: $ {command.line}")

    def _run(self, command: Command, code: int, where: str) -> None:
        words = shlex.split(command.line, comments=True)
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            assert self.folder.is_dir(), f"{where}: {self.folder} is no folder"
            return
        done = self._done(words, "".join(f"{line}\n" for line in command.typed))
        assert done.returncode == code, f"{where}\nended with {done.returncode}:\n{done.stdout}"
        if wanted := "\n".join(command.prints).strip():
            assert _prints(done.stdout, wanted), f"{where}\nprinted:\n{done.stdout}\nand not:\n{wanted}"

    def _done(self, words: list[str], typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BOUND,
            check=False,
        )


def install(folder: Path, console: str) -> None:
    """What `npm install`, or `pip install plugin-broker-sdk` in a new environment, makes; without a network."""
    if "npm install" in console:
        installed(folder)
        return
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = folder.glob(".venv/lib/python*/site-packages")
    for package in (Path(msgspec.__file__).parent, ROOT / "sdk-python" / "broker_sdk"):
        shutil.copytree(package, packages / package.name, ignore=shutil.ignore_patterns("__pycache__"))


def mistyped(folder: Path, *files: str) -> str:
    """What the compiler has against the types of some files in TypeScript; empty: nothing."""
    how = ["--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "--skipLibCheck", "--types", "node"]
    how += ["--allowImportingTsExtensions", "--typeRoots", str(NODE_MODULES / "@types")]
    words = [str(NODE_MODULES / ".bin" / "tsc"), *how, *files]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=BOUND, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def _prints(text: str, wanted: str) -> bool:
    """Whether all that is wanted is printed, in its order; how much space is between words does not count."""
    pieces = (re.escape(" ".join(piece.split())) for piece in wanted.split("..."))
    return re.search(".*?".join(pieces), " ".join(_COLOURS.sub("", text).split())) is not None
