"""Programs that look up at every start what to run: replaced by what they would run, or refused with the remedy.

A shim (pyenv, asdf, volta, mise) is a shell script or a program that reads files of its own. `npx` and `uvx` may
download first. In its confinement a plugin reaches neither a registry nor a place to install to, so what is there
already counts: a tool that was installed, else the newest of the launcher's cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec

from broker.confine.interpreters import text_of
from broker.confine.trail import unrunnable

_SHIMS = {
    "/.pyenv/shims/": ("pyenv", "versions/*/bin/{name}"),
    "/.rbenv/shims/": ("rbenv", "versions/*/bin/{name}"),
    "/.nodenv/shims/": ("nodenv", "versions/*/bin/{name}"),
    "/.asdf/shims/": ("asdf", "installs/*/*/bin/{name}"),
    "/mise/shims/": ("mise", "installs/*/*/bin/{name}"),
    "/.volta/bin/": ("volta", "tools/image/*/*/bin/{name}"),
}
_NPX_WITH_VALUE = ("-p", "--package", "-c", "--call", "-w", "--workspace")
_LAUNCHERS = ("uv", "bunx", "pnpx", "pipx", "npm", "pnpm", "yarn", "poetry")
_UV_WITH_VALUE = ("--directory", "--project", "--with", "--with-editable", "-p", "--python", "--extra", "--group")
_UVX_WITH_VALUE = ("--from", "--with", "-p", "--python", "--index-url", "--index", "--with-editable", "--default-index")


def refuse_shim(path: str, environ: Mapping[str, str]) -> None:
    """Raise `PluginUnavailable` if `path` is a shim, naming what lies behind it."""
    for part, (manager, pattern) in _SHIMS.items():
        before, found, name = path.rpartition(part)
        if found and "/" not in name:
            folder = Path(before + part.removesuffix("shims/").removesuffix("bin/"))
            _refuse(path, manager, sorted(map(str, folder.glob(pattern.format(name=name))), key=_numbers))
    if os.path.basename(os.path.realpath(path)) == "snap":
        raise unrunnable(path, "it is a snap, which brings a confinement of its own", "Install it without snap.")


def installed(argv: list[str], environ: Mapping[str, str], cwd: str | None = None) -> list[str]:
    """`argv` with what a launcher would run in its place; any other as it is. Raises `PluginUnavailable`."""
    name = os.path.basename(argv[0])
    if name == "uvx" or (name == "uv" and argv[1:3] == ["tool", "run"]):
        return _uvx(argv[1 if name == "uvx" else 3 :], environ)
    if name == "npx" or (name == "npm" and argv[1:2] in (["exec"], ["x"])):
        return _npx(argv[1 if name == "npx" else 2 :], environ)
    if name == "uv" and "run" in argv:
        return _uv_run(argv[1:], cwd or os.getcwd())
    if name in _LAUNCHERS or (name == "bun" and argv[1:2] == ["x"]):
        hint = "Install what it starts, and write the full path of that program as `command`."
        raise unrunnable(argv[0], f"{name} looks for what to run, or installs it, at every start", hint)
    return argv


def _refuse(path: str, manager: str, real: Sequence[str]) -> NoReturn:
    which = f"Write the real program as `command`: {' or '.join(real[-3:])}." if real else None
    why = f"it is a shim of {manager}, which looks for the real program at every start"
    raise unrunnable(path, why, which or f"Write the real program as `command` (`{manager} which` shows it).")


def _numbers(path: str) -> list[int]:
    """So that 3.9 comes before 3.12."""
    return [int(digits) for digits in re.findall(r"\d+", path)]


# uvx


def _uvx(words: list[str], environ: Mapping[str, str]) -> list[str]:
    options, rest = _split(words, _UVX_WITH_VALUE)
    if not rest:
        raise unrunnable("uvx", "its words name no program", "Correct `args` in its entry.")
    wanted = options.get("--from", rest[0])
    package, version = _python_requirement(wanted)
    command = rest[0].partition("@")[0] if "--from" not in options else rest[0]
    for environment in _environments(package, environ):
        program = environment / "bin" / command
        if program.is_file() and _has(environment, package, version):
            return [str(program), *rest[1:]]
    tool = f"{package}=={version}" if version else package
    hint = f"Run `uv tool install {tool}` once."
    raise unrunnable("uvx", f"{tool} is not installed, and nothing can be installed in a confinement", hint)


def _uv_run(words: list[str], cwd: str) -> list[str]:
    """`uv --directory FOLDER run [--directory FOLDER] WORD…`, from the environment that lies in the folder."""
    at = words.index("run")
    before, _ = _split(words[:at], _UV_WITH_VALUE)
    options, rest = _split(words[at + 1 :], _UV_WITH_VALUE)
    options = before | options
    folder = os.path.join(cwd, options.get("--directory") or options.get("--project") or "")
    folder = os.path.normpath(folder)
    programs = os.path.join(folder, ".venv", "bin")
    if rest and os.path.isfile(os.path.join(programs, rest[0])):
        return [os.path.join(programs, rest[0]), *rest[1:]]
    if rest and rest[0].endswith(".py") and os.path.isfile(os.path.join(programs, "python")):
        return [os.path.join(programs, "python"), os.path.join(folder, rest[0]), *rest[1:]]
    why = (
        f"there is no {rest[0] if rest else 'program'} in {folder}/.venv, and nothing can be installed in a confinement"
    )
    raise unrunnable("uv run", why, f"Run `uv sync` in {folder} once.")


def _environments(package: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """The tool's own, then those that uvx made, the newest first."""
    home = environ.get("HOME") or os.path.expanduser("~")
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    yield Path(environ.get("UV_TOOL_DIR") or os.path.join(data, "uv", "tools"), package)
    caches = environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    cache = Path(environ.get("UV_CACHE_DIR") or os.path.join(caches, "uv"))
    found = [path for path in cache.glob("environments-v*/*/*") if (path / "pyvenv.cfg").is_file()]
    found += [path for path in cache.glob("environments-v*/*") if (path / "pyvenv.cfg").is_file()]
    yield from sorted((path.resolve() for path in found), key=lambda path: path.stat().st_mtime, reverse=True)


