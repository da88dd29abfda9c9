"""Every way to fail, with its code on the wire and the words a person gets.

BrokerError                 internal-error       -32603  a bug of ours
├── WireError               parse-error          -32700  bytes that are not JSON-RPC
├── BadRequest              invalid-request      -32600  JSON, but not a request that can be served
├── NoSuchMethod            method-not-found     -32601
├── BadArguments            invalid-params       -32602
│   └── NotFound            not-found            -32602  no such tool, prompt or resource
├── UnsupportedVersion      unsupported-version  -32022  a protocol version nobody here speaks
├── PluginFailed            plugin-crashed       -31001  it exited, or cannot be understood
│   ├── PluginUnavailable   plugin-unavailable   -31002  it cannot be started, or not yet again
│   │   └── SecretMissing   secret-missing       -31016  a granted secret has no value, or no keyring gives it
│   └── PoisonRequest       poison-request       -31011  it was in work at two crashes, and is not sent again
├── TimedOut                plugin-timeout       -31003  the deadline of the call passed
├── FrameTooLarge           frame-too-large      -31005
├── Overloaded              overloaded           -31007  too much is waiting already
├── SelfWait                self-wait            -31008  a call that would wait for itself
├── Closed                  connection-closed    -31009  the other side is gone
├── PermissionMissing       permission-missing   -31004  it asks for something its user did not grant
├── NotEnforced             not-enforced         -31006  nothing on this machine can hold a plugin to its permissions
├── Withdrawn               definition-changed   -31013  it no longer is what its user approved
├── LedgerBroken            ledger-broken        -31014  the file of grants cannot be read: nothing is granted
├── DangerousGrant          dangerous-grant      -31015  a permission that would give away everything else
├── Denied                  denied-by-hook       -31017  a plugin's hook refused it
├── HostFailed              host-failed          -31018  what a plugin asked broker to do did not work
├── NotInClient             not-in-client        -31019  a plugin asked for what the client in front cannot do
├── NotAnswered             not-answered         -31012  a plugin asked its client something that nobody answered
├── ConfigError             bad-config           -31010  a file of the user's is wrong
└── RemoteError             (the peer's own code) what the other side answered, kept whole

Codes of ours lie outside -32768..-32000, which JSON-RPC and MCP 2026-07-28 keep for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw


class BrokerError(Exception):
    """`str(error)` says what happened, to which plugin and why; `hint` says what to do about it.

    `facts` say the same to a program: members of the error's `data`, in JSON's spelling.
    """

    code = -32603
    name = "internal-error"
    hint = "This is a bug in broker; please report it with the log."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        data: Raw | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.data = data
        self.facts: dict[str, object] = dict(facts or {})
        if hint is not None:
            self.hint = hint


class WireError(BrokerError):
    code = -32700
    name = "parse-error"
    hint = "The sender must write one UTF-8 JSON-RPC object per frame."


class BadRequest(BrokerError):
    code = -32600
    name = "invalid-request"
    hint = "The sender must follow JSON-RPC 2.0; batches were removed in MCP 2025-06-18."


class NoSuchMethod(BrokerError):
    code = -32601
    name = "method-not-found"
    hint = "The method does not exist in the protocol version that was negotiated."


class BadArguments(BrokerError):
    code = -32602
    name = "invalid-params"
    hint = "Compare the parameters with the schema of the method."


class NotFound(BadArguments):
    name = "not-found"
    hint = "Run `broker tools` to see every name that can be called."


class UnsupportedVersion(BrokerError):
    code = -32022
    name = "unsupported-version"
    hint = "Use one of the versions in `data.supported`."


class PluginFailed(BrokerError):
    code = -31001
    name = "plugin-crashed"
    hint = "It is started again by itself. If it keeps failing, `broker log` of the plugin shows what it printed."


class PluginUnavailable(PluginFailed):
    code = -31002
    name = "plugin-unavailable"
    hint = "Run `broker check` for its entry; if that finds nothing, `broker log` of the plugin shows what it printed."


class SecretMissing(PluginUnavailable):
    code = -31016
    name = "secret-missing"
    hint = "`broker secret list` of the plugin shows what it needs, `broker secret set` keeps a value in the keyring."


class PoisonRequest(PluginFailed):
    code = -31011
    name = "poison-request"
    hint = "Call it with other arguments; `broker restart` of the plugin forgets what it was never to be sent again."


class TimedOut(BrokerError):
    code = -31003
    name = "plugin-timeout"
    hint = "Raise `timeout` in the plugin's entry if its calls really take this long."


class FrameTooLarge(BrokerError):
    code = -31005
    name = "frame-too-large"
    hint = "Raise `max_frame` in config.toml if your client takes larger messages."


class Overloaded(BrokerError):
    code = -31007
    name = "overloaded"
    hint = "Wait for calls in flight to finish, or raise `concurrency` in the plugin's entry."


class SelfWait(BrokerError):
    code = -31008
    name = "self-wait"
    hint = "A plugin must not call a plugin that is waiting for it."


class Closed(BrokerError):
    code = -31009
    name = "connection-closed"
    hint = "The other side of the connection is gone."


class NotAnswered(BrokerError):
    code = -31012
    name = "not-answered"
    hint = "Use a client that can answer it, or call the tool with what it asks for."


class Denied(BrokerError):
    code = -31017
    name = "denied-by-hook"
    hint = "The plugin that refused it says why; `broker disable` of that plugin takes its hooks away."


class HostFailed(BrokerError):
    code = -31018
    name = "host-failed"
    hint = "The message says what the disk, the network or the program answered."


class NotInClient(BrokerError):
    code = -31019
    name = "not-in-client"
    hint = "It works in an editor that runs `broker lsp`; a plugin can go on without it."


class PermissionMissing(BrokerError):
    code = -31004
    name = "permission-missing"
    hint = "`broker show` of the plugin lists what it asks for, `broker grant` of it grants that."


class NotEnforced(BrokerError):
    code = -31006
    name = "not-enforced"
    hint = "`broker doctor` says what this machine can enforce, and what would help."


class Withdrawn(BrokerError):
    code = -31013
    name = "definition-changed"
    hint = "`broker review` of the plugin shows what changed, `broker approve` of it takes the change."


class LedgerBroken(BrokerError):
    code = -31014
    name = "ledger-broken"
    hint = "Restore the file from a backup, or delete it and grant anew."


class DangerousGrant(BrokerError):
    code = -31015
    name = "dangerous-grant"
    hint = "Name a folder further down, or a single file."


class ConfigError(BrokerError):
    code = -31010
    name = "bad-config"
    hint = "Correct the file and run `broker check`."


class RemoteError(BrokerError):
    """What the other side answered, kept whole: its code, message and undecoded data."""

    name = "remote-error"
    hint = "The answer came from the other side unchanged."

    def __init__(self, code: int, message: str, data: Raw | None = None) -> None:
        super().__init__(message, data=data)
        self.code = code
