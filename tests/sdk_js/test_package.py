"""What is published: packed as on a fresh clone, small, without dependencies, typed for strict projects; it works."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.sdk_clients import NODE
from tests.sdk_js.places import HERE, SDK
from tests.servers import NODE_MODULES

BOUND = 50.0  # seconds
MOST = 40 << 10  # bytes of the archive without its README, which nobody's program loads
STRICT = [
    *("--strict", "--noEmit", "--target", "es2022", "--lib", "esnext", "--types", "node"),
    *("--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noImplicitOverride"),
    *("--verbatimModuleSyntax", "--erasableSyntaxOnly", "--allowImportingTsExtensions"),
    *("--skipLibCheck", "false"),
]
PARTS = {"all": (), "all but the README": ("README.md",), "code": ("README.md", ".d.ts")}
RESOLUTIONS = {
    "nodenext": ["--module", "nodenext", "--moduleResolution", "nodenext"],
    "bundler": ["--module", "esnext", "--moduleResolution", "bundler"],
}


def ran(*words: object, cwd: Path) -> str:
    env = {**os.environ, "PATH": f"{NODE_MODULES / '.bin'}:{os.environ['PATH']}"}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, of the sources alone."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "tests").mkdir()
    (folder / "tests" / "node_modules").symlink_to(NODE_MODULES)  # where its tools come from
    shutil.copytree(SDK, folder / "sdk-js", ignore=shutil.ignore_patterns("dist", "node_modules"))
    ran("npm", "pack", "--silent", cwd=folder / "sdk-js")
    (archive,) = (folder / "sdk-js").glob("*.tgz")
    return archive


@pytest.fixture(scope="module")
def project(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has it installed, with zod and the types of Node."""
    folder = tmp_path_factory.mktemp("project")
    modules = folder / "node_modules"
    (modules / "@plugin-broker").mkdir(parents=True)
    (modules / "@types").symlink_to(NODE_MODULES / "@types")
    (modules / "zod").symlink_to(NODE_MODULES / "zod")
    with tarfile.open(packed) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "@plugin-broker" / "sdk")
    (folder / "package.json").write_text('{"type": "module"}')
    for file in (HERE / "typed").iterdir():
        shutil.copy(file, folder)
    return folder


def test_it_is_small_and_needs_nothing(packed: Path, project: Path) -> None:
    sizes = {what: archived(packed, *without) for what, without in PARTS.items()}
    sys.stdout.write(f"{packed.name}: {sizes}, in bytes\n")
    assert sizes["all but the README"] <= MOST
    said = json.loads((project / "node_modules" / "@plugin-broker" / "sdk" / "package.json").read_text())
    assert not {"dependencies", "peerDependencies", "optionalDependencies", "bundledDependencies"} & said.keys()
    with tarfile.open(packed) as archive:
        names = {member.name.removeprefix("package/") for member in archive}
    assert {"README.md", "package.json"} < names
    assert all(name.startswith("dist/") for name in names - {"README.md", "LICENSE", "package.json"})


def archived(packed: Path, *without: str) -> int:
    """The bytes of an archive of what is left without files whose names end so."""
    made = io.BytesIO()
    with tarfile.open(packed) as archive, tarfile.open(fileobj=made, mode="w:gz") as left:
        for member in archive:
            if not member.name.endswith(without):
                left.addfile(member, archive.extractfile(member))
    return len(made.getvalue())


@pytest.mark.parametrize("resolution", [pytest.param("bundler", marks=pytest.mark.long), "nodenext"])
def test_its_types_resolve_in_a_strict_project(project: Path, resolution: str) -> None:
    ran("tsc", *STRICT, *RESOLUTIONS[resolution], "plugin.ts", "plugin.test.ts", cwd=project)


def test_what_is_packed_runs_as_typescript(project: Path) -> None:
    """In a Node that takes types away itself."""
    said = ran(NODE, "plugin.test.ts", cwd=project)
    assert "# pass 2" in said or "ℹ pass 2" in said