def _has(environment: Path, package: str, version: str) -> bool:
    """Whether the environment holds the package, in this version if one is asked for."""
    normal = package.replace("-", "_").replace(".", "_").lower()
    infos = environment.glob("lib/python*/site-packages/*.dist-info")
    names = (info.name.removesuffix(".dist-info").lower().rpartition("-") for info in infos)
    return any(name.replace(".", "_") == normal and version in ("", its) for name, _, its in names)


def _python_requirement(text: str) -> tuple[str, str]:
    """Package and version of `name`, `name@1.2`, `name[extra]==1.2`; `latest` is no version."""
    name, _, version = text.replace("==", "@").partition("@")
    return name.partition("[")[0].strip(), "" if version == "latest" else version.strip()


# npx


def _npx(words: list[str], environ: Mapping[str, str]) -> list[str]:
    options, rest = _split(words, _NPX_WITH_VALUE)
    wanted = options.get("--package") or options.get("-p") or (rest[0] if rest else "")
    if not rest or options.get("-c") or options.get("--call"):
        raise unrunnable("npx", "its words name no program", "Correct `args` in its entry.")
    package, version = _npm_requirement(wanted)
    name = rest[0] if wanted != rest[0] else ""
    for modules in _node_modules(package, environ):
        manifest = _json(modules / package / "package.json")
        program = _bin(modules / package, manifest, name)
        if program is not None and version in ("", manifest.get("version")):
            return [str(program), *rest[1:]]
    hint = f"Run `npm install -g {wanted}` once."
    raise unrunnable("npx", f"{wanted} is not installed, and nothing can be installed in a confinement", hint)


def _node_modules(package: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """What is installed for everybody, then what npx keeps, the newest first."""
    home = environ.get("HOME") or os.path.expanduser("~")
    for folder in environ.get("PATH", "").split(os.pathsep):
        if os.path.isabs(folder) and os.path.isfile(os.path.join(folder, "node")):
            yield Path(os.path.dirname(folder), "lib", "node_modules")
    yield from (Path(path, "lib", "node_modules") for path in (environ.get("npm_config_prefix", ""),) if path)
    cache = Path(environ.get("npm_config_cache") or os.path.join(home, ".npm"), "_npx")
    made = [path for path in cache.glob("*/node_modules") if (path / package / "package.json").is_file()]
    yield from sorted(made, key=lambda path: path.stat().st_mtime, reverse=True)


def _bin(folder: Path, manifest: Mapping[str, Any], name: str) -> Path | None:
    """The script that a package names for `name`; without a name its only one, or that of its own name."""
    named = manifest.get("bin")
    if isinstance(named, str):
        return (folder / named).resolve()
    if not isinstance(named, dict):
        return None
    scripts = cast("dict[str, str]", named)
    own = name or str(manifest.get("name", "")).rpartition("/")[2]
    script = scripts.get(own) or (next(iter(scripts.values())) if len(scripts) == 1 and not name else None)
    return (folder / script).resolve() if script else None


def _npm_requirement(text: str) -> tuple[str, str]:
    """Package and version of `name`, `@scope/name@1.2`; a tag or a range is no version."""
    at = text.find("@", 1)
    name, version = (text, "") if at < 0 else (text[:at], text[at + 1 :])
    return name, version if version.replace(".", "").isdigit() and version.count(".") == 2 else ""


def _split(words: Sequence[str], with_value: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """A launcher's own options, and what follows them: the program's name and words."""
    options, at = dict[str, str](), 0
    while at < len(words) and words[at].startswith("-"):
        name, equals, value = words[at].partition("=")
        if name == "--":
            at += 1
            break
        if name in with_value and not equals:
            at += 1
            value = words[at] if at < len(words) else ""
        options[name] = value
        at += 1
    return options, list(words[at:])


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text_of(path), type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
