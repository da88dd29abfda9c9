"""Two keys open a door: what is asked for, and what is granted. Everything else stays shut."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.core.config import load
from broker.errors import BadArguments, ConfigError, DangerousGrant, PermissionMissing
from broker.model import Settings, Spec
from broker.permissions import approval
from broker.permissions.gate import Gate, Grounds
from broker.permissions.grants import FILE
from broker.permissions.scopes import parse

MANIFEST = """
name = "todos"
version = "1.0.0"
api = 1
command = ["tool"]
[permissions]
read = ["${workspace}/**"]
net = ["API.acme.dev", "*.x.org:443"]
run = ["git"]
sampling = true
"""
ASKED = ["net:*.x.org:443", "net:api.acme.dev:443", "run:git", "sampling"]


class Desk:
    """A home with a plugin folder, a config.toml and a gate that judges what they ask for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.state = root / "home", root / "state"
        self.workspace, self.plugin = self.home / "work", self.home / "todos"
        self.own = root / "conf" / "config.toml"
        for folder in (self.workspace, self.plugin, self.own.parent):
            folder.mkdir(parents=True)
        self.manifest(MANIFEST)
        self.own.write_text(f'[plugins.todos]\npath = "{self.plugin}"\n')
        self.tool = root / "tool"
        self.tool.write_text("#!/bin/sh\n")
        self.record: list[dict[str, Any]] = []
        self.gate = self.new_gate()

    def manifest(self, text: str) -> None:
        (self.plugin / "plugin.toml").write_text(text)

    def new_gate(self, workspace: Path | None = None) -> Gate:
        grounds = Grounds(
            state=self.state,
            home=str(self.home),
            workspace=str(workspace or self.workspace),
            own=self.own,
            guarded=(str(self.state), str(self.own.parent)),
            program=lambda spec: str(self.tool) if self.tool.exists() else None,
        )
        return Gate(grounds, lambda line: self.record.append(json.loads(line)))

    def settings(self, *mcp_configs: Path, workspace: Path | None = None) -> Settings:
        return load(
            config_file=self.own, mcp_configs=mcp_configs, workspace=workspace, environ={"HOME": str(self.home)}
        )

    def spec(self, name: str = "todos", *mcp_configs: Path) -> Spec:
        found = self.settings(*mcp_configs)
        assert found.problems == []
        return next(spec for spec in found.plugins if spec.name == name)

    def grant(self, *words: str, spec: Spec | None = None) -> None:
        spec = spec or self.spec()
        self.gate.grant(spec, self.gate.approval(spec), self.gate.chosen(spec, words), "a test")

    def once(self, *words: str, by: str = "a test") -> Spec:
        spec = self.spec()
        return self.gate.grant_once(spec, self.gate.approval(spec), self.gate.chosen(spec, words), by)

    def judged(self) -> Spec:
        return self.new_gate().judged(self.spec())

    @property
    def read(self) -> str:
        return f"read:{self.workspace}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Path(os.path.realpath(tmp_path)))


def test_what_is_asked_for_and_not_granted_is_missing(desk: Desk) -> None:
    spec = desk.judged()
    assert (sorted(spec.missing), spec.granted, spec.stale) == (sorted([desk.read, *ASKED]), (), "")
    assert not desk.state.exists()


def test_what_is_granted_is_granted_and_the_rest_is_missing(desk: Desk) -> None:
    desk.grant("net", "run:git")
    spec = desk.judged()
    assert sorted(spec.granted) == ["net:*.x.org:443", "net:api.acme.dev:443", "run:git"]
    assert sorted(spec.missing) == [desk.read, "sampling"]
    desk.grant("read:${workspace}", "sampling")
    assert (sorted(desk.judged().granted), desk.judged().missing) == (sorted([desk.read, *ASKED]), ())


