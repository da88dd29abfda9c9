"""The words used in every room, as values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Raw, Struct


class Era(StrEnum):
    """Which of MCP's two ways of opening a conversation is spoken."""

    LEGACY = "legacy"  # `initialize`, revisions 2024-11-05 to 2025-11-25
    MODERN = "modern"  # `server/discover` and an envelope per request, revision 2026-07-28


Kind = Literal["tools", "resources", "templates", "prompts"]
KINDS: tuple[Kind, ...] = ("tools", "resources", "templates", "prompts")


UNBOUNDED = -1  # as an amount of memory


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one plugin; seconds and bytes."""

    timeout: float = 60.0  # per call, the official SDKs' default; every progress starts it anew
    cap: float = 600.0  # per call in all, progress or not (MCP: "SHOULD enforce a maximum")
    start: float = 30.0  # spawn to serving; npx and uvx may download first (Claude Code allows 30 s)
    idle: float = 600.0  # without a call, after which it is stopped until the next one; infinite = never
    memory: int | None = None  # bytes; None here and below = no bound of ours; a VM's own, or UNBOUNDED
    pids: int | None = None  # processes and threads
    disk: int | None = None  # bytes in the plugin's data folder
    script: float = 0.1  # of its own work per call of a Lua plugin, what it waits for not counted; 0 = no bound


class Hook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where a plugin is asked about what others do."""

    on: Literal["pre_request", "post_response", "on_connect", "on_close"]
    priority: int = 0  # lower runs first
    fail: Literal["open", "closed"] | None = None  # what a failure of its own means; None: closed before a request

    @property
    def closed(self) -> bool:
        """Whether a failure of it is a deny."""
        return self.on == "pre_request" if self.fail is None else self.fail == "closed"


class Command(Struct, frozen=True):
    """What a person can run of a plugin, in an editor."""

    name: str  # the plugin's own
    title: str = ""
    description: str = ""


class Spec(Struct, frozen=True, kw_only=True):
    """One plugin as its user configured it: what it is and how it is run. No secrets are printed from it."""

    name: str  # [a-z0-9-]{1,32}, unique; the prefix of its tools
    source: str  # the file that names it, for errors and listings
    command: tuple[str, ...] = ()  # argv; empty when `entry` says what to run
    entry: str | None = None  # absolute path of a plugin folder's entry file
    cwd: str | None = None
    env: Mapping[str, str] = {}  # what the entry gives beside the safe names
    isolation: Literal["auto", "inprocess", "process"] = "auto"  # of Lua: where its script runs
    instance: Literal["fresh", "shared"] = "fresh"  # of WASM: one per call, or one for all that keeps what it knows
    wasm: Literal["plugin", "functions", "extism"] = "plugin"  # what its user lets a .wasm file be
    warm: int = 1  # of WASM: fresh instances that are ready before a call needs one
    concurrency: int | None = None  # requests in flight per instance; None = the broker's default, 1
    limits: Limits = Limits()
    # Filters that a tool must all pass, the user's and then the workspace's. A filter is a list of globs: "!glob"
    # hides; when there are globs without "!", one of them must match.
    tools: tuple[tuple[str, ...], ...] = ()
    required: bool = False  # its absence is shown to clients, not only logged
    # Globs of tools the user approves for a second try after a crash, if they also say readOnlyHint or idempotentHint.
    replay: tuple[str, ...] = ()
    max_result: int | None = None  # bytes of a tool's result, above which it is cut and offered in pages; None: never
    enabled: bool = True
    version: str = ""
    description: str = ""
    # What its manifest (or the entry's own table) asks for. None: a plain server without the table, unconfined.
    permissions: Mapping[str, tuple[str, ...] | bool] | None = None
    # What the ledger says to `permissions`, each as `kind:target` with its places filled in. Without a table: nothing.
    granted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # asked for, and not granted
    refused: tuple[str, ...] = ()  # those of `missing` that nobody can grant
    stale: str = ""  # why an earlier grant no longer counts, as a sentence; empty: none, or it counts
    unconfined: bool = False  # its user lets it run without enforcement, by name
    unenforced: tuple[str, ...] = ()  # kinds whose lack of enforcement its user accepts ("memory", "net"…)
    strict: bool = False  # what is enforced only partly is refused too
    config: Mapping[str, object] = {}  # the manifest's options: their defaults, then what the user set
    restart: Literal["never", "on-failure", "always"] = "on-failure"
    hooks: tuple[Hook, ...] = ()
    commands: tuple[Command, ...] = ()  # its manifest names; it may register others while it runs

    def __repr__(self) -> str:
        """Without the values of `env`, which are often secrets."""
        return f"Spec({self.name!r}, {self.source!r}, env={sorted(self.env)})"


class Problem(Struct, frozen=True):
    """Something wrong in a file of the user's: it is reported and skipped, the rest runs."""

    where: str  # file, or file:line
    what: str
    fix: str = ""
    plugin: str = ""  # whose entry it is about; empty when it may be about several


class Surface(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tools are shown to a client; None: as to every client."""

    expose: Literal["all", "search"] | None = None  # search: behind three tools that find and call them
    always: tuple[str, ...] | None = None  # globs of those that stay visible beside the three


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What plugins must be before clients see them."""

    pins: Literal["approved", "first"] = "approved"  # which are held to what they showed: approved ones, or all
    quarantine: bool = False  # nothing of a plugin is shown before `broker approve`


class Settings(Struct, kw_only=True):
    """Everything the configuration says, from all files together."""

    plugins: list[Spec] = msgspec.field(default_factory=list[Spec])
    problems: list[Problem] = msgspec.field(default_factory=list[Problem])
    max_frame: int = 8 << 20  # bytes written to a client in one message
    concurrency: int = 1  # of plugins whose Spec says None
    audit: bool = True  # whether calls are written to the audit file
    surface: Surface = Surface()
    clients: dict[str, Surface] = {}  # glob of a client's name -> its own; the first that matches counts
    policy: Policy = Policy()
    named: list[str] = []  # files beside the configuration that entries take values from (`envFile`), there or not


class About(Struct, frozen=True, kw_only=True):
    """What a plugin that runs in broker says of itself beside its lists."""

    name: str = ""
    version: str = ""
    description: str = ""
    capabilities: tuple[str, ...] = ()  # what it says it can, then what it really offers
    schema: Raw = Raw(b"null")  # JSON Schema of its configuration; null: it has none


class Listing(Struct, kw_only=True):
    """What one plugin showed: its answers to `initialize`/`server/discover` and to the lists, undecoded."""

    versions: dict[Era, str | None] = {}  # era -> negotiated version; None: tried, not spoken
    info: Raw = Raw(b"{}")  # serverInfo
    capabilities: dict[str, Raw] = {}
    instructions: str | None = None
    tools: list[Raw] = []
    resources: list[Raw] = []
    templates: list[Raw] = []
    prompts: list[Raw] = []
    commands: list[Command] = []  # it registered while it ran
    about: About | None = None
    partial: bool = False  # a list was not answered in time: good enough to serve, not to keep
