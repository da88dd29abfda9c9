"""`broker grant` and `broker revoke`: a person's yes, and taking it back.

Rule 1: nothing is granted that was not shown: the whole command line, and every permission.
Rule 2: on a terminal anything but an exact yes is no. Without one nobody can be asked: then the permissions are named,
        or `--yes` says that they were read elsewhere.
Rule 3: what is approved is what was shown, not what the files say a moment later.

Exit codes: 0 it is done, 1 it is not, 2 the command was wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import click
import msgspec

from broker.cli.brokers import LONG, Broker, all_answers, refusal, running, unanswered
from broker.cli.granted import of, say
from broker.cli.screen import plain
from broker.core.status import Status
from broker.errors import BadArguments, BrokerError, ConfigError, NotFound
from broker.model import Spec
from broker.permissions.approval import Approval
from broker.permissions.gate import Gate
from broker.permissions.scopes import Permission

DONE, NOT_DONE = 0, 1
BY = "a terminal"


def grant(spec: Spec, words: Sequence[str], gate: Gate, *, once: bool, yes: bool) -> int:
    """Grant what `words` name, or after a question everything that is missing; the exit code."""
    _check(spec)
    wanted = gate.chosen(spec, words) if words else gate.check(spec).missing
    approved = _approval(spec, gate)
    say(of(spec, gate))
    if not wanted:
        click.echo("\nThere is nothing to grant.")
        return DONE
    if not (words or yes or _agreed(spec, wanted)):
        click.echo("Nothing was granted.", err=True)
        return NOT_DONE
    if once:
        return _once(spec, wanted)
    gate.grant(spec, approved, wanted, BY)
    click.echo(f"\nGranted to {spec.name}, until `broker revoke {spec.name}`:")
    _say(wanted)
    return DONE


def revoke(spec: Spec, words: Sequence[str], gate: Gate) -> int:
    """Take back what `words` name, or everything; the exit code."""
    gone = gate.revoke(spec, words, BY)
    with running(os.environ) as brokers:
        _tell(brokers, "revoke", spec.name, (), quiet=True)  # also what was granted once; the others see the file
    if not gone:
        click.echo(f"Nothing was granted to {spec.name}.")
        return NOT_DONE
    click.echo(f"Not granted to {spec.name} any more:")
    for each in gone:
        click.echo(plain(f"  {each.permission}"))
    return DONE


def _check(spec: Spec) -> None:
    """Raises `ConfigError` for a plugin nobody can grant anything."""
    if not spec.enabled:
        raise ConfigError(f"{spec.name} is disabled", hint=f"`broker enable {spec.name}` takes it back.")
    if spec.permissions is None:
        what = f"{spec.name} asks for nothing: it is a plain server without a table of permissions, and runs unconfined"
        raise BadArguments(what, hint=f"`broker learn {spec.name}` proposes one for its entry in {spec.source}.")


def _approval(spec: Spec, gate: Gate) -> Approval:
    try:
        return gate.approval(spec)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from None


def _agreed(spec: Spec, wanted: Sequence[Permission]) -> bool:
    """Ask the person. Raises `BadArguments` if there is none."""
    if not sys.stdin.isatty():
        names = " ".join(f"'{one}'" for one in wanted)
        raise BadArguments(
            "nobody can be asked here, because standard input is no terminal",
            hint=plain(f"Name what is granted, or add --yes: broker grant {spec.name} {names}"),
        )
    click.echo("\nThis would be granted:")
    _say(wanted)
    click.echo("Grant it? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(permissions: Sequence[Permission]) -> None:
    for one in permissions:
        click.echo(plain(f"  {one}"))


def _once(spec: Spec, wanted: Sequence[Permission]) -> int:
    """Have the brokers that run now grant it, until they end."""
    with running(os.environ) as brokers:
        if not brokers:
            click.echo("No broker is running now, so there is nothing that --once could last for.", err=True)
            return NOT_DONE
        return DONE if _tell(brokers, "grant", spec.name, tuple(map(str, wanted))) else NOT_DONE


def _tell(
    brokers: Sequence[Broker], method: str, name: str, permissions: Sequence[str], *, quiet: bool = False
) -> bool:
    """Whether every broker that has the plugin did it, and any has."""
    params = msgspec.json.encode({"name": name, "permissions": permissions})
    speaking = [broker for broker in brokers if broker.here is not None]
    silent: Iterator[tuple[Broker, Status | BrokerError]] = (
        (broker, unanswered()) for broker in brokers if broker.here is None
    )
    answers = [*silent, *all_answers(speaking, method, params, Status, LONG)]
    counting = [(broker, answer) for broker, answer in answers if not _lacks(answer)]
    for broker, answer in counting:
        if not quiet:
            _said(broker, answer)
    return bool(counting) and all(isinstance(answer, Status) for _, answer in counting)


def _lacks(answer: Status | BrokerError) -> bool:
    return not isinstance(answer, Status) and refusal(answer).name == NotFound.name


def _said(broker: Broker, answer: Status | BrokerError) -> None:
    if isinstance(answer, Status):
        click.echo(plain(f"{broker.title}: {answer.name} is {answer.state.value}, granted until this broker ends"))
        return
    click.secho(plain(f"{broker.title}: {answer}"), fg="red", err=True)
    if hint := refusal(answer).hint:
        click.secho(f"  fix: {plain(hint)}", fg="green", err=True)
