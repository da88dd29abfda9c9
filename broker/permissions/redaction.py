"""Secrets are kept out of what is written down or shown: logs, the last lines of a plugin, errors, the audit file.

Rule 1: a value is declared, not guessed. Each is known in all the ways programs usually write it: plain, in JSON (also
        in JSON within JSON), in a URL, in base64 at every offset, in hex. A plugin that wants to get a secret past
        this can (it need only reverse it): this catches accidents, confinement holds plugins.
Rule 2: a secret that goes on in the next line is found too, as are lines of keys and wrapped base64. What is written
        at once is never more than its first characters, fewer than `LEAST`.
Rule 3: payloads of calls are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from broker.errors import BrokerError
from broker.permissions.environment import credential_like

LEAST = 6  # characters; shorter values are words of everyday text
MARK = b"[redacted]"

_Error = TypeVar("_Error", bound=BrokerError)
_Failure = TypeVar("_Failure", bound=BaseException)

_HEAD = 64  # bytes of a long spelling that the pattern looks for; the rest is compared
_PASSWORD_IN_URL = r"://[^/@\s:]*:([^/@\s]+)@"


class _Begun(Struct, frozen=True):
    """A spelling that a line ended in the middle of: `done` bytes of it are written."""

    spelling: bytes
    done: int


class Redaction:
    """Takes the values of one plugin out of text. `values` of fewer than `LEAST` characters are ignored."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values: set[str] = set()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Take these out too, from now on."""
        self._values.update(values)
        self._spellings = _spellings(self._values)
        self._heads: dict[bytes, list[bytes]] = {}
        self._starts: dict[bytes, list[_Begun]] = {}
        for spelling in self._spellings:
            self._heads.setdefault(spelling[:_HEAD], []).append(spelling)
            for size in range(1, LEAST):
                self._starts.setdefault(spelling[:size], []).append(_Begun(spelling, size))
        heads = sorted(self._heads, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, heads))) if heads else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def text(self, text: str) -> str:
        """`text` without the values; it may have several lines."""
        if self._pattern is None or not text:
            return text
        lines = Lines(self)
        kept = b"\n".join(map(lines.take, text.encode("utf-8", "surrogatepass").split(b"\n")))
        try:
            return kept.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a mark stands in the middle of a character
            return kept.decode("utf-8", "replace")

    def value(self, value: object) -> object:
        """A JSON value without them: in its texts and keys, and in numbers that are one."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in cast("list[object]", value)]
        if isinstance(value, dict):
            held = cast("dict[str, object]", value)
            return {self.text(key): self.value(each) for key, each in held.items()}
        if isinstance(value, int | float):
            written = str(value)
            return value if self.text(written) == written else MARK.decode()
        return value

    def raw(self, data: Raw) -> Raw:
        """Undecoded JSON without them. What cannot be decoded is dropped."""
        if self._pattern is None:
            return data
        try:
            held = msgspec.json.decode(data)
            cleaned = self.value(held)
            return data if cleaned == held else Raw(msgspec.json.encode(cleaned))
        except (msgspec.MsgspecError, RecursionError):
            return Raw(b"null")

    def error(self, error: _Error) -> _Error:
        """`error` itself, its words, facts and data without them."""
        if self._pattern is not None:
            error.args = tuple(self.value(each) for each in error.args)
            error.hint = self.text(error.hint)
            error.facts = {key: self.value(each) for key, each in error.facts.items()}
            error.data = self.raw(error.data) if error.data is not None else None
        return error

    def clean(self, line: bytes) -> tuple[bytes, list[_Begun]]:
        """One line without the values, and those that may go on in the next."""
        kept: list[bytes] = []
        at = 0
        for begin, end in self._whole(line):
            kept += line[at:begin], MARK
            at = end
        where, begun = self._begun(line[at:])
        kept.append(line[at : at + where])
        if at + where < len(line):
            kept.append(MARK)
        return b"".join(kept), begun

    def _whole(self, line: bytes) -> Iterator[tuple[int, int]]:
        """Begin and end of every value that is whole in the line; of a very long one the head is enough."""
        at = 0
        while self._pattern is not None and (found := self._pattern.search(line, at)) is not None:
            begin = found.start()
            at = begin + max(_shared(line, begin, each) for each in self._heads[found[0]])
            yield begin, at

    def _begun(self, line: bytes) -> tuple[int, list[_Begun]]:
        """What begins at the end of `line` and does not end there, and where it does so visibly (else the length)."""
        where, found = len(line), list[_Begun]()
        for spelling in self._spellings:
            at = line.find(spelling[:LEAST], max(0, len(line) - len(spelling) + 1))
            while at >= 0 and not spelling.startswith(line[at:]):
                at = line.find(spelling[:LEAST], at + 1)
            if at >= 0:
                found.append(_Begun(spelling, len(line) - at))
                where = min(where, at)
        for size in range(1, min(LEAST, len(line) + 1)):
            found += self._starts.get(line[-size:], ())
        return where, found


class Lines:
    """Cleans the lines of one stream, each in its turn."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._open: list[_Begun] = []

    def take(self, line: bytes) -> bytes:
        """The next line, without its end, cleaned."""
        cleaned, self._open = self._cleaned(line)
        return cleaned

    def peek(self, line: bytes) -> bytes:
        """A line that is not whole yet, as it can be shown."""
        return self._cleaned(line)[0]

    def _cleaned(self, line: bytes) -> tuple[bytes, list[_Begun]]:
        if not self._redaction:
            return line, []
        body = line.rstrip(b"\r")
        if not body:
            return line, self._open
        front, rest, going_on = self._continued(body)
        cleaned, begun = self._redaction.clean(rest)
        return front + cleaned + line[len(body) :], going_on + begun

    def _continued(self, line: bytes) -> tuple[bytes, bytes, list[_Begun]]:
        """What the line shows in place of what it continues, the rest of it, and what goes on beyond it."""
        going_on: list[_Begun] = []
        longest = 0
        for each in self._open:
            rest = each.spelling[each.done :]
            if line.startswith(rest):
                longest = max(longest, len(rest))
            elif rest.startswith(line):
                going_on.append(_Begun(each.spelling, each.done + len(line)))
        if longest:
            return MARK, line[longest:], []
        if any(each.done >= LEAST for each in going_on):
            return MARK, b"", going_on
        return b"", line, going_on


