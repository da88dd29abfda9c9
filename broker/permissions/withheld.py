"""What of a plugin's own lists is kept from clients, and what a call for it ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw, Struct

from broker.errors import Withdrawn
from broker.model import Kind

_text = msgspec.json.Decoder(str).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_ADDRESSED: Mapping[str, tuple[tuple[Kind, ...], str]] = {
    "tools/call": (("tools",), "name"),
    "prompts/get": (("prompts",), "name"),
    "resources/read": (("resources",), "uri"),
}


class Withheld(Struct, frozen=True):
    """Of one plugin. `reason` withholds everything; it is a sentence, with what to do in `hint`."""

    plugin: str = ""
    reason: str = ""
    hint: str = ""
    names: Mapping[Kind, frozenset[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.reason or self.names)

    def check(self, method: str, params: Mapping[str, Raw]) -> None:
        """Raises `Withdrawn` for a request, in the plugin's own names, that is for something withheld."""
        if self.reason:
            raise Withdrawn(self.reason, hint=self.hint, facts={"plugin": self.plugin})
        if method == "completion/complete":
            self._check_reference(params)
        elif method in _ADDRESSED:
            kinds, member = _ADDRESSED[method]
            self.check_names(kinds, _string(params, member))

    def check_names(self, kinds: Iterable[Kind], name: str) -> None:
        """Raises `Withdrawn` if the name is withheld in one of these lists."""
        for kind in kinds:
            if name in self.names.get(kind, ()):
                raise self.refusal(name)

    def refusal(self, name: str) -> Withdrawn:
        """What is said of a name, or of the whole plugin."""
        if self.reason:
            return Withdrawn(self.reason, hint=self.hint, facts={"plugin": self.plugin})
        return Withdrawn(
            f"{name} of {self.plugin} is not what its user approved, and is withheld until they look at it",
            hint=f"`broker review {self.plugin}` shows what changed, `broker approve {self.plugin}` takes it.",
            facts={"plugin": self.plugin, "command": f"broker review {self.plugin}"},
        )

    def _check_reference(self, params: Mapping[str, Raw]) -> None:
        try:
            ref = _members(params["ref"])
        except (KeyError, msgspec.MsgspecError):
            return
        self.check_names(("prompts",), _string(ref, "name"))
        self.check_names(("resources", "templates"), _string(ref, "uri"))


NOTHING = Withheld()


def _string(members: Mapping[str, Raw], member: str) -> str:
    try:
        return _text(members[member])
    except (KeyError, msgspec.MsgspecError):
        return ""
