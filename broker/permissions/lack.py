"""What a plugin asks for and was not granted, in words for a person."""

from __future__ import annotations

import shlex

from broker.errors import PermissionMissing
from broker.model import Spec


def command(spec: Spec) -> str:
    """The command that grants what `spec` lacks."""
    return shlex.join(("broker", "grant", spec.name, *spec.missing))


def lack(spec: Spec) -> str:
    """A sentence: what `spec` lacks, and why if it once had it."""
    why = f" ({spec.stale})" if spec.stale else ""
    return f"{spec.name} asks for {', '.join(spec.missing)}, which its user has not granted{why}"


def refusal(spec: Spec) -> PermissionMissing:
    """What a call to `spec` ends with."""
    facts = {"plugin": spec.name, "missing": list(spec.missing), "command": command(spec)}
    return PermissionMissing(lack(spec), hint=f"Run `{command(spec)}`.", facts=facts)


def noted(spec: Spec, description: str) -> str:
    """A tool's description, as it is shown while `spec` lacks something."""
    return f"[Not permitted yet: {lack(spec)}. `{command(spec)}` allows it.] {description}".strip()