class Redactions:
    """Those of all plugins, by name."""

    def __init__(self) -> None:
        self._all: dict[str, Redaction] = {}

    def declare(self, plugin: str, values: Iterable[str]) -> Redaction:
        """The values of a plugin that is started now."""
        self._all[plugin] = Redaction(values)
        return self._all[plugin]

    def learn(self, plugin: str, value: str) -> None:
        """One more value, of a plugin that runs."""
        self._all.setdefault(plugin, Redaction(())).learn([value])

    def text(self, plugin: str, text: str) -> str:
        """`text` about a plugin, without its values."""
        return self._all.get(plugin, NO_SECRETS).text(text)

    def raw(self, plugin: str, data: Raw) -> Raw:
        """Undecoded JSON about a plugin, without its values."""
        return self._all.get(plugin, NO_SECRETS).raw(data)

    def error(self, plugin: str, error: _Failure) -> _Failure:
        """`error` itself, without the values of its plugin."""
        return self._all.get(plugin, NO_SECRETS).error(error) if isinstance(error, BrokerError) else error


def credentials_in(env: Mapping[str, str]) -> Iterator[str]:
    """The values of an entry's `env` that look like credentials: by their name, or as the password in a URL."""
    for name, value in env.items():
        if credential_like(name):
            yield value
        yield from re.findall(_PASSWORD_IN_URL, value)


def _spellings(values: Iterable[str]) -> list[bytes]:
    """Every spelling of every value, the longest first."""
    told = [value for value in values if len(value.strip()) >= LEAST]
    if not told:
        return []
    from broker.permissions.spellings import spellings  # its imports are for those who have a secret

    return sorted({each for value in told for each in spellings(value.strip(), LEAST)}, key=len, reverse=True)


def _shared(line: bytes, begin: int, spelling: bytes) -> int:
    """How many bytes of the line from `begin` on are those of the spelling."""
    here = line[begin : begin + len(spelling)]
    if here == spelling:
        return len(spelling)
    return next((at for at, (one, other) in enumerate(zip(here, spelling, strict=False)) if one != other), len(here))


NO_SECRETS = Redaction(())
