"""Which mechanism is chosen, what is promised of it, and what is refused."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from typing import Any

import pytest
from msgspec.structs import replace

from broker.confine import backends, landlock, remedies
from broker.confine.backends import Abilities, check, examine, fitted, grades
from broker.confine.cgroup import Groups
from broker.confine.plan import Confinement
from broker.confine.start import start
from broker.errors import NotEnforced

linux = pytest.mark.skipif(sys.platform != "linux", reason="nothing is confined elsewhere")

NATIVE = Abilities(backend="native", landlock=7, notify=True)
BWRAP = replace(NATIVE, backend="bwrap")
LANDLOCK = replace(NATIVE, backend="landlock", failed={"native": "Operation not permitted", "bwrap": "not installed"})
NOTHING = Abilities(failed={"native": "Operation not permitted", "landlock": remedies.NO_LANDLOCK})


def wall(**may: Any) -> Confinement:
    return Confinement(name="todos", **may)


# grades


@pytest.mark.parametrize("found", [NATIVE, BWRAP, LANDLOCK], ids=["native", "bwrap", "landlock"])
def test_files_hosts_and_programs_are_enforced_by_every_mechanism(found: Abilities) -> None:
    promised = grades(found, wall(net=("a.example:443",), run=("/usr/bin/git",)))
    assert {promised[kind].grade for kind in ("read", "write", "net", "run", "env", "tree")} == {"yes"}


def test_memory_is_enforced_by_a_group_and_else_only_partly() -> None:
    assert grades(NATIVE)["memory"].grade == "partly"
    grouped = grades(replace(NATIVE, groups=Groups(v2="/sys/fs/cgroup/x", kinds=("memory", "pids"))))
    assert grouped["memory"] == backends.Grade("yes", "cgroup memory.max")


@pytest.mark.parametrize(
    ("found", "grade"),
    [
        (NATIVE, "yes"),
        (replace(NATIVE, root=True), "yes"),  # it is somebody else there
        (BWRAP, "yes"),
        (replace(BWRAP, root=True), "partly"),
        (LANDLOCK, "partly"),
        (replace(LANDLOCK, root=True), "partly"),
    ],
)
def test_processes_are_counted_by_the_user_namespace_or_not_at_all(found: Abilities, grade: str) -> None:
    assert grades(found)["pids"].grade == grade


def test_an_old_landlock_alone_promises_less() -> None:
    old = grades(replace(LANDLOCK, landlock=1))
    assert (old["write"].grade, old["processes"].grade, old["read"].grade) == ("partly", "partly", "yes")
    assert grades(replace(NATIVE, landlock=1))["write"].grade == "yes"


def test_without_notification_and_namespaces_no_list_of_hosts_is_enforced() -> None:
    mute = replace(LANDLOCK, notify=False, failed={"notify": "Operation not permitted"})
    assert grades(mute, wall(net=("a.example:443",)))["net"].grade == "no"
    assert grades(mute, wall(net=()))["net"].grade == "yes"


def test_a_socket_beside_the_granted_one_is_not_denied() -> None:
    granted = wall(sockets=("/run/x.sock",), read=("/home/x/docs",))
    assert grades(NATIVE, granted)["sockets"].grade == "partly"
    assert grades(NATIVE, wall(sockets=("/run/x.sock",)))["sockets"].grade == "yes"


@pytest.mark.parametrize("platform", ["darwin", "win32", "sunos5"])
async def test_other_systems_promise_nothing(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    found = await examine()
    assert found.backend is None
    assert {grades(found)[kind].grade for kind in ("read", "write", "net", "run", "processes")} == {"no"}
    with pytest.raises(NotEnforced) as caught:
        check(wall(), found)
    assert "WSL 2" in caught.value.hint and "unconfined = true" in caught.value.hint


# what is refused


def test_where_nothing_works_a_plugin_is_refused_with_all_that_was_tried() -> None:
    with pytest.raises(NotEnforced) as caught:
        check(wall(), NOTHING)
    assert "namespaces: Operation not permitted; Landlock: this kernel has no Landlock" in str(caught.value)
    assert "lsm=" in caught.value.hint


def test_what_nothing_enforces_is_refused_with_permission_mechanism_reason_and_remedy() -> None:
    mute = replace(LANDLOCK, notify=False, failed={**LANDLOCK.failed, "notify": "Function not implemented"})
    with pytest.raises(NotEnforced) as caught:
        check(wall(net=("a.example:443",)), mute)
    text = str(caught.value)
    assert "`net` cannot be enforced here (Landlock)" in text and "Function not implemented" in text
    assert 'unenforced = ["net"]' in caught.value.hint


def test_only_its_user_can_accept_less_and_for_each_kind_by_name() -> None:
    mute = replace(LANDLOCK, notify=False)
    may = {"net": ("a.example:443",), "sockets": ("/run/x.sock",)}
    with pytest.raises(NotEnforced, match="`sockets`"):
        check(wall(**may, unenforced=("net",)), mute)
    check(wall(**may, unenforced=("net", "sockets")), mute)


def test_what_holds_partly_is_a_warning_and_with_strict_a_refusal() -> None:
    assert check(wall(memory=1 << 28), NATIVE) == [
        "todos: `memory` is enforced only partly: each process is bounded by itself, and their sum is looked at now "
        "and then"
    ]
    with pytest.raises(NotEnforced, match="is enforced only partly, and it is `strict`"):
        check(wall(memory=1 << 28, strict=True), NATIVE)
    check(wall(memory=1 << 28, strict=True, unenforced=("memory",)), NATIVE)


def test_a_limit_that_was_not_set_is_no_reason_to_refuse() -> None:
    root = replace(LANDLOCK, root=True)
    assert check(wall(strict=True), root) == []
    with pytest.raises(NotEnforced, match="`pids`") as caught:
        check(wall(pids=20, strict=True), replace(root, failed={**root.failed, "cgroup": "not delegated"}))
    assert "Delegate=yes" in caught.value.hint


# how a wall is fitted


def test_a_wall_takes_the_shape_of_the_mechanism() -> None:
    assert fitted(wall(), NATIVE).mode == "native" and not fitted(wall(), NATIVE).notify
    assert fitted(wall(), BWRAP).mode == "stage2"
    assert fitted(wall(), LANDLOCK).mode == "landlock" and fitted(wall(), LANDLOCK).notify
    assert fitted(wall(), replace(NATIVE, proc=False)).proc is False


def test_namespaces_do_without_landlock_on_an_older_kernel() -> None:
    assert fitted(wall(), replace(NATIVE, landlock=0)).without == ("landlock",)
    assert fitted(wall(), NATIVE).without == ()


# this machine


@linux
async def test_the_first_mechanism_that_really_holds_a_process_is_taken() -> None:
    found = await examine()
    assert found.backend is not None, backends.tried(found)
    assert not set(found.failed) & {found.backend}


@linux
@pytest.mark.parametrize(
    ("without", "left"),
    [
        (("native",), ("bwrap", "landlock")),
        (("native", "bwrap"), ("landlock",)),
        (("native", "bwrap", "landlock"), (None,)),
        (("seccomp",), (None,)),
    ],
)
async def test_a_layer_that_is_switched_off_is_noticed_and_named(without: Any, left: tuple[str | None, ...]) -> None:
    found = await examine(without=without)
    assert found.backend in left or found.backend is None
    assert all(found.failed[layer] == "it was switched off" for layer in without)
    if found.backend is None:
        with pytest.raises(NotEnforced, match="switched off"):
            check(wall(), found)


@linux
@pytest.mark.parametrize("layer", ["notify", "cgroup", "landlock", "proc"])
async def test_a_missing_layer_is_never_promised(layer: Any) -> None:
    found = await examine(without=(layer,))
    assert found.failed[layer]
    assert not {"notify": found.notify, "cgroup": found.groups.kinds, "landlock": found.landlock, "proc": found.proc}[
        layer
    ]
    how = " ".join(grade.how for grade in grades(found).values())
    assert {"cgroup": "cgroup", "landlock": "Landlock"}.get(layer, "no such word") not in how


@linux
async def test_nothing_is_executed_where_nothing_enforces(tmp_path: Any) -> None:
    proof = tmp_path / "ran"
    words = ["/bin/sh", "-c", f"echo > {proof}"]
    found = await examine(without=("native", "bwrap", "landlock"))
    with pytest.raises(NotEnforced):
        await start(words, env={}, cwd=None, wall=wall(write=(str(tmp_path),)), told=lambda _: None, found=found)
    await asyncio.sleep(0)
    assert not proof.exists()


@linux
@pytest.mark.parametrize("left_out", ["seccomp"])
async def test_a_process_that_shows_less_than_was_promised_is_ended(
    left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter is left out behind the back of everybody who asks for it."""
    from broker.confine import seccomp

    monkeypatch.setattr(seccomp, "program", lambda shape: b"")  # pyright: ignore[reportUnknownLambdaType]
    found = await examine()
    assert found.backend is None
    assert "its system calls are not filtered" in backends.tried(found)


