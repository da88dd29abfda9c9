"""`broker test`: its words, and its report on a screen.

Exit codes: 0 nothing failed, 1 a check failed, 2 the command was wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from broker.cli.screen import plain
from broker.cli.trying import on_trial, trial

if TYPE_CHECKING:
    from broker.authoring.report import Check, Report
    from broker.authoring.trial import Trial

_MARKS = {"ok": ("ok", "green"), "failed": ("FAILED", "red"), "skipped": ("skipped", "yellow")}


@click.command(short_help="Check a plugin as far as any can be checked.")
@on_trial
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for programs.")
def test(as_json: bool, **options: Any) -> int:
    """Start the plugin in PATH under the broker, confined as at its users, and check it.

    Its manifest, its start, its lists, the conversation on stdio with odd frames, its end, what it is refused, and the
    calls in tests.toml beside plugin.toml. What it asks for is granted to this run only, and nothing it keeps is left.

    Exit code: 0 nothing failed, 1 a check failed, 2 the command was wrong.
    """
    return _run(trial(**options), as_json=as_json)


def _run(wanted: Trial, *, as_json: bool) -> int:
    import asyncio
    import tempfile
    from pathlib import Path

    import msgspec

    from broker.authoring.checking import run
    from broker.cli.sessions import quieten

    quieten()
    with tempfile.TemporaryDirectory(prefix="broker-test-", ignore_cleanup_errors=True) as folder:
        report = asyncio.run(run(wanted, Path(folder), _silent if as_json else _say))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _sum_up(report)
    return 0 if report.ok else 1


def _silent(check: Check) -> None:
    """The report is printed as a whole."""


def _say(check: Check) -> None:
    mark, color = _MARKS[check.outcome]
    click.secho(f"{mark:8}", fg=color, nl=False)
    why = plain(check.why).replace("\n", "\n          ")
    click.echo(plain(check.name) + (f": {why}" if why else ""))
    if check.fix and check.outcome == "failed":
        click.secho(f"          fix: {plain(check.fix)}", fg="green")


def _sum_up(report: Report) -> None:
    failed, made = len(report.failed), len([each for each in report.checks if each.outcome != "skipped"])
    name = plain(f"{report.plugin} {report.version}".strip())
    said = f"{failed} of {made} checks of {name} failed" if failed else f"{name}: all {made} checks are ok"
    click.secho(f"\n{said}, after {report.seconds:.1f} s.", fg="red" if failed else "green", bold=True)


COMMANDS = (test,)
