"""What Python and Node need to see: their own folders, packages, and the code that a plugin's words name."""

from __future__ import annotations

import ast
import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from broker.confine.trail import Trail, unrunnable

MOST_TEXT = 256 << 10  # bytes that are read of a file; the finder of a large package has some 20 KiB
_TAKES_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_NODE_TAKES_VALUE = ("-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions")
_OTHERS = ("bun", "deno", "dotnet", "java", "lua", "perl", "php", "ruby")
_TSX = 'Update Node.js to 22.18 or later, which needs no tsx, or let it start programs: `run = ["node"]` and a grant.'


def python(words: Sequence[str], trail: Trail, cwd: str | None) -> None:
    """`words`: the interpreter, then what it is told. Raises `PluginUnavailable`."""
    for prefix in dict.fromkeys(os.path.dirname(os.path.dirname(hop)) for hop in _hops(words[0])):
        settings = _pyvenv(prefix)
        if settings is not None:
            _environment(prefix, settings, trail)
        else:
            _installation(prefix, trail)
    told = _first_argument(words[1:], _TAKES_VALUE)
    if told is None:
        return
    if told == "-m":
        _module(words[words.index("-m") + 1 :], trail, cwd)
    elif not told.startswith("-"):
        _script(told, trail, cwd)


def node(words: Sequence[str], trail: Trail, cwd: str | None, run: Sequence[str] | None) -> None:
    """The same for Node. `run`: the programs it may start; None: any. Raises `PluginUnavailable`."""
    real = os.path.realpath(words[0])
    prefix = os.path.dirname(os.path.dirname(real))
    # By a link anything can be called node.
    if real == os.path.join(prefix, "bin", "node") and not trail.is_shared(prefix):
        trail.see(prefix)
    for option, value in itertools.pairwise(words):
        if option in _NODE_TAKES_VALUE[:5] and os.path.isabs(value):
            _packages(os.path.realpath(value), trail)
    told = _first_argument(words[1:], _NODE_TAKES_VALUE)
    if told is None or told.startswith("-"):
        return
    path = _script(told, trail, cwd)
    if run is not None and not run and any(map(_is_tsx, (path, *words[1:-1]))):
        raise unrunnable(path, "tsx starts a compiler, and the plugin may start nothing", _TSX)
    _packages(path, trail)


def other(words: Sequence[str], trail: Trail, cwd: str | None) -> None:
    """The same for those of which less is known: their own folder, and the first file that they are given to run."""
    if os.path.basename(words[0]) not in _OTHERS:
        return
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(words[0])))
    if not trail.is_shared(prefix):
        trail.see(prefix)
    for word in words[1:]:
        path = os.path.join(cwd or os.getcwd(), word)
        if not word.startswith("-") and os.path.isfile(path):
            _packages(_script(word, trail, cwd), trail)
            return


# Python


def _environment(prefix: str, settings: Mapping[str, str], trail: Trail) -> None:
    """A virtual environment, and the Python it was made from."""
    home = settings.get("home", "")
    base = os.path.dirname(os.path.realpath(home)) if home else ""
    if not home or not os.path.isdir(home):
        hint = f"Make the environment again: delete {prefix}, then `python3 -m venv {prefix}`."
        raise unrunnable(prefix, f"the Python it was made from ({home or 'unknown'}) is gone", hint)
    trail.see(prefix)
    trail.follow(home)
    _installation(base, trail)
    if settings.get("include-system-site-packages", "").lower() == "true":
        trail.notes.append(f"{prefix} also sees the packages of {base}")
    for packages in Path(prefix).glob("lib*/python*/site-packages"):
        _path_files(packages, trail)


def _installation(prefix: str, trail: Trail) -> None:
    """Where a Python is installed: all of it if it has a folder of its own, else its libraries."""
    # A file of the plugin's may have named the prefix: what is none of Python's is not shown.
    libraries = [file.parent for file in Path(prefix).glob("lib*/py*3*/os.py")]
    if libraries and not trail.is_shared(prefix):
        trail.see(prefix)
        trail.follow(prefix)
    for library in libraries:
        trail.see(str(library))
        for name in ("site-packages", "dist-packages"):
            _path_files(library / name, trail)


