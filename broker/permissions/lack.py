"""What a plugin asks for and was not granted, in words for a person."""

from __future__ import annotations

import shlex

from broker.errors import PermissionMissing
from broker.model import Spec


def command(spec: Spec) -> str:
    """The command that grants what `spec` lacks; empty if nobody can grant it."""
    wanted = _grantable(spec)
    return shlex.join(("broker", "grant", spec.name, *wanted)) if wanted else ""


def lack(spec: Spec) -> str:
    """A sentence: what `spec` lacks, and why if it once had it."""
    why = f" ({spec.stale})" if spec.stale else ""
    wanted = _grantable(spec)
    ungranted = [f"for {', '.join(wanted)}, which its user has not granted{why}"] if wanted else []
    impossible = [f"for {', '.join(spec.refused)}, which nobody can grant"] if spec.refused else []
    return f"{spec.name} asks {', and '.join((*ungranted, *impossible))}"


def remedy(spec: Spec) -> str:
    """What a person does about it, in sentences."""
    says = [f"Run `{command(spec)}`."] if command(spec) else []
    if spec.refused:
        says.append("`broker check` says what to change in what it asks for.")
    return " ".join(says)


def refusal(spec: Spec) -> PermissionMissing:
    """What a call to `spec` ends with."""
    facts = {"plugin": spec.name, "missing": list(spec.missing), "command": command(spec)}
    return PermissionMissing(lack(spec), hint=remedy(spec), facts=facts)


def may_guard(spec: Spec, on: str) -> bool:
    """Whether its hook `on` has a say, if only by failing: its user granted that once, or grants it now."""
    return f"hooks:{on}" not in spec.missing or bool(spec.stale)


def may_sample(spec: Spec) -> bool:
    """Whether it may use its client's model: a plugin with a table of permissions needs that one, too."""
    return spec.permissions is None or "sampling" in spec.granted


def asks_through_broker(spec: Spec) -> bool:
    """Whether it may put questions to its caller that are no messages of MCP's, itself or by another it calls."""
    runs_here = (spec.entry or "").endswith((".lua", ".wasm"))
    return runs_here and any(one == "ui:ask" or one.startswith("call:") for one in spec.granted)


def no_sampling(spec: Spec) -> PermissionMissing:
    """What it is told that asks for its client's model all the same."""
    hint = f"If it should, `sampling = true` goes into its permissions; then `broker grant {spec.name} sampling`."
    return PermissionMissing(f"{spec.name} may not use its client's model", hint=hint, facts={"plugin": spec.name})


def noted(spec: Spec, description: str) -> str:
    """A tool's description, as it is shown while `spec` lacks something."""
    return f"[Not permitted yet: {lack(spec)}. {remedy(spec)}] {description}".strip()


def _grantable(spec: Spec) -> list[str]:
    return [each for each in spec.missing if each not in spec.refused]
