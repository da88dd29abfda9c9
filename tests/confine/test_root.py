"""The private root: what is not granted does not exist, and nothing leads out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.errors import NotEnforced
from tests.confine.jailed import native, python, secret_below

pytestmark = native

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def granted(tmp_path: Path) -> Path:
    """A folder that tests grant; beside it lies `secret`."""
    secret_below(tmp_path)
    folder = tmp_path / "granted"
    folder.mkdir()
    (folder / "file").write_text("open", "utf-8")
    return folder


async def test_what_was_not_granted_does_not_exist(granted: Path) -> None:
    paths = ["/etc/shadow", "/home/other", "/sys", "/run", "/var", str(granted.parent / "secret"), __file__]
    assert (
        await python(f"print({{os.path.exists(path) for path in {paths!r}}}, os.listdir('/home'))")
        == "{False} ['plugin']"
    )


async def test_the_users_of_this_machine_are_not_told() -> None:
    said = await python(
        "import pwd; print(len(pwd.getpwall()), pwd.getpwuid(os.getuid()).pw_dir, open('/etc/resolv.conf').readline())"
    )
    assert said == "1 /home/plugin nameserver 127.0.0.1"


async def test_what_was_granted_to_be_read_is_read_and_not_changed(granted: Path) -> None:
    said = await python(
        f"os.chdir({str(granted)!r}); print(open('file').read())\n"
        "print(*[tried(*each) for each in ("
        "(open, 'file', 'w'), (open, 'new', 'w'), (os.unlink, 'file'), (os.mkdir, 'new'),"
        " (os.rename, 'file', 'other'), (os.chmod, 'file', 0), (os.utime, 'file'), (os.truncate, 'file', 0),"
        " (os.link, 'file', '/tmp/file'), (os.symlink, 'file', 'other'))])",
        read=(str(granted),),
    )
    first, rest = said.split("\n")
    assert first == "open" and len(rest.split()) == 10
    assert set(rest.split()) <= {"EROFS", "EACCES", "EXDEV"}
    assert (granted / "file").read_text("utf-8") == "open"


async def test_a_single_file_is_granted_alone(granted: Path) -> None:
    secret_below(granted)
    path = granted / "file"
    assert (
        await python(f"print(os.listdir({str(granted)!r}), open({str(path)!r}).read())", read=(str(path),))
        == "['file'] open"
    )


async def test_what_was_granted_to_be_written_is_written(granted: Path) -> None:
    await python(
        f"os.chdir({str(granted)!r}); open('new', 'w').write('new'); os.rename('file', 'moved'); os.mkdir('folder')\n"
        "os.chmod('moved', 0o600); os.link('moved', 'folder/again'); os.symlink('moved', 'link')",
        write=(str(granted),),
    )
    assert sorted(os.listdir(granted)) == ["folder", "link", "moved", "new"]
    assert (granted / "new").read_text("utf-8") == "new" and (granted / "new").stat().st_uid == os.getuid()


async def test_no_link_leads_out_of_what_was_granted(granted: Path) -> None:
    secret = granted.parent / "secret"
    said = await python(
        f"os.chdir({str(granted)!r})\n"
        f"os.symlink({str(secret)!r}, 'link'); os.symlink('../secret', 'up'); os.symlink('/proc/self/root', 'root')\n"
        f"print(tried(open, 'link'), tried(open, 'up'), tried(open, '../secret'), tried(open, 'root{secret}'))\n"
        f"print(tried(os.link, {str(secret)!r}, 'hard'), tried(os.rename, {str(secret)!r}, 'moved'))\n"
        f"print(tried(os.rename, 'file', {str(secret)!r}))",
        write=(str(granted),),
    )
    assert "done" not in said and set(said.split()) <= {"ENOENT", "EXDEV", "EROFS", "EACCES"}
    assert secret.read_text("utf-8") == "secret"


@pytest.mark.parametrize("kind", ["read", "write", "roots", "sockets"])
async def test_what_became_a_symbolic_link_since_it_was_granted_refuses_the_start(granted: Path, kind: str) -> None:
    (granted / "file").unlink()
    (granted / "file").symlink_to(granted.parent / "secret")
    with pytest.raises(NotEnforced, match=f"{granted}/file is, or lies behind, a symbolic link now"):
        await python("", **{kind: (f"{granted}/file",)})
    behind = granted.with_name("behind")
    behind.symlink_to(granted)
    with pytest.raises(NotEnforced, match=f"{behind} is, or lies behind, a symbolic link now"):
        await python("", **{kind: (str(behind),)})


async def test_what_is_gone_since_it_was_granted_refuses_the_start(granted: Path) -> None:
    with pytest.raises(NotEnforced, match=f"{granted}/gone does not exist"):
        await python("", write=(f"{granted}/gone",))


async def test_a_folder_inside_another_keeps_what_it_was_granted(granted: Path) -> None:
    inner = granted / "inner"
    inner.mkdir()
    said = await python(
        f"os.chdir({str(granted)!r}); print(tried(open, 'new', 'w'), tried(open, 'inner/new', 'w'))",
        read=(str(granted),),
        write=(str(inner),),
    )
    assert said == "EROFS done"


async def test_what_is_read_is_not_executed(granted: Path) -> None:
    said = await python(
        f"import mmap; os.chdir({str(granted)!r})\n"
        "print(tried(os.execv, './file', ['file']), os.access('file', os.X_OK))\n"
        "with open('file', 'rb') as file:\n"
        "    print(tried(lambda: mmap.mmap(file.fileno(), 4, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)))",
        read=(str(granted),),
    )
    assert said == "EACCES False\nEPERM"


async def test_only_harmless_devices_are_there() -> None:
    said = await python(
        "print(sorted(os.listdir('/dev')), tried(open, '/dev/new', 'w'), tried(os.unlink, '/dev/null'))\n"
        "open('/dev/null', 'w').write('x'); print(len(open('/dev/urandom', 'rb').read(8)))"
    )
    listed, rest = said.split("]")
    assert listed == "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero'"
    assert rest.split() == ["EROFS", "EROFS", "8"]


async def test_its_own_folders_are_empty_bounded_and_gone_afterwards() -> None:
    fill = """
def fill(folder):
    print(os.listdir(folder), end=" ")
    for number in range(64):
        with open(f"{folder}/{number}", "wb", buffering=0) as file:
            if file.write(bytes(1 << 20)) < 1 << 20:
                raise OSError(errno.ENOSPC, "full")
def nodes():
    for number in range(100_000):
        os.mkdir(f"/home/plugin/{number}")
for folder in ("/tmp", "/home/plugin", "/dev/shm"):
    print(tried(fill, folder))
    for name in os.listdir(folder):
        os.unlink(folder + "/" + name)
print(tried(nodes))
"""
    for _ in range(2):
        assert await python(fill, disk=8 * MIB) == "[] ENOSPC\n[] ENOSPC\n[] ENOSPC\nENOSPC"


async def test_nothing_can_be_written_beside_them() -> None:
    said = await python(
        "print(*[tried(open, path, 'w') for path in ('/new', '/etc/new', '/etc/passwd', '/usr/lib/new', '/home/new')])"
    )
    assert set(said.split()) <= {"EROFS", "EACCES"} and len(said.split()) == 5


async def test_one_file_cannot_be_larger_than_the_disk_it_was_given(granted: Path) -> None:
    said = await python(
        f"print(tried(lambda: open('{granted}/large', 'wb', buffering=0).truncate({64 * KIB} + 1)))",
        write=(str(granted),),
        disk=64 * KIB,
    )
    assert said == "EFBIG"
