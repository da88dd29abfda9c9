"""Every plugin gets a report: a good one a clean one, and whatever a hostile one does is a failed check."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import psutil
import pytest

from broker.authoring.checking import run
from broker.authoring.definitions import GOLDEN
from broker.authoring.report import Check, Report
from broker.authoring.trial import Trial
from tests.authoring.authored import LUA, MANIFEST, REFUSES, SDK, lua, made, python, raw


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "home"))


async def report_of(folder: Path, *, longest: float = 60.0) -> Report:
    return await run(Trial(path=folder), folder.parent / "run", lambda check: None, longest=longest)


def failed(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.failed}


async def test_a_plugin_on_the_sdk_has_nothing_wrong_with_it(tmp_path: Path) -> None:
    folder = python(tmp_path / "greeter")
    (folder / "tests.toml").write_text(
        '[[test]]\nname = "it greets"\ntool = "greet"\narguments = { name = "Ada" }\nresult = "Hello, Ada"\n'
        'toasts = ["Greeting Ada"]\n[[test]]\nname = "it waves"\ncommand = "wave"\nresult = "waved"\n'
        '[[test]]\nname = "it asks"\ntool = "age"\nanswers = [{ value = 36 }]\nresult = "36 years"\n'
    )
    report = await report_of(folder)
    assert failed(report) == {}
    made = {check.name: check for check in report.checks}
    assert made["clients of both eras are served"].why == ""
    assert made["odd frames are answered"].why.startswith("all ")
    assert made["it waves"].outcome == made["it asks"].outcome == "ok"
    assert report.plugin == "greeter"


async def test_what_a_plugin_is_refused_fails_with_the_line_to_add(tmp_path: Path) -> None:
    folder = python(tmp_path / "greeter", SDK, '[permissions]\nui = ["ask", "documents"]\n')
    (folder / "tests.toml").write_text(
        '[[test]]\nname = "it greets"\ntool = "greet"\narguments = { name = "Ada" }\nresult = "Hello, Ada"\n'
    )
    found = failed(await report_of(folder))
    assert found.keys() == {"permissions"}
    assert "ui:toast" in found["permissions"].why
    assert 'ui = ["ask", "documents", "command", "toast"]' in found["permissions"].fix


async def test_a_script_gets_the_checks_that_apply(tmp_path: Path) -> None:
    report = await report_of(lua(tmp_path / "greeter"))
    assert failed(report) == {}
    skipped = {check.name: check.why for check in report.checks if check.outcome == "skipped"}
    assert skipped["the conversation on stdio"] == "broker runs it itself and speaks for it"


async def test_golden_definitions_are_compared(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    (folder / GOLDEN).write_bytes(msgspec.json.encode([{"name": "greet"}, {"name": "other"}]))
    found = failed(await report_of(folder))
    assert found["golden definitions"].why == "other is gone; greet changed"


async def test_a_command_that_nobody_handles_is_found(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    with (folder / "plugin.toml").open("a") as manifest:
        manifest.write('[commands.wave]\ntitle = "Wave"\n[commands.greet]\ntitle = "Greet"\n')
    found = failed(await report_of(folder))
    assert found["commands of the manifest"].why == "nobody handles the command wave"


async def test_a_wrong_manifest_is_the_report(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    (folder / "plugin.toml").write_text(MANIFEST.format(name="Greeter", entry="plugin.lua"))
    report = await report_of(folder)
    assert [check.name for check in report.checks] == ["plugin.toml"]
    assert f"{folder}/plugin.toml:1" in report.checks[0].why


async def test_a_wrong_file_of_tests_is_a_failed_check(tmp_path: Path) -> None:
    folder = lua(tmp_path / "greeter")
    (folder / "tests.toml").write_text('[[test]]\nname = "a"\n')
    assert "tests.toml:1" in failed(await report_of(folder))["tests of its author"].why


async def test_definitions_that_no_client_could_use_are_told(tmp_path: Path) -> None:
    code = LUA.replace('"Greets somebody"', '""').replace('"greet"', '"greet me!"')
    report = await report_of(lua(tmp_path / "greeter", code=code))
    names = failed(report).keys()
    assert not report.ok
    assert names & {"tool names", "it starts under broker"}


# what hostile ones do; each is over in seconds


async def test_one_that_hangs_at_its_start(tmp_path: Path) -> None:
    found = failed(await report_of(raw(tmp_path / "raw", before="time.sleep(1000)")))
    assert found.keys() == {"it starts under broker"}
    assert "did not answer within 2 s" in found["it starts under broker"].why


async def test_one_that_dies_at_each_call(tmp_path: Path) -> None:
    before = 'print("dies", file=sys.stderr)'
    found = failed(await report_of(raw(tmp_path / "raw", before=before, other="os.abort()")))
    assert "it ended instead of answering no/such/method" in found["an unknown method is an error"].why
    assert "it ended instead of answering ping; the last it wrote: dies" in found["it outlives odd frames"].why


@pytest.mark.long
async def test_one_that_floods(tmp_path: Path) -> None:
    flood = 'while True: sys.stdout.write(\'{"jsonrpc":"2.0","method":"notifications/x"}\\n\')'
    found = failed(await report_of(raw(tmp_path / "raw", before=flood)))
    assert found.keys() == {"it starts under broker"}
    flooding = REFUSES + "\n        " + flood
    found = failed(await report_of(raw(tmp_path / "later", other=flooding)))
    assert "more than 20000 lines or 64 MiB" in found["it has the lists it says it has"].why


async def test_one_that_lies_and_makes_noise(tmp_path: Path) -> None:
    other = "print('got', method); say(id=id, result={}); say(id=id, result={})"
    found = failed(await report_of(raw(tmp_path / "raw", other=other)))
    assert "'got no/such/method'" in found["stdout is for MCP alone"].why
    assert "an unknown method is answered with a result" in found["an unknown method is an error"].why
    assert "was answered 2 times" in found["no answer where none is owed"].why
    assert "tools/call with {} is answered with a result" in found["a call of no tool fails"].why


@pytest.mark.long
async def test_one_that_does_not_end_and_its_children(tmp_path: Path) -> None:
    before = """
    import signal, subprocess
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1234)"])
    """
    folder = raw(tmp_path / "raw", before=before, after="time.sleep(1000)")
    with (folder / "plugin.toml").open("a") as manifest:
        manifest.write('[permissions]\nrun = ["*"]\n')
    found = failed(await report_of(folder))
    assert found["it ends with its input"].why == "it runs on, 5 s after the end of its input"
    left = [each for each in psutil.process_iter(["cmdline"]) if "time.sleep(1234)" in (each.info["cmdline"] or [])]
    assert left == []


async def test_a_run_ends_in_time_whatever_happens(tmp_path: Path) -> None:
    folder = raw(tmp_path / "raw", before="time.sleep(1000)")
    loop = asyncio.get_running_loop()
    began = loop.time()
    report = await report_of(folder, longest=0.5)
    assert report.checks[-1].name == "the whole run"
    assert loop.time() - began < 20.0


async def test_a_plain_server_is_checked_without_a_manifest(tmp_path: Path) -> None:
    folder = made(tmp_path / "plain", "", {})
    (folder / "plugin.toml").unlink()
    (folder / "server.py").write_text((raw(tmp_path / "raw") / "plugin.py").read_text())
    report = await report_of(folder)
    assert failed(report) == {}
    skipped = {check.name for check in report.checks if check.outcome == "skipped"}
    assert {"plugin.toml", "permissions"} <= skipped
