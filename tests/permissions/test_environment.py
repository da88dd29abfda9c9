"""Which variables are passed on, which never, and which look like a secret."""

from __future__ import annotations

import pytest

from broker.permissions.environment import (
    POSIX_NAMES,
    WINDOWS_NAMES,
    complaint_about_env,
    complaint_about_secrets,
    credential_like,
    denied,
    variable,
)

LOADERS = (
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "GLIBC_TUNABLES"),
    *("NODE_OPTIONS", "NODE_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONINSPECT"),
    *("BASH_ENV", "ENV", "SHELLOPTS", "PS4", "BASH_FUNC_ls%%", "BROWSER", "EDITOR", "VISUAL", "PAGER"),
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_EXEC_PATH", "GIT_CONFIG_COUNT", "GIT_PAGER"),
    *("PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"),
    *("npm_config_node_options", "Ld_Preload"),
)


@pytest.mark.parametrize("name", LOADERS)
def test_what_makes_programs_run_other_code_is_denied_in_any_case(name: str) -> None:
    assert denied(name) and denied(name.lower()) and denied(name.upper())


@pytest.mark.parametrize(
    "name", [*POSIX_NAMES, *WINDOWS_NAMES, "ACME_TOKEN", "PYTHONUNBUFFERED", "PYTHONUTF8", "ENVIRONMENT", "MY_ENV"]
)
def test_what_only_tunes_or_informs_is_not(name: str) -> None:
    assert not denied(name)


@pytest.mark.parametrize(
    "name",
    [
        *("ACME_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN", "API_KEY", "APIKEY", "BRAVE_API_KEY", "AWS_SECRET_ACCESS_KEY"),
        *("DB_PASSWORD", "PGPASSWORD", "PASS", "SMTP_PASS", "passphrase", "SENTRY_DSN", "GITLAB_PAT", "PRIVATE_KEY"),
        *("CLIENT_SECRET", "SESSION_COOKIE", "AUTHORIZATION", "BASIC_AUTH", "AZURE_CONNECTION_STRING"),
    ],
)
def test_the_name_of_a_credential_is_known(name: str) -> None:
    assert credential_like(name)


@pytest.mark.parametrize(
    "name",
    [
        *("HOME", "PATH", "TOKEN_URL", "GOOGLE_CREDENTIALS_FILE", "SSH_KEY_PATH", "CLIENT_SECRET_ID", "AUTH_MODE"),
        *("MONKEY", "KEYBOARD", "COMPASS", "BYPASS_CACHE", "PATTERN", "AUTHOR"),
    ],
)
def test_a_name_that_is_only_about_one_is_not(name: str) -> None:
    assert not credential_like(name)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["ACME_TOKEN", "PYTHONUNBUFFERED"], ""),
        (["ACME_TOKEN", "LD_PRELOAD"], "LD_PRELOAD makes programs run other code"),
        (["A=B"], "not the name of an environment variable"),
        (["\x1b[31m"], r"'\x1b[31m' is not the name"),
        ([""], "not the name"),
    ],
)
def test_a_plugin_may_not_ask_for_every_variable(names: list[str], said: str) -> None:
    complaint = complaint_about_env(names)
    assert said in complaint and bool(said) == bool(complaint)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["api_key", "other-key"], ""),
        (["ld-preload"], "given as LD_PRELOAD"),
        (["path"], "given as PATH"),
        (["python.path", "pythonpath"], ""),
        (["pythonpath"], "given as PYTHONPATH"),
        (["api-key", "api_key"], "both be given as API_KEY"),
        (["1st"], "not a name for a secret"),
        (["a b"], "not a name for a secret"),
    ],
)
def test_a_secret_may_not_be_given_as_every_variable(keys: list[str], said: str) -> None:
    complaint = complaint_about_secrets(keys[:1] if keys[0] == "python.path" else keys)
    assert said in complaint


def test_a_secret_is_given_in_upper_case_with_underscores() -> None:
    assert variable("api-key.v2") == "API_KEY_V2"
