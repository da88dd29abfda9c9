"""`broker restart`, `stop`, `warm`, `disable` and `enable`: one plugin, in every broker of this user that runs.

Exit codes: 0 it is done, 1 it could not be done, or no broker runs, 2 nobody knows a plugin of that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from broker.cli.brokers import Broker, acted, refusal, running, unanswered
from broker.cli.screen import plain
from broker.core.disabled import FILE, switch
from broker.core.shape import nearest
from broker.core.status import Status
from broker.errors import BrokerError, ConfigError, NotFound
from broker.model import Settings, Spec

DONE, NOT_DONE = 0, 1


def act(method: str, name: str, found: Settings, count: int | None = None) -> int:
    """Have every running broker do it; the exit code. Raises `NotFound`."""
    with running(os.environ) as brokers:
        _check_name(name, found.plugins, brokers)
        return _tell(brokers, method, name, count)


def disable(name: str, found: Settings, state: Path) -> int:
    """Take a plugin out, here and in brokers to come; the exit code. Raises `NotFound`, `ConfigError`."""
    with running(os.environ) as brokers:
        _check_name(name, found.plugins, brokers)
        new = switch(state, name, off=True)
        said = "is disabled from now on" if new else "was disabled before"
        click.echo(f"{name} {said} ({state / FILE}); `broker enable {name}` takes it back.")
        return _tell(brokers, "disable", name)


def enable(name: str, reread: Callable[[], Settings], where: Callable[[Spec], str], state: Path) -> int:
    """Take a plugin back, here and in brokers to come; the exit code. Raises `NotFound`, `ConfigError`.

    `reread` reads the configuration once the plugin is not switched off any more; `where` finds the place that
    disables an entry.
    """
    new = switch(state, name, off=False)
    found = reread()
    spec = next((spec for spec in found.plugins if spec.name == name), None)
    if spec is not None and not spec.enabled:
        place = where(spec)
        raise ConfigError(f"{name} is disabled in {place}", hint="Enable it there.")
    with running(os.environ) as brokers:
        if not new:
            _check_name(name, found.plugins, brokers)
        click.echo(f"{name} is enabled from now on." if new else f"{name} was not disabled by `broker disable`.")
        return _tell(brokers, "enable", name)


def _check_name(name: str, specs: Iterable[Spec], brokers: Sequence[Broker]) -> None:
    """Raises `NotFound` if nobody knows it. A broker may run on files that this command was not told of."""
    known = {spec.name for spec in specs}
    known |= {plugin.name for broker in brokers if broker.here for plugin in broker.here.plugins}
    if name not in known:
        near = nearest(name, known)
        more = f"; did you mean {near}?" if near else f"; there are {', '.join(sorted(known)) or 'none'}"
        raise NotFound(f"no plugin is called {name}{more}", hint="Run `broker list` to see them.")


def _tell(brokers: Sequence[Broker], method: str, name: str, count: int | None = None) -> int:
    if not brokers:
        click.echo("No broker is running now.", err=True)
        return NOT_DONE
    silent = [(broker, unanswered()) for broker in brokers if broker.here is None]
    speaking = [broker for broker in brokers if broker.here is not None]
    answers = {_said(broker, name, answer) for broker, answer in (*silent, *acted(speaking, method, name, count=count))}
    return DONE if answers - {None} == {True} else NOT_DONE


def _said(broker: Broker, name: str, answer: Status | BrokerError) -> bool | None:
    """Print what a broker made of it; whether it could do it, None if it has no such plugin."""
    if isinstance(answer, Status):
        click.echo(plain(f"{broker.title}: {_state(answer)}"))
        return True
    why = refusal(answer)
    if why.name == NotFound.name:
        click.echo(plain(f"{broker.title}: has no {name}"))
        return None
    click.secho(plain(f"{broker.title}: {answer}"), fg="red", err=True)
    if why.hint:
        click.secho(f"  fix: {plain(why.hint)}", fg="green", err=True)
    return False


def _state(status: Status) -> str:
    parts = [f"{status.name} is {status.state.value}"]
    if status.pids:
        parts.append(f"pid {', '.join(map(str, status.pids))}")
    if status.restarts:
        parts.append(f"restarted {status.restarts} time{'s' * (status.restarts > 1)}")
    if status.pool is not None:
        ready = f"{status.pool.ready} of {status.pool.wanted} instances ready"
        parts.append(f"{ready} with {status.pool.bytes >> 10} KiB of memory")
    return ", ".join(parts)
