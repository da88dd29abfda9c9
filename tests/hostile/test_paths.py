"""Two hundred ways to write a path that leads somewhere it should not: each is refused, or leads where it may.

What may not be reached is told by inodes here, not by names: however a path is written, it is the folder that counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.errors import DangerousGrant
from broker.permissions.places import Places, moved
from broker.permissions.scopes import parse

TARGETS = ("/", "home", "state", "data/other", "config", "/proc", "/etc", "above home")
SYSTEM = ("/", "/etc", "/proc", "/sys", "/dev", "/run", "/boot")


class Land:
    """A home, a broker's folders, and links that a plugin could have laid in its workspace."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.home, self.state = self.root / "users" / "x", self.root / "state"
        self.workspace, self.config = self.home / "wörk", self.home / ".config" / "broker"
        for folder in (self.workspace / "in", self.config, self.state / "data" / "mine", self.state / "data" / "other"):
            folder.mkdir(parents=True)
        (self.state / "grants.json").touch()
        self.places = Places(
            str(self.home),
            str(self.workspace),
            str(self.state / "data" / "mine"),
            None,
            (str(self.state), str(self.config)),
        )

    def target(self, name: str) -> Path:
        known = {"home": self.home, "state": self.state, "config": self.config, "above home": self.home.parent}
        return known.get(name) or (Path(name) if name.startswith("/") else self.state / name)

    def link(self, name: str, to: str | Path) -> Path:
        link = self.workspace / name
        link.symlink_to(to)
        return link

    def forbidden(self, path: str) -> str:
        """Why what lies at `path` may not be given away; empty if it may."""
        here, mine = _inode(path), _inode(str(self.state / "data" / "mine"))
        if here in _chain(str(self.home)):
            return "it is home or above"
        if here is not None and here in {_inode(each) for each in SYSTEM}:
            return "it is the system's"
        if any(here in _chain(each) for each in self.guarded()) and here != mine:
            return "it is above what is guarded"
        return "it is guarded" if _inside(path, self.guarded()) and mine not in _chain(path) else ""

    def guarded(self) -> list[str]:
        return [str(self.state), str(self.config)]


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _chain(path: str) -> set[tuple[int, int]]:
    """The inodes of a path and of all above it."""
    found = {_inode(path), _inode("/")}
    while (path := os.path.dirname(path)) != "/":
        found.add(_inode(path))
    return {each for each in found if each is not None}


def _inside(path: str, folders: list[str]) -> bool:
    return any(_inode(folder) in _chain(path) for folder in folders)


Writing = Callable[[Land, Path], str]


def _chained(land: Land, target: Path) -> str:
    land.link("one", target)
    land.link("two", "one")
    return f"{land.link('three', 'two')}"


def _in_the_middle(land: Land, target: Path) -> str:
    land.link("door", target.parent)
    return f"{land.workspace}/door/{target.name}"


WRITINGS: dict[str, Writing] = {
    "plain": lambda land, target: f"{target}",
    "slash": lambda land, target: f"{target}/",
    "double": lambda land, target: f"{target}".replace("/", "//"),
    "dots": lambda land, target: f"/.{target}/./.",
    "all below": lambda land, target: f"{target}/**",
    "below twice": lambda land, target: f"{target}/**/**",
    "glob": lambda land, target: f"{target}/*",
    "glob of a name": lambda land, target: f"{target}/**/grants.json",
    "upwards": lambda land, target: f"{land.workspace}/in/../../..{target}",
    "upwards at the end": lambda land, target: f"{target}/x/..",
    "upwards from a place": lambda land, target: f"${{workspace}}/../{target.name}",
    "link": lambda land, target: f"{land.link('link', target)}",
    "link from a place": lambda land, target: f"${{workspace}}/{land.link('l', target).name}/**",
    "relative link": lambda land, target: f"{land.link('rel', os.path.relpath(target, land.workspace))}",
    "chain of links": _chained,
    "link in the middle": _in_the_middle,
    "own root": lambda land, target: f"/proc/self/root{target}",
    "own folder": lambda land, target: f"/proc/self/cwd/../../../../../../..{target}",
    "own descriptors": lambda land, target: f"/proc/self/fd/../root{target}",
    "a thread's root": lambda land, target: f"/proc/thread-self/root/{target}",
    "NUL": lambda land, target: f"{land.workspace}\0{target}",
    "NUL at the end": lambda land, target: f"{target}\0.txt",
    "line break": lambda land, target: f"{land.workspace}\n{target}",
    "hidden character": lambda land, target: f"{target}\u200b",
    "turned around": lambda land, target: f"\u202e{target}",
    "backslashes": lambda land, target: f"{target}".replace("/", "\\"),
    "UNC": lambda land, target: f"\\\\localhost\\c${target}",
    "drive": lambda land, target: f"C:{target}",
    "percent": lambda land, target: f"{land.workspace}/%2e%2e/%2e%2e{target}",
    "URL": lambda land, target: f"file://{target}",
    "somebody's home": lambda land, target: f"~root{target}",
    "home in the middle": lambda land, target: f"/${{home}}{target}",
    "a shell's": lambda land, target: f"$HOME{target}",
    "a command": lambda land, target: f"$(echo {target})",
    "braces": lambda land, target: f"{{{target},/srv}}",
}


