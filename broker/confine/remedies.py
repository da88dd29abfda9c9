"""Why a mechanism does not work on a machine, in words, and what its owner can do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

NO_LANDLOCK = "this kernel has no Landlock, or it is switched off"
UNKNOWN = "nothing is known that confines programs on this system"
UNSUPPORTED = {
    "darwin": "on macOS nothing holds a plugin from files and hosts yet",
    "win32": "Windows holds no program from files and hosts that Python and Node start under",
}
_LINUX = "Run broker in a Linux virtual machine or container, on Windows in WSL 2."
_UNCONFINED = "Or let it run unconfined: `unconfined = true` in its entry, if you trust it as your own programs."
# A setting of the kernel, the value that forbids, why that is and what helps.
_SETTINGS = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps namespaces from programs without a profile",
        "Install bubblewrap (`sudo apt install bubblewrap`; Ubuntu 25.04 and later trust it), or allow them: "
        "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`.",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "the system keeps namespaces from plain users",
        "Allow them: `sudo sysctl kernel.unprivileged_userns_clone=1`.",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "the system allows no user namespaces",
        "Allow them: `sudo sysctl user.max_user_namespaces=15000`.",
    ),
)


def reason(error: Exception) -> str:
    """What went wrong in a trial, without what everybody knows of it."""
    if isinstance(error, TimeoutError):
        return "it did not start in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"^.* was (?:not started|ended at its start), because it (?:cannot be|is not) confined: ", "", text)


def hint(failed: Mapping[str, str]) -> str:
    """What would help where nothing confines a plugin."""
    return " ".join([*advice(failed), _UNCONFINED])


def hint_for(kind: str, failed: Mapping[str, str], name: str) -> str:
    """What would help where one kind is not enforced."""
    accept = f'Or accept it: `unenforced = ["{kind}"]` in the entry of {name}.'
    if kind in ("memory", "pids") and "cgroup" in failed:
        from broker.confine.cgroup import DELEGATE

        return f"{DELEGATE} {accept}"
    return " ".join([*advice(failed), accept])


def advice(failed: Mapping[str, str]) -> list[str]:
    """What would make more work here, a sentence each."""
    found = [_LINUX] if _is_unsupported(failed) else []
    if "native" in failed and not found:
        found += [_one(why, what) for path, value, why, what in _SETTINGS if _setting(path) == value]
        if not found and in_container():
            found.append(
                "This is a container: its runtime decides. `--security-opt seccomp=unconfined` allows namespaces."
            )
    if "landlock" in failed:
        found.append("Landlock needs Linux 5.13 and `landlock` among the `lsm=` of the kernel's command line.")
    return found


def in_container() -> bool:
    """Whether this looks like one."""
    if any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")):
        return True
    return "container=" in _setting("/proc/1/environ").replace("\0", "\n")


def _is_unsupported(failed: Mapping[str, str]) -> bool:
    return any(why in failed.values() for why in (*UNSUPPORTED.values(), UNKNOWN))


def _one(why: str, what: str) -> str:
    return f"{why[0].upper()}{why[1:]}. {what}"


def _setting(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""
