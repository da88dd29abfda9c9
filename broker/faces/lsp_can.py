"""What an editor said of itself in `initialize`, computed once, as values.

Rule 1: what it did not clearly say it can, it is never asked: absent, null and nonsense are all no.
Rule 2: `initializationOptions.broker` is how a client that knows broker asks for more than LSP has. Nobody else gets
        messages that LSP does not know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from msgspec import Struct

Json = dict[str, Any]


class EditorCan(Struct, frozen=True, kw_only=True):
    """What it does when it is asked; everything else is `window/showMessage` and its like, which all of them have."""

    progress: bool = False
    show: bool = False  # `window/showDocument`
    edit: bool = False
    versioned_edits: bool = False  # `documentChanges`
    configuration: bool = False  # is asked for it
    watches_settings: bool = False  # by a registration; the others push by themselves, or not at all
    registers_commands: bool = False
    code_actions: bool = False  # as values, and not only as commands

    @classmethod
    def of(cls, capabilities: object) -> EditorCan:
        """From the `capabilities` of `initialize`, whatever they are."""

        def says(path: str) -> bool:
            return _at(capabilities, path) is True

        return cls(
            progress=says("window.workDoneProgress"),
            show=says("window.showDocument.support"),
            edit=says("workspace.applyEdit"),
            versioned_edits=says("workspace.workspaceEdit.documentChanges"),
            configuration=says("workspace.configuration"),
            watches_settings=says("workspace.didChangeConfiguration.dynamicRegistration"),
            registers_commands=says("workspace.executeCommand.dynamicRegistration"),
            code_actions=isinstance(_at(capabilities, "textDocument.codeAction.codeActionLiteralSupport"), dict),
        )


class Wishes(Struct, frozen=True, kw_only=True):
    """The members of `initializationOptions.broker`."""

    client: str = ""  # a name, for a client that gives no `clientInfo`
    status: bool = False  # `broker/status`
    commands: bool = False  # `broker/commands`
    results: bool = False  # it shows what a command returned by itself
    pick: bool = False  # it answers `broker/pick`
    input: bool = False  # it answers `broker/input`
    active: bool = False  # it answers `broker/active`
    trusted: bool = True  # the user trusts the workspace

    @classmethod
    def of(cls, options: object) -> Wishes:
        """From `initializationOptions`; a member of another type than it should have counts as not there."""
        given = _at(options, "broker")
        held = cast("Json", given) if isinstance(given, dict) else {}
        fitting = {
            name: held[name]
            for name in cls.__struct_fields__
            if name in held and type(held[name]) is type(getattr(_PLAIN, name))
        }
        return cls(**fitting)


_PLAIN = Wishes()


def client_name(params: Mapping[str, Any], wishes: Wishes) -> str:
    """What the log calls it."""
    name = _at(params, "clientInfo.name")
    return (name if isinstance(name, str) and name else wishes.client or "an editor")[:100]


def folders(params: Mapping[str, Any]) -> list[Path]:
    """The workspace's folders: those it sent, else its root, else the folder we were started in."""
    sent = _at(params, "workspaceFolders")
    uris = [_at(each, "uri") for each in cast("list[object]", sent)] if isinstance(sent, list) else []
    found = [path for uri in [*uris, *([] if uris else [_at(params, "rootUri")])] if (path := path_of(uri)) is not None]
    if not found and isinstance(root := _at(params, "rootPath"), str) and os.path.isabs(root):
        found = [Path(root)]
    return found or ([Path(here)] if (here := _here()) else [])


def path_of(uri: object) -> Path | None:
    """The path of a file's URI; None if it is of something else."""
    if not isinstance(uri, str):
        return None
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\0" in path or not path.startswith("/"):
        return None
    return Path(path[1:] if os.name == "nt" else path)


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _at(value: object, path: str) -> object:
    for name in path.split("."):
        value = cast("Json", value).get(name) if isinstance(value, dict) else None
    return value
