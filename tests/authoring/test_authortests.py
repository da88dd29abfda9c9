"""The tests an author writes down are run under the real broker, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.authoring.authortests import FILE, read
from broker.authoring.checking import run
from broker.authoring.report import Check
from broker.authoring.trial import Trial
from broker.core.source import Faulty
from tests.authoring.authored import LUA, lua

MORE = """
broker.tool({
  name = "count",
  description = "Counts",
  run = function() return { total = 3 } end,
})
broker.tool({
  name = "fail",
  description = "Fails",
  run = function() error("the disk is full") end,
})
broker.tool({
  name = "show",
  description = "Shows a message",
  run = function() broker.toast("Done") return "shown" end,
})
"""
TESTS = """
[[test]]
name = "it greets"
tool = "greet"
arguments = { name = "Ada" }
result = "Hello, Ada"

[[test]]
name = "it counts"
tool = "count"
result = { total = 3 }

[[test]]
name = "a part of the text is enough"
tool = "greet"
arguments = { name = "Ada" }
contains = "Ada"

[[test]]
name = "it fails"
tool = "fail"
error = "disk"

[[test]]
name = "it shows"
tool = "show"
toasts = ["Done"]

[[test]]
name = "it may not show"
tool = "show"
error = "ui:toast"
grant = []
"""
WRONG = """
[[test]]
name = "another text"
tool = "greet"
arguments = { name = "Ada" }
result = "Bye, Ada"

[[test]]
name = "another number"
tool = "count"
result = { total = 4 }

[[test]]
name = "no failure"
tool = "count"
error = "disk"

[[test]]
name = "another failure"
tool = "fail"
error = "network"

[[test]]
name = "a failure"
tool = "fail"

[[test]]
name = "no message"
tool = "greet"
arguments = { name = "Ada" }
toasts = ["Done"]

[[test]]
name = "no tool"
tool = "nosuch"
"""


async def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: str) -> dict[str, Check]:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "home"))
    folder = lua(tmp_path / "greeter", code=LUA + MORE)
    with (folder / "plugin.toml").open("a") as manifest:
        manifest.write('[permissions]\nui = ["toast"]\n')
    (folder / FILE).write_text(tests)
    report = await run(Trial(path=folder), tmp_path / "run", lambda check: None)
    return {check.name: check for check in report.checks}


async def test_what_is_as_its_author_wrote_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await outcomes(tmp_path, monkeypatch, TESTS)
    names = [each.name for each in read(tmp_path / "greeter" / FILE)]
    assert len(names) == 6
    assert {name: found[name].outcome for name in names} == dict.fromkeys(names, "ok"), found


async def test_what_is_not_says_what_came_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await outcomes(tmp_path, monkeypatch, WRONG)
    said = {each.name: found[each.name].why for each in read(tmp_path / "greeter" / FILE)}
    assert said["another text"] == "it gave Hello, Ada, and not Bye, Ada"
    assert said["another number"] == 'it gave {"total":3}, and not {"total":4}'
    assert said["no failure"] == 'it did not fail, and gave {"total":3}'
    assert "without 'network' in it" in said["another failure"]
    assert "the disk is full" in said["a failure"]
    assert said["no message"] == "it showed [], and not ['Done']"
    assert "no tool is called nosuch" in said["no tool"] or "nosuch" in said["no tool"]
    assert {found[name].outcome for name in said} == {"failed"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[[test]]\nname = "a"\n', 1, "one of `tool`, `command` and `hook`"),
        ('[[test]]\nname = "a"\ntool = "b"\nhook = "pre_request"\n', 1, "one of `tool`, `command` and `hook`"),
        ('[[test]]\nname = "a"\ntool = "b"\nexpect = 1\n', 4, "unknown key"),
        ('[[test]]\nname = "a"\ntool = "b"\narguments = [1]\n', 4, "must be a table"),
        ('[[test]]\nname = "a"\ncommand = "b"\narguments = {a = 1}\n', 4, "must be a list"),
        ('[[test]]\ntool = "b"\n', 1, "is missing"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Faulty) as found:
        read(tmp_path / FILE)
    assert found.value.problem.where == f"{tmp_path / FILE}:{line}"
    assert said in found.value.problem.what


def test_a_plugin_without_the_file_has_no_tests(tmp_path: Path) -> None:
    assert read(tmp_path / FILE) == []