def test_a_grant_of_what_is_not_asked_for_opens_nothing(desk: Desk) -> None:
    """That is one key."""
    spec = desk.spec()
    desk.gate.ledger.grant("todos", str(desk.own), desk.gate.approval(spec), [parse("run:sh"), parse("read:/srv")], "x")
    judged = desk.judged()
    assert judged.granted == () and "run:sh" not in judged.missing and judged.stale == ""


def test_a_wider_grant_opens_what_is_asked_for_and_no_more(desk: Desk) -> None:
    spec = desk.spec()
    wider = [parse(f"read:{desk.home}/**"), parse("net:*:*"), parse("run:*")]
    desk.gate.ledger.grant("todos", str(desk.own), desk.gate.approval(spec), wider, "x")
    assert sorted(desk.judged().granted) == sorted([desk.read, *ASKED[:3]])


@pytest.mark.parametrize("word", ["net:evil.com", "net:x.org:443", "write:${workspace}", "run", "write:/srv", "env:A"])
def test_what_is_not_asked_for_cannot_be_granted(desk: Desk, word: str) -> None:
    desk.manifest(MANIFEST.replace('run = ["git"]', ""))
    with pytest.raises(BadArguments, match="does not ask for") as caught:
        desk.grant(word)
    assert caught.value.hint.startswith("todos asks for read:")
    assert not desk.state.exists()


def test_nonsense_cannot_be_granted(desk: Desk) -> None:
    for word in ("everything", "read:..", "read:docs", ""):
        with pytest.raises(BadArguments):
            desk.grant(word)
    with pytest.raises(DangerousGrant):
        desk.grant("read:~")


def test_a_spec_that_asks_for_nothing_is_not_looked_into(desk: Desk) -> None:
    desk.state.mkdir()
    (desk.state / FILE).write_text("broken")
    for asks in (None, {}):
        spec = replace(desk.spec(), permissions=asks)
        assert desk.new_gate().judged(spec) is spec
        desk.gate.still(spec)


@pytest.mark.parametrize(
    ("manifest", "tool", "said"),
    [
        (MANIFEST + "\n# more", "#!/bin/sh\n", "its manifest changed"),
        (MANIFEST.replace('"git"', '"git", "sh"'), "#!/bin/sh\n", "its manifest changed"),
        (MANIFEST.replace('["tool"]', '["tool", "--evil"]'), "#!/bin/sh\n", "its command line"),
        (MANIFEST, "#!/bin/evil\n", "the program"),
    ],
)
def test_what_was_granted_does_not_count_for_something_else(desk: Desk, manifest: str, tool: str, said: str) -> None:
    desk.grant("read", "net", "run", "sampling")
    assert desk.judged().missing == ()
    desk.manifest(manifest)
    desk.tool.write_text(tool)
    spec = desk.judged()
    assert spec.granted == () and said in spec.stale and spec.stale.endswith("changed since it was granted")
    desk.grant("net")
    assert sorted(desk.judged().granted) == ["net:*.x.org:443", "net:api.acme.dev:443"]
    assert desk.judged().stale == ""


def test_another_plugin_by_the_same_name_has_nothing_of_it(desk: Desk, tmp_path: Path) -> None:
    desk.grant("read", "net", "run", "sampling")
    other = tmp_path / "other.toml"
    other.write_text(desk.own.read_text())
    spec = replace(desk.spec(), source=str(other))
    assert desk.new_gate().judged(spec).granted == ()


