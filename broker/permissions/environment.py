"""Environment variables by their names: which are passed on, which never, which carry a secret, which look like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The names the official SDKs pass on, then what programs need to find the user's language, time and folders.
# They hold places and preferences; everything else, tokens above all, is given by name.
POSIX_NAMES = (
    *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"),
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
)
WINDOWS_NAMES = (
    *("APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT", "PROCESSOR_ARCHITECTURE"),
    *("SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME", "USERPROFILE"),
)
_SAFE = frozenset((*POSIX_NAMES, *WINDOWS_NAMES))

# These only tune an interpreter and name no code; many a client's file sets them.
_HARMLESS = frozenset(
    f"PYTHON{name}"
    for name in (
        *("UNBUFFERED", "IOENCODING", "UTF8", "DONTWRITEBYTECODE", "HASHSEED", "FAULTHANDLER"),
        *("NOUSERSITE", "SAFEPATH", "LEGACYWINDOWSSTDIO"),
    )
)
# Patterns are compiled when there is something to look at.
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SECRET = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_CREDENTIAL = (
    r"TOKEN|SECRET|PASS(WORD|WD|PHRASE)|(^|_)(PASS|PW|PWD|PAT|DSN|AUTH|BEARER|JWT)($|_)|CREDENTIAL|COOKIE"
    r"|AUTHORIZATION|CONNECTION_?STRING|API_?KEY|(^|_)KEY$|KEY_(BASE64|DATA|PEM)$"
)
# What such a name may say of a secret without being one.
_ABOUT = r"_(FILE|PATH|DIR|URL|URI|ENDPOINT|HOST|PORT|ID|NAME|TYPE|MODE|METHOD|TTL|EXPIRY|TIMEOUT|LIMIT)$"


def denied(name: str) -> bool:
    """Whether a variable is never passed on, because it makes a loader, an interpreter or a tool run other code."""
    return name.upper() not in _HARMLESS and _runs_code(name)


def variable(key: str) -> str:
    """The variable in which the secret `key` is given: upper case, `_` for `-` and `.`."""
    return key.upper().replace("-", "_").replace(".", "_")


def credential_like(name: str) -> bool:
    """Whether the value of a variable of this name is to be kept out of logs."""
    name = name.upper()
    return re.search(_CREDENTIAL, name) is not None and re.search(_ABOUT, name) is None


def complaint_about_env(names: Iterable[str]) -> str:
    """Why a plugin may not ask for these variables, as a sentence; empty: it may."""
    for name in names:
        if re.fullmatch(_NAME, name) is None:
            return f"{name[:100]!r} is not the name of an environment variable."
        if denied(name):
            return f"{name} makes programs run other code, so no plugin is given it."
    return ""


def complaint_about_secrets(keys: Iterable[str]) -> str:
    """Why a plugin may not ask for secrets of these names, as a sentence; empty: it may."""
    taken: dict[str, str] = {}
    for key in keys:
        if re.fullmatch(_SECRET, key) is None:
            return f"{key[:100]!r} is not a name for a secret: letters, digits, -, . and _, no digit first."
        name = variable(key)
        if _runs_code(name) or name in _SAFE:
            return f"the secret {key} would be given as {name}, which means something else to programs."
        if taken.setdefault(name, key) != key:
            return f"the secrets {taken[name]} and {key} would both be given as {name}."
    return ""


def _runs_code(name: str) -> bool:
    from broker.permissions.variables import runs_code

    return runs_code(name)
