"""The rules of the house that a machine can keep."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import broker
from broker import errors
from broker.errors import BrokerError

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "broker"
TEMPLATES = HOUSE / "authoring" / "templates"
MAX_LINES = 600

# room -> the rooms it may import from; everybody may use errors and model.
FLOORS: dict[str, set[str]] = {
    "errors": set(),
    "model": set(),
    "wire": set(),
    "stream": set(),
    "eager": set(),
    "link": {"wire", "stream", "eager"},
    "permissions": set(),
    "confine": {"permissions"},
    "core": {"wire", "eager", "permissions"},
    "runtimes": {"wire", "stream", "eager", "link", "core", "confine", "permissions"},
    "faces": {"wire", "stream", "link", "core", "permissions"},
    "clients": {"core", "permissions"},
    "app": {"wire", "stream", "permissions", "confine", "core", "runtimes", "faces"},
    "authoring": {"wire", "stream", "link", "app", "clients", "confine", "core", "faces", "permissions", "runtimes"},
    "cli": {"app", "authoring", "clients", "confine", "core", "permissions", "runtimes", "wire"},
}


def sources(*folders: Path) -> list[Path]:
    found: list[Path] = []
    for top in folders:
        for folder, below, names in os.walk(top):
            below[:] = [each for each in below if each not in ("node_modules", ".venv")]
            found += [Path(folder, name) for name in names if name.endswith((".py", ".ts", ".mjs", ".js"))]
    return sorted(found)


def code() -> list[Path]:
    """What runs in the house itself, without the templates of plugins."""
    return [path for path in sources(HOUSE) if TEMPLATES not in path.parents]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The rooms a file imports from."""
    for node in ast.walk(parsed(path)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("broker."):
                yield name.split(".")[1]


def test_a_room_imports_only_from_rooms_below_it() -> None:
    roomed = [path for path in code() if room(path) not in ("__init__", "__main__")]
    assert [guilty for path in roomed if (guilty := (path, set(imported(path)) - allowed(path)))[1]] == []


def allowed(path: Path) -> set[str]:
    return FLOORS[room(path)] | {"errors", "model", room(path)}


def test_every_room_has_its_floor() -> None:
    rooms = {room(path) for path in sources(HOUSE)} - {"__init__", "__main__"}
    assert rooms == set(FLOORS)


def test_no_file_is_longer_than_can_be_read() -> None:
    every = sources(HOUSE, ROOT / "tests")
    assert [path for path in every if len(path.read_text("utf-8").splitlines()) > MAX_LINES] == []


def test_every_file_says_what_it_is_for() -> None:
    assert [path for path in code() if not ast.get_docstring(parsed(path))] == []


def test_only_the_stdio_face_touches_the_wire_of_the_process() -> None:
    owned = re.compile(r"sys\.(stdin|stdout)\b|\bprint\(|os\.(dup2?|write|read)\([01]\b")
    people = {HOUSE / "faces" / "stdio.py", *(HOUSE / "cli").rglob("*.py")}  # a person's terminal is theirs
    guilty = [path for path in sources(HOUSE) if path not in people and owned.search(path.read_text("utf-8"))]
    assert guilty == []


def test_processes_are_started_in_four_files() -> None:
    """Ours to the keepers, theirs to the plugins, and inside the namespaces of a confined one."""
    starting = re.compile(
        r"\bsubprocess\.(Popen|run|call|check_\w+)|create_subprocess|os\.(exec|spawn|fork|system|posix_spawn)"
    )
    guilty = {path for path in sources(HOUSE) if starting.search(path.read_text("utf-8"))}
    assert guilty == {HOUSE / "confine" / name for name in ("tree.py", "keeper.py", "jail.py", "stage2.py")}


def test_no_process_is_started_through_a_shell() -> None:
    assert [f"{path.name}:{line}" for path in sources(HOUSE) if path.suffix == ".py" for line in shells(path)] == []


@pytest.mark.parametrize(
    ("code", "guilty"),
    [
        ("subprocess.Popen(argv, env=env)", False),
        ("subprocess.run(['ls', text])", False),
        ("subprocess.run(argv, shell=False)", False),
        ("subprocess.Popen(argv, shell=True)", True),
        ("subprocess.Popen(argv, shell=wanted)", True),
        ("subprocess.Popen('ls -l')", True),
        ("subprocess.Popen(args=f'ls {x}')", True),
        ("subprocess.run('ls ' + x)", True),
        ("os.system(x)", True),
        ("os.popen(x)", True),
        ("subprocess.getoutput(x)", True),
        ("asyncio.create_subprocess_shell(x)", True),
    ],
)
def test_a_shell_would_be_found(tmp_path: Path, code: str, guilty: bool) -> None:
    (tmp_path / "x.py").write_text(code)
    assert bool(list(shells(tmp_path / "x.py"))) is guilty


def shells(path: Path) -> Iterator[int]:
    """The lines of calls that hand text to a shell, or to what would split it into words."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            full = ast.unparse(node.func)
            name = full.rpartition(".")[2]
            given = {each.arg: each.value for each in node.keywords}
            shell = given.get("shell")
            first = node.args[0] if node.args else given.get("args")
            if full in ("os.system", "os.popen") or name in ("getoutput", "getstatusoutput", "create_subprocess_shell"):
                yield node.lineno
            elif shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
                yield node.lineno
            elif (name in ("Popen", "spawn") or full.startswith("subprocess.")) and _is_text(first):
                yield node.lineno


def _is_text(node: ast.expr | None) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_the_wall_clock_only_names_moments_for_people() -> None:
    """It jumps, by NTP or while a laptop sleeps; what lasts and what is due is counted on the monotonic clock."""
    wall = re.compile(
        r"\btime\.(time|time_ns|ctime|gmtime|localtime)\(|from time import [^\n]*\b(time|time_ns)\b"
        r"|\bdatetime\.(now|utcnow|today)\("
    )
    stamps = {HOUSE / "core" / "audit.py", HOUSE / "cli" / "exporting.py", HOUSE / "cli" / "importing.py"}
    stamps.add(HOUSE / "permissions" / "grants.py")
    stamps.add(HOUSE / "runtimes" / "wasm_world.py")  # what a guest with WASI reads as the time
    assert {path for path in sources(HOUSE) if wall.search(path.read_text("utf-8"))} <= stamps


def failures(kind: type[BrokerError] = BrokerError) -> list[type[BrokerError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in failures(child))]


def test_every_error_has_a_name_of_its_own_and_a_way_out() -> None:
    ours = [kind for kind in failures() if kind.__module__.startswith("broker.")]
    names = [kind.name for kind in ours]
    assert len(set(names)) == len(names)
    assert all(kind.hint.strip() and re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.name) for kind in ours)


def test_every_error_is_drawn_in_the_tree_with_its_code() -> None:
    tree = errors.__doc__ or ""
    for kind in failures():
        if kind.__module__ == errors.__name__ and kind is not errors.RemoteError:
            assert re.search(rf"\b{kind.__name__}\s+{kind.name}\s+{kind.code}\b", tree), kind


def test_codes_of_ours_are_told_apart() -> None:
    codes = [kind.code for kind in failures() if kind.__module__ == errors.__name__ and -32000 < kind.code < 0]
    assert len(set(codes)) == len(codes)


def test_the_version_is_the_same_everywhere() -> None:
    assert f'version = "{broker.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")
