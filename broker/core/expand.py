"""`${…}` and `~` in an entry: what Claude, Cursor and VS Code write, answered from the environment alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from broker.core.shape import Wrong

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ASKS = {
    "input": "asks a person for a value, and here is nobody to ask",
    "command": "runs a command of an editor, and here is no editor",
    "cmd": "runs a command of a shell, and here is no shell",
    "config": "reads the settings of an editor, and here is no editor",
}


class Surroundings(Struct, frozen=True):
    """What `${…}` may refer to."""

    environ: Mapping[str, str]
    workspace: Path | None = None
    named: set[str] = field(default_factory=set[str])  # files that entries were read from as well, there or not

    @property
    def home(self) -> str:
        """The user's folder, from the environment given and only then from the system."""
        return self.environ.get("HOME") or self.environ.get("USERPROFILE") or str(Path.home())

    def expand(self, text: str) -> str:
        """`text` with `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${workspaceFolder}`, `${userHome}` set.

        What is none of these forms stays, it may be meant for the program. Wrong names a variable that has no
        value, or that somebody would have to be asked for; never the values around it.
        """
        return _REFERENCE.sub(self._value, text)

    def path(self, text: str, anchor: Path) -> str:
        """`text` expanded as an absolute path: `~` is the home, a relative path starts at `anchor`."""
        text = self.expand(text)
        if text == "~" or text.startswith(("~/", "~\\")):
            text = self.home + text[1:]
        if not text or "\0" in text:
            raise Wrong("a path must not be empty or contain a NUL character.")
        return os.path.abspath(anchor / text)

    def _value(self, found: re.Match[str]) -> str:
        body = found[1]
        if body == "userHome":
            return self.home
        if body == "workspaceFolder":
            return self._folder()
        kind, colon, rest = body.partition(":")
        if colon and kind in _ASKS and not rest.startswith("-"):
            raise _nobody_to_ask(found[0], kind)
        if colon and kind == "env" and not rest.startswith("-"):
            return self._variable(rest)
        return self._variable(body) if _NAME.fullmatch(body.partition(":-")[0]) else found[0]

    def _folder(self) -> str:
        if self.workspace is None:
            fix = "Write the folder itself, or start broker with a workspace."
            raise Wrong("`${workspaceFolder}` has no value: no workspace is known.", fix=fix)
        return str(self.workspace)

    def _variable(self, body: str) -> str:
        name, otherwise, default = body.partition(":-")
        value = self.environ.get(name)
        if value is None and not otherwise:
            fix = f"Set {name} where broker is started, or write ${{{name}:-default}}."
            raise Wrong(f"the environment variable `{name[:100]}` is not set.", fix=fix)
        return default if value is None else value


def _nobody_to_ask(reference: str, kind: str) -> Wrong:
    fix = "Put the value into an environment variable and write ${env:NAME}, or name a file in `envFile`."
    return Wrong(f"`{reference[:100]}` {_ASKS[kind]}.", fix=fix)
