"""The figures as tables for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.table import Table

from tests.bench import calls, components, confined, lua, memory, startup, wasm
from tests.bench.figures import Figures, Measure
from tests.bench.goals import goals
from tests.bench.targets import ALL, PEERS

NAMES = [target.name for target in ALL]
KINDS = {
    **dict.fromkeys(PEERS, "peer"),
    "direct": "nothing between",
    "relay": "floor",
    startup.UNIT_NAME: "imports only",
}


def tables(figures: Figures) -> Iterator[RenderableType]:
    """One for each group that was measured, and one of the goals."""
    makers: dict[str, Callable[[Figures, list[Measure]], Table]] = {
        calls.LATENCY: _latency,
        calls.THROUGHPUT: _throughput,
        startup.GROUP: _startup,
        memory.GROUP: _memory,
        confined.GROUP: _confined,
        wasm.GROUP: _wasm,
        components.GROUP: _components,
        lua.GROUP: _lua,
    }
    for group, make in makers.items():
        found = figures.measures(group)
        if found:
            yield make(figures, found)
    yield _goals(figures)


def _latency(figures: Figures, found: list[Measure]) -> Table:
    table = _table(
        "one call after the other", "size", "target", "p50 µs", "p99 µs", "added µs", "CPU µs", "x direct", "x relay"
    )
    for p50 in [measure for measure in found if measure.what == "p50"]:
        table.add_section()
        for name in _measured(figures, p50):
            p99 = figures.median(p50._replace(what="p99"), name)
            added = "" if name == "direct" else _number(figures.added(p50, name, "direct"))
            times = _number(figures.median(p50, name)), _number(p99), added
            cpu = _number(figures.median(calls.cpu_of(p50.case), name))
            table.add_row(p50.case, _titled(name), *times, cpu, *_ratios(figures, p50, name))
    return table


def _throughput(figures: Figures, found: list[Measure]) -> Table:
    table = _table(found[0].case, "target", "calls/s", "x direct", "x relay")
    for name in _measured(figures, found[0]):
        table.add_row(_titled(name), _number(figures.median(found[0], name)), *_ratios(figures, found[0], name))
    return table


def _startup(figures: Figures, found: list[Measure]) -> Table:
    table = _table("from spawn to the first tools/list", "servers", "target", "ms", "x unit", "servers started")
    for took in [measure for measure in found if measure.what != "started"]:
        table.add_section()
        for name in (startup.UNIT_NAME, *_measured(figures, took)):
            started = figures.median(took._replace(what="started", unit=""), name)
            ratio = figures.ratio(took, name, startup.UNIT_NAME)
            row = _number(figures.median(took, name)), _number(ratio), "" if started is None else f"{started:.0f}"
            table.add_row(took.case, _titled(name), *row)
    return table


def _memory(figures: Figures, found: list[Measure]) -> Table:
    table = _table("resident memory without the servers", "servers", "target", "MB", "servers started")
    for size in [measure for measure in found if measure.what == "RSS"]:
        table.add_section()
        for name in _measured(figures, size):
            running = figures.median(size._replace(what="started", unit=""), name)
            shown = str(memory.STARTED) if size == memory.IN_USE else f"{running or 0:.0f}"
            table.add_row(size.case, _titled(name), _number(figures.median(size, name)), shown)
    return table


def _confined(figures: Figures, found: list[Measure]) -> Table:
    table = _table("confinement", "what", "target", "p50", "added", f"x {confined.PLAIN}")
    for measure in found:
        table.add_section()
        for name in (confined.PLAIN, *confined.MECHANISMS, confined.BUBBLEWRAP):
            if (value := figures.median(measure, name)) is not None:
                more = _number(figures.added(measure, name, confined.PLAIN))
                ratio = _number(figures.ratio(measure, name, confined.PLAIN))
                table.add_row(measure.case, name, f"{_number(value)} {measure.unit}", more, ratio)
    return table


def _wasm(figures: Figures, found: list[Measure]) -> Table:
    return _beside_wasmtime("WASM plugins", wasm.THREAD, figures, found)


def _components(figures: Figures, found: list[Measure]) -> Table:
    return _beside_wasmtime("WASM components", components.THREAD, figures, found)


def _beside_wasmtime(title: str, base: Measure, figures: Figures, found: list[Measure]) -> Table:
    ways = (wasm.BARE, wasm.BARE_FRESH, wasm.HOP, wasm.SHARED, wasm.FRESH, wasm.RESTED)
    table = _table(title, "what", "target", "p50", "p99", f"x {wasm.BARE}")
    for measure in [each for each in found if each.what == "p50" or each in (wasm.CANCEL, wasm.OVER)]:
        table.add_section()
        for name in ways:
            if (value := figures.median(measure, name)) is not None:
                late = figures.median(wasm.tail_of(measure), name)
                middle = f"{_number(value)} {measure.unit}" if measure.what == "p50" else ""
                ratio = _beside_bare(figures, base, value) if measure.unit == "µs" else ""
                table.add_row(measure.case, name, middle, f"{_number(late)} {measure.unit}", ratio)
    return table


def _beside_bare(figures: Figures, base: Measure, value: float) -> str:
    bare = figures.median(base, wasm.BARE)
    return _number(value / bare) if bare else ""


def _lua(figures: Figures, found: list[Measure]) -> Table:
    table = _table("Lua plugins", "what", "target", "p50", "p99", f"x {lua.BARE}", f"x {lua.HOP}")
    for measure in [each for each in found if each.what == "p50" or each == lua.OVER]:
        table.add_section()
        for name in (lua.BARE, lua.HOP, lua.INSIDE, lua.WORKER, lua.FIRST, lua.NEXT):
            if (value := figures.median(measure, name)) is not None:
                late = f"{_number(figures.median(lua.tail_of(measure), name))} {measure.unit}"
                middle = f"{_number(value)} {measure.unit}" if measure.what == "p50" else ""
                ratios = [_number(figures.ratio(measure, name, base)) for base in (lua.BARE, lua.HOP)]
                table.add_row(measure.case, name, middle, late, *ratios)
    return table


def _goals(figures: Figures) -> Table:
    table = Table("goal", "met", "this run", title="goals of the project", title_justify="left")
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: "not measured"}
    for goal in goals(figures):
        table.add_row(goal.what, words[goal.met], goal.said)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for column in table.columns:
        if column.header not in ("target", "size", "servers"):
            column.justify = "right"
    return table


def _measured(figures: Figures, measure: Measure) -> list[str]:
    return [name for name in NAMES if figures.median(measure, name) is not None]


def _titled(name: str) -> str:
    return f"{name} ({KINDS[name]})" if name in KINDS else name


def _ratios(figures: Figures, measure: Measure, name: str) -> tuple[str, str]:
    direct, relay = figures.ratio(measure, name, "direct"), figures.ratio(measure, name, "relay")
    return _number(direct), _number(relay)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
