"""Places are filled in and links followed at approval; what gives away everything else is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.errors import DangerousGrant
from broker.permissions.places import Places, moved
from broker.permissions.scopes import parse


class House:
    """A home with a workspace, a plugin and a broker's folders in it."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.workspace, self.plugin, self.state = self.home / "work", self.home / "plugins" / "todos", root / "state"
        self.config = self.home / ".config" / "broker"
        for folder in (self.workspace, self.plugin, self.data(), self.data("other"), self.config):
            folder.mkdir(parents=True)
        self.places = Places(
            str(self.home),
            str(self.workspace),
            str(self.data()),
            str(self.plugin),
            (str(self.state), str(self.config)),
        )

    def data(self, name: str = "todos") -> Path:
        return self.state / "data" / name

    def resolved(self, text: str) -> str:
        return str(self.places.resolved(parse(text)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(Path(os.path.realpath(tmp_path)))


def test_places_are_filled_in(house: House) -> None:
    assert house.resolved("read:${workspace}/**") == f"read:{house.workspace}"
    assert house.resolved("read:${workspace}/src/*.py") == f"read:{house.workspace}/src/*.py"
    assert house.resolved("write:${data}") == f"write:{house.data()}"
    assert house.resolved("write:${data}/cache") == f"write:{house.data()}/cache"
    assert house.resolved("read:${plugin}/words.txt") == f"read:{house.plugin}/words.txt"
    assert house.resolved("read:${home}/docs") == house.resolved("read:~/docs") == f"read:{house.home}/docs"
    assert house.resolved("run:${plugin}/tool") == f"run:{house.plugin}/tool"
    assert house.resolved("net:unix:${workspace}/x.sock") == f"net:unix:{house.workspace}/x.sock"


def test_what_is_no_path_stays_as_it_is(house: House) -> None:
    for text in ("run:git", "net:api.acme.dev:443", "env:ACME_TOKEN", "sampling", "call:other", "env:PYTHONUTF8"):
        assert house.resolved(text) == text


def test_links_are_followed_and_kept_followed(house: House) -> None:
    (house.home / "real").mkdir()
    (house.home / "link").symlink_to("real")
    assert house.resolved("read:~/link/sub") == f"read:{house.home}/real/sub"
    assert house.resolved("read:~/link/*.md") == f"read:{house.home}/real/*.md"


def test_a_folder_that_became_a_link_is_told(house: House) -> None:
    (house.workspace / "docs").mkdir()
    granted = [parse(house.resolved(text)) for text in ("read:${workspace}/docs/**", "run:git", "read:${data}")]
    assert list(moved(granted)) == []
    (house.workspace / "docs").rmdir()
    assert list(moved(granted)) == []  # it is not there, and nothing else is in its place
    (house.workspace / "docs").symlink_to("/etc")
    assert list(moved(granted)) == [(granted[0], "/etc")]


def test_a_folder_above_that_became_a_link_is_told(house: House) -> None:
    (house.workspace / "a" / "b").mkdir(parents=True)
    granted = [parse(house.resolved("read:${workspace}/a/b/*.md"))]
    (house.workspace / "a").rename(house.home / "elsewhere")
    (house.workspace / "a").symlink_to(house.home / "elsewhere")
    assert [where for _, where in moved(granted)] == [f"{house.home}/elsewhere/b"]


@pytest.mark.parametrize(
    "text",
    [
        *("read:/", "read:/**", "write:/", "read:/*", "read:/**/id_rsa", "read:/./"),
        *("read:~", "read:${home}", "read:~/**", "read:~/*", "read:~/*/x", "read:${home}/**/.ssh", "write:${home}"),
        *("read:/proc", "read:/proc/self/root", "read:/proc/self/root/etc", "read:/proc/self/environ", "read:/proc/*"),
        *("read:/sys", "read:/dev", "read:/run", "read:/boot", "read:/etc", "write:/etc/**", "read:/etc/*"),
        *("read:/var", "read:/usr", "read:/root", "read:/home", "read:/var/run"),
        *("read:~/.config", "read:~/.config/broker", "write:~/.config/broker/config.toml", "read:~/.config/*/x"),
        *("net:unix:/var/run/docker.sock", "net:unix:/run/podman/podman.sock", "net:unix:/run/user/1000/bus"),
        *("net:unix:/tmp/ssh-XX/agent.1", "net:unix:/run/user/1000/gnupg/S.gpg-agent", "net:unix:/tmp/.X11-unix/X0"),
        *("env:LD_PRELOAD", "env:NODE_OPTIONS", "env:PYTHONPATH", "env:PYTHONSTARTUP", "env:BASH_ENV"),
        "env:GIT_SSH_COMMAND",
    ],
)
def test_what_gives_everything_away_is_refused(house: House, text: str) -> None:
    with pytest.raises(DangerousGrant, match="cannot be granted") as caught:
        house.resolved(text)
    assert caught.value.hint


def test_the_root_of_another_process_is_refused_whether_it_may_be_read_or_not(house: House) -> None:
    with pytest.raises((DangerousGrant, ValueError), match=r"cannot be (granted|followed)"):
        house.resolved("read:/proc/1/root/srv")


def test_of_what_is_guarded_a_plugin_has_its_own_data_alone(house: House) -> None:
    (house.data() / "away").symlink_to(house.data("other"))
    (house.workspace / "in").symlink_to(house.state)
    for path in (
        *(house.data("other"), house.data("todos-2"), house.data().parent, house.state, house.state.parent),
        *(house.state / "grants.json", house.data() / "away", house.workspace / "in", house.workspace / "in" / "x"),
        house.config / "config.toml",
    ):
        with pytest.raises(DangerousGrant):
            house.resolved(f"read:{path}")
    assert house.resolved(f"read:{house.data()}") == f"read:{house.data()}"


def test_a_link_to_home_or_root_is_what_it_leads_to(house: House) -> None:
    for name, target in (("h", house.home), ("r", "/"), ("e", "/etc"), ("up", house.home.parent)):
        (house.workspace / name).symlink_to(target)
        with pytest.raises(DangerousGrant):
            house.resolved(f"read:${{workspace}}/{name}")


def test_prefix_siblings_are_other_folders(house: House) -> None:
    """`/x/state-old` is neither below nor above `/x/state`."""
    for path in (f"{house.state}-old", f"{house.config}2", f"{house.home}-old"):
        Path(path).mkdir()
        assert house.resolved(f"read:{path}") == f"read:{path}"


@pytest.mark.parametrize(
    "text",
    [
        *("read:docs", "read:./docs", "read:~bob/docs", "read:${workspace}x/y", "read:x${workspace}", "read:C:/x"),
        *("read:${nothing}/x", "read:${}/x", "read:${env:HOME}/x", "read:/a/${home}", "read:${workspace}/${home}"),
        *("read:${workspace", "run:bin/tool", "net:unix:run/x"),
    ],
)
def test_what_begins_nowhere_is_refused_in_words(house: House, text: str) -> None:
    with pytest.raises(ValueError, match=r"(absolute|unknown place)"):
        house.resolved(text)


def test_without_a_workspace_or_a_folder_of_its_own_there_is_none(house: House) -> None:
    bare = Places(str(house.home), None, str(house.data()), None)
    for name in ("workspace", "plugin"):
        with pytest.raises(ValueError, match=f"there is no {name} folder"):
            bare.resolved(parse(f"read:${{{name}}}/x"))


def test_a_star_in_the_name_of_a_folder_never_becomes_a_pattern(house: House) -> None:
    (house.home / "a*").mkdir()
    (house.home / "link").symlink_to("a*")
    with pytest.raises(ValueError, match=r"with a \* in its name"):
        house.resolved("read:~/link")
    starred = Places(str(house.home), str(house.home / "a*"), str(house.data()), None)
    with pytest.raises(ValueError, match=r"with a \* in its name"):
        starred.resolved(parse("read:${workspace}/x"))


def test_a_home_that_is_a_link_is_the_home(house: House, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(house.home)
    places = Places(str(tmp_path / "alias"), None, str(house.data()), None)
    for text in ("read:~", f"read:{house.home}", f"read:{tmp_path}/alias"):
        with pytest.raises(DangerousGrant):
            places.resolved(parse(text))


def test_a_workspace_that_is_the_home_or_the_root_is_not_given(house: House) -> None:
    """Desktop clients start their servers there."""
    for folder in (str(house.home), "/"):
        with pytest.raises(DangerousGrant):
            Places(str(house.home), folder, str(house.data()), None).resolved(parse("read:${workspace}/**"))


@pytest.mark.parametrize(
    "path",
    [
        *("~/.bashrc", "~/.ssh", "~/.ssh/authorized_keys", "~/.config", "~/.config/autostart/x.desktop", "~/bin"),
        *("~/.local", "~/.local/bin/tool", "~/.gitconfig", "/etc/cron.d", "/usr/local/bin", "/dev/shm/x", "/var/spool"),
        "/run/user/1000/systemd",
    ],
)
def test_what_others_run_cannot_be_granted_to_write_to(house: House, path: str) -> None:
    with pytest.raises(DangerousGrant):
        house.resolved(f"write:{path}")


def test_what_others_run_can_be_granted_to_read_and_what_is_beside_it_to_write_to(house: House) -> None:
    assert house.resolved("read:~/.ssh") == f"read:{house.home}/.ssh"
    assert house.resolved("write:~/.config/tool") == f"write:{house.home}/.config/tool"
    assert house.resolved("write:~/.local/share/tool") == f"write:{house.home}/.local/share/tool"


def test_a_link_does_not_hide_what_others_run(house: House) -> None:
    (house.home / ".ssh").mkdir()
    (house.workspace / "keys").symlink_to(house.home / ".ssh")
    with pytest.raises(DangerousGrant):
        house.resolved("write:${workspace}/keys")


@pytest.mark.parametrize(
    "path",
    [
        *("/tmp/tmux-1000/default", "/run/user/1000/vscode-ipc-x.sock", "/run/user/1000/emacs/server"),
        *("/var/run/libvirt/libvirt-sock", "/run/user/1000/gnupg/S.gpg-agent.ssh", "/var/lib/lxd/unix.socket"),
        *("/run/user/1000/nvim.123.0", "/run/user/1000/sway-ipc.1000.1.sock"),
    ],
)
def test_a_socket_behind_which_programs_are_started_is_refused(house: House, path: str) -> None:
    with pytest.raises(DangerousGrant):
        house.resolved(f"net:unix:{path}")
