"""What authors' tools know of the host's operations, written from the one table of them (`core/host.json`).

`python -m broker.authoring.stubs` writes each file of `FILES` anew after the table changed, in a checkout of broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from broker.authoring import stubs_python, stubs_typescript
from broker.core.hosttable import schema
from broker.runtimes import lua_meta

ROOT = Path(__file__).parent.parent.parent
WIT = ROOT / "broker" / "runtimes" / "wit" / "plugin.wit"
_WIT_FROM = "    /// By operation (written by `python -m broker.authoring.stubs`):\n"
_WIT_TO = "    call: func("


def wit(held: str) -> str:
    """The WIT world, of which all but the list of operations is written by hand."""
    head, rest = held.split(_WIT_FROM)
    _, tail = rest.split(_WIT_TO)
    return f"{head}{_WIT_FROM}{''.join(_wit_lines(schema()))}{_WIT_TO}{tail}"


def _wit_lines(table: Mapping[str, Any]) -> Iterator[str]:
    for name, each in table["operations"].items():
        needs = f" Needs `{each['permission']}`." if each["permission"] else ""
        said = f"- `{name}`: {each['description']}{needs}"
        yield fill(said, 120, initial_indent="    /// ", subsequent_indent="    ///   ") + "\n"


# Each file with what it should say, given what it says.
FILES: Mapping[Path, Callable[[str], str]] = {
    ROOT / "sdk-js" / "src" / "operations.ts": lambda _: stubs_typescript.text(schema()),
    ROOT / "sdk-python" / "broker_sdk" / "operations.py": lambda _: stubs_python.text(schema()),
    lua_meta.FILE: lua_meta.text,
    WIT: wit,
}


def main() -> None:
    """Write what has changed."""
    for path, made in FILES.items():
        held = path.read_text() if path.exists() else ""
        if (text := made(held)) != held:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()
