"""The one place where it is judged what a plugin may do.

Rule 1: two keys. What is not asked for is not granted, whatever the ledger says; what is asked for needs a grant.
Rule 2: a plain server's table in the user's own config.toml is both keys: the same hand wrote it. In every other file,
        and in every manifest, it only asks.
Rule 3: a grant counts for what was approved. If that changed, nothing of it counts, and the verdict says what changed.
Rule 4: what is dangerous, or cannot be held, is refused for good; no grant helps, not even the user's own table.
Rule 5: in doubt nothing is granted: a ledger that cannot be trusted, a manifest that cannot be read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.errors import BadArguments, ConfigError, DangerousGrant, LedgerBroken, PermissionMissing
from broker.model import Problem, Spec
from broker.permissions import DATA
from broker.permissions.approval import MANIFEST, Approval, Program, approval, changes
from broker.permissions.grants import Entry, Grant, Ledger, moment
from broker.permissions.places import Places, moved
from broker.permissions.scopes import KINDS, Permission, allowed, parse, shown, texts

_WORKSPACE = "${workspace}"
_IN_PROCESS = (".lua", ".wasm")  # entries whose files broker opens for them, so that it can look at each


class Refused(Struct, frozen=True):
    """Something asked for that nobody can grant."""

    text: str  # as it is asked for
    why: str  # a sentence
    fix: str


class Verdict(Struct, frozen=True):
    """What a plugin asks for, judged."""

    granted: tuple[Permission, ...] = ()  # asked for and granted
    missing: tuple[Permission, ...] = ()  # asked for, and not granted
    refused: tuple[Refused, ...] = ()
    stale: str = ""  # why an earlier grant no longer counts, without a full stop; empty if none is lost by that


class Decision(Struct, frozen=True):
    """A line of the record of grants."""

    time: str
    action: str  # grant, once, revoke
    plugin: str
    source: str
    permissions: tuple[str, ...]
    by: str
    pid: int


class Grounds(Struct, frozen=True, kw_only=True):
    """What the gate judges by."""

    state: Path  # folder of the ledger and of the plugins' data
    home: str
    workspace: str | None
    own: Path | None  # the user's config.toml
    guarded: tuple[str, ...]  # files and folders of broker's that no plugin is given
    program: Callable[[Spec], str | None]  # the path of what would be started; None: it is not there

    def places(self, spec: Spec) -> Places:
        """What the paths of this plugin's permissions begin with."""
        plugin = spec.cwd if spec.version else None
        return Places(self.home, self.workspace, str(self.state / DATA / spec.name), plugin, self.guarded)


