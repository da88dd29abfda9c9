"""Environment variables that make a loader, an interpreter or a tool run code it was not started for."""

from __future__ import annotations

import re

_BY_BEGINNING = (
    *("LD_", "DYLD_", "PYTHON", "PERL5", "RUBY", "BASH_FUNC_", "NPM_CONFIG_", "GIT_CONFIG", "GIT_SSH", "UV_", "PIP_"),
    *("NODE_OPTIONS", "NODE_PATH", "NODE_REPL", "NODE_EXTRA", "OPENSSL_"),
)
_WHOLE = (
    *("BASH_ENV", "BASHOPTS", "SHELLOPTS", "ENV", "IFS", "PS4", "PERLLIB", "CLASSPATH", "BROWSER", "EDITOR", "VISUAL"),
    *("PAGER", "MANPAGER", "GCONV_PATH", "LOCPATH", "GLIBC_TUNABLES", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
    *("_JAVA_OPTIONS", "GIT_ASKPASS", "GIT_EDITOR", "GIT_EXEC_PATH", "GIT_EXTERNAL_DIFF", "GIT_PAGER"),
    *("GIT_PROXY_COMMAND", "GIT_SEQUENCE_EDITOR", "GIT_TEMPLATE_DIR"),
)
_CODE = re.compile(rf"({'|'.join(_BY_BEGINNING)}).*|{'|'.join(_WHOLE)}", re.IGNORECASE | re.DOTALL)


def runs_code(name: str) -> bool:
    """Whether a value of the variable `name` can name code that is run."""
    return _CODE.fullmatch(name) is not None