@linux
def test_every_setting_that_forbids_namespaces_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {path: value for path, value, _, _ in remedies._SETTINGS}
    for path, value in values.items():
        monkeypatch.setattr(remedies, "_setting", {**dict.fromkeys(values, ""), path: value}.__getitem__)
        (advice,) = remedies.advice({"native": "Operation not permitted"})
        assert "sudo" in advice


@linux
async def test_it_is_found_out_quickly() -> None:
    """The bound is for a machine at rest; the load of others stretches it, so the best of a few counts."""
    await examine()
    took = [(await examine()).seconds for _ in range(4)]
    assert min(took) < 0.2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), took


@linux
async def test_a_machine_without_room_does_not_lead_to_a_weaker_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    async def crowded(wall: Confinement) -> list[str]:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(backends, "_known", None)
    monkeypatch.setattr(backends, "_hold", crowded)
    with pytest.raises(OSError, match="temporarily"):
        await backends.abilities()
    assert (await examine()).failed["native"] == "it cannot be started: Resource temporarily unavailable"


@linux
async def test_it_is_looked_for_once_and_again_only_if_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[bool]()

    async def look(*, everything: bool) -> Abilities:
        looked.append(everything)
        await asyncio.sleep(0)
        return NOTHING if len(looked) == 1 else NATIVE

    monkeypatch.setattr(backends, "_known", None)
    monkeypatch.setattr(backends, "_looking", None)
    monkeypatch.setattr(backends, "examine", look)
    assert await asyncio.gather(backends.abilities(), backends.abilities()) == [NOTHING, NOTHING]
    assert looked == [False]
    assert [await backends.abilities() for _ in range(3)] == [NATIVE] * 3
    assert len(looked) == 2


def succeeds(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


@linux
async def test_what_this_machine_has_works() -> None:
    """Otherwise a mechanism that we broke would look like one that this machine lacks, and its tests be skipped."""
    has = {
        "native": succeeds("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "true"),
        "bwrap": succeeds("bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"),
        "landlock": landlock.abi() > 0,
    }
    found = await examine()
    broken = [f"{name}: {found.failed[name]}" for name in has if has[name] and name in found.failed]
    assert broken == []
    assert found.notify or "notify" in found.failed