def _pyvenv(prefix: str) -> dict[str, str] | None:
    path = Path(prefix, "pyvenv.cfg")
    if not os.path.lexists(path):
        return None
    pairs = (line.partition("=") for line in text_of(path).splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _path_files(packages: Path, trail: Trail) -> None:
    """Folders that packages installed "editable" lie in, as `.pth` files and finders name them."""
    for file in sorted(packages.glob("*.pth")):
        for line in text_of(file).splitlines():
            if line.startswith(("import ", "import\t")):
                continue
            if line.strip().startswith("/"):
                trail.see_folder(line.strip(), str(file))
    for file in sorted(packages.glob("__editable__*.py")):
        for folder in _mapped(text_of(file)):
            trail.see_folder(folder, str(file))


def _mapped(code: str) -> Iterator[str]:
    """What the MAPPING in a finder of setuptools maps packages to; the code is read, not run."""
    found = re.search(r"^MAPPING[^=\n]*=\s*(\{.*?\})", code, re.MULTILINE | re.DOTALL)
    try:
        mapping: dict[object, object] = ast.literal_eval(found[1]) if found else {}
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last is how the parser says: too deep
        return
    for value in mapping.values():
        if isinstance(value, str) and value.startswith("/"):
            yield value if os.path.isdir(value) else os.path.dirname(value)


def _module(rest: Sequence[str], trail: Trail, cwd: str | None) -> None:
    """A module that is run with `-m` from the current folder."""
    folder = os.path.realpath(cwd or os.getcwd())
    name = rest[0].split(".")[0] if rest else ""
    for path in (os.path.join(folder, name), os.path.join(folder, f"{name}.py")):
        if name and os.path.exists(path):
            trail.see_code(path)


# Node


def _packages(script: str, trail: Trail) -> None:
    """What `require` and `import` look through: from the script upward, up to where nobody's code lies alone."""
    folder = os.path.dirname(script)
    if f"{os.sep}node_modules{os.sep}" in script:
        trail.see(script[: script.index(f"{os.sep}node_modules{os.sep}")] + f"{os.sep}node_modules")
    while folder != os.path.dirname(folder):
        for name in ("node_modules", "package.json", ".pnp.cjs", ".pnp.loader.mjs", "tsconfig.json"):
            if os.path.exists(os.path.join(folder, name)):
                trail.see_beside(os.path.join(folder, name))
                _note_pnp(name, trail)
        folder = os.path.dirname(folder)


def _note_pnp(name: str, trail: Trail) -> None:
    if name == ".pnp.cjs":
        trail.notes.append("it uses Yarn's Plug'n'Play: Yarn's cache must be granted to it, too (read)")


def _is_tsx(path: str) -> bool:
    return f"{os.sep}tsx{os.sep}" in path and "node_modules" in path


# both


def _script(word: str, trail: Trail, cwd: str | None) -> str:
    """Have the script seen with what lies beside it; where it really is."""
    path = os.path.join(cwd or os.getcwd(), word)
    real = trail.follow(path)
    if not os.path.exists(real):
        raise unrunnable(path, "it does not exist", "Correct `args` in its entry.")
    if os.path.isdir(real):
        trail.see_folder(real, "its command")
    else:
        trail.see_code(real)
    return real


def _first_argument(words: Sequence[str], with_value: Sequence[str]) -> str | None:
    """The first word that is no option of the interpreter's, or `-m` or `-c`."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in with_value:
            skip = True
        elif word in ("-m", "-c", "-e", "-p") or not word.startswith("-"):
            return word
    return None


def _hops(path: str) -> list[str]:
    """A path, and what it links to, one step after another."""
    found = [os.path.abspath(path)]
    while os.path.islink(found[-1]) and len(found) < 40:
        target = os.path.join(os.path.dirname(found[-1]), os.readlink(found[-1]))
        found.append(os.path.normpath(target))
    return found


def text_of(path: Path) -> str:
    """A short file's text; empty for what is none. A pipe would be waited for, and a device read for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            return file.read(MOST_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""