class Gate:
    """Judges by these grounds. It lives as long as the broker: what is granted once is kept here.

    `record` is given a line of JSON for each decision.
    """

    def __init__(self, grounds: Grounds, record: Callable[[bytes], object] | None = None) -> None:
        self.ledger = Ledger(grounds.state)
        self._grounds, self._record = grounds, record
        self._once: dict[tuple[str, str], Entry] = {}
        self._programs: dict[str, Program] = {}  # as they were last read

    def judge(self, specs: Iterable[Spec]) -> tuple[list[Spec], list[Problem]]:
        """`judged` for all of them, and the Problems with what they ask for."""
        judged: list[Spec] = []
        problems: list[Problem] = []
        for spec in specs:
            verdict = self.check(spec)
            judged.append(_with(spec, verdict))
            where = os.path.join(spec.cwd, MANIFEST) if spec.version and spec.cwd else spec.source
            problems += [Problem(where, f"{spec.name}: {each.why}", each.fix, spec.name) for each in verdict.refused]
        return judged, problems

    def judged(self, spec: Spec) -> Spec:
        """`spec` with what it was granted, what it lacks and why. Opens no file for one that asks for nothing."""
        return _with(spec, self.check(spec))

    def check(self, spec: Spec) -> Verdict:
        """What `spec` asks for, judged now."""
        if not spec.permissions:
            return Verdict()
        asked, refused = self.asked(spec)
        if self.is_own(spec):
            return Verdict(granted=asked, refused=refused)
        counting, stale = self._counting(spec)
        granted = tuple(one for one in asked if allowed(counting, one))
        missing = tuple(one for one in asked if one not in granted)
        return Verdict(granted, missing, refused, stale if missing else "")

    def still(self, spec: Spec) -> None:
        """To be called right before `spec` is started: raises `PermissionMissing` if what it was granted is not so now.

        A folder that became a link, a program that was replaced and a grant that was taken back are seen here.
        """
        if not spec.granted:
            return
        for one, place in moved(map(parse, spec.granted)):
            raise PermissionMissing(
                f"{spec.name} is not started: `{one}` was granted, and that leads to {place} now",
                hint=f"If that is meant, look at it with `broker show {spec.name}` and grant it anew.",
            )
        verdict = self.check(spec)
        lost = set(spec.granted) - set(map(str, verdict.granted))
        if lost:
            why = f": {verdict.stale}" if verdict.stale else ""
            raise PermissionMissing(f"{spec.name} is not started: {', '.join(sorted(lost))} is not granted now{why}")

    def asked(self, spec: Spec) -> tuple[tuple[Permission, ...], tuple[Refused, ...]]:
        """What `spec` asks for with its places filled in, and what of it is refused."""
        places = self._grounds.places(spec)
        asked: dict[Permission, None] = {}
        refused: list[Refused] = []
        for text in texts(spec.permissions or {}):
            try:
                asked[_held(places.resolved(parse(text)), spec)] = None
            except DangerousGrant as error:
                refused.append(Refused(shown(text), f"{error}.", error.hint))
            except ValueError as error:
                refused.append(Refused(shown(text), str(error), "Correct it, or take it out."))
            except OSError as error:
                why = f"`{shown(text)}` cannot be judged: {error.filename}: {error.strerror}."
                refused.append(Refused(shown(text), why, "Correct the rights of that folder."))
        return tuple(asked), tuple(refused)

    def is_own(self, spec: Spec) -> bool:
        """Whether the user wrote its table of permissions into their own config.toml."""
        own = self._grounds.own
        return own is not None and not spec.version and os.path.abspath(spec.source) == os.path.abspath(own)

    def entry(self, spec: Spec) -> Entry | None:
        """What the ledger has for it, whether it counts or not. Raises `LedgerBroken`."""
        return self.ledger.read().entry(spec.name, _source(spec))

    def approval(self, spec: Spec) -> Approval:
        """What granting something to `spec` approves now. Raises `OSError`."""
        return self._approval(spec, None)

    def chosen(self, spec: Spec, words: Iterable[str]) -> tuple[Permission, ...]:
        """What somebody means by `words`: permissions that `spec` asks for, or kinds (all of them it asks for).

        Raises `BadArguments` for what it does not ask for, `DangerousGrant` for what nobody can grant.
        """
        asked, refused = self.asked(spec)
        return tuple(dict.fromkeys(one for word in words for one in self._meant(spec, word, asked, refused)))

    def grant(self, spec: Spec, approved: Approval, permissions: Sequence[Permission], by: str) -> None:
        """Grant what `chosen` gave, for the `approved` that its user saw. Raises `LedgerBroken`, `ConfigError`.

        What the plugin shows next becomes its pin, if it has none.
        """
        from broker.permissions.pins import Pins  # the start of every broker would pay for it

        Pins(self._grounds.state / "pins").approve_next(spec.name)  # before, so that no granted plugin is without
        self.ledger.grant(spec.name, _source(spec), approved, permissions, by)
        self._note("grant", spec, map(str, permissions), by)

    def allow(self, spec: Spec, approved: Approval, *, once: bool, by: str) -> Spec:
        """Grant all that `spec` lacks to the `approved` that its user was asked about; `spec` judged anew.

        Nothing is granted if it is something else by now. Raises `LedgerBroken`, `ConfigError`, `DangerousGrant`,
        `BadArguments`, `OSError`.
        """
        # What was shown is a place. If a link leads elsewhere by now, that is another place.
        lacking = [one for one in self.chosen(spec, spec.missing) if str(one) in spec.missing]
        if changes(approved, self._approval(spec, approved)):
            return self.judged(spec)
        if once:
            return self.grant_once(spec, approved, lacking, by)
        self.grant(spec, approved, lacking, by)
        return self.judged(spec)

    def grant_once(self, spec: Spec, approved: Approval, permissions: Sequence[Permission], by: str) -> Spec:
        """Grant what `chosen` gave as long as this gate lives; `spec` judged anew."""
        key = (spec.name, _source(spec))
        old = self._once.get(key)
        kept = old.grants if old is not None and not changes(old.approval, approved) else ()
        new = tuple(Grant(str(one), moment(), by) for one in permissions)
        self._once[key] = Entry(*key, approved, (*kept, *new))
        self._note("once", spec, map(str, permissions), by)
        return self.judged(spec)

    def forget(self, spec: Spec) -> Spec:
        """Take back what was granted once; `spec` judged anew."""
        self._once.pop((spec.name, _source(spec)), None)
        return self.judged(spec)

    def revoke(self, spec: Spec, words: Sequence[str], by: str) -> tuple[Grant, ...]:
        """Take back what `words` name (permissions or kinds), everything if there are none; what was granted of it.

        Raises `BadArguments`, `ConfigError`, `LedgerBroken`.
        """
        if self.is_own(spec):
            hint = f"Take them out of its entry in {spec.source}."
            raise ConfigError(f"{spec.name} has its permissions from your own configuration", hint=hint)
        entry = self.entry(spec)
        there = [parse(each.permission) for each in entry.grants] if entry else []
        chosen = [one for word in words for one in self._granted_by(spec, word, there)] if words else None
        gone = self.ledger.revoke(spec.name, _source(spec), chosen)
        if gone:
            self._note("revoke", spec, (each.permission for each in gone), by)
        return gone

    def _counting(self, spec: Spec) -> tuple[list[Permission], str]:
        """The grants that count for `spec` as it is now, and why others do not."""
        once = self._once.get((spec.name, _source(spec)))
        try:
            found = [each for each in (self.entry(spec), once) if each is not None]
            stale = ""
        except LedgerBroken as error:
            found, stale = [once] if once is not None else [], str(error)
        counting: list[Permission] = []
        for entry in found:
            why = self._changes(spec, entry.approval)
            counting += [] if why else [parse(grant.permission) for grant in entry.grants]
            stale = stale or why
        return counting, stale

    def _changes(self, spec: Spec, approved: Approval) -> str:
        try:
            return changes(approved, self._approval(spec, approved))
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror}"

    def _approval(self, spec: Spec, approved: Approval | None) -> Approval:
        path = self._grounds.program(spec)
        known = [approved.program if approved else None, self._programs.get(path or "")]
        found = approval(spec, path, [each for each in known if each is not None])
        if path is not None and found.program is not None:
            self._programs[path] = found.program
        return found

    def _meant(
        self, spec: Spec, word: str, asked: Sequence[Permission], refused: Sequence[Refused]
    ) -> Iterator[Permission]:
        if of_kind := [one for one in asked if one.kind == word]:
            yield from of_kind
            return
        for each in refused:
            if word in (each.text, each.text.partition(":")[0]):
                raise DangerousGrant(each.why.removesuffix("."), hint=each.fix)
        try:
            wanted = self._grounds.places(spec).resolved(parse(word)) if word not in KINDS else Permission(word)
        except ValueError as error:
            raise BadArguments(str(error).removesuffix("."), hint=_asks(spec, asked)) from None
        if wanted not in asked and not self._is_elsewhere(spec, wanted):
            raise BadArguments(f"{spec.name} does not ask for `{wanted}`", hint=_asks(spec, asked))
        yield wanted

    def _is_elsewhere(self, spec: Spec, wanted: Permission) -> bool:
        """Whether it asks for that where another folder is the workspace: a client's need not be the terminal's."""
        for one in map(parse, filter(_is_of_workspace, texts(spec.permissions or {}))):
            rest = one.target.removeprefix(_WORKSPACE)
            folder = wanted.target.removesuffix(rest)
            if one.kind == wanted.kind and os.path.isabs(folder) and os.path.isdir(folder):
                places = replace(self._grounds.places(spec), workspace=folder)
                with contextlib.suppress(ValueError, OSError):
                    if _held(places.resolved(one), spec) == wanted:
                        return True
        return False

    def _granted_by(self, spec: Spec, word: str, there: Sequence[Permission]) -> list[Permission]:
        spellings = {word}
        with contextlib.suppress(ValueError, DangerousGrant):
            spellings.add(str(self._grounds.places(spec).resolved(parse(word))))
        found = [one for one in there if one.kind == word or str(one) in spellings]
        if not found:
            has = ", ".join(map(str, there)) or "nothing"
            raise BadArguments(f"`{shown(word)}` is not granted to {spec.name}", hint=f"It was granted {has}.")
        return found

    def _note(self, action: str, spec: Spec, permissions: Iterable[str], by: str) -> None:
        if self._record is not None:
            line = Decision(moment(), action, spec.name, _source(spec), tuple(permissions), by, os.getpid())
            self._record(msgspec.json.encode(line) + b"\n")


def _with(spec: Spec, verdict: Verdict) -> Spec:
    if not spec.permissions:
        return spec
    refused = tuple(each.text for each in verdict.refused)
    return replace(
        spec,
        granted=tuple(map(str, verdict.granted)),
        missing=(*map(str, verdict.missing), *refused),
        refused=refused,
        stale=verdict.stale,
    )


def _is_of_workspace(text: str) -> bool:
    try:
        return parse(text).target.startswith(_WORKSPACE)
    except ValueError:
        return False


def _held(one: Permission, spec: Spec) -> Permission:
    """`one`, unless nothing could hold this plugin to it."""
    if one.is_glob and not (spec.entry or "").endswith(_IN_PROCESS):
        what = "has a pattern, and the kernel holds a process only to files and folders; name those."
        raise ValueError(f"`{one}` {what}")
    return one


def _asks(spec: Spec, asked: Sequence[Permission]) -> str:
    return f"{spec.name} asks for {', '.join(map(str, asked)) or 'nothing'}."


def _source(spec: Spec) -> str:
    """The file that names it; the bytes of a name that are no text stand as escapes."""
    return os.path.abspath(spec.source).encode("utf-8", "backslashreplace").decode()
