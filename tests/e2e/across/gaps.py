"""What an SDK or an era itself cannot do, and why: the only things the cross-era suite does not ask for.

A gap that leaves something to be seen is still asked for: what is seen is then the same through a broker and without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.across.pairs import Pair


@dataclass(frozen=True)
class Gap:
    feature: str
    reason: str
    of: Callable[[Pair], bool]
    asked: bool = False
    """Whether it is asked for nevertheless, because the SDK answers with less."""


UNKNOWN = "members nobody knows are kept"
NO_OBJECT = "structured content that is no object arrives"

GAPS = [
    Gap(UNKNOWN, "every client drops those of a block of content", lambda pair: True, asked=True),
    Gap(NO_OBJECT, "only a server of 2026-07-28 alone may answer with it", lambda pair: pair.server.eras != "modern"),
    Gap(
        "list prompts",
        "the TypeScript clients drop the title of an argument",
        lambda pair: pair.client.sdk.startswith("typescript"),
        asked=True,
    ),
    Gap(
        "task",
        "only the SDKs for 2025-11-25 have tasks: those for 2026-07-28 have neither its tasks nor the extension's",
        lambda pair: pair.client.sdk != "typescript1" or pair.server.sdk not in ("python1", "typescript1"),
        asked=True,
    ),
    Gap("ping", "2026-07-28 has no ping", lambda pair: pair.client.era == "modern"),
    Gap("roots_changed", "2026-07-28 has no such notice", lambda pair: pair.client.era == "modern"),
    Gap("quiet", "before 2026-07-28 the level is the session's", lambda pair: pair.client.era == "legacy"),
    Gap("visited", "2026-07-28 has no such notice", lambda pair: pair.client.era == "modern"),
    Gap("visited", "2026-07-28 has no such notice", lambda pair: pair.opened == "modern", asked=True),
    Gap(
        "visited",
        "for a legacy client this SDK makes the request itself, of a result, and tells no end",
        lambda pair: pair.server.sdk == "typescript2",
        asked=True,
    ),
]


def gap(pair: Pair, feature: str) -> Gap | None:
    """Why the pair does not have the feature."""
    return next((each for each in GAPS if each.feature == feature and each.of(pair)), None)


def skipped(pair: Pair) -> frozenset[str]:
    """What is not asked for: neither end has it, or not both."""
    return frozenset(each.feature for each in GAPS if each.of(pair) and not each.asked)
