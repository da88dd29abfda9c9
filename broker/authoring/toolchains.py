"""What each language needs on the author's machine, and which of it is missing here."""

from __future__ import annotations

import os
import re
import shutil

from msgspec import Struct

from broker.confine.tree import output_of

_PATIENCE = 5.0  # seconds for a program to say its version; they take 0.05 to 0.3

_ANY = (0, 0)


class Need(Struct, frozen=True):
    """A program that must be there, perhaps of some version, and what it must answer."""

    what: str
    ask: tuple[str, ...]  # what is run; its program must be on the PATH
    install: str  # the command that installs it, or the place to get it from
    least: tuple[int, int] = _ANY  # version
    is_folder: bool = False  # it prints the path of a folder that must be there


_SDK = "import sys, broker_sdk, msgspec, pytest; sys.displayhook(pytest.__version__)"
_NODE = ("node", "--version")
_NPM = Need("Node.js 20 or newer with npm", ("npm", "--version"), "https://nodejs.org")
_MAKE = Need("make", ("make", "--version"), "apt install make, or xcode-select --install")
_TARGET = ("rustc", "--print", "target-libdir", "--target", "wasm32-unknown-unknown")

NEEDS: dict[str, tuple[Need, ...]] = {
    "python": (
        Need(
            "plugin-broker-sdk and pytest for the Python on the PATH",
            ("python3", "-c", _SDK),
            "python3 -m venv .venv && . .venv/bin/activate && pip install plugin-broker-sdk pytest",
            (7, 0),
        ),
    ),
    "javascript": (Need("Node.js 20 or newer", _NODE, "https://nodejs.org", (20, 0)),),
    "typescript": (Need("Node.js 22.18 or newer", _NODE, "https://nodejs.org", (22, 18)),),
    "rust": (
        Need("Rust", ("cargo", "--version"), "https://rustup.rs"),
        Need("Rust's target for WebAssembly", _TARGET, f"rustup target add {_TARGET[-1]}", is_folder=True),
        _MAKE,
    ),
    "c": (
        Need("Zig's C compiler", ("python3", "-m", "ziglang", "version"), "python3 -m pip install ziglang", (0, 1)),
        _MAKE,
    ),
    "assemblyscript": (_NPM, _MAKE),
    "wasm-python": (
        Need("componentize-py", ("componentize-py", "--version"), "python3 -m pip install componentize-py", (0, 1)),
        _MAKE,
    ),
    "wasm-javascript": (_NPM, _MAKE),
}


def missing(language: str) -> list[Need]:
    """What the language needs and this machine has not. Runs each program once, for a moment."""
    return [need for need in NEEDS.get(language, ()) if not _is_met(need)]


def _is_met(need: Need) -> bool:
    program = shutil.which(need.ask[0])
    if program is None:
        return False
    try:
        said = output_of([program, *need.ask[1:]], timeout=_PATIENCE).decode("utf-8", "replace")
    except OSError:
        return False
    if need.is_folder and not os.path.isdir(said.strip()):
        return False
    return need.least == _ANY or _version(said) >= need.least


def _version(said: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (-1, 0)
