"""What the project wants of itself, and whether this run shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.bench import calls, components, confined, lua, memory, startup, wasm
from tests.bench.figures import Figures, Measure
from tests.bench.targets import PEERS

OURS = "broker"


class Goal(NamedTuple):
    """One of them; `met` is None when this run did not measure it."""

    what: str
    met: bool | None
    said: str


def goals(figures: Figures) -> list[Goal]:
    """All of them."""
    return [goal(figures) for goal in _GOALS]


def _ahead(figures: Figures) -> Goal:
    what = "100 B, one after the other: ahead of every peer"
    ratios = _against(figures, calls.median_of("100 B"))
    floor = figures.ratio(calls.median_of("100 B"), OURS, "relay")
    said = [f"{1 / ratio:.1f} x as fast as {peer}" for peer, ratio in ratios.items()]
    said += [f"takes {floor:.2f} x as long as relay, the floor"] if floor is not None else []
    return Goal(what, all(ratio < 1 for ratio in ratios.values()) if ratios else None, "; ".join(said))


def _through(figures: Figures) -> Goal:
    what = f"throughput, {calls.AT_ONCE} in flight: at least twice the fastest peer"
    ratios = _against(figures, calls.RATE)
    floor = figures.ratio(calls.RATE, OURS, "relay")
    said = [f"{ratio:.1f} x {peer}" for peer, ratio in ratios.items()]
    said += [f"{floor:.2f} x relay, the floor"] if floor is not None else []
    return Goal(what, min(ratios.values()) >= 2 if ratios else None, "; ".join(said))


def _large(figures: Figures) -> Goal:
    ratio = figures.ratio(calls.median_of("1 MB"), OURS, "direct")
    return _bounded("1 MB, one after the other: at most 3 x direct", ratio, 3, "{:.2f} x")


def _soon(figures: Figures) -> Goal:
    measure = startup.first_list(30)
    ratio = figures.ratio(measure, OURS, startup.UNIT_NAME)
    return _bounded("first tools/list with 30 known servers: at most 3 x the unit", ratio, 3, "{:.2f} x")


def _unstarted(figures: Figures) -> Goal:
    found = figures.median(startup.started(30), OURS)
    return _bounded("and none of the 30 was started for it", found, 0, "{:.0f} started")


def _small(figures: Figures) -> Goal:
    found = figures.median(memory.configured(50), OURS)
    return _bounded("RSS with 50 configured, none started: at most 35 MB", found, 35, "{:.1f} MB")


def _confined(figures: Figures) -> Goal:
    found = figures.added(confined.START, "native", confined.PLAIN)
    return _bounded("confinement: at most 10 ms more at the start", found, 10, "{:.1f} ms")


def _unhindered(figures: Figures) -> Goal:
    found = figures.added(confined.MESSAGE, "native", confined.PLAIN)
    return _bounded("and at most 1 µs more a message", found, 1, "{:.2f} µs")


def _wasm_warm(figures: Figures) -> Goal:
    ratio = figures.ratio(wasm.THREAD, wasm.SHARED, wasm.BARE)
    return _bounded("WASM on its thread: at most 0.3 x bare wasmtime", ratio, 0.3, "{:.2f} x")


def _wasm_fresh(figures: Figures) -> Goal:
    ratio = figures.ratio(wasm.THREAD, wasm.FRESH, wasm.BARE)
    return _bounded("and on an instance of its own: at most 1.2 x", ratio, 1.2, "{:.2f} x")


def _wasm_called(figures: Figures) -> Goal:
    return _called("a WASM call to its caller: at most 60 µs", figures, wasm.CALL, wasm.SHARED, wasm.HOP)


def _wasm_tail(figures: Figures) -> Goal:
    found = figures.median(wasm.tail_of(wasm.CALL), wasm.SHARED)
    return _bounded("and 100 µs for 99 of 100", found, 100, "{:.0f} µs")


def _wasm_cancelled(figures: Figures) -> Goal:
    found = figures.median(wasm.CANCEL, wasm.SHARED)
    return _bounded("a spinning guest is gone 20 ms after it is cancelled", found, 20, "{:.1f} ms")


def _wasm_late(figures: Figures) -> Goal:
    found = figures.median(wasm.OVER, wasm.SHARED)
    return _bounded("and 30 ms after its deadline", found, 30, "{:.1f} ms")


def _component(figures: Figures) -> Goal:
    ratio = figures.ratio(components.THREAD, wasm.SHARED, wasm.BARE)
    return _bounded("a component on its thread: at most 1.3 x bare wasmtime", ratio, 1.3, "{:.2f} x")


def _lua_thread(figures: Figures) -> Goal:
    ratio = figures.ratio(lua.THREAD, lua.INSIDE, lua.BARE)
    return _bounded("Lua on its thread, with its JSON: at most 8 x bare lupa, without", ratio, 8, "{:.1f} x")


def _lua_called(figures: Figures) -> Goal:
    return _called("a Lua call to its caller, in process: at most 60 µs", figures, lua.CALL, lua.INSIDE, lua.HOP)


def _lua_tail(figures: Figures) -> Goal:
    found = figures.median(lua.tail_of(lua.CALL), lua.INSIDE)
    return _bounded("and 100 µs for 99 of 100", found, 100, "{:.0f} µs")


def _lua_worker(figures: Figures) -> Goal:
    return _called("and by a worker: at most 60 µs", figures, lua.CALL, lua.WORKER, lua.HOP)


def _lua_replaced(figures: Figures) -> Goal:
    found = figures.median(lua.START, lua.NEXT)
    return _bounded("a worker that was ended is replaced in 50 ms", found, 50, "{:.1f} ms")


_GOALS: tuple[Callable[[Figures], Goal], ...] = (
    *(_ahead, _through, _large, _soon, _unstarted, _small),
    *(_confined, _unhindered),
    *(_wasm_warm, _wasm_fresh, _wasm_called, _wasm_tail, _wasm_cancelled, _wasm_late, _component),
    *(_lua_thread, _lua_called, _lua_tail, _lua_worker, _lua_replaced),
)


def _called(what: str, figures: Figures, measure: Measure, target: str, hop: str) -> Goal:
    """Beside a bare thread and back, for where that takes longer than the 23 µs of the machine the goals are from."""
    ratio = figures.ratio(measure, target, hop)
    said = "{:.0f} µs" + ("" if ratio is None else f", {ratio:.1f} x a thread and back")
    return _bounded(what, figures.median(measure, target), 60, said)


def _bounded(what: str, found: float | None, bound: float, said: str) -> Goal:
    return Goal(what, None, "") if found is None else Goal(what, found <= bound, said.format(found))


def _against(figures: Figures, measure: Measure) -> dict[str, float]:
    """Ours as a multiple of each peer's."""
    found = {peer: figures.ratio(measure, OURS, peer) for peer in PEERS}
    return {peer: ratio for peer, ratio in found.items() if ratio is not None}