@pytest.fixture
def land(tmp_path: Path) -> Iterator[Land]:
    yield Land(tmp_path)


def test_the_corpus_is_large() -> None:
    assert len(WRITINGS) * len(TARGETS) >= 200


@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("target", TARGETS)
def test_no_writing_of_a_path_leads_where_it_may_not(tmp_path: Path, target: str, kind: str) -> None:
    led: dict[str, str] = {}
    for number, (name, writing) in enumerate(WRITINGS.items()):
        land = Land(tmp_path / str(number))
        if reached := led_to(land, f"{kind}:{writing(land, land.target(target))}"):
            led[name] = reached
    assert led == {}


def led_to(land: Land, text: str) -> str:
    """Where a permission leads that should not lead there, and why; empty: it is refused, or leads where it may."""
    try:
        found = str(land.places.resolved(parse(text))).partition(":")[2]
    except (DangerousGrant, ValueError) as error:
        return "" if str(error).isprintable() else f"refused with {str(error)!r}"
    if not os.path.isabs(found) or ".." in found.split("/"):
        return f"{found}: it is not resolved"
    reason = land.forbidden(found.partition("*")[0].rstrip("/") or "/")
    return reason and f"{found}: {reason}"


@pytest.mark.parametrize("target", TARGETS)
def test_the_plain_writing_and_a_link_are_refused_for_each_target(land: Land, target: str) -> None:
    """So that the corpus cannot pass by refusing nothing."""
    for writing in ("plain", "all below", "link", "chain of links", "own root"):
        with pytest.raises(DangerousGrant):
            land.places.resolved(parse(f"read:{WRITINGS[writing](land, land.target(target))}"))


def test_what_lies_beside_is_not_refused(land: Land) -> None:
    """Siblings by prefix, by case, by another spelling of the same letters, and names that look like commands."""
    for name in (
        "state-old",
        "STATE",
        "users/x-old",
        "users/x/.config/broker2",
        "users/x/wo\u0308rk",
        "srv/$(rm)",
        "a b",
    ):
        folder = land.root / name
        folder.mkdir(parents=True, exist_ok=True)
        if land.forbidden(str(folder)):
            continue  # a file system for which two of these are one
        assert str(land.places.resolved(parse(f"read:{folder}"))) == f"read:{folder}"


def test_a_link_swapped_while_it_is_resolved_never_leads_where_it_may_not(land: Land) -> None:
    """Whatever is resolved is what was judged: there is no second look in between."""
    (land.workspace / "good").mkdir()
    door, spare = land.workspace / "door", land.workspace / "spare"
    door.symlink_to("good")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for target in (land.state, land.workspace / "good", land.home):
                spare.symlink_to(target)
                spare.replace(door)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        outcomes = {_outcome(land, "read:${workspace}/door") for _ in range(3000)}
    finally:
        done.set()
        swapping.join(10)
    assert outcomes <= {"refused", f"read:{land.workspace}/good"}


def _outcome(land: Land, text: str) -> str:
    try:
        return str(land.places.resolved(parse(text)))
    except DangerousGrant:
        return "refused"


def test_each_way_to_swap_what_was_granted_is_seen_before_use(land: Land) -> None:
    granted = [land.places.resolved(parse("write:${workspace}/in/deep/**"))]
    inner = land.workspace / "in"
    (inner / "deep").mkdir()
    assert list(moved(granted)) == []
    for swapped in (inner / "deep", inner, land.workspace):
        kept = swapped.with_name(f"{swapped.name}-kept")
        swapped.rename(kept)
        swapped.symlink_to(land.state)
        assert len(list(moved(granted))) == 1
        swapped.unlink()
        kept.rename(swapped)
    assert list(moved(granted)) == []
