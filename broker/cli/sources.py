"""The options that say which configuration a command works on, and what they find."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from broker.model import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def sources(command: _Command) -> _Command:
    """Give a command the options of the configuration; it takes them as `**sources`."""
    for option in (
        click.option("--config", "config_file", type=click.Path(path_type=Path), help="Another config.toml."),
        click.option(
            "--mcp-config",
            "mcp_configs",
            multiple=True,
            type=click.Path(path_type=Path),
            help="A file of MCP servers: mcpServers JSON, or VS Code's mcp.json. May be repeated.",
        ),
        click.option("--strict", is_flag=True, help="Only the --mcp-config files, no config.toml."),
        click.option("--concurrency", type=click.IntRange(1, 1024), help="Requests in flight per server; 1 if unsaid."),
    ):
        command = option(command)
    return command


def configuration(sources: dict[str, Any]) -> Settings:
    """What the options name, for a command of a person: failures are shown by it, not logged beside it."""
    from broker.app import Options, settings

    if logging.getLogger().level > logging.INFO:  # without --verbose
        logging.getLogger("broker").setLevel(logging.CRITICAL)
    return settings(Options(**sources))
