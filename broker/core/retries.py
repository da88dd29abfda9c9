"""What becomes of a request that was in work when its plugin ended (MCP leaves that to the client; we do not).

Rule 1: what was never written goes to the next instance. That is the lane's affair; here are those that were written.
Rule 2: a read is sent once more. So is a tool that says it is read-only or idempotent, if the user approved it by
        name: a server's own word is only a hint.
Rule 3: everything else fails with `sideEffects: "unknown"` and is never sent again: it may have done its work.
Rule 4: no second try once anything was heard of the first, or half of its time is gone, or it carries state of its own.
Rule 5: a request that was in work at two crashes is poison, and is refused until the plugin is restarted by a person.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from fnmatch import fnmatchcase

import msgspec

from broker.core import skills
from broker.core.ports import Call
from broker.errors import PoisonRequest
from broker.model import Listing, Spec

READS = frozenset({"resources/read", "prompts/get", "completion/complete", skills.LIST, *skills.METHODS})
STATE = frozenset({"inputResponses", "requestState"})
REMEMBERED = 256  # requests that were in work at a crash

_text = msgspec.json.Decoder(str).decode


class _Annotations(msgspec.Struct, rename="camel"):
    read_only_hint: bool = False
    idempotent_hint: bool = False


class _Tool(msgspec.Struct):
    name: str
    annotations: _Annotations | None = None


class Retries:
    """The memory of one plugin's crashes."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._suspects: OrderedDict[bytes, set[int]] = OrderedDict()  # digest -> the crashes it was in work at
        self._poison: set[bytes] = set()

    def check(self, call: Call) -> None:
        """Raises `PoisonRequest`."""
        if self._poison and _digest(call) in self._poison:
            name = self.spec.name
            raise PoisonRequest(
                f"{name} crashed twice at this {call.method}; it is not sent again",
                hint=f"Call it with other arguments; `broker restart {name}` forgets this.",
                facts={"plugin": name, "sideEffects": "none"},
            )

    def crashed(self, call: Call, crash: int) -> None:
        """`call` was in work at this crash; each crash has a number of its own."""
        digest = _digest(call)
        crashes = self._suspects.setdefault(digest, set())
        crashes.add(crash)
        self._suspects.move_to_end(digest)
        if len(crashes) > 1:
            self._poison.add(digest)
        while len(self._suspects) > REMEMBERED:
            self._poison.discard(self._suspects.popitem(last=False)[0])

    def may_repeat(self, call: Call, listing: Listing | None, now: float) -> bool:
        """Whether it may be sent to the next instance."""
        if call.heard or call.repeated or not STATE.isdisjoint(call.params):
            return False
        if now - call.began > (call.due - call.began) / 2:
            return False
        return call.method in READS or (call.method == "tools/call" and self._approved(call, listing))

    def _approved(self, call: Call, listing: Listing | None) -> bool:
        name = _text(call.params["name"])
        if listing is None or not any(fnmatchcase(name, glob) for glob in self.spec.replay):
            return False
        for raw in listing.tools:
            try:
                tool = msgspec.json.decode(raw, type=_Tool)
            except msgspec.MsgspecError:
                continue
            if tool.name == name and tool.annotations is not None:
                return tool.annotations.read_only_hint or tool.annotations.idempotent_hint
        return False


def _digest(call: Call) -> bytes:
    found = hashlib.blake2b(call.method.encode(), digest_size=16)
    for key in sorted(call.params):
        found.update(b"\0%b\0" % key.encode())
        found.update(call.params[key])
    return found.digest()