def test_a_grant_for_one_workspace_is_none_for_another(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    elsewhere = desk.home / "elsewhere"
    elsewhere.mkdir()
    spec = desk.new_gate(elsewhere).judged(desk.spec())
    assert spec.missing == (f"read:{elsewhere}",)
    gate = desk.new_gate(elsewhere)
    gate.grant(spec, gate.approval(spec), gate.chosen(spec, ["read"]), "a test")
    assert desk.judged().missing == ()  # and the first is not lost by that
    assert f"read:{elsewhere}" not in desk.judged().granted


def test_a_broken_ledger_grants_nothing_and_says_so(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    (desk.state / FILE).write_text("{")
    spec = desk.judged()
    assert spec.granted == () and len(spec.missing) == 5
    assert "nothing is granted" in spec.stale and str(desk.state / FILE) in spec.stale


def test_a_manifest_that_cannot_be_read_any_more_grants_nothing(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    spec = desk.spec()
    (desk.plugin / "plugin.toml").unlink()
    judged = desk.gate.judged(spec)
    assert judged.granted == () and "cannot be read" in judged.stale


# plain servers

TABLE = '[servers.git]\ncommand = "tool"\n[servers.git.permissions]\nrun = ["git"]\nread = ["~/docs"]\n'


def test_a_table_in_the_users_own_file_is_both_keys(desk: Desk) -> None:
    desk.own.write_text(TABLE)
    (spec,), problems = desk.gate.judge(desk.settings().plugins)
    assert sorted(spec.granted) == [f"read:{desk.home}/docs", "run:git"]
    assert (spec.missing, problems, desk.record) == ((), [], [])
    assert not desk.state.exists()
    desk.gate.still(spec)


def test_a_dangerous_target_in_the_users_own_file_is_a_problem(desk: Desk) -> None:
    desk.own.write_text(TABLE.replace("~/docs", "~"))
    (spec,), (problem,) = desk.gate.judge(desk.settings().plugins)
    assert (spec.granted, spec.missing) == (("run:git",), ("read:~",))
    assert problem.where == str(desk.own) and problem.plugin == "git" and "whole home folder" in problem.what
    assert problem.fix


def test_a_table_in_any_other_file_only_asks(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "mcp.json"
    servers = {"git": {"command": "tool", "permissions": {"run": ["git"]}}}
    other.write_text(json.dumps({"mcpServers": servers}))
    spec = desk.gate.judged(desk.spec("git", other))
    assert (spec.granted, spec.missing) == ((), ("run:git",))
    desk.grant("run", spec=spec)
    assert desk.gate.judged(spec).missing == ()
    servers["git"]["permissions"] = {"run": ["git", "sh"]}
    other.write_text(json.dumps({"mcpServers": servers}))
    spec = desk.gate.judged(desk.spec("git", other))
    assert spec.granted == () and "what it asks for" in spec.stale


def test_a_plugin_named_in_the_users_own_file_still_needs_grants(desk: Desk) -> None:
    assert not desk.gate.is_own(desk.spec())


@pytest.mark.parametrize("pattern", ["${workspace}/*.md", "${workspace}/**/x", "/srv/*/y"])
def test_a_pattern_that_the_kernel_cannot_hold_is_refused_for_a_process(desk: Desk, pattern: str) -> None:
    desk.manifest(MANIFEST.replace("${workspace}/**", pattern))
    (spec,), (problem,) = desk.gate.judge([desk.spec()])
    assert f"read:{pattern}" in spec.missing and "only to files and folders" in problem.what
    assert problem.where == str(desk.plugin / "plugin.toml")
    with pytest.raises(DangerousGrant):
        desk.grant("read")
    opened_by_us = replace(desk.spec(), entry="/x/plugin.lua")
    assert desk.gate.check(opened_by_us).refused == ()


# what a workspace says

OVERLAYS = [
    '[plugins.todos.permissions]\nread = ["/srv"]\n',
    '[plugins.todos]\npermissions = { run = ["sh"] }\n',
    "[plugins.todos]\nunconfined = true\n",
    '[plugins.todos]\nunenforced = ["net"]\n',
    '[plugins.todos]\ncommand = ["sh"]\n',
    '[plugins.todos]\nenv = { A = "b" }\n',
    '[plugins.todos]\npath = "."\n',
    '[plugins.evil]\npath = "."\n',
    '[servers.evil]\ncommand = "sh"\n[servers.evil.permissions]\nrun = ["sh"]\n',
    '[servers.todos]\ncommand = "sh"\n',
    '[grants]\ntodos = ["read:/"]\n',
]


@pytest.mark.parametrize("text", OVERLAYS)
def test_a_workspace_can_start_grant_and_widen_nothing(desk: Desk, text: str) -> None:
    desk.grant("net")
    before = desk.judged()
    (desk.workspace / ".broker.toml").write_text(text)
    (desk.workspace / "plugin.toml").write_text(MANIFEST.replace("todos", "evil"))
    found = desk.settings(workspace=desk.workspace)
    judged, _ = desk.gate.judge(found.plugins)
    assert judged == [before]
    assert found.problems and found.problems[0].where.startswith(str(desk.workspace))


def test_what_a_workspace_may_narrow_makes_no_grant_stale(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    (desk.workspace / ".broker.toml").write_text('[plugins.todos]\ntools = ["a*"]\ntimeout = "5s"\n')
    ((spec,), _) = desk.gate.judge(desk.settings(workspace=desk.workspace).plugins)
    assert spec.tools == (("a*",),) and spec.missing == ()


# right before a start


def test_what_still_is_as_it_was_may_start(desk: Desk) -> None:
    desk.grant("read", "net")
    desk.gate.still(desk.judged())


def test_a_folder_swapped_for_a_link_after_approval_is_refused_at_use(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    spec = desk.judged()
    desk.workspace.rename(desk.home / "before")
    desk.workspace.symlink_to("/etc")
    with pytest.raises(PermissionMissing, match=r"leads to /etc now") as caught:
        desk.gate.still(spec)
    assert "broker show todos" in caught.value.hint
    assert desk.judged().granted == () or "/etc" not in str(desk.judged().granted)


def test_a_program_swapped_after_approval_is_refused_at_use(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    spec = desk.judged()
    desk.tool.write_text("#!/bin/evil\n")
    with pytest.raises(PermissionMissing, match=r"the program .* changed"):
        desk.gate.still(spec)


def test_what_was_taken_back_is_refused_at_use(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    spec = desk.judged()
    desk.new_gate().revoke(spec, ["net"], "a test")
    with pytest.raises(PermissionMissing, match=r"net:api\.acme\.dev:443 is not granted now"):
        desk.gate.still(spec)


# once


def test_what_is_granted_once_lasts_as_long_as_the_gate(desk: Desk) -> None:
    spec = desk.spec()
    desk.grant("net")
    once = desk.once("run")
    assert "run:git" in once.granted and "net:*.x.org:443" in once.granted
    desk.gate.still(once)
    more = desk.once("sampling")
    assert {"run:git", "sampling"} < set(more.granted)
    assert "run:git" in desk.judged().missing  # another process knows nothing of it
    assert "run:git" in desk.gate.forget(spec).missing


def test_what_is_granted_once_counts_for_what_was_approved(desk: Desk) -> None:
    desk.once("run")
    desk.manifest(MANIFEST + "\n# more")
    spec = desk.gate.judged(desk.spec())
    assert spec.granted == () and "changed" in spec.stale


# a yes to everything that is missing


@pytest.mark.parametrize("once", [False, True])
def test_a_yes_is_to_all_that_was_shown(desk: Desk, once: bool) -> None:
    spec = desk.judged()
    allowed = desk.gate.allow(spec, desk.gate.approval(spec), once=once, by="a client")
    assert allowed.missing == () and sorted(allowed.granted) == sorted(spec.missing)
    assert (desk.judged().missing == ()) is not once
    assert [(line["action"], line["by"]) for line in desk.record] == [("once" if once else "grant", "a client")]


@pytest.mark.parametrize("once", [False, True])
def test_a_yes_is_none_to_what_changed_while_the_question_was_open(desk: Desk, once: bool) -> None:
    spec = desk.judged()
    approved = desk.gate.approval(spec)
    desk.tool.write_text("#!/bin/evil\n")
    assert desk.gate.allow(spec, approved, once=once, by="a client").granted == ()
    assert desk.record == [] and not desk.state.exists()


def test_a_yes_is_none_to_another_folder_under_the_same_name(desk: Desk) -> None:
    """The workspace became a link while the question was open: what was shown is a place, not a name."""
    spec = desk.judged()
    approved = desk.gate.approval(spec)
    desk.workspace.rename(desk.home / "before")
    (desk.home / "other").mkdir()
    desk.workspace.symlink_to(desk.home / "other")
    desk.gate.allow(spec, approved, once=False, by="a client")
    assert desk.judged().missing == (f"read:{desk.home}/other",)


# taking back, and the record


def test_taking_back_names_permissions_kinds_or_nothing(desk: Desk) -> None:
    desk.grant("read", "net", "run", "sampling")
    spec = desk.spec()
    assert [each.permission for each in desk.gate.revoke(spec, ["net:API.acme.dev."], "x")] == ["net:api.acme.dev:443"]
    assert [each.permission for each in desk.gate.revoke(spec, ["read:${workspace}/**"], "x")] == [desk.read]
    assert [each.permission for each in desk.gate.revoke(spec, ["net"], "x")] == ["net:*.x.org:443"]
    with pytest.raises(BadArguments, match="is not granted to todos"):
        desk.gate.revoke(spec, ["net"], "x")
    assert len(desk.gate.revoke(spec, [], "x")) == 2
    assert desk.gate.revoke(spec, [], "x") == ()


def test_what_the_users_own_file_grants_is_taken_back_there(desk: Desk) -> None:
    desk.own.write_text(TABLE)
    with pytest.raises(ConfigError, match="your own configuration") as caught:
        desk.gate.revoke(desk.spec("git"), [], "x")
    assert str(desk.own) in caught.value.hint


def test_every_decision_is_recorded(desk: Desk) -> None:
    spec = desk.spec()
    desk.grant("net")
    desk.once("run", by="a client")
    desk.gate.revoke(spec, [], "a test")
    desk.gate.revoke(spec, [], "a test")  # nothing was there
    assert [(line["action"], line["by"]) for line in desk.record] == [
        ("grant", "a test"),
        ("once", "a client"),
        ("revoke", "a test"),
    ]
    assert desk.record[0] == desk.record[0] | {
        "plugin": "todos",
        "source": str(desk.own),
        "permissions": ["net:api.acme.dev:443", "net:*.x.org:443"],
        "pid": os.getpid(),
    }


def test_a_program_is_read_once_however_often_is_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Touched since it was approved, it is read anew: once."""
    desk.grant("read", "net", "run", "sampling")
    os.utime(desk.tool, ns=(1, 1))
    gate = desk.new_gate()
    assert gate.judged(desk.spec()).missing == ()
    monkeypatch.setattr(approval, "READ", "no size to read by")
    assert gate.judged(desk.spec()).missing == ()
    with pytest.raises(TypeError):
        desk.new_gate().judged(desk.spec())


def test_the_command_of_an_error_grants_from_any_folder(desk: Desk) -> None:
    """A client starts broker in a project, and its user has a terminal somewhere else."""
    (desk.home / "elsewhere").mkdir()
    for started_in in (desk.home / "elsewhere", desk.home):
        gate = desk.new_gate(started_in)
        spec = desk.spec()
        (chosen,) = gate.chosen(spec, [desk.read])
        gate.grant(spec, gate.approval(spec), [chosen], "a test")
        assert desk.read in desk.judged().granted
        gate.revoke(spec, [], "a test")


def test_only_a_place_in_a_workspace_that_it_asks_for_can_be_granted_from_elsewhere(desk: Desk) -> None:
    desk.manifest(MANIFEST.replace("${workspace}/**", "${workspace}/docs"))
    spec = desk.spec()
    gate = desk.new_gate(desk.home / "elsewhere")
    assert gate.chosen(spec, [f"{desk.read}/docs"]) == (parse(f"{desk.read}/docs"),)
    for word in (desk.read, f"{desk.read}/src", f"{desk.read}/mydocs", f"write:{desk.workspace}/docs"):
        with pytest.raises(BadArguments, match="does not ask"):
            gate.chosen(spec, [word])
    with pytest.raises(DangerousGrant):
        gate.chosen(spec, [f"read:{desk.home}"])
